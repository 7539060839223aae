package manage

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"os"
	"path"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/sign"
)

func encode(v any) (json.RawMessage, error) { return json.Marshal(v) }

// upload is what came in a release request: the package in a file of ours, and what was said about it.
type upload struct {
	file *os.File
	size int64
	name string
	info packageInfo
}

// receive reads a multipart body into a temporary file. Nothing is kept of a body that is not whole.
func (s *Server) receive(c call) (u upload, done func(), err error) {
	done = func() {}
	_, body, stop := httpx.Patient(c.w, c.Request, s.cfg.StallTimeout, slipstream.ErrUnavailable)
	defer stop()
	body = io.LimitReader(body, s.cfg.MaxUpload+maxBody+1)
	bounded := *c.Request
	bounded.Body = io.NopCloser(body)
	parts, err := bounded.MultipartReader()
	if err != nil {
		return u, done, slipstream.Invalidf("the release must be multipart/form-data with a file \"package\" and a field \"packageInfo\": %v", err)
	}
	said := false
	for n := 0; ; n++ {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || n >= 8 {
			return u, done, slipstream.Invalidf("the multipart body is not whole, or has too many parts")
		}
		switch p.FormName() {
		case "package":
			if u.file != nil {
				return u, done, slipstream.Invalidf("there are two packages")
			}
			if u.file, done, err = scratch(); err != nil {
				return u, func() {}, err
			}
			if err := u.take(p, s.cfg.MaxUpload); err != nil {
				return u, done, err
			}
		case "packageInfo":
			raw, err := io.ReadAll(io.LimitReader(p, maxBody+1))
			if err != nil || len(raw) > maxBody {
				return u, done, slipstream.Invalidf("packageInfo is longer than %d bytes", maxBody)
			}
			if err := parse(raw, &u.info); err != nil {
				return u, done, err
			}
			said = true
		}
	}
	if u.file == nil || u.size == 0 || !said {
		return u, done, slipstream.Invalidf("the release must have a file \"package\" that is not empty and a field \"packageInfo\"")
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // what a sender writes behind the last part is nothing, but it ends
		return u, done, slipstream.Invalidf("the body has no end: %v", err)
	}
	httpx.Unhurried(c.w, c.Request)
	return u, done, nil
}

