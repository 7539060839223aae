package deliver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Anybody can send reports, and a row of counts stays for ever. So only what names channels, packages, releases and
// kinds that exist is counted, and only enrolments in rollouts that are in force; all else is kept as an event, for its
// time.

const (
	maxKnownReleases = 10000 // remembered at once
	maxLookUps       = 16    // of releases in the store, for one request: an honest device names a few
)

// countable reports whether the kind, channel and package of an event exist.
func countable(snap *snapshot, e *slipstream.Event) bool {
	switch e.Kind {
	case slipstream.KindEnrolled, slipstream.KindFetched, slipstream.KindStaged, slipstream.KindStarted, slipstream.KindConfirmed,
		slipstream.KindCrashed, slipstream.KindHung, slipstream.KindRolledBack, slipstream.KindRefused, slipstream.KindFailed, slipstream.KindMetric,
		slipstream.KindAlive:
	default:
		return false
	}
	if snap.adapted {
		return true
	}
	if e.Channel != "" && !snap.known[knownName{e.App, "channel", e.Channel}] {
		return false
	}
	// A release says itself which package it is of.
	return e.Release != "" || e.Package == "" || snap.known[knownName{e.App, "package", e.Package}]
}

// knownName is a channel or a package of an app that some state names.
type knownName struct{ app, kind, name string }

// rolloutOf names a rollout where it stands.
type rolloutOf struct{ app, channel, pkg, id string }

func rolloutsIn(k stateKey, st *slipstream.State) map[rolloutOf]slipstream.Digest {
	all := map[rolloutOf]slipstream.Digest{}
	for pkg, p := range st.Packages {
		for i := range p.Rollouts {
			all[rolloutOf{k.app, k.channel, pkg, p.Rollouts[i].ID}] = p.Rollouts[i].Manifest
		}
	}
	return all
}

// enrolls reports whether the rollout that a device joins is in force here, and offers what the device says. A device may
// have heard of a new rollout from another node: what the snapshot lacks is looked for in the states since.
func (l *lookUps) enrolls(ctx context.Context, snap *snapshot, e *slipstream.Event) (bool, error) {
	k := rolloutOf{e.App, e.Channel, e.Package, e.Rollout}
	offered, ok := snap.rollouts[k]
	if !ok && l.newer == nil {
		if err := l.lookSince(ctx, snap.rev); err != nil {
			return false, err
		}
	}
	if !ok {
		offered, ok = l.newer[k]
	}
	return ok && (e.Release == "" || e.Release == offered), nil
}

func (l *lookUps) lookSince(ctx context.Context, rev int64) error {
	ctx, cancel := context.WithTimeout(ctx, l.server.cfg.StoreTimeout)
	defer cancel()
	err := l.server.cfg.Store.View(ctx, func(tx store.Tx) error {
		rows, err := tx.States().Since(ctx, rev)
		l.newer = map[rolloutOf]slipstream.Digest{}
		for _, row := range rows {
			if st, err := decodeState(row); err == nil { // what is wrong with it, the snapshot tells
				maps.Copy(l.newer, rolloutsIn(stateKey{row.App, row.Channel, row.Platform}, st))
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("look rollout of report up: %w", err)
	}
	return nil
}

// knownNames collects those of all states.
func knownNames(states map[stateKey]*stateEntry) map[knownName]bool {
	known := map[knownName]bool{}
	for k, e := range states {
		known[knownName{k.app, "channel", k.channel}] = true
		for _, pkg := range e.names {
			known[knownName{k.app, "package", pkg}] = true
		}
	}
	return known
}

// knownReleases remembers which releases exist, by digest. What does not exist is not remembered.
type knownReleases struct {
	mu    sync.Mutex
	known map[slipstream.Digest]releaseOf
}

type releaseOf struct{ app, pkg string }

// within gives the look-ups of one request.
func (k *knownReleases) within(s *Server) *lookUps { return &lookUps{all: k, server: s} }

type lookUps struct {
	all    *knownReleases
	server *Server
	missed []slipstream.Digest
	newer  map[rolloutOf]slipstream.Digest // of states that the snapshot does not have yet; nil = not looked
}

// is reports whether the release of an event exists in its app and package.
func (l *lookUps) is(ctx context.Context, e *slipstream.Event) (bool, error) {
	l.all.mu.Lock()
	of, ok := l.all.known[e.Release]
	l.all.mu.Unlock()
	if !ok {
		if slices.Contains(l.missed, e.Release) || len(l.missed) >= maxLookUps {
			return false, nil
		}
		ctx, cancel := context.WithTimeout(ctx, l.server.cfg.StoreTimeout)
		defer cancel()
		r, err := l.server.release(ctx, e.Release)
		if errors.Is(err, slipstream.ErrNotFound) {
			l.missed = append(l.missed, e.Release)
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look release of report up: %w", err)
		}
		of = releaseOf{r.Manifest.App, r.Manifest.Package}
		l.all.remember(e.Release, of)
	}
	return of.app == e.App && (e.Package == "" || e.Package == of.pkg), nil
}

func (k *knownReleases) remember(d slipstream.Digest, of releaseOf) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil || len(k.known) >= maxKnownReleases {
		k.known = map[slipstream.Digest]releaseOf{}
	}
	k.known[d] = of
}
