package sqlstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

type releases struct{ *Tx }

func (r releases) has(ctx context.Context, digest slipstream.Digest) error {
	found, err := r.exists(ctx, `SELECT 1 FROM releases WHERE digest = ?`, string(digest))
	if err == nil && !found {
		err = slipstream.ErrNotFound
	}
	return about(err, "release %s", digest.Short())
}

func (r releases) Put(ctx context.Context, rel *slipstream.Release) error {
	m := rel.Manifest
	if m == nil {
		return fmt.Errorf("release %s has no manifest", rel.Digest.Short())
	}
	known, err := r.exists(ctx, `SELECT 1 FROM releases WHERE digest = ?`, string(rel.Digest))
	if err != nil {
		return fmt.Errorf("put release: %w", err)
	}
	if known {
		return nil
	}
	if err := apps(r).has(ctx, m.App); err != nil {
		return fmt.Errorf("put release: %w", err)
	}
	highest, err := r.HighestSeq(ctx, m.App, m.Package)
	if err != nil {
		return err
	}
	if m.Seq <= highest {
		return fmt.Errorf("seq %d of %s/%s is not above %d: %w", m.Seq, m.App, m.Package, highest, slipstream.ErrConflict)
	}
	key := m.Runtime.Key()
	taken, err := r.exists(ctx, `SELECT 1 FROM releases WHERE app = ? AND package = ? AND platform = ? AND runtime = ? AND version = ?`,
		m.App, m.Package, m.Platform, key, m.Version)
	if err != nil {
		return fmt.Errorf("put release: %w", err)
	}
	if taken {
		return fmt.Errorf("version %q of %s/%s is taken for platform %s and runtime %s: %w", m.Version, m.App, m.Package, m.Platform, m.Runtime, slipstream.ErrConflict)
	}
	return about(r.insert(ctx, rel, key), "put release %s", rel.Digest.Short())
}

