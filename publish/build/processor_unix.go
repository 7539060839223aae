//go:build unix

package build

import (
	"syscall"
	"time"
)

// processorTime gives the processor time that this process has used, in all its threads, by programs and by the system for
// them.
func processorTime() (time.Duration, bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
