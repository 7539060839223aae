package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Grants are the places in rollouts with a cap, the same on both databases.
type Grants struct {
	Dialect *Dialect
	Gate    *Gate
	Reader  *sql.DB
	// Write runs fn in a transaction of its own and commits it.
	Write func(ctx context.Context, fn func(tx *sql.Tx) error) error
}

var _ store.Grants = (*Grants)(nil)

// Take implements store.Grants. Who has a place, and that a rollout is full, is settled without a write; the rest is done
// under the lock of each rollout's row, taken in one order.
func (g *Grants) Take(ctx context.Context, batch []store.GrantRequest) ([]bool, error) {
	given := make([]bool, len(batch))
	asked := map[string][]int{}
	for i, r := range batch {
		asked[text(r.Rollout)] = append(asked[text(r.Rollout)], i)
	}
	if err := g.look(ctx, batch, asked, given); err != nil || len(asked) == 0 {
		return given, about(err, "look for places")
	}
	err := g.Write(ctx, func(tx *sql.Tx) error {
		c := conn{tx, g.Dialect}
		for _, rollout := range slices.Sorted(maps.Keys(asked)) {
			if err := take(ctx, c, rollout, batch, asked[rollout], given); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, about(err, "give places")
	}
	return given, nil
}

// look answers what needs no write and takes it out of asked.
func (g *Grants) look(ctx context.Context, batch []store.GrantRequest, asked map[string][]int, given []bool) error {
	if err := g.Gate.Enter(); err != nil {
		return err
	}
	defer g.Gate.Leave()
	for rollout, places := range asked {
		n, have, err := holders(ctx, conn{g.Reader, g.Dialect}, rollout, batch, places)
		if err != nil {
			return err
		}
		asked[rollout] = slices.DeleteFunc(places, func(i int) bool {
			given[i] = have[text(batch[i].Device)]
			return given[i] || n >= batch[i].Cap
		})
		if len(asked[rollout]) == 0 {
			delete(asked, rollout)
		}
	}
	return nil
}

// take gives places of one rollout under the lock of its row. What it finds in given is of an earlier attempt.
func take(ctx context.Context, c conn, rollout string, batch []store.GrantRequest, places []int, given []bool) error {
	if _, err := c.exec(ctx, `INSERT INTO grant_counts (rollout, given, latest) VALUES (?, 0, 0) ON CONFLICT (rollout) DO UPDATE SET given = grant_counts.given`, rollout); err != nil {
		return err
	}
	// Only now, with the lock, does a statement see what those who had it before have written.
	n, have, err := holders(ctx, c, rollout, batch, places)
	if err != nil {
		return err
	}
	var fresh []string
	for _, i := range places {
		device := text(batch[i].Device)
		if !have[device] && n < batch[i].Cap {
			have[device] = true
			fresh = append(fresh, device)
			n++
		}
		given[i] = have[device]
	}
	if len(fresh) == 0 {
		return nil
	}
	names, err := json.Marshal(fresh)
	if err != nil {
		return fmt.Errorf("encode devices: %w", err)
	}
	if _, err := c.exec(ctx, `INSERT INTO grants (rollout, app, device) SELECT CAST(? AS TEXT), CAST(? AS TEXT), value FROM `+c.each()+` WHERE true ON CONFLICT DO NOTHING`,
		rollout, text(batch[places[0]].App), string(names)); err != nil {
		return err
	}
	_, err = c.exec(ctx, `UPDATE grant_counts SET given = ?, latest = ? WHERE rollout = ?`, n, micros(time.Now()), rollout)
	return err
}

// holders says how many places a rollout has given, and which devices of the batch have one.
func holders(ctx context.Context, c conn, rollout string, batch []store.GrantRequest, places []int) (n int64, have map[string]bool, err error) {
	type row struct {
		device string
		given  int64
	}
	have = map[string]bool{}
	devices := make([]string, len(places))
	for i, at := range places {
		devices[i] = text(batch[at].Device)
	}
	names, err := json.Marshal(devices)
	if err != nil {
		return 0, nil, fmt.Errorf("encode devices: %w", err)
	}
	rows, err := list(ctx, c, func(s scanner) (r row, err error) { return r, s.Scan(&r.device, &r.given) },
		`SELECT '', given FROM grant_counts WHERE rollout = ? UNION ALL
		SELECT device, -1 FROM grants WHERE rollout = ? AND device IN (SELECT value FROM `+c.each()+`)`, rollout, rollout, string(names))
	for _, r := range rows {
		if r.given >= 0 {
			n = r.given
		} else {
			have[r.device] = true
		}
	}
	return n, have, err
}

// each is a table with a column value, of the texts of a JSON array: one parameter for as many as there are.
func (c conn) each() string {
	if c.d.Numbered {
		return `json_array_elements_text(CAST(? AS json)) AS l (value)`
	}
	return `json_each(?)`
}

func granted(ctx context.Context, c conn, rollout string) (int64, error) {
	var n int64
	err := c.one(ctx, `SELECT given FROM grant_counts WHERE rollout = ?`, []any{rollout}, &n)
	if errors.Is(err, slipstream.ErrNotFound) {
		return 0, nil
	}
	return n, err
}

// Count implements store.Grants.
func (g *Grants) Count(ctx context.Context, rollouts ...string) (map[string]int64, error) {
	if err := g.Gate.Enter(); err != nil {
		return nil, err
	}
	defer g.Gate.Leave()
	out := map[string]int64{}
	for _, r := range rollouts {
		n, err := granted(ctx, conn{g.Reader, g.Dialect}, text(r))
		if err != nil {
			return nil, about(err, "count places of rollout %s", r)
		}
		if n > 0 {
			out[r] = n
		}
	}
	return out, nil
}

// Expire implements store.Grants. Each rollout is a transaction of its own, under the lock that Take waits for.
func (g *Grants) Expire(ctx context.Context, t time.Time, standing []string) (int64, error) {
	keep := map[string]bool{}
	for _, r := range standing {
		keep[text(r)] = true
	}
	old, err := g.silent(ctx, t)
	if err != nil {
		return 0, about(err, "look for places of old rollouts")
	}
	var gone int64
	for _, rollout := range old {
		if keep[rollout] {
			continue
		}
		var n int64
		err := g.Write(ctx, func(tx *sql.Tx) (err error) {
			c := conn{tx, g.Dialect}
			if n, err = c.exec(ctx, `DELETE FROM grant_counts WHERE rollout = ? AND latest < ?`, rollout, micros(t)); err != nil || n == 0 {
				return err
			}
			_, err = c.exec(ctx, `DELETE FROM grants WHERE rollout = ?`, rollout)
			return err
		})
		if err != nil {
			return gone, about(err, "forget places of rollout %s", rollout)
		}
		gone += n
	}
	return gone, nil
}

// silent names the rollouts that have given no place since t.
func (g *Grants) silent(ctx context.Context, t time.Time) ([]string, error) {
	if err := g.Gate.Enter(); err != nil {
		return nil, err
	}
	defer g.Gate.Leave()
	return list(ctx, conn{g.Reader, g.Dialect}, func(s scanner) (rollout string, err error) { return rollout, s.Scan(&rollout) },
		`SELECT rollout FROM grant_counts WHERE latest < ? ORDER BY rollout`, micros(t))
}
