package capgo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/andybalholm/brotli"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/archive"
	"github.com/slipstream-ota/slipstream/store"
)

// Newer updaters take a bundle file by file and download only what they do not have. Beside its zip a release on offer therefore has
// a list of its files, and one blob of those that Brotli makes smaller, one after the other. A signed bundle has none: there clients
// do not look at signatures file by file.

const (
	maxPieces   = 1000     // files of a bundle that is listed
	minBrotli   = 8 << 10  // bytes of a file that is worth compressing
	maxBrotli   = 64 << 20 // bytes of one that is
	brotliLevel = 9
	coded       = ".br"
	retryPieces = time.Minute
)

// listing is what the store keeps about the files of a bundle. Its blob is the compressed ones, or the zip when there are none.
type listing struct {
	Files []listedFile `json:"files"`
}

// listedFile is one of them; its Coded bytes in Brotli begin at At of the blob, 0 for none.
type listedFile struct {
	Path   string            `json:"path"`
	SHA256 slipstream.Digest `json:"sha256"`
	Size   int64             `json:"size"`
	At     int64             `json:"at,omitempty"`
	Coded  int64             `json:"coded,omitempty"`
}

// place is where a file lies in Brotli.
type place struct {
	blob     slipstream.Digest
	at, size int64
}

// listable reports whether clients could take a release file by file.
func listable(m *slipstream.Manifest) bool {
	if m.Meta[Meta] != nil || len(m.Files) > maxPieces {
		return false
	}
	for _, f := range m.Files {
		if strings.HasSuffix(f.Path, coded) {
			return false // clients would take it for a compressed one
		}
	}
	return true
}

// list makes the listings that are missing, and reports whether it made any.
func (b *Book) list(ctx context.Context, missing []slipstream.Digest) (made bool, err error) {
	for _, d := range missing {
		if b.clock().Before(b.failed[d]) {
			continue
		}
		err := b.listOne(ctx, d)
		if ctx.Err() != nil {
			return made, ctx.Err()
		}
		if err != nil {
			b.failed[d] = b.clock().Add(retryPieces)
			b.log.LogAttrs(ctx, slog.LevelError, "a bundle could not be listed: devices get its zip", slog.String("release", d.Short()), slog.Any("error", err))
			continue
		}
		made = true
	}
	return made, nil
}

