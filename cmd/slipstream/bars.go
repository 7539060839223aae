//go:build !device

package main

import (
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// newBars shows each step as a bar on the terminal w.
func newBars(w io.Writer) (steps, func()) {
	b := &bars{container: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))}
	return b, b.close
}

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
