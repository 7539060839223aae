package postgres

import (
	"context"
	"database/sql"
	"time"
)

// AtSchema connects to an empty database and brings it to an earlier schema.
func AtSchema(ctx context.Context, url string, version int64) (*sql.DB, func() error, error) {
	s, err := connect(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	return s.db, s.Close, migrations(s.dialect).UpTo(ctx, s.db, version)
}

// SynchronousCommit is the setting of a connection of s.
func (s *Store) SynchronousCommit(ctx context.Context) (v string) {
	if err := s.pool.QueryRow(ctx, `SHOW synchronous_commit`).Scan(&v); err != nil {
		return err.Error()
	}
	return v
}

// OnlyNotifications keeps Watch from looking by itself.
func (s *Store) OnlyNotifications() { s.poll = time.Hour }
