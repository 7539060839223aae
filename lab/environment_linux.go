package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
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

// watchMemory looks at a process and its children until it has ended. What it gives then is the most memory, in MiB, that
// one of them held at a time. The system's own figure for a child begins with what its parent held when it started it, so
// that it tells something only when it is more than that.
func watchMemory(pid int) func(ended *os.ProcessState) int {
	stop, seen := make(chan struct{}), make(chan int)
	go func() {
		most := 0
		for {
			for _, p := range append(childrenOf(pid), pid) {
				most = max(most, heldMiB(p))
			}
			select {
			case <-stop:
				seen <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func(ended *os.ProcessState) int {
		close(stop)
		most := <-seen
		if ended == nil {
			return most
		}
		if usage, ok := ended.SysUsage().(*syscall.Rusage); ok && int(usage.Maxrss>>10) > heldMiB(os.Getpid()) {
			most = max(most, int(usage.Maxrss>>10))
		}
		return most
	}
}

// heldMiB is the most that a process that lives held at a time, 0 when it does not.
func heldMiB(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	kilobytes := 0
	if _, after, ok := bytes.Cut(status, []byte("VmHWM:")); ok {
		_, _ = fmt.Sscan(string(after), &kilobytes)
	}
	return kilobytes >> 10
}

func childrenOf(pid int) (out []int) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // that thread has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}
