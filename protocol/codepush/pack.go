package codepush

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/protocol/archive"
)

// diffFile says what a difference takes away. It makes a zip a difference.
const diffFile = "hotcodepush.json"

func (f *packed) open(ctx context.Context, blobs blob.Store) (io.ReadCloser, error) {
	if f.inline != nil {
		return io.NopCloser(bytes.NewReader(f.inline)), nil
	}
	o, err := blobs.Open(ctx, f.sha256)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.path, err)
	}
	return o, nil
}

// copyTo writes the file, and refuses bytes that are not the signed ones.
func (f *packed) copyTo(ctx context.Context, w io.Writer, blobs blob.Store) error {
	r, err := f.open(ctx, blobs)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read from
	return archive.Checked(w, r, slipstream.File{Path: f.path, Size: f.size, SHA256: f.sha256})
}

func digestOf(h hash.Hash) slipstream.Digest { return slipstream.DigestOf([32]byte(h.Sum(nil))) }

// putZip stores a zip of first, if there is one, and files. The same files give the same bytes.
func putZip(ctx context.Context, blobs blob.Store, first *packed, files []packed) (slipstream.Digest, int64, error) {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b packed) int { return strings.Compare(a.path, b.path) })
	if first != nil {
		sorted = slices.Insert(sorted, 0, *first)
	}
	entries := make([]archive.Entry, len(sorted))
	for i := range sorted {
		entries[i] = archive.Entry{Path: sorted[i].path, CopyTo: func(w io.Writer) error { return sorted[i].copyTo(ctx, w, blobs) }}
	}
	return archive.Put(ctx, blobs, func(w io.Writer) error { return archive.Write(w, entries) })
}

// putDiff stores what makes the package old into next, after applying it as a client does: what comes out must have the
// hash of next.
func putDiff(ctx context.Context, blobs blob.Store, old, next []packed) (slipstream.Digest, int64, error) {
	had := map[string]slipstream.Digest{}
	for _, f := range old {
		had[f.path] = f.sha256
	}
	var changed []packed
	kept := map[string]bool{}
	for _, f := range next {
		kept[f.path] = true
		if had[f.path] != f.sha256 {
			changed = append(changed, f)
		}
	}
	about := struct {
		DeletedFiles []string `json:"deletedFiles"`
	}{[]string{}}
	for _, f := range old {
		if !kept[f.path] {
			about.DeletedFiles = append(about.DeletedFiles, f.path)
		}
	}
	slices.Sort(about.DeletedFiles)
	raw, err := json.Marshal(about)
	if err != nil {
		return "", 0, err
	}
	first := inlined(diffFile, raw)
	sum, size, err := putZip(ctx, blobs, &first, changed)
	if err != nil {
		return "", 0, err
	}
	got, err := applied(ctx, blobs, old, sum)
	if err != nil {
		return "", 0, fmt.Errorf("prove difference: %w", err)
	}
	if got != hashOf(next) {
		return "", 0, slipstream.Refuse(slipstream.ReasonFileMismatch, "difference", "it gives %s, not %s", got, hashOf(next))
	}
	return sum, size, nil
}

const maxAbout = 4 << 20 // bytes of diffFile

// applied is the hash of what a client has after it applied the stored difference to the package old. It reads every
// byte of both.
func applied(ctx context.Context, blobs blob.Store, old []packed, diff slipstream.Digest) (slipstream.Digest, error) {
	o, err := blobs.Open(ctx, diff)
	if err != nil {
		return "", fmt.Errorf("open difference: %w", err)
	}
	defer func() { _ = o.Close() }() // only read from
	z, err := zip.NewReader(&seekingReaderAt{o}, o.Size())
	if err != nil {
		return "", fmt.Errorf("read difference: %w", err)
	}
	after := map[string]slipstream.Digest{}
	for i := range old {
		sum := sha256.New()
		if err := old[i].copyTo(ctx, sum, blobs); err != nil {
			return "", err
		}
		after[old[i].path] = digestOf(sum)
	}
	about := struct {
		DeletedFiles []string `json:"deletedFiles"`
	}{}
	if len(z.File) == 0 || z.File[0].Name != diffFile {
		return "", slipstream.Refuse(slipstream.ReasonContainerInvalid, diffFile, "is not there")
	}
	raw, err := unzip(z.File[0], maxAbout)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(raw, &about); err != nil {
		return "", fmt.Errorf("read %s: %w", diffFile, err)
	}
	for _, path := range about.DeletedFiles {
		delete(after, path)
	}
	for _, f := range z.File[1:] {
		r, err := f.Open()
		if err != nil {
			return "", fmt.Errorf("read %s: %w", f.Name, err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return "", fmt.Errorf("read %s: %w", f.Name, err)
		}
		after[f.Name] = digestOf(sum)
	}
	return PackageHash(after), nil
}

func unzip(f *zip.File, limit int64) (_ []byte, err error) {
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(io.LimitReader(r, limit))
}

// seekingReaderAt reads a blob at offsets. It is used from one goroutine.
type seekingReaderAt struct{ io.ReadSeeker }

func (s *seekingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if _, err := s.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(s.ReadSeeker, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}
