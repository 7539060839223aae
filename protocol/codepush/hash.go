package codepush

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/slipstream-ota/slipstream"
)

// ignored says which files are no part of a package for clients.
func ignored(path string) bool {
	return strings.HasPrefix(path, "__MACOSX/") || path == ".DS_Store" || strings.HasSuffix(path, "/.DS_Store")
}

// unhashed says which files belong to a package but not to its hash.
func unhashed(path string) bool {
	return path == ".codepushrelease" || strings.HasSuffix(path, "/.codepushrelease")
}

// PackageHash is the hash by which clients know a package, of its files by path: the SHA-256 of a JSON array of
// "path:sha256" texts in the order of their UTF-16 code units.
func PackageHash(files map[string]slipstream.Digest) slipstream.Digest {
	type line struct {
		text  string
		units []uint16
	}
	lines := make([]line, 0, len(files))
	for path, sum := range files {
		path = strings.ReplaceAll(path, `\`, "/")
		if ignored(path) || unhashed(path) {
			continue
		}
		text := path + ":" + string(sum)
		lines = append(lines, line{text, utf16.Encode([]rune(text))})
	}
	slices.SortFunc(lines, func(a, b line) int { return slices.Compare(a.units, b.units) })
	var out strings.Builder
	out.WriteByte('[')
	for i, l := range lines {
		if i > 0 {
			out.WriteByte(',')
		}
		quote(&out, l.text)
	}
	out.WriteByte(']')
	return slipstream.DigestOf(sha256.Sum256([]byte(out.String())))
}

// quote writes s as JavaScript's JSON.stringify does: only quotes, backslashes and control characters are escaped.
func quote(out *strings.Builder, s string) {
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\b':
			out.WriteString(`\b`)
		case r == '\f':
			out.WriteString(`\f`)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r < ' ':
			fmt.Fprintf(out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
}

func hashOf(files []packed) slipstream.Digest {
	sums := make(map[string]slipstream.Digest, len(files))
	for _, f := range files {
		sums[f.path] = f.sha256
	}
	return PackageHash(sums)
}
