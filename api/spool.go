package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
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
	dir     string
	clock   func() time.Time
	mu      sync.Mutex
	busy    map[string]int64 // bytes that the uploads which are running may take, by file name; one writer per upload
	limit   int64            // bytes of all of them
	passing atomic.Int64     // numbers blobs that come whole
}

// upload names a blob on its way. App and size belong to the name, so that nobody's bytes get in the way of another
// app's upload, nor those of a wrong length in the way of the right one's.
type upload struct {
	app    string
	digest slipstream.Digest
	size   int64
}

func (u upload) file() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", u.app, u.digest, u.size))
	return hex.EncodeToString(sum[:])
}

// OpenSpool uses the folder dir and removes from it what is old.
func OpenSpool(dir string, clock func() time.Time) (*Spool, error) {
	if clock == nil {
		clock = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for uploads: %w", err)
	}
	s := &Spool{dir: dir, clock: clock, busy: map[string]int64{}, limit: spoolSize}
	if _, err := s.clean(); err != nil {
		return nil, err
	}
	return s, nil
}

// clean removes what is old and says how many bytes are left, without those of running uploads.
func (s *Spool) clean() (int64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, fmt.Errorf("look through unfinished uploads: %w", err)
	}
	var total int64
	for _, e := range entries {
		if _, running := s.busy[e.Name()]; running {
			continue
		}
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

func (s *Spool) path(u upload) string { return filepath.Join(s.dir, u.file()) }

// offset is how much of the blob has arrived.
func (s *Spool) offset(u upload) (int64, error) {
	info, err := os.Stat(s.path(u))
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

// claim makes the caller the upload's only writer until it calls release, and keeps room for all of it.
func (s *Spool) claim(u upload) (release func(), err error) {
	return s.reserve(u.file(), u.digest, u.size)
}

// pass keeps room for a blob that does not stop in the spool on its way.
func (s *Spool) pass(u upload) (release func(), err error) {
	return s.reserve(fmt.Sprintf("whole %d", s.passing.Add(1)), u.digest, u.size)
}

func (s *Spool) reserve(name string, d slipstream.Digest, size int64) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, running := s.busy[name]; running {
		return nil, fmt.Errorf("another upload of blob %s is running: %w", d.Short(), slipstream.ErrUnavailable)
	}
	s.busy[name] = size // its own file does not count twice
	total, err := s.clean()
	for _, n := range s.busy {
		total += n
	}
	if err == nil && total > s.limit {
		err = slipstream.Hint(fmt.Errorf("unfinished uploads take too much room: %w", slipstream.ErrUnavailable),
			"wait for the running ones; what was given up is removed after a day")
	}
	if err != nil {
		delete(s.busy, name)
		return nil, err
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, name)
	}, nil
}

// append adds what r gives, at most up to the blob's size, and says how much there is then. What arrived before an error
// stays. The caller has claimed the upload.
func (s *Spool) append(u upload, offset int64, r io.Reader) (int64, error) {
	have, err := s.offset(u)
	if err != nil {
		return 0, err
	}
	if have != offset {
		return have, &offsetError{have}
	}
	f, err := os.OpenFile(s.path(u), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return have, fmt.Errorf("open unfinished upload: %w", err)
	}
	n, err := io.Copy(f, io.LimitReader(r, u.size-have))
	if err := errors.Join(err, f.Close()); err != nil {
		return have + n, fmt.Errorf("keep part of upload: %w", err)
	}
	return have + n, nil
}

// open reads a complete upload.
func (s *Spool) open(u upload) (*os.File, error) {
	f, err := os.Open(s.path(u))
	if err != nil {
		return nil, fmt.Errorf("open upload: %w", err)
	}
	return f, nil
}

// remove forgets an upload.
func (s *Spool) remove(u upload) error {
	if err := os.Remove(s.path(u)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove upload: %w", err)
	}
	return nil
}
