package api

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
)

const (
	spoolAge  = 24 * time.Hour // unfinished uploads older than this are removed
	spoolSize = 16 << 30       // bytes that all unfinished uploads may take together
)

// Spool keeps the parts of large uploads that have arrived, on this node's disk, so that an upload goes on after a
// broken connection. It is a convenience: what is lost of it is sent again.
type Spool struct {
	dir   string
	clock func() time.Time
	mu    sync.Mutex
	busy  map[slipstream.Digest]bool // one writer per blob
}

// OpenSpool uses the folder dir and removes from it what is old.
func OpenSpool(dir string, clock func() time.Time) (*Spool, error) {
	if clock == nil {
		clock = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for uploads: %w", err)
	}
	s := &Spool{dir: dir, clock: clock, busy: map[slipstream.Digest]bool{}}
	if _, err := s.clean(); err != nil {
		return nil, err
	}
	return s, nil
}

// clean removes what is old and says how many bytes are left.
func (s *Spool) clean() (int64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, fmt.Errorf("look through unfinished uploads: %w", err)
	}
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // finished meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("look at unfinished upload: %w", err)
		}
		if s.clock().Sub(info.ModTime()) > spoolAge {
			if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, fmt.Errorf("remove unfinished upload: %w", err)
			}
			continue
		}
		total += info.Size()
	}
	return total, nil
}

func (s *Spool) path(d slipstream.Digest) string { return filepath.Join(s.dir, string(d)) }

// Offset is how much of the blob has arrived.
func (s *Spool) Offset(d slipstream.Digest) (int64, error) {
	info, err := os.Stat(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at unfinished upload: %w", err)
	}
	return info.Size(), nil
}

// offsetError says where an upload stands when a part came for another place.
type offsetError struct{ have int64 }

func (e *offsetError) Error() string { return fmt.Sprintf("the upload stands at byte %d", e.have) }

// claim makes the caller the blob's only writer until it calls release.
func (s *Spool) claim(d slipstream.Digest) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[d] {
		return nil, fmt.Errorf("another upload of blob %s is running: %w", d.Short(), slipstream.ErrUnavailable)
	}
	s.busy[d] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, d)
	}, nil
}

// Append adds what r gives, at most up to size bytes in all, and says how much there is then. What arrived before an
// error stays.
func (s *Spool) Append(d slipstream.Digest, offset, size int64, r io.Reader) (int64, error) {
	total, err := s.clean()
	if err != nil {
		return 0, err
	}
	have, err := s.Offset(d)
	if err != nil {
		return 0, err
	}
	if have != offset {
		return have, &offsetError{have}
	}
	if total-have+size > spoolSize {
		return have, slipstream.Hint(fmt.Errorf("unfinished uploads take too much room: %w", slipstream.ErrUnavailable), "they are removed after a day")
	}
	f, err := os.OpenFile(s.path(d), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return have, fmt.Errorf("open unfinished upload: %w", err)
	}
	n, err := io.Copy(f, io.LimitReader(r, size-have))
	if err := errors.Join(err, f.Close()); err != nil {
		return have + n, fmt.Errorf("keep part of upload: %w", err)
	}
	return have + n, nil
}

// Open reads a complete upload.
func (s *Spool) Open(d slipstream.Digest) (*os.File, error) {
	f, err := os.Open(s.path(d))
	if err != nil {
		return nil, fmt.Errorf("open upload: %w", err)
	}
	return f, nil
}

// Remove forgets an upload.
func (s *Spool) Remove(d slipstream.Digest) error {
	if err := os.Remove(s.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove upload: %w", err)
	}
	return nil
}
