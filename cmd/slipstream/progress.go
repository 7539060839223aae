package main

import (
	"fmt"
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/slipstream-ota/slipstream/publish"
)

// progress shows long steps on standard error: a bar in a terminal, else one line per step. With --json it is silent.
// close must be called before anything else is printed.
func (t *tool) progress() (p publish.Progress, close func()) {
	switch {
	case t.json:
		return nil, func() {}
	case terminal(t.stderr):
		b := &bars{container: mpb.New(mpb.WithOutput(t.stderr), mpb.WithWidth(40))}
		return b, b.close
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

type bars struct {
	container *mpb.Progress
	mu        sync.Mutex
	bar       *mpb.Bar
}

func (b *bars) Phase(name string, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finish()
	if total == 0 {
		return
	}
	b.bar = b.container.AddBar(total,
		mpb.PrependDecorators(decor.Name(name, decor.WC{W: 10, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.Name(" "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f")))
}

func (b *bars) Add(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.bar.IncrInt64(n)
	}
}

// finish ends the bar where it stands, with mu held.
func (b *bars) finish() {
	if b.bar != nil && !b.bar.Completed() {
		b.bar.Abort(false)
	}
	b.bar = nil
}

func (b *bars) close() {
	b.mu.Lock()
	b.finish()
	b.mu.Unlock()
	b.container.Wait()
}

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
