package deliver

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"path"
	"sort"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// files answers with one file of a release under a path that names what the file is:
//
//	/v1/apps/{app}/files/{package}/{release digest}/{path}
//
// Blobs are named by their hash alone, so nothing in their path says which one follows which. Here it is the release
// that changes, and the rest stays: a browser can be told to offer what it has from this path as the dictionary for the
// same file of any other release (RFC 9842).
func (s *Server) files(w http.ResponseWriter, r *http.Request) error {
	d, err := digest(r)
	if err != nil {
		return err
	}
	index, err := s.cache.get(r.Context(), "files "+string(d), func(ctx context.Context) ([]byte, error) {
		release, err := s.release(ctx, d)
		if err != nil {
			return nil, err
		}
		if release.Manifest == nil { // a foreign protocol's own release
			return nil, fmt.Errorf("manifest of release %s: %w", d.Short(), slipstream.ErrNotFound)
		}
		return indexFiles(release.Manifest), nil
	})
	if err != nil {
		return err
	}
	of, err := findFile(index.body, r.PathValue("app"), r.PathValue("package"), r.PathValue("path"))
	if err != nil {
		return fmt.Errorf("release %s: %w", d.Short(), err)
	}
	h := w.Header()
	kind, dense := contentType(r.PathValue("path"))
	h["Content-Type"] = []string{kind}
	if !dense {
		h["Use-As-Dictionary"] = []string{"match=" + quoted(matchPattern(r.URL.EscapedPath(), string(d)))}
	}
	return s.blob(w, r, of)
}

// indexFiles makes a table in which a file is found without reading the manifest: app, package, then the files by path.
//
//	4 bytes   files n
//	4(n+1)    where each entry ends, counted from the end of this list; the first one holds app NUL package
//	…         entries: SHA-256 in 64 hex digits, path
func indexFiles(m *slipstream.Manifest) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(m.Files)))
	head := m.App + "\x00" + m.Package
	end := uint32(len(head))
	out = binary.BigEndian.AppendUint32(out, end)
	for _, f := range m.Files {
		end += uint32(len(f.SHA256) + len(f.Path))
		out = binary.BigEndian.AppendUint32(out, end)
	}
	out = append(out, head...)
	for _, f := range m.Files {
		out = append(append(out, f.SHA256...), f.Path...)
	}
	return out
}

const hexDigest = 64

func findFile(index []byte, app, pkg, path string) (slipstream.Digest, error) {
	n := int(binary.BigEndian.Uint32(index))
	ends, entries := index[4:], index[4+4*(n+1):]
	end := func(i int) uint32 { return binary.BigEndian.Uint32(ends[4*i:]) }
	entry := func(i int) []byte { return entries[end(i):end(i+1)] }
	if string(entries[:end(0)]) != app+"\x00"+pkg {
		return "", fmt.Errorf("package %.64q of app %.64q: %w", pkg, app, slipstream.ErrNotFound)
	}
	i := sort.Search(n, func(i int) bool { return string(entry(i)[hexDigest:]) >= path })
	if i == n || string(entry(i)[hexDigest:]) != path {
		return "", fmt.Errorf("file %.200q: %w", path, slipstream.ErrNotFound)
	}
	return slipstream.Digest(entry(i)[:hexDigest]), nil
}

// matchPattern makes the URL pattern of the same file in any release: the digest becomes a wildcard, and so does a hash
// that a bundler put into the file's name. escaped is the path as the client wrote it, since that is what the client
// will compare with.
func matchPattern(escaped, digest string) string {
	before, after, _ := strings.Cut(escaped, digest)
	folder, name := path.Split(after)
	return escapePattern(before) + "*" + escapePattern(folder) + escapeHashed(name)
}

// escapePattern puts a backslash before what has a meaning in a URL pattern.
func escapePattern(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(`\:*+?(){}`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// escapeHashed is escapePattern with a wildcard for the parts of a file name that look like a hash: at least eight
// letters and digits, some of each, between dots and dashes, and not at the begin.
func escapeHashed(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		n := strings.IndexAny(name[i:], ".-")
		if n < 0 {
			n = len(name) - i
		}
		if part := name[i : i+n]; i > 0 && looksHashed(part) {
			b.WriteByte('*')
		} else {
			b.WriteString(escapePattern(part))
		}
		if i += n; i < len(name) {
			b.WriteByte(name[i])
			i++
		}
	}
	return b.String()
}

func looksHashed(s string) bool {
	digits, letters := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
			letters++
		default:
			return false
		}
	}
	return len(s) >= 8 && digits > 0 && letters > 0
}

// quoted writes a string of RFC 8941 section 3.3.3. What it holds is ASCII: a path as a client wrote it.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// contentType gives the type by which a page may load a file, and whether the bytes are dense already, so that no
// version helps to send another. Types that a browser would open as a page of this server's origin, where an operator
// may be logged in, are not among them.
func contentType(name string) (kind string, dense bool) {
	switch strings.ToLower(path.Ext(name)) {
	case ".js", ".mjs", ".cjs", ".bundle", ".jsbundle":
		return "text/javascript; charset=utf-8", false
	case ".css", ".wxss":
		return "text/css; charset=utf-8", false
	case ".json", ".map":
		return "application/json", false
	case ".txt", ".md", ".wxml":
		return "text/plain; charset=utf-8", false
	case ".wasm":
		return "application/wasm", false
	case ".png":
		return "image/png", true
	case ".jpg", ".jpeg":
		return "image/jpeg", true
	case ".gif":
		return "image/gif", true
	case ".webp":
		return "image/webp", true
	case ".avif":
		return "image/avif", true
	case ".woff":
		return "font/woff", true
	case ".woff2":
		return "font/woff2", true
	case ".ttf":
		return "font/ttf", false
	case ".mp3":
		return "audio/mpeg", true
	case ".mp4":
		return "video/mp4", true
	case ".zip", ".gz", ".br", ".zst":
		return "application/octet-stream", true
	}
	return "application/octet-stream", false
}
