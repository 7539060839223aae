// Package file keeps blobs in a local directory:
//
//	<dir>/ab/cd/abcd…        a blob, named by its SHA-256, read-only, never changed
//	<dir>/tmp/put-*          unfinished puts; List removes those older than a day
//
// A blob appears by one rename of a fully written and fsynced file, so any number of processes may use one directory.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
)

// staleAfter is the age at which a temporary file is garbage.
const staleAfter = 24 * time.Hour

const tmpDir = "tmp"

// Store is a blob.Store in a directory.
type Store struct{ dir string }

var _ blob.Store = (*Store)(nil)

// Open uses dir and makes it if it is not there.
func Open(dir string) (*Store, error) {
	if err := makeDir(filepath.Join(dir, tmpDir)); err != nil {
		return nil, slipstream.Hint(fmt.Errorf("open blob directory: %w", err), "check that this user may write to %s", dir)
	}
	return &Store{dir: dir}, nil
}

// makeDir is os.MkdirAll whose new folders survive power loss.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

func (s *Store) path(d slipstream.Digest) string {
	return filepath.Join(s.dir, string(d[:2]), string(d[2:4]), string(d))
}

// Put implements blob.Store. A full disk is a *slipstream.Refusal with reason disk_full.
func (s *Store) Put(ctx context.Context, digest slipstream.Digest, size int64, r io.Reader) error {
	if err := blob.CheckDigest(digest); err != nil {
		return err
	}
	if err := s.put(ctx, digest, size, r); err != nil {
		return fmt.Errorf("put blob %s: %w", digest.Short(), explain(err, s.dir))
	}
	return nil
}

func (s *Store) put(ctx context.Context, digest slipstream.Digest, size int64, r io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, tmpDir), "put-*")
	if err != nil {
		return err
	}
	placed := false
	defer func() {
		if !placed {
			err = errors.Join(err, ignore(f.Close(), fs.ErrClosed), ignore(os.Remove(f.Name()), fs.ErrNotExist))
		}
	}()
	if err := blob.CopyVerified(ctx, f, r, digest, size); err != nil {
		return err
	}
	if err := f.Chmod(0o444); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	path := s.path(digest)
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	placed = true
	return atomicfile.SyncDir(filepath.Dir(path))
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

func explain(err error, dir string) error {
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return slipstream.Hint(&slipstream.Refusal{Reason: slipstream.ReasonDiskFull, What: "blob", Err: err},
			"make room on the disk of %s, or run `slipstream gc`", dir)
	case errors.Is(err, syscall.EROFS):
		return slipstream.Hint(&slipstream.Refusal{Reason: slipstream.ReasonReadOnly, What: "blob", Err: err}, "the file system of %s is mounted read-only", dir)
	case errors.Is(err, fs.ErrPermission):
		return slipstream.Hint(err, "this user must be able to write to %s", dir)
	}
	return err
}

func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return slipstream.ErrNotFound
	}
	return err
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, digest slipstream.Digest) (blob.Object, error) {
	f, info, err := s.open(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", digest.Short(), explain(err, s.dir))
	}
	return &object{File: f, size: info.Size()}, nil
}

func (s *Store) open(ctx context.Context, digest slipstream.Digest) (*os.File, fs.FileInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if !digest.Valid() {
		return nil, nil, slipstream.ErrNotFound
	}
	f, err := os.Open(s.path(digest))
	if err != nil {
		return nil, nil, missing(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, digest slipstream.Digest) (blob.Info, error) {
	if err := ctx.Err(); err != nil {
		return blob.Info{}, err
	}
	if !digest.Valid() {
		return blob.Info{}, fmt.Errorf("stat blob %q: %w", digest, slipstream.ErrNotFound)
	}
	info, err := os.Stat(s.path(digest))
	if err != nil {
		return blob.Info{}, fmt.Errorf("stat blob %s: %w", digest.Short(), explain(missing(err), s.dir))
	}
	return blob.Info{Digest: digest, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, digest slipstream.Digest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !digest.Valid() {
		return nil
	}
	if err := os.Remove(s.path(digest)); ignore(err, fs.ErrNotExist) != nil {
		return fmt.Errorf("delete blob %s: %w", digest.Short(), explain(err, s.dir))
	}
	return nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, fn func(blob.Info) error) error {
	if err := s.sweep(); err != nil {
		return fmt.Errorf("remove stale temporary files: %w", err)
	}
	return filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // deleted while we walked
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case d.IsDir() && path == filepath.Join(s.dir, tmpDir):
			return fs.SkipDir
		}
		digest := slipstream.Digest(d.Name())
		if !digest.Valid() || path != s.path(digest) || !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return ignore(err, fs.ErrNotExist)
		}
		return fn(blob.Info{Digest: digest, Size: info.Size(), Modified: info.ModTime()})
	})
}

func (s *Store) sweep() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, tmpDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < staleAfter {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, tmpDir, e.Name())); ignore(err, fs.ErrNotExist) != nil {
			return err
		}
	}
	return nil
}

// Check implements blob.Store by writing and removing a temporary file.
func (s *Store) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, tmpDir), "put-check-*")
	if err == nil {
		_, err = f.Write([]byte("x"))
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return slipstream.Hint(fmt.Errorf("blob directory %s cannot be written: %w", s.dir, explain(err, s.dir)),
			"check that %s exists, has room and belongs to this user", s.dir)
	}
	return nil
}

type object struct {
	*os.File
	size int64
}

func (o *object) Size() int64 { return o.size }
