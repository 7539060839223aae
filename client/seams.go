package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"
)

// FS is the file system under a device's directory. Names are paths of the operating system. Errors are those of
// package os: fs.ErrNotExist, and errno values such as ENOSPC and EROFS inside.
type FS interface {
	Open(name string) (File, error)                     // for reading
	Create(name string, perm fs.FileMode) (File, error) // for writing, emptied when it exists
	Append(name string) (File, error)                   // for writing at the end, made when missing
	Rename(oldName, newName string) error               // replaces a file; a directory only when newName is missing
	Remove(name string) error                           // a file, a link or an empty directory
	MkdirAll(name string) error                         //
	ReadDir(name string) ([]fs.DirEntry, error)         // by name
	SyncDir(name string) error                          // makes creations, renames and removals in name durable
}

// File is one open file.
type File interface {
	io.Reader
	io.Writer
	io.Closer
	Size() (int64, error)
	Sync() error // when it returns nil, what was written survives a power cut
}

// Linker is implemented by file systems that know symbolic links.
type Linker interface {
	Symlink(target, name string) error
}

// Scratcher is implemented by file systems with files that are written and read at random places. Where there are none,
// bytecode that was rewritten is held in memory, as far as Limits allow.
type Scratcher interface {
	Scratch(name string) (ScratchFile, error) // emptied when it exists
}

// ScratchFile is an open file of a Scratcher.
type ScratchFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// ErrLocked says that another process, or another part of this one, holds a lock.
var ErrLocked = errors.New("locked by another process")

// Locks gives locks that end with the process that holds them.
type Locks interface {
	// TryLock makes the file if needed and locks it, or fails with ErrLocked at once. Close unlocks.
	TryLock(name string) (io.Closer, error)
}

// Clock tells the time and waits.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Disk is the FS and the Locks of the operating system.
type Disk struct{}

var (
	_ FS        = Disk{}
	_ Linker    = Disk{}
	_ Locks     = Disk{}
	_ Scratcher = Disk{}
)

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func asFile(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Open opens a file for reading.
func (Disk) Open(name string) (File, error) { return asFile(os.Open(name)) }

// Create opens a file for writing and empties it.
func (Disk) Create(name string, perm fs.FileMode) (File, error) {
	return asFile(os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm))
}

// Append opens a file for writing at its end.
func (Disk) Append(name string) (File, error) {
	return asFile(os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600))
}

// Rename is os.Rename.
func (Disk) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// Remove is os.Remove.
func (Disk) Remove(name string) error { return os.Remove(name) }

// MkdirAll makes a directory and those above it.
func (Disk) MkdirAll(name string) error { return os.MkdirAll(name, 0o755) }

// ReadDir is os.ReadDir.
func (Disk) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Symlink is os.Symlink.
func (Disk) Symlink(target, name string) error { return os.Symlink(target, name) }

// Scratch makes a file, or empties it.
func (Disk) Scratch(name string) (ScratchFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// SyncDir fsyncs a directory. File systems that cannot are tolerated, by their error number only.
func (Disk) SyncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, clock Clock, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-clock.After(d):
		return nil
	}
}
