package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

type channels struct{ *Tx }

func (c channels) Create(ctx context.Context, ch store.Channel) error {
	if err := apps(c).has(ctx, ch.App); err != nil {
		return fmt.Errorf("create channel: %w", err)
	}
	n, err := c.write(ctx, `INSERT INTO channels (app, name, display, policy, created, updated) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		ch.App, ch.Name, ch.Display, bytesOf(ch.Policy), micros(ch.Created), micros(ch.Updated))
	if err == nil && n == 0 {
		err = slipstream.ErrConflict
	}
	return about(err, "create channel %s/%s", ch.App, ch.Name)
}

const channelColumns = `SELECT app, name, display, policy, created, updated FROM channels`

func scanChannel(s scanner) (store.Channel, error) {
	var c store.Channel
	var created, updated int64
	err := s.Scan(&c.App, &c.Name, &c.Display, &c.Policy, &created, &updated)
	c.Policy, c.Created, c.Updated = orNil(c.Policy), instant(created), instant(updated)
	return c, err
}

func (c channels) Get(ctx context.Context, app, name string) (store.Channel, error) {
	ch, err := get(ctx, c.conn, scanChannel, channelColumns+` WHERE app = ? AND name = ?`, app, name)
	return ch, about(err, "channel %s/%s", app, name)
}

func (c channels) List(ctx context.Context, app string) ([]store.Channel, error) {
	var w where
	w.addText("app", app)
	out, err := list(ctx, c.conn, scanChannel, channelColumns+w.sql()+` ORDER BY app, name`, w.args...)
	return out, about(err, "list channels")
}

func (c channels) Save(ctx context.Context, ch store.Channel) error {
	n, err := c.write(ctx, `UPDATE channels SET display = ?, policy = ?, updated = ? WHERE app = ? AND name = ?`,
		ch.Display, bytesOf(ch.Policy), micros(ch.Updated), ch.App, ch.Name)
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "save channel %s/%s", ch.App, ch.Name)
}

func (c channels) Delete(ctx context.Context, app, name string) error {
	n, err := c.write(ctx, `DELETE FROM channels WHERE app = ? AND name = ?`, app, name)
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "delete channel %s/%s", app, name)
}

type states struct{ *Tx }

const stateColumns = `SELECT app, channel, platform, epoch, issued, expires, envelope, private, rev FROM states`

func scanState(s scanner) (store.StateRow, error) {
	var r store.StateRow
	var issued, expires int64
	err := s.Scan(&r.App, &r.Channel, &r.Platform, &r.Epoch, &issued, &expires, &r.Envelope, &r.Private, &r.Rev)
	r.Issued, r.Expires = instant(issued), instant(expires)
	return r, err
}

func (s states) Get(ctx context.Context, app, channel, platform string) (store.StateRow, error) {
	r, err := get(ctx, s.conn, scanState, stateColumns+` WHERE app = ? AND channel = ? AND platform = ?`, app, channel, platform)
	return r, about(err, "state %s/%s/%s", app, channel, platform)
}

func (s states) Put(ctx context.Context, r store.StateRow) error {
	return about(s.put(ctx, r), "put state %s/%s/%s", r.App, r.Channel, r.Platform)
}

func (s states) put(ctx context.Context, r store.StateRow) error {
	found, err := s.exists(ctx, `SELECT 1 FROM channels WHERE app = ? AND name = ?`, r.App, r.Channel)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("channel: %w", slipstream.ErrNotFound)
	}
	var last int64
	err = s.one(ctx, `SELECT epoch FROM states WHERE app = ? AND channel = ? AND platform = ?`, []any{r.App, r.Channel, r.Platform}, &last)
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return err
	}
	if r.Epoch < last {
		return fmt.Errorf("epoch %d would fall from %d: %w", r.Epoch, last, slipstream.ErrConflict)
	}
	rev, err := s.next(ctx, counterRev)
	if err != nil {
		return err
	}
	_, err = s.write(ctx, `INSERT INTO states (app, channel, platform, epoch, issued, expires, envelope, private, rev)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (app, channel, platform) DO UPDATE SET epoch = excluded.epoch, issued = excluded.issued,
		expires = excluded.expires, envelope = excluded.envelope, private = excluded.private, rev = excluded.rev`,
		r.App, r.Channel, r.Platform, r.Epoch, micros(r.Issued), micros(r.Expires), bytesOf(r.Envelope), r.Private, rev)
	return err
}

func (s states) Since(ctx context.Context, rev int64) ([]store.StateRow, error) {
	out, err := list(ctx, s.conn, scanState, stateColumns+` WHERE rev > ? ORDER BY rev`, rev)
	return out, about(err, "states since %d", rev)
}

func (s states) Due(ctx context.Context, now time.Time) ([]store.StateRow, error) {
	out, err := list(ctx, s.conn, scanState, stateColumns+` WHERE issued + expires < ? ORDER BY issued + expires`, 2*micros(now))
	return out, about(err, "states due")
}
