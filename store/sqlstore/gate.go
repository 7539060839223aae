package sqlstore

import (
	"fmt"
	"sync"

	"github.com/slipstream-ota/slipstream"
)

// Gate lets transactions in until it is closed, and closing waits for those inside.
type Gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

// Enter fails with slipstream.ErrUnavailable after Close; otherwise Leave must follow.
func (g *Gate) Enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fmt.Errorf("store is closed: %w", slipstream.ErrUnavailable)
	}
	g.inside.Add(1)
	return nil
}

// Leave ends what Enter began.
func (g *Gate) Leave() { g.inside.Done() }

// Close waits until everybody has left. It reports whether this call was the first.
func (g *Gate) Close() bool {
	g.mu.Lock()
	first := !g.closed
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
	return first
}
