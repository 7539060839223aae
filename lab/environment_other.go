//go:build !linux

package lab

import (
	"errors"
	"os"
)

// mounted is not to be had on this system.
type mounted struct{ dir string }

func mountSmall(string, int) (*mounted, error) {
	return nil, errors.New("small disks are mounted on Linux only")
}

func (*mounted) remount(bool) error { return nil }
func (*mounted) unmount() error     { return nil }

// watchMemory knows nothing on this system: 0.
func watchMemory(int) func(*os.ProcessState) int {
	return func(*os.ProcessState) int { return 0 }
}
