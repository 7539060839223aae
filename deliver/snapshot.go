package deliver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/deliver/live"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// snapshot is everything that checks are answered from. It is never changed once it is stored.
type snapshot struct {
	rev    int64 // of the newest state row in it
	paths  map[string]*stateEntry
	states map[stateKey]*stateEntry
	apps   map[string]*appEntry
	known  map[knownName]bool
	spread map[[2]string]int        // by app and channel: over how many seconds devices spread a reaction
	caps   map[cappedRollout]places // that give places
	// rollouts are those of all states: the ones that devices can enrol in.
	rollouts map[rolloutOf]slipstream.Digest
	// adapted is for what an adapter tells: it knows its channels and packages by itself, also before a state names them.
	adapted bool
}

type stateKey struct{ app, channel, platform string }

func (k stateKey) path() string {
	return "/v1/apps/" + k.app + "/channels/" + k.channel + "/state/" + k.platform
}

// stateEntry is one signed state. plan is nil when it cannot be decided with, which its bytes do not depend on.
type stateEntry struct {
	key   stateKey
	doc   *document
	plan  *decide.Plan
	epoch int64
	names []string // of its packages, sorted
	// rollouts are those of the plan, with what they offer.
	rollouts map[rolloutOf]slipstream.Digest
	// rendered holds what decisions say of the plan's rollouts.
	rendered map[*slipstream.Rollout]rendered
	expires  time.Time
}

// appEntry is an app's roots, version 1 first, and the signers of its decisions: as many as the newest root's state
// role asks for, or none at all.
type appEntry struct {
	name    string
	roots   []*document
	keys    []store.StateKey
	signers []signer
}

type signer struct {
	sign.Signer
	keyID string
}

// changes is what a refresh read from the store.
type changes struct {
	rows     []store.StateRow
	apps     []store.App
	channels map[[2]string]bool
	spread   map[[2]string]int
	caps     map[cappedRollout]int64
	roots    map[string][][]byte
	keys     map[string][]store.StateKey
}

// refresh reads what changed since the last snapshot and swaps in a new one.
func (s *Server) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StoreTimeout)
	defer cancel()
	select {
	case s.refreshing <- struct{}{}:
		defer func() { <-s.refreshing }()
	case <-ctx.Done(): // whoever changed something waits for its own time, not for a store that hangs another one up
		return fmt.Errorf("wait for another refresh: %w", ctx.Err())
	}
	last := s.snapshot.Load()
	if last == nil {
		last = &snapshot{}
	}
	c, err := s.read(ctx, last)
	if err != nil {
		return err
	}
	next := &snapshot{rev: last.rev, paths: maps.Clone(last.paths), states: maps.Clone(last.states), apps: map[string]*appEntry{}}
	if next.paths == nil {
		next.paths, next.states = map[string]*stateEntry{}, map[stateKey]*stateEntry{}
	}
	for _, a := range c.apps {
		next.apps[a.Name] = last.apps[a.Name]
		if _, read := c.roots[a.Name]; read {
			next.apps[a.Name] = s.buildApp(ctx, a.Name, last.apps[a.Name], c.roots[a.Name], c.keys[a.Name])
		}
	}
	for _, row := range c.rows {
		e := s.buildState(row)
		next.rev = max(next.rev, row.Rev)
		next.states[e.key], next.paths[e.key.path()] = e, e
	}
	for k := range next.states {
		if !c.channels[[2]string{k.app, k.channel}] {
			delete(next.states, k)
			delete(next.paths, k.path())
		}
	}
	next.known, next.rollouts = knownNames(next.states), map[rolloutOf]slipstream.Digest{}
	for _, e := range next.states {
		maps.Copy(next.rollouts, e.rollouts)
	}
	next.spread, next.caps = c.spread, placesOf(c.caps, next.states)
	s.snapshot.Store(next)
	if s.cfg.Live != nil {
		s.cfg.Live.Set(news(last, next))
	}
	s.cache.expire()
	s.metrics.snapshot(next)
	return nil
}

