package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/slipstream-ota/slipstream"
)

// Anybody can send reports, and a row of counts stays for ever. So only what names channels, packages, releases and
// kinds that exist is counted; all else is kept as an event, for its time.

const (
	maxKnownReleases = 10000 // remembered at once
	maxLookUps       = 16    // of releases in the store, for one request: an honest device names a few
)

// countable reports whether the kind, channel and package of an event exist.
func countable(snap *snapshot, e *slipstream.Event) bool {
	switch e.Kind {
	case slipstream.KindEnrolled, slipstream.KindFetched, slipstream.KindStaged, slipstream.KindStarted, slipstream.KindConfirmed,
		slipstream.KindCrashed, slipstream.KindHung, slipstream.KindRolledBack, slipstream.KindRefused, slipstream.KindFailed, slipstream.KindMetric:
	default:
		return false
	}
	if e.Channel != "" && !snap.known[knownName{e.App, "channel", e.Channel}] {
		return false
	}
	// A release says itself which package it is of.
	return e.Release != "" || e.Package == "" || snap.known[knownName{e.App, "package", e.Package}]
}

// knownName is a channel or a package of an app that some state names.
type knownName struct{ app, kind, name string }

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
