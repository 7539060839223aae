// Package archive packs files as zips that come out the same, byte for byte, wherever they are packed: a publisher signs
// what a server will serve.
package archive

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/flate"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
)

const level = 6

// Entry is one file of a zip. CopyTo writes its content, and fails when that is not what it should be.
type Entry struct {
	Path   string
	CopyTo func(w io.Writer) error
}

// Write packs entries in their order. Every one is deflated and nothing but names and contents goes in.
func Write(w io.Writer, entries []Entry) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, level) })
	for _, e := range entries {
		f, err := z.CreateHeader(&zip.FileHeader{Name: e.Path, Method: zip.Deflate})
		if err != nil {
			return fmt.Errorf("pack %s: %w", e.Path, err)
		}
		if err := e.CopyTo(f); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

// Put stores what write writes as a blob, by way of a scratch file.
func Put(ctx context.Context, blobs blob.Store, write func(w io.Writer) error) (_ slipstream.Digest, size int64, err error) {
	tmp, err := os.CreateTemp("", "slipstream-package-*")
	if err != nil {
		return "", 0, fmt.Errorf("make package: %w", err)
	}
	defer func() { err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name())) }()
	sum := sha256.New()
	if err := write(io.MultiWriter(tmp, sum)); err != nil {
		return "", 0, err
	}
	if size, err = tmp.Seek(0, io.SeekCurrent); err != nil {
		return "", 0, fmt.Errorf("make package: %w", err)
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return "", 0, fmt.Errorf("make package: %w", err)
	}
	d := slipstream.DigestOf([32]byte(sum.Sum(nil)))
	if err := blobs.Put(ctx, d, size, tmp); err != nil {
		return "", 0, fmt.Errorf("store package: %w", err)
	}
	return d, size, nil
}

// Copy writes the blob of a file, and refuses bytes that are not the signed ones.
func Copy(ctx context.Context, w io.Writer, blobs blob.Store, f slipstream.File) error {
	o, err := blobs.Open(ctx, f.SHA256)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.Path, err)
	}
	defer func() { _ = o.Close() }() // only read from
	return Checked(w, o, f)
}

// Checked writes the content of a file from r, and refuses bytes that are not the signed ones.
func Checked(w io.Writer, r io.Reader, f slipstream.File) error {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, f.Size+1))
	if err != nil {
		return fmt.Errorf("copy %s: %w", f.Path, err)
	}
	if n != f.Size || slipstream.DigestOf([32]byte(sum.Sum(nil))) != f.SHA256 {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, f.Path, "the stored bytes are not the signed ones")
	}
	return nil
}
