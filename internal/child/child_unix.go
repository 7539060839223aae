//go:build unix

package child

import (
	"errors"
	"syscall"
)

// Supported says why programs cannot be run here as proofs need them, nil when they can.
func Supported() error { return nil }

// killGroup ends a process and its group. One that is gone already is no error.
func killGroup(id int) error {
	if err := syscall.Kill(-id, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
