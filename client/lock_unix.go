//go:build unix

package client

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// TryLock takes an exclusive flock. It belongs to the open file: a child process that inherits the file keeps it.
func (Disk) TryLock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%s: %w", name, ErrLocked)
	}
	return nil, errors.Join(err, f.Close())
}
