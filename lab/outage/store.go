package outage

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Store is a database that can go away: every call fails as a connection that is refused or broken does, or hangs until
// its context ends, as behind a network that drops everything.
type Store struct {
	store.Store
	mu     sync.Mutex
	away   bool
	hangs  bool
	back   chan struct{}      // closed when the database comes back
	broken context.CancelFunc // ends what watches now
	alive  context.Context
}

// NewStore wraps a database that is there.
func NewStore(inner store.Store) *Store {
	s := &Store{Store: inner}
	s.alive, s.broken = context.WithCancel(context.Background())
	return s
}

// Away takes the database away.
func (s *Store) Away(hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.hangs, s.back = true, hangs, make(chan struct{})
	s.broken()
}

// Back brings it back.
func (s *Store) Back() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.away {
		return
	}
	s.away = false
	close(s.back)
	s.alive, s.broken = context.WithCancel(context.Background())
}

func (s *Store) gone(ctx context.Context) error {
	s.mu.Lock()
	away, hangs, back := s.away, s.hangs, s.back
	s.mu.Unlock()
	switch {
	case !away:
		return nil
	case hangs:
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the database: %w", ctx.Err())
		case <-back:
		}
	}
	return fmt.Errorf("connect to the database: connection refused: %w", slipstream.ErrUnavailable)
}

// View fails while the database is away.
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := s.gone(ctx); err != nil {
		return err
	}
	return s.Store.View(ctx, fn)
}

// Update fails while the database is away, and rolls back what is under way when it goes.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := s.gone(ctx); err != nil {
		return err
	}
	return s.Store.Update(ctx, func(tx store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return s.gone(ctx)
	})
}

// Ping fails while the database is away.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.gone(ctx); err != nil {
		return err
	}
	return s.Store.Ping(ctx)
}

// Watch breaks off when the database goes.
func (s *Store) Watch(ctx context.Context, changed func()) error {
	if err := s.gone(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	alive := s.alive
	s.mu.Unlock()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(alive, stop)()
	err := s.Store.Watch(watching, changed)
	if gone := s.gone(ctx); gone != nil && ctx.Err() == nil {
		return gone
	}
	return err
}

// Reports fail while the database is away.
func (s *Store) Reports() store.Reports { return reports{s.Store.Reports(), s} }

// Grants fail while the database is away.
func (s *Store) Grants() store.Grants { return grants{s.Store.Grants(), s} }

type grants struct {
	store.Grants
	s *Store
}

func (g grants) Take(ctx context.Context, batch []store.GrantRequest) ([]bool, error) {
	if err := g.s.gone(ctx); err != nil {
		return nil, err
	}
	return g.Grants.Take(ctx, batch)
}

func (g grants) Count(ctx context.Context, rollouts ...string) (map[string]int64, error) {
	if err := g.s.gone(ctx); err != nil {
		return nil, err
	}
	return g.Grants.Count(ctx, rollouts...)
}

type reports struct {
	store.Reports
	s *Store
}

func (r reports) Append(ctx context.Context, batch []store.StoredEvent) ([]bool, error) {
	if err := r.s.gone(ctx); err != nil {
		return nil, err
	}
	return r.Reports.Append(ctx, batch)
}

func (r reports) Events(ctx context.Context, q store.EventQuery) ([]store.StoredEvent, error) {
	if err := r.s.gone(ctx); err != nil {
		return nil, err
	}
	return r.Reports.Events(ctx, q)
}

func (r reports) Counts(ctx context.Context, app string) ([]store.Count, error) {
	if err := r.s.gone(ctx); err != nil {
		return nil, err
	}
	return r.Reports.Counts(ctx, app)
}

func (r reports) Forget(ctx context.Context, app, device string) (int64, error) {
	if err := r.s.gone(ctx); err != nil {
		return 0, err
	}
	return r.Reports.Forget(ctx, app, device)
}

func (r reports) Expire(ctx context.Context, t time.Time) (int64, error) {
	if err := r.s.gone(ctx); err != nil {
		return 0, err
	}
	return r.Reports.Expire(ctx, t)
}