func (u *upload) take(p *multipart.Part, most int64) error {
	n, err := io.Copy(u.file, io.LimitReader(p, most+1))
	if err != nil {
		return slipstream.Invalidf("the package did not come whole: %v", err)
	}
	if n > most {
		return tooLarge{most}
	}
	u.size, u.name = n, path.Base(strings.ReplaceAll(p.FileName(), `\`, "/"))
	return nil
}

// tooLarge is an upload beyond the bound.
type tooLarge struct{ most int64 }

func (t tooLarge) Error() string { return fmt.Sprintf("the package is larger than %d bytes", t.most) }

// unpack stores the files of an upload as blobs, or the upload itself when it is no zip. The paths are clean and
// nothing is larger than it says.
func (s *Server) unpack(ctx context.Context, u *upload) (files []slipstream.File, single bool, err error) {
	head := make([]byte, 4)
	if _, err := u.file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("read upload: %w", err)
	}
	if !bytes.Equal(head, []byte("PK\x03\x04")) && !bytes.Equal(head, []byte("PK\x05\x06")) {
		f, err := s.keep(ctx, u.name, io.NewSectionReader(u.file, 0, u.size), u.size)
		return []slipstream.File{f}, true, err
	}
	within := &budget{u.file, maxDirectory}
	z, err := zip.NewReader(within, u.size)
	within.left = math.MaxInt64
	if err != nil {
		return nil, false, slipstream.Invalidf("the package is not a whole zip: %v", err)
	}
	if err := s.look(z, u.size); err != nil {
		return nil, false, err
	}
	for _, e := range z.File {
		name := clean(e.Name)
		if skipped(name) {
			continue
		}
		f, err := s.entry(ctx, name, e)
		if err != nil {
			return nil, false, err
		}
		files = append(files, f)
	}
	return files, false, nil
}

// maxDirectory bounds the directory of a zip, in bytes: it is held in memory, several times its size.
const maxDirectory = 16 << 20

// budget reads no more than so many bytes.
type budget struct {
	io.ReaderAt
	left int64
}

func (b *budget) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, slipstream.Invalidf("its directory is larger than %d bytes", maxDirectory)
	}
	return b.ReaderAt.ReadAt(p, off)
}

func clean(name string) string { return strings.ReplaceAll(name, `\`, "/") }

// skipped are folders, and what clients ignore.
func skipped(name string) bool {
	return strings.HasSuffix(name, "/") || strings.HasPrefix(name, "__MACOSX/") || path.Base(name) == ".DS_Store"
}

// A zip may hold freeBytes, and beyond those maxRatio times its own size: a small upload must not fill the disk.
const (
	freeBytes = 64 << 20
	maxRatio  = 100
)

// look refuses a zip of so many bytes by its directory alone, before anything is unpacked.
func (s *Server) look(z *zip.Reader, size int64) error {
	if len(z.File) > 2*slipstream.MaxFiles {
		return slipstream.Invalidf("the zip has %d entries", len(z.File))
	}
	var total uint64
	var files []slipstream.File
	for _, e := range z.File {
		mode := e.Mode()
		name := clean(e.Name)
		switch {
		case mode&os.ModeSymlink != 0 || !mode.IsRegular() && !mode.IsDir():
			return slipstream.Invalidf("%.80q is no regular file: links are not taken", name)
		case e.Flags&1 != 0:
			return slipstream.Invalidf("%.80q is encrypted", name)
		case skipped(name):
			continue
		}
		total += e.UncompressedSize64
		if e.UncompressedSize64 > uint64(s.cfg.MaxUnpacked) || total > uint64(s.cfg.MaxUnpacked) {
			return slipstream.Invalidf("the zip unpacks to more than %d bytes", s.cfg.MaxUnpacked)
		}
		files = append(files, slipstream.File{Path: name})
	}
	if len(files) == 0 {
		return slipstream.Invalidf("the zip holds no file")
	}
	if total > freeBytes && total > maxRatio*uint64(size) {
		return slipstream.Invalidf("the zip of %d bytes unpacks to %d: more than %d times as much is not taken", size, total, maxRatio)
	}
	return slipstream.Invalid(errors.Join(sign.CheckPaths(files)...))
}

// entry unpacks one file: first into a temporary one, for its hash is not known before.
func (s *Server) entry(ctx context.Context, name string, e *zip.File) (slipstream.File, error) {
	r, err := e.Open()
	if err != nil {
		return slipstream.File{}, slipstream.Invalidf("%.80q cannot be unpacked: %v", name, err)
	}
	defer func() { _ = r.Close() }() // only read from
	tmp, done, err := scratch()
	if err != nil {
		return slipstream.File{}, err
	}
	defer done()
	size := int64(e.UncompressedSize64)
	n, err := io.Copy(tmp, io.LimitReader(r, size+1))
	if err != nil || n != size {
		return slipstream.File{}, slipstream.Invalidf("%.80q does not unpack to the %d bytes that it says: %v", name, size, err)
	}
	return s.keep(ctx, name, io.NewSectionReader(tmp, 0, size), size)
}

func (s *Server) keep(ctx context.Context, name string, r *io.SectionReader, size int64) (slipstream.File, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return slipstream.File{}, fmt.Errorf("read upload: %w", err)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return slipstream.File{}, fmt.Errorf("read upload: %w", err)
	}
	f := slipstream.File{Path: name, Size: size, SHA256: slipstream.DigestOf([32]byte(sum.Sum(nil)))}
	if err := s.cfg.Blobs.Put(ctx, f.SHA256, size, r); err != nil {
		return f, fmt.Errorf("store %s: %w", name, err)
	}
	return f, nil
}