func (b *Book) listOne(ctx context.Context, d slipstream.Digest) error {
	var release *slipstream.Release
	if err := b.store.View(ctx, func(tx store.Tx) (err error) {
		release, err = tx.Releases().Get(ctx, d)
		return err
	}); err != nil {
		return fmt.Errorf("read release: %w", err)
	}
	var l listing
	sum, size, err := archive.Put(ctx, b.blobs, func(w io.Writer) error {
		at := int64(0)
		for _, f := range release.Manifest.Files {
			n, err := b.pack(ctx, w, f)
			if err != nil {
				return err
			}
			l.Files = append(l.Files, listedFile{Path: f.Path, SHA256: f.SHA256, Size: f.Size, At: at, Coded: n})
			at += n
		}
		return nil
	})
	if err != nil {
		return err
	}
	doc, err := json.Marshal(l)
	if err != nil {
		return err
	}
	err = b.store.Update(ctx, func(tx store.Tx) error {
		return tx.Containers().PutRendition(ctx, store.Rendition{Release: d, From: d, Protocol: Name, Size: size, SHA256: sum, Doc: doc})
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		return nil // deleted meanwhile
	}
	return err
}

// pack writes a file in Brotli where that makes it smaller, and says how long it is so; 0 is not at all.
func (b *Book) pack(ctx context.Context, w io.Writer, f slipstream.File) (int64, error) {
	if f.Size < minBrotli || f.Size > maxBrotli {
		return 0, nil
	}
	var small bytes.Buffer
	br := brotli.NewWriterLevel(&small, brotliLevel)
	if err := archive.Copy(ctx, br, b.blobs, f); err != nil {
		return 0, err
	}
	if err := br.Close(); err != nil {
		return 0, fmt.Errorf("compress %s: %w", f.Path, err)
	}
	if int64(small.Len()) >= f.Size {
		return 0, nil
	}
	n, err := small.WriteTo(w)
	return n, err
}

// pieces are the files of a bundle as an answer lists them.
func (i *item) pieces(base string) []piece {
	out := make([]piece, len(i.files))
	for at, f := range i.files {
		out[at] = piece{Name: f.Path, Hash: string(f.SHA256), URL: base + string(f.SHA256)}
		if f.Coded > 0 {
			out[at].Name, out[at].URL = out[at].Name+coded, out[at].URL+coded
		}
	}
	return out
}

// sized is the answer about what the files of a bundle weigh.
type sized struct {
	Total   int64        `json:"totalSize"`
	Known   int          `json:"knownFiles"`
	Unknown int          `json:"unknownFiles"`
	Files   []sizedPiece `json:"files"`
}

type sizedPiece struct {
	piece
	Size  *int64 `json:"size,omitempty"`
	Error string `json:"error,omitempty"`
}

// sizes says what files that the client would download weigh on the way.
func (s *Server) sizes(w http.ResponseWriter, r *http.Request) {
	a, f := s.request(w, r, maxStats)
	if f == nil {
		return
	}
	list, ok := parsePieces(f["manifest"])
	if !ok {
		s.refuse(w, r, http.StatusOK, nothing{Error: codeMissing, Kind: kindFailed, Message: fmt.Sprintf("There is no manifest of at most %d files", maxPieces)}, nil)
		return
	}
	out := sized{Files: []sizedPiece{}}
	for _, p := range list {
		e := sizedPiece{piece: p}
		if n, ok := a.weight(p.URL[strings.LastIndexByte(p.URL, '/')+1:]); ok {
			e.Size = &n
			out.Total += n
			out.Known++
		} else {
			e.Error = "not_found"
			out.Unknown++
		}
		out.Files = append(out.Files, e)
	}
	s.write(w, http.StatusOK, out)
}

// parsePieces reads a list of files of a bundle, which is no longer than one that an answer lists.
func parsePieces(raw json.RawMessage) (list []piece, ok bool) {
	all := batch(raw, maxPieces+1)
	if all == nil || len(all) > maxPieces {
		return nil, false
	}
	list = make([]piece, len(all))
	for i, one := range all {
		if json.Unmarshal(one, &list[i]) != nil {
			return nil, false
		}
	}
	return list, true
}

// weight is what the file with this name weighs.
func (a *app) weight(name string) (int64, bool) {
	if plain, br := strings.CutSuffix(name, coded); br {
		p, ok := a.coded[slipstream.Digest(plain)]
		return p.size, ok
	}
	n, ok := a.pieces[slipstream.Digest(name)]
	return n, ok
}

// part serves a file in Brotli out of the blob that it lies in, as the bytes that it is.
func (s *Server) part(w http.ResponseWriter, r *http.Request, name string, p place) {
	o, err := s.cfg.Blobs.Open(r.Context(), p.blob)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer func() { _ = o.Close() }() // only read from
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", `"`+name+`"`)
	http.ServeContent(w, r, "", time.Time{}, &window{from: o, at: p.at, size: p.size})
}

// window is a part of a blob.
type window struct {
	from     io.ReadSeeker
	at, size int64
	pos      int64
}

func (v *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += v.pos
	case io.SeekEnd:
		offset += v.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	v.pos = offset
	_, err := v.from.Seek(v.at+offset, io.SeekStart)
	return offset, err
}

func (v *window) Read(p []byte) (int, error) {
	left := v.size - v.pos
	if left <= 0 {
		return 0, io.EOF
	}
	n, err := v.from.Read(p[:min(int64(len(p)), left)])
	v.pos += int64(n)
	return n, err
}
