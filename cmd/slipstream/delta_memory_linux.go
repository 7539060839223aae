//go:build !device

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// watchMemory gives the most memory, in bytes, that process pid had resident. It looks again and again until the process
// has ended, since the count of an ended process holds that of its parent too. A process that ends within a few
// milliseconds may be seen too small.
func watchMemory(pid int, ended <-chan struct{}) int64 {
	var peak int64
	for wait := time.Millisecond; ; {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err == nil {
			if _, rest, ok := bytes.Cut(status, []byte("VmHWM:")); ok {
				if fields := bytes.Fields(rest); len(fields) > 0 {
					if kb, err := strconv.ParseInt(string(fields[0]), 10, 64); err == nil {
						peak = max(peak, kb<<10)
					}
				}
			}
		}
		select {
		case <-ended:
			return peak
		case <-time.After(wait):
		}
		wait = min(wait+wait/8, 10*time.Millisecond)
	}
}
