package main

import (
	"fmt"
	"io"
)

// steps is told how far a long step is: its name and its size in bytes, 0 where that is not known, and then the bytes
// done since.
type steps interface {
	Phase(name string, total int64)
	Add(n int64)
}

// progress shows long steps on standard error: bars in a terminal where the build has them, else one line per step. With --json it is silent.
// close must be called before anything else is printed.
func (t *tool) progress() (p steps, close func()) {
	switch {
	case t.json:
		return nil, func() {}
	case terminal(t.stderr):
		return newBars(t.stderr)
	}
	return stepLines{t.stderr}, func() {}
}

type stepLines struct{ w io.Writer }

func (l stepLines) Phase(name string, total int64) {
	if total > 0 {
		fmt.Fprintf(l.w, "%s %s\n", name, formatBytes(total))
	}
}

func (stepLines) Add(int64) {}

// formatBytes writes a size for people: 999 B, 1.2 kB, 34 MB.
func formatBytes(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.5 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %cB", f, units[i])
	}
	return fmt.Sprintf("%.0f %cB", f, units[i])
}
