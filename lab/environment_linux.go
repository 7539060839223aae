package lab

import (
	"fmt"
	"os"
	"syscall"
)

// mounted is a small file system in memory.
type mounted struct {
	dir     string
	options string
}

func mountSmall(dir string, bytes int) (*mounted, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	m := &mounted{dir: dir, options: fmt.Sprintf("size=%d", bytes)}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, m.options); err != nil {
		return nil, fmt.Errorf("mount a small disk: %w", err)
	}
	return m, nil
}

func (m *mounted) remount(readOnly bool) error {
	flags := uintptr(syscall.MS_REMOUNT)
	if readOnly {
		flags |= syscall.MS_RDONLY
	}
	if err := syscall.Mount("tmpfs", m.dir, "tmpfs", flags, m.options); err != nil {
		return fmt.Errorf("mount again: %w", err)
	}
	return nil
}

func (m *mounted) unmount() error {
	if err := syscall.Unmount(m.dir, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return nil
}

// peakMiB is the most memory that a process that has ended, or one that it waited for, held at a time.
func peakMiB(ended *os.ProcessState) int {
	if usage, ok := ended.SysUsage().(*syscall.Rusage); ok {
		return int(usage.Maxrss >> 10)
	}
	return 0
}