// read takes the rows that are new, and the roots and keys of those apps whose states changed or that have none. A new
// root changes an app's states, since they name its version.
func (s *Server) read(ctx context.Context, last *snapshot) (*changes, error) {
	var c *changes
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		c = &changes{channels: map[[2]string]bool{}, spread: map[[2]string]int{}, caps: map[cappedRollout]int64{}, roots: map[string][][]byte{}, keys: map[string][]store.StateKey{}}
		var err error
		if c.apps, err = tx.Apps().List(ctx); err != nil {
			return err
		}
		channels, err := tx.Channels().List(ctx, "")
		if err != nil {
			return err
		}
		for _, ch := range channels {
			c.channels[[2]string{ch.App, ch.Name}] = true
			if s.cfg.Spread != nil {
				c.spread[[2]string{ch.App, ch.Name}] = s.cfg.Spread(ch)
			}
			if s.cfg.Caps == nil {
				continue
			}
			for id, places := range s.cfg.Caps(ch) {
				c.caps[cappedRollout{ch.App, ch.Name, id}] = places
			}
		}
		if c.rows, err = tx.States().Since(ctx, last.rev); err != nil {
			return err
		}
		settled := map[string]bool{}
		for k := range last.states {
			settled[k.app] = last.apps[k.app] != nil
		}
		for _, row := range c.rows {
			settled[row.App] = false
		}
		for _, a := range c.apps {
			if settled[a.Name] {
				continue
			}
			if c.roots[a.Name], err = tx.Apps().Roots(ctx, a.Name); err != nil {
				return err
			}
			if c.keys[a.Name], err = tx.Apps().StateKeys(ctx, a.Name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what changed: %w", err)
	}
	return c, nil
}

func (s *Server) buildApp(ctx context.Context, name string, last *appEntry, roots [][]byte, keys []store.StateKey) *appEntry {
	same := func(a, b store.StateKey) bool { return a.KeyID == b.KeyID && slices.Equal(a.Sealed, b.Sealed) }
	if last != nil && len(last.roots) == len(roots) && len(last.signers) > 0 && slices.EqualFunc(last.keys, keys, same) {
		return last
	}
	a := &appEntry{name: name, keys: keys}
	for _, raw := range roots {
		a.roots = append(a.roots, newDocument(raw))
	}
	if len(roots) == 0 {
		return a
	}
	signers, err := s.signers(ctx, roots[len(roots)-1], keys)
	if err != nil {
		s.cfg.Log.Error("decisions of an app cannot be signed; its devices can use signed states only", "app", name, "error", err)
		return a
	}
	a.signers = signers
	return a
}

// signers opens as many state keys as the root asks for.
func (s *Server) signers(ctx context.Context, root []byte, keys []store.StateKey) ([]signer, error) {
	trust, err := sign.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open newest root: %w", err)
	}
	role := trust.Root().Roles.State
	var out []signer
	for _, k := range keys {
		if len(out) == role.Threshold {
			break
		}
		if !slices.Contains(role.Keys, k.KeyID) || slices.ContainsFunc(out, func(o signer) bool { return o.keyID == k.KeyID }) {
			continue
		}
		opened, err := s.cfg.Keys.OpenKey(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("open state key %s: %w", k.KeyID, err)
		}
		out = append(out, signer{opened, sign.KeyID(opened.Public())})
	}
	if len(out) < role.Threshold {
		return nil, slipstream.Hint(fmt.Errorf("%d of %d state keys that root version %d asks for are here", len(out), role.Threshold, trust.Root().Version),
			"add this server's state key to a new root")
	}
	return out, nil
}

// buildState keeps the envelope as it is stored and compiles the plan for decisions, with the private rollouts if the
// state has some.
func (s *Server) buildState(row store.StateRow) *stateEntry {
	e := &stateEntry{key: stateKey{row.App, row.Channel, row.Platform}, doc: newDocument(row.Envelope), epoch: row.Epoch, expires: row.Expires}
	st, err := decodeState(row)
	if err == nil {
		e.rendered, err = renderAll(st)
	}
	if err == nil {
		e.plan, err = decide.Compile(st)
	}
	if err != nil {
		s.cfg.Log.Error("a state cannot be decided with; its devices can use the signed state only",
			"app", row.App, "channel", row.Channel, "platform", row.Platform, "error", err)
		return e
	}
	e.names = slices.Sorted(maps.Keys(st.Packages))
	e.rollouts = rolloutsIn(e.key, st)
	return e
}

func decodeState(row store.StateRow) (*slipstream.State, error) {
	payload := row.Private
	if payload == nil {
		envelope, err := sign.ParseEnvelope(row.Envelope, sign.TypeState, slipstream.MaxStateBytes)
		if err != nil {
			return nil, err
		}
		payload = envelope.Payload
	}
	st := new(slipstream.State)
	if err := sign.Decode(payload, st); err != nil {
		return nil, fmt.Errorf("decode state: %w", err)
	}
	return st, nil
}

// news is what those who listen are to know of next, which came after last.
func news(last, next *snapshot) map[live.Channel]live.News {
	out := make(map[live.Channel]live.News, len(next.states))
	for key, e := range next.states {
		c := live.Channel{App: key.app, Name: key.channel}
		n := out[c]
		n.Epoch, n.Spread = max(n.Epoch, e.epoch), next.spread[[2]string{key.app, key.channel}]
		if before := last.states[key]; before != nil && before.epoch < e.epoch && before.plan != nil && e.plan != nil {
			n.Urgent = n.Urgent || urgent(before.plan.State(), e.plan.State())
		}
		out[c] = n
	}
	return out
}

// urgent reports whether a change cannot wait: a critical release reaches more devices than before, or devices must leave
// one.
func urgent(before, after *slipstream.State) bool {
	for name, p := range after.Packages {
		was := before.Packages[name]
		for _, d := range p.Withdrawn {
			if !slices.Contains(was.Withdrawn, d) {
				return true
			}
		}
		for i := range p.Rollouts {
			r := &p.Rollouts[i]
			if r.Hold != "" || r.Apply.Priority != slipstream.PriorityCritical {
				continue
			}
			same := func(o slipstream.Rollout) bool {
				return o.ID == r.ID && o.Hold == "" && o.Apply.Priority == r.Apply.Priority && o.From <= r.From && o.To >= r.To && o.Retry == r.Retry
			}
			if !slices.ContainsFunc(was.Rollouts, same) {
				return true
			}
		}
	}
	return false
}

// logExpired tells once of every state that has expired: it is still served, but devices do not obey it any more.
func (s *Server) logExpired() {
	snap := s.snapshot.Load()
	if snap == nil {
		return
	}
	now := s.cfg.Clock()
	for path, e := range snap.paths {
		late := !now.Before(e.expires)
		if late && !s.expired[path] {
			s.cfg.Log.Warn("a state has expired and was not signed again: its devices install nothing until it is",
				"app", e.key.app, "channel", e.key.channel, "platform", e.key.platform, "expired", e.expires.UTC())
		}
		if late {
			s.expired[path] = true
		} else {
			delete(s.expired, path)
		}
	}
}
