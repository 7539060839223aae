package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipstream-ota/slipstream/store/sqlstore"
)

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.listen(ctx) })
	err := sqlstore.Watch(ctx, s.dialect, s.db, s.bell, s.poll, changed)
	cancel()
	return err
}

// listen rings the bell at every notification. Where it cannot (the connection breaks, a pooler does not pass
// notifications on) it tries again every second; Watch's own looking does the work meanwhile.
func (s *Store) listen(ctx context.Context) {
	for ctx.Err() == nil {
		_ = s.listenOnce(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(watchPoll):
		}
	}
}

func (s *Store) listenOnce(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing) // nothing was written on it
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+notifyChannel); err != nil {
		return err
	}
	for {
		s.bell.Ring()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
