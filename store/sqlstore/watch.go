package sqlstore

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// Bell wakes all watchers of this process.
type Bell struct {
	mu   sync.Mutex
	next chan struct{}
}

// NewBell makes a silent bell.
func NewBell() *Bell { return &Bell{next: make(chan struct{})} }

// Ring wakes everybody who listens now.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.next)
	b.next = make(chan struct{})
}

// Listen gives a channel that is closed at the next Ring.
func (b *Bell) Listen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

// Watch calls changed once and then whenever the database's count of Updates has moved. It looks when bell rings and
// every poll. A database that does not answer is asked again; Watch returns only when ctx ends.
func Watch(ctx context.Context, d *Dialect, db *sql.DB, bell *Bell, poll time.Duration, changed func()) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	seen := int64(-1)
	for first := true; ; first = false {
		rung := bell.Listen()
		var now int64
		err := conn{db, d}.one(ctx, `SELECT value FROM counters WHERE name = ?`, []any{counterUpdates}, &now)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first || err == nil && now != seen {
			changed()
		}
		if err == nil {
			seen = now
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-rung:
		case <-ticker.C:
		}
	}
}
