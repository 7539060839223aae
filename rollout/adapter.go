package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// AdapterCommit is a release that came in through a foreign protocol's own upload. Its blobs are stored already.
type AdapterCommit struct {
	App, Package, Adapter string
	Files                 []slipstream.File
	// Describe fills in what is not known before the transaction: version, platform, runtime. It may refuse.
	Describe func(tx store.Tx, m *slipstream.Manifest, now time.Time) error
	// Then is called in the same transaction, after the release is kept.
	Then  func(tx store.Tx, r *slipstream.Release, now time.Time) error
	Notes string
}

// CommitAdapter keeps a release without a signed manifest: adapter-only. It takes the next seq of its package. Everything
// happens in one transaction, after every blob is readable.
func (s *Service) CommitAdapter(ctx context.Context, by string, c AdapterCommit) (*slipstream.Release, error) {
	if len(c.Notes) > 4*MaxNotes {
		return nil, slipstream.Invalidf("notes are longer than %d bytes", 4*MaxNotes)
	}
	if err := errors.Join(sign.CheckPaths(c.Files)...); err != nil {
		return nil, slipstream.Invalid(err)
	}
	files := slices.Clone(c.Files)
	slices.SortFunc(files, func(a, b slipstream.File) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	adapter, err := json.Marshal(c.Adapter)
	if err != nil {
		return nil, err
	}
	for {
		var generation int64
		if err := s.store.View(ctx, func(tx store.Tx) (err error) {
			generation, err = generationOf(ctx, tx)
			return err
		}); err != nil {
			return nil, err
		}
		if err := s.checkStored(ctx, files); err != nil {
			return nil, err
		}
		var out *slipstream.Release
		err = s.store.Update(ctx, func(tx store.Tx) error {
			if err := s.unchanged(ctx, tx, generation); err != nil {
				return err
			}
			m := &slipstream.Manifest{App: c.App, Package: c.Package, Files: files, Meta: map[string]json.RawMessage{slipstream.MetaAdapter: adapter}}
			var err error
			out, err = s.adapterIn(ctx, tx, by, c, m)
			return err
		})
		if !errors.Is(err, errCollected) {
			return out, err
		}
	}
}

func (s *Service) adapterIn(ctx context.Context, tx store.Tx, by string, c AdapterCommit, m *slipstream.Manifest) (*slipstream.Release, error) {
	app, err := tx.Apps().Get(ctx, c.App)
	if err != nil {
		return nil, err
	}
	highest, err := tx.Releases().HighestSeq(ctx, c.App, c.Package)
	if err != nil {
		return nil, err
	}
	now := s.clock()
	m.Seq, m.Created = highest+1, slipstream.At(now)
	if err := c.Describe(tx, m, now); err != nil {
		return nil, err
	}
	if s.fits != nil {
		if err := s.fits(ctx, tx, m); err != nil {
			return nil, err
		}
	}
	payload, err := sign.Encode(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	r := &slipstream.Release{Digest: sign.DigestOf(payload), Manifest: m, Published: slipstream.At(now), Notes: c.Notes}
	if err := s.putRelease(ctx, tx, by, &app, r); err != nil {
		return nil, err
	}
	return r, c.Then(tx, r, now)
}
