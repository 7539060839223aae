package build

import (
	"syscall"
	"time"
)

// processorTime gives the processor time that this process has used, in all its threads, by programs and by the system for
// them.
func processorTime() (time.Duration, bool) {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return 0, false
	}
	var created, ended, system, user syscall.Filetime
	if err := syscall.GetProcessTimes(self, &created, &ended, &system, &user); err != nil {
		return 0, false
	}
	return time.Duration(100 * (ticks(system) + ticks(user))), true
}

// ticks of 100 ns. Filetime.Nanoseconds takes a date.
func ticks(t syscall.Filetime) int64 { return int64(t.HighDateTime)<<32 | int64(t.LowDateTime) }
