package sqlstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

type apps struct{ *Tx }

func (a apps) has(ctx context.Context, name string) error {
	found, err := a.exists(ctx, `SELECT 1 FROM apps WHERE name = ?`, name)
	if err == nil && !found {
		err = slipstream.ErrNotFound
	}
	return about(err, "app %q", name)
}

func (a apps) Create(ctx context.Context, app store.App) error {
	platforms, err := json.Marshal(app.Platforms)
	if err != nil {
		return err
	}
	n, err := a.write(ctx, `INSERT INTO apps (name, display, platforms, settings, created) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		app.Name, app.Display, string(platforms), bytesOf(app.Settings), micros(app.Created))
	if err == nil && n == 0 {
		err = slipstream.ErrConflict
	}
	return about(err, "create app %q", app.Name)
}

const appColumns = `SELECT name, display, platforms, settings, created FROM apps`

func scanApp(s scanner) (store.App, error) {
	var a store.App
	var platforms string
	var created int64
	if err := s.Scan(&a.Name, &a.Display, &platforms, &a.Settings, &created); err != nil {
		return a, err
	}
	a.Settings, a.Created = orNil(a.Settings), instant(created)
	if err := json.Unmarshal([]byte(platforms), &a.Platforms); err != nil {
		return a, fmt.Errorf("platforms of app %q: %w", a.Name, err)
	}
	return a, nil
}

func (a apps) Get(ctx context.Context, name string) (store.App, error) {
	app, err := get(ctx, a.conn, scanApp, appColumns+` WHERE name = ?`, name)
	return app, about(err, "app %q", name)
}

func (a apps) List(ctx context.Context) ([]store.App, error) {
	out, err := list(ctx, a.conn, scanApp, appColumns+` ORDER BY name`)
	return out, about(err, "list apps")
}

func (a apps) Save(ctx context.Context, app store.App) error {
	platforms, err := json.Marshal(app.Platforms)
	if err != nil {
		return err
	}
	n, err := a.write(ctx, `UPDATE apps SET display = ?, platforms = ?, settings = ? WHERE name = ?`,
		app.Display, string(platforms), bytesOf(app.Settings), app.Name)
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "save app %q", app.Name)
}

func (a apps) AddRoot(ctx context.Context, app string, version int64, envelope []byte) error {
	if err := a.has(ctx, app); err != nil {
		return fmt.Errorf("add root: %w", err)
	}
	var known []byte
	err := a.one(ctx, `SELECT envelope FROM roots WHERE app = ? AND version = ?`, []any{app, version}, &known)
	switch {
	case err == nil && bytes.Equal(known, envelope):
		return nil
	case err == nil:
		return fmt.Errorf("root %d of app %q is there with other bytes: %w", version, app, slipstream.ErrConflict)
	case !errors.Is(err, slipstream.ErrNotFound):
		return fmt.Errorf("add root: %w", err)
	}
	var newest int64
	if err := a.one(ctx, `SELECT COALESCE(MAX(version), 0) FROM roots WHERE app = ?`, []any{app}, &newest); err != nil {
		return fmt.Errorf("add root: %w", err)
	}
	if version != newest+1 {
		return fmt.Errorf("root %d of app %q must be number %d: %w", version, app, newest+1, slipstream.ErrConflict)
	}
	_, err = a.write(ctx, `INSERT INTO roots (app, version, envelope) VALUES (?, ?, ?)`, app, version, bytesOf(envelope))
	return about(err, "add root %d of app %q", version, app)
}

func (a apps) Roots(ctx context.Context, app string) ([][]byte, error) {
	out, err := list(ctx, a.conn, func(s scanner) (b []byte, err error) { return b, s.Scan(&b) },
		`SELECT envelope FROM roots WHERE app = ? ORDER BY version`, app)
	return out, about(err, "roots of app %q", app)
}

func (a apps) AddStateKey(ctx context.Context, k store.StateKey) error {
	if err := a.has(ctx, k.App); err != nil {
		return fmt.Errorf("add state key: %w", err)
	}
	n, err := a.write(ctx, `INSERT INTO state_keys (app, key_id, public, sealed, created) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		k.App, k.KeyID, k.Public, bytesOf(k.Sealed), micros(k.Created))
	if err == nil && n == 0 {
		err = slipstream.ErrConflict
	}
	return about(err, "add state key %s of app %q", k.KeyID, k.App)
}

func (a apps) StateKeys(ctx context.Context, app string) ([]store.StateKey, error) {
	out, err := list(ctx, a.conn, func(s scanner) (store.StateKey, error) {
		var k store.StateKey
		var created int64
		err := s.Scan(&k.App, &k.KeyID, &k.Public, &k.Sealed, &created)
		k.Created = instant(created)
		return k, err
	}, `SELECT app, key_id, public, sealed, created FROM state_keys WHERE app = ? ORDER BY created, key_id`, app)
	return out, about(err, "state keys of app %q", app)
}
