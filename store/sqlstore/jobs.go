package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Jobs is the queue of background work, the same on both databases.
type Jobs struct {
	Dialect *Dialect
	Gate    *Gate
	Reader  *sql.DB
	// Write runs fn in a transaction of its own and commits it.
	Write func(ctx context.Context, fn func(tx *sql.Tx) error) error
}

var _ store.Jobs = (*Jobs)(nil)

const jobColumns = `release, origin, priority, state, attempts, owner, due, done, total, spent, note, created, updated`

func scanJob(s scanner) (store.Job, error) {
	var j store.Job
	var due, created, updated, spent int64
	err := s.Scan((*string)(&j.Release), (*string)(&j.From), &j.Priority, (*string)(&j.State), &j.Attempts, &j.Owner, &due, &j.Done, &j.Total, &spent, &j.Note, &created, &updated)
	j.Due, j.Created, j.Updated = instant(due), instant(created), instant(updated)
	j.Spent = time.Duration(spent) * time.Microsecond
	return j, err
}

// Add implements store.Jobs.
func (q *Jobs) Add(ctx context.Context, jobs []store.Job) (int64, error) {
	var added int64
	err := q.Write(ctx, func(tx *sql.Tx) error {
		added = 0
		c := conn{tx, q.Dialect}
		for _, j := range jobs {
			due := j.Due
			if due.IsZero() {
				due = j.Created
			}
			n, err := c.exec(ctx, `INSERT INTO jobs (`+jobColumns+`)
				SELECT digest, ?, CAST(? AS INTEGER), 'queued', 0, '', CAST(? AS BIGINT), 0, 0, 0, '', CAST(? AS BIGINT), CAST(? AS BIGINT) FROM releases WHERE digest = ?
				ON CONFLICT DO NOTHING`, text(string(j.From)), j.Priority, micros(due), micros(j.Created), micros(j.Created), text(string(j.Release)))
			if err != nil {
				return err
			}
			added += n
			if n > 0 {
				continue
			}
			if _, err := c.exec(ctx, `UPDATE jobs SET priority = ? WHERE release = ? AND origin = ? AND priority > ?`,
				j.Priority, text(string(j.Release)), text(string(j.From)), j.Priority); err != nil {
				return err
			}
		}
		return nil
	})
	return added, about(err, "queue jobs")
}

// claimRounds bounds how often a claim that another node won is tried again.
const claimRounds = 8

// Claim implements store.Jobs.
func (q *Jobs) Claim(ctx context.Context, owner string, now time.Time, lease time.Duration) (store.Job, error) {
	const ready = `state <> 'done' AND due > 0 AND due <= ?`
	var j store.Job
	for range claimRounds {
		lost := false
		err := q.Write(ctx, func(tx *sql.Tx) error {
			c := conn{tx, q.Dialect}
			next, err := get(ctx, c, scanJob, `SELECT `+jobColumns+` FROM jobs WHERE `+ready+` ORDER BY priority, created, release, origin LIMIT 1`, micros(now))
			if err != nil {
				return err
			}
			// Looked at again under the row's lock: another node may have taken it in between.
			j, err = get(ctx, c, scanJob, `UPDATE jobs SET state = 'running', owner = ?, due = ?, attempts = attempts + 1, updated = ?
				WHERE release = ? AND origin = ? AND `+ready+` RETURNING `+jobColumns,
				owner, micros(now.Add(lease)), micros(now), string(next.Release), string(next.From), micros(now))
			if lost = errors.Is(err, slipstream.ErrNotFound); lost {
				return nil
			}
			return err
		})
		if err != nil || !lost {
			return j, about(err, "claim a job")
		}
	}
	return store.Job{}, fmt.Errorf("claim a job: others were faster %d times: %w", claimRounds, slipstream.ErrNotFound)
}

// Renew implements store.Jobs.
func (q *Jobs) Renew(ctx context.Context, j store.Job, due time.Time) error {
	return q.own(ctx, j, "renew", `due = ?, done = ?, total = ?, note = ?, updated = ?`, micros(due), j.Done, j.Total, text(j.Note), micros(j.Updated))
}

// Finish implements store.Jobs.
func (q *Jobs) Finish(ctx context.Context, j store.Job) error {
	back := 0
	switch j.State {
	case store.JobDone, store.JobFailed:
	case store.JobQueued:
		back = 1
	default:
		return slipstream.Invalidf("a job does not end as %q", j.State)
	}
	return q.own(ctx, j, "finish", `state = ?, attempts = attempts - ?, due = ?, done = ?, total = ?, spent = ?, note = ?, updated = ?`,
		string(j.State), back, micros(j.Due), j.Done, j.Total, j.Spent.Microseconds(), text(j.Note), micros(j.Updated))
}

// own changes a job that is still its owner's.
func (q *Jobs) own(ctx context.Context, j store.Job, what, set string, args ...any) error {
	var n int64
	err := q.Write(ctx, func(tx *sql.Tx) (err error) {
		n, err = conn{tx, q.Dialect}.exec(ctx, `UPDATE jobs SET `+set+` WHERE release = ? AND origin = ? AND owner = ? AND attempts = ? AND state = 'running'`,
			append(args, string(j.Release), string(j.From), j.Owner, j.Attempts)...)
		return err
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("it is not %s's any more: %w", j.Owner, slipstream.ErrConflict)
	}
	return about(err, "%s job %s", what, j.Release.Short())
}

// List implements store.Jobs.
func (q *Jobs) List(ctx context.Context, release slipstream.Digest) ([]store.Job, error) {
	if err := q.Gate.Enter(); err != nil {
		return nil, err
	}
	defer q.Gate.Leave()
	query, args := `SELECT `+jobColumns+` FROM jobs WHERE release = ? ORDER BY origin`, []any{text(string(release))}
	if release == "" {
		query, args = `SELECT `+jobColumns+` FROM jobs WHERE state <> 'done' ORDER BY priority, created, release, origin`, nil
	}
	out, err := list(ctx, conn{q.Reader, q.Dialect}, scanJob, query, args...)
	return out, about(err, "list jobs")
}

// Drop implements store.Jobs.
func (q *Jobs) Drop(ctx context.Context, release, from slipstream.Digest) error {
	err := q.Write(ctx, func(tx *sql.Tx) error {
		_, err := conn{tx, q.Dialect}.exec(ctx, `DELETE FROM jobs WHERE release = ? AND origin = ?`, text(string(release)), text(string(from)))
		return err
	})
	return about(err, "drop jobs")
}