func (r releases) insert(ctx context.Context, rel *slipstream.Release, runtimeKey string) error {
	m := rel.Manifest
	doc, err := encode(m)
	if err != nil {
		return err
	}
	if _, err := r.write(ctx, `INSERT INTO releases (digest, app, package, platform, runtime, version, seq, manifest, envelope, published, notes, embedded)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, string(rel.Digest), m.App, m.Package, m.Platform, runtimeKey, m.Version, m.Seq,
		doc, bytesOf(rel.Envelope), micros(rel.Published.Time), rel.Notes, rel.Embedded); err != nil {
		return err
	}
	_, err = r.write(ctx, `INSERT INTO packages (app, name, highest_seq) VALUES (?, ?, ?)
		ON CONFLICT (app, name) DO UPDATE SET highest_seq = excluded.highest_seq`, m.App, m.Package, m.Seq)
	return err
}

const releaseColumns = `SELECT digest, manifest, envelope, published, notes, embedded FROM releases`

func scanRelease(s scanner) (*slipstream.Release, error) {
	r := &slipstream.Release{Manifest: &slipstream.Manifest{}}
	var doc []byte
	var published int64
	if err := s.Scan((*string)(&r.Digest), &doc, &r.Envelope, &published, &r.Notes, &r.Embedded); err != nil {
		return nil, err
	}
	r.Published = slipstream.Time{Time: instant(published)}
	if err := json.Unmarshal(doc, r.Manifest); err != nil {
		return nil, fmt.Errorf("manifest of release %s: %w", r.Digest.Short(), err)
	}
	return r, nil
}

func (r releases) Get(ctx context.Context, digest slipstream.Digest) (*slipstream.Release, error) {
	rel, err := get(ctx, r.conn, scanRelease, releaseColumns+` WHERE digest = ?`, string(digest))
	return rel, about(err, "release %s", digest.Short())
}

func (r releases) List(ctx context.Context, f store.ReleaseFilter) ([]*slipstream.Release, error) {
	var w where
	w.addText("app", f.App)
	w.addText("package", f.Package)
	w.addText("platform", f.Platform)
	w.addText("version", f.Version)
	if f.BeforeSeq != 0 {
		w.add("seq < ?", f.BeforeSeq)
	}
	out, err := list(ctx, r.conn, scanRelease, releaseColumns+w.sql()+` ORDER BY app, package, seq DESC`+limit(f.Limit), w.args...)
	return out, about(err, "list releases")
}

func (r releases) HighestSeq(ctx context.Context, app, pkg string) (int64, error) {
	var n int64
	err := r.one(ctx, `SELECT COALESCE(MAX(highest_seq), 0) FROM packages WHERE app = ? AND name = ?`, []any{app, pkg}, &n)
	return n, about(err, "highest seq of %s/%s", app, pkg)
}

func (r releases) SetEnvelope(ctx context.Context, digest slipstream.Digest, envelope []byte) error {
	n, err := r.write(ctx, `UPDATE releases SET envelope = ? WHERE digest = ?`, bytesOf(envelope), string(digest))
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "set envelope of release %s", digest.Short())
}

func (r releases) Delete(ctx context.Context, digest slipstream.Digest) error {
	n, err := r.write(ctx, `DELETE FROM releases WHERE digest = ?`, string(digest))
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "delete release %s", digest.Short())
}

type containers struct{ *Tx }

func (c containers) Put(ctx context.Context, release slipstream.Digest, k slipstream.Container) error {
	if err := releases(c).has(ctx, release); err != nil {
		return fmt.Errorf("put container: %w", err)
	}
	_, err := c.write(ctx, `INSERT INTO containers (release, origin, codec, size, sha256) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (release, origin, codec) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256`,
		string(release), string(k.From), k.Codec, k.Size, string(k.SHA256))
	return about(err, "put container of release %s", release.Short())
}

func scanContainer(s scanner) (namedContainer, error) {
	var c namedContainer
	err := s.Scan((*string)(&c.release), (*string)(&c.From), &c.Codec, &c.Size, (*string)(&c.SHA256))
	return c, err
}

type namedContainer struct {
	release slipstream.Digest
	slipstream.Container
}

const containerColumns = `SELECT release, origin, codec, size, sha256 FROM containers`

func (c containers) List(ctx context.Context, release slipstream.Digest) ([]slipstream.Container, error) {
	rows, err := list(ctx, c.conn, scanContainer, containerColumns+` WHERE release = ? ORDER BY origin, codec`, string(release))
	if err != nil {
		return nil, fmt.Errorf("containers of release %s: %w", release.Short(), err)
	}
	out := make([]slipstream.Container, len(rows))
	for i, r := range rows {
		out[i] = r.Container
	}
	return out, nil
}

func (c containers) All(ctx context.Context) (map[slipstream.Digest][]slipstream.Container, error) {
	rows, err := list(ctx, c.conn, scanContainer, containerColumns+` ORDER BY release, origin, codec`)
	if err != nil {
		return nil, fmt.Errorf("all containers: %w", err)
	}
	out := map[slipstream.Digest][]slipstream.Container{}
	for _, r := range rows {
		out[r.release] = append(out[r.release], r.Container)
	}
	return out, nil
}

func (c containers) Delete(ctx context.Context, release slipstream.Digest, k slipstream.Container) error {
	n, err := c.write(ctx, `DELETE FROM containers WHERE release = ? AND origin = ? AND codec = ?`, string(release), string(k.From), k.Codec)
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "delete container of release %s", release.Short())
}

func (c containers) PutRendition(ctx context.Context, r store.Rendition) error {
	if err := releases(c).has(ctx, r.Release); err != nil {
		return fmt.Errorf("put rendition: %w", err)
	}
	_, err := c.write(ctx, `INSERT INTO renditions (release, protocol, origin, size, sha256, doc) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (release, protocol, origin) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, doc = excluded.doc`,
		string(r.Release), r.Protocol, string(r.From), r.Size, string(r.SHA256), bytesOf(r.Doc))
	return about(err, "put %s rendition of release %s", r.Protocol, r.Release.Short())
}

func (c containers) Renditions(ctx context.Context, protocol string) ([]store.Rendition, error) {
	var w where
	w.addText("protocol", protocol)
	out, err := list(ctx, c.conn, func(s scanner) (store.Rendition, error) {
		var r store.Rendition
		err := s.Scan((*string)(&r.Release), &r.Protocol, (*string)(&r.From), &r.Size, (*string)(&r.SHA256), &r.Doc)
		return r, err
	}, `SELECT release, protocol, origin, size, sha256, doc FROM renditions`+w.sql()+` ORDER BY release, protocol, origin`, w.args...)
	return out, about(err, "renditions")
}

// encode is JSON without HTML escaping, so that documents keep their size.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
