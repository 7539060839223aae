package capgo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

const settle = 50 * time.Millisecond // changes that come close together are read once

// Book keeps what checks are answered from: the apps with their bundles and the names of what is on offer. It gives names to
// new offers. Bundles themselves are rendered by a protocol.Keeper.
type Book struct {
	store   store.Store
	blobs   blob.Store
	clock   func() time.Time
	log     *slog.Logger
	current atomic.Pointer[edition]
	loading chan struct{} // one look at the store at a time, so that no older edition follows a newer one
	states  map[stateKey]offered
	failed  map[slipstream.Digest]time.Time // bundles that could not be listed, and when to try again
}

// NewBook makes a Book that is empty until Run or Refresh. A nil clock is the real one.
func NewBook(st store.Store, blobs blob.Store, clock func() time.Time, log *slog.Logger) *Book {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if clock == nil {
		clock = time.Now
	}
	b := &Book{store: st, blobs: blobs, clock: clock, log: log.With("protocol", Name), loading: make(chan struct{}, 1), states: map[stateKey]offered{},
		failed: map[slipstream.Digest]time.Time{}}
	b.current.Store(&edition{})
	return b
}

// edition is one state of the book. It never changes.
type edition struct{ apps map[string]*app }

// app is one app that the protocol is switched on for.
type app struct {
	name     string
	options  Options
	items    map[slipstream.Digest]*item
	versions map[string][]*item // by version, highest seq first
	channels map[string]*channel
	zips     map[slipstream.Digest]bool
	pieces   map[slipstream.Digest]int64 // files of listed bundles, and their sizes
	coded    map[slipstream.Digest]place // those of them that there are in Brotli
}

// channel is what a channel offers and offered. byOffer are the names by rollout and retry, byLeft those for who must leave
// something where they differ, byName all of them by name, newest first.
type channel struct {
	byOffer map[string]string
	byLeft  map[string]string
	byName  map[string][]*named
}

// offer is the name of an offer for a device. It is "" for one that has no name yet.
func (c *channel) offer(ro *slipstream.Rollout, leaves bool) string {
	offer := offerOf(ro)
	if name := c.byLeft[offer]; leaves && name != "" {
		return name
	}
	return c.byOffer[offer]
}

// item is a release. Without a zip it has not been rendered yet.
type item struct {
	digest   slipstream.Digest
	seq      int64
	version  string
	platform string
	runtime  slipstream.Runtime
	embedded bool
	zip      slipstream.Digest
	made     rendition
	listable bool
	files    []listedFile // empty while they are not listed
}

// meets reports whether some device could run both of what is for these platforms.
func meets(a, b string) bool {
	return a == b || a == slipstream.PlatformAny || b == slipstream.PlatformAny
}

// item finds what a client calls by a name: an offer of its channel, an offer of another one, else a release of that version.
func (a *app) item(ch *channel, platform, name string) (*item, *named) {
	if ch != nil {
		if i, n := a.offeredAs(ch, platform, name); i != nil {
			return i, n
		}
	}
	for _, other := range slices.Sorted(maps.Keys(a.channels)) {
		if i, n := a.offeredAs(a.channels[other], platform, name); i != nil {
			return i, &named{Name: n.Name, Release: n.Release} // not by a rollout of this channel
		}
	}
	for _, version := range []string{name, unnumbered(name)} {
		for _, i := range a.versions[version] {
			if meets(i.platform, platform) {
				return i, &named{Name: name, Release: i.digest}
			}
		}
	}
	return nil, nil
}

func (a *app) offeredAs(ch *channel, platform, name string) (*item, *named) {
	for _, n := range ch.byName[name] {
		if i := a.items[n.Release]; i != nil && meets(i.platform, platform) {
			return i, n
		}
	}
	return nil, nil
}

// channel finds the one that a client means by a name, nil when there is none. "" is the default.
func (a *app) channel(said string) (string, *channel) {
	name := a.options.Channel
	if said != "" {
		name = a.options.Channels[said]
	}
	if name == "" {
		name = lower(said)
	}
	return name, a.channels[name]
}

// Run keeps the book fresh until ctx ends. A store that is away is waited for; meanwhile the last edition serves.
func (b *Book) Run(ctx context.Context) error {
	protocol.Follow(ctx, b.store, settle, b.Refresh, func(err error) {
		b.log.LogAttrs(ctx, slog.LevelError, "the apps could not be read", slog.Any("error", err))
	})
	return nil
}

// Refresh reads the store, gives names to what is new, puts a new edition in force, and lists the files of what is newly on
// offer. It is called by one goroutine at a time.
func (b *Book) Refresh(ctx context.Context) error {
	missing, err := b.load(ctx)
	if err != nil || len(missing) == 0 {
		return err
	}
	made, err := b.list(ctx, missing)
	if err == nil && made {
		_, err = b.load(ctx)
	}
	return err
}

// Settle takes what the store holds by now, so that whoever changed something sees it in this node's next answers. Listings
// come later, and are not waited for.
func (b *Book) Settle(ctx context.Context) error {
	_, err := b.load(ctx)
	return err
}

// load swaps a new edition in and gives the bundles on offer that are not listed yet.
func (b *Book) load(ctx context.Context) ([]slipstream.Digest, error) {
	select {
	case b.loading <- struct{}{}:
		defer func() { <-b.loading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another look at the store: %w", ctx.Err())
	}
	var r *reading
	err := protocol.Remember(ctx, b.store, func(tx store.Tx) ([]store.Setting, error) {
		r = &reading{book: b, ctx: ctx, tx: tx}
		err := r.all()
		return r.writes, err
	})
	if err != nil {
		return nil, fmt.Errorf("read apps: %w", err)
	}
	b.current.Store(r.edition)
	b.states = r.states
	return r.unlisted, nil
}

type stateKey struct{ app, channel, platform string }

// offered is what a state offers, of one package.
type offered struct {
	rev       int64
	pkg       string
	rollouts  []slipstream.Rollout
	withdrawn []slipstream.Digest
}

// reading is one pass over the store.
type reading struct {
	book    *Book
	ctx     context.Context
	tx      store.Tx
	edition *edition
	made    map[slipstream.Digest]store.Rendition
	listed  map[slipstream.Digest]store.Rendition
	states  map[stateKey]offered
	rows    map[string][]store.StateRow // by app
	writes  []store.Setting
	// unlisted are bundles on offer whose files are not listed yet.
	unlisted []slipstream.Digest
}

func (r *reading) all() error {
	r.edition, r.made, r.rows = &edition{apps: map[string]*app{}}, map[slipstream.Digest]store.Rendition{}, map[string][]store.StateRow{}
	r.states, r.listed = map[stateKey]offered{}, map[slipstream.Digest]store.Rendition{}
	on, err := protocol.Switched(r.ctx, r.tx, Name)
	if err != nil || len(on) == 0 {
		return err
	}
	list, err := r.tx.Containers().Renditions(r.ctx, Name)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.From == "" {
			r.made[d.Release] = d
		} else {
			r.listed[d.Release] = d
		}
	}
	rows, err := r.tx.States().Since(r.ctx, 0)
	if err != nil {
		return err
	}
	for _, row := range rows {
		r.rows[row.App] = append(r.rows[row.App], row)
	}
	for _, name := range slices.Sorted(maps.Keys(on)) {
		err := r.app(name, on[name])
		if errors.As(err, new(broken)) {
			// What is wrong with one app must not keep the others from what is new.
			r.book.log.LogAttrs(r.ctx, slog.LevelError, "the bundles of an app cannot be read: its clients get what they got before", slog.String("app", name), slog.Any("error", err))
			if before := r.book.current.Load().apps[name]; before != nil {
				r.edition.apps[name] = before
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("app %s: %w", name, err)
		}
	}
	return nil
}

// broken is what is wrong with the data of one app, not with the store.
type broken struct{ error }

func (r *reading) app(name string, raw json.RawMessage) error {
	o, err := parseOptions(raw)
	if err != nil {
		return broken{err}
	}
	a := &app{name: name, options: o, items: map[slipstream.Digest]*item{}, versions: map[string][]*item{}, channels: map[string]*channel{},
		zips: map[slipstream.Digest]bool{}, pieces: map[slipstream.Digest]int64{}, coded: map[slipstream.Digest]place{}}
	releases, err := r.tx.Releases().List(r.ctx, store.ReleaseFilter{App: name, Package: o.Package})
	if err != nil {
		return err
	}
	for _, rel := range releases {
		if only := rel.Adapter(); only != "" && only != Name {
			continue
		}
		m := rel.Manifest
		i := &item{digest: rel.Digest, seq: m.Seq, version: m.Version, platform: m.Platform, runtime: m.Runtime, embedded: rel.Embedded}
		if d, ok := r.made[rel.Digest]; ok && (Protocol{}).FitsWith(raw, m) == nil && json.Unmarshal(d.Doc, &i.made) == nil {
			i.zip, i.listable = d.SHA256, listable(m)
			a.zips[d.SHA256] = true
			a.lists(i, r.listed)
		}
		a.items[i.digest] = i
		a.versions[i.version] = append(a.versions[i.version], i)
	}
	if err := r.channels(a); err != nil {
		return err
	}
	r.edition.apps[name] = a
	return nil
}

// lists takes the list of a bundle's files over.
func (a *app) lists(i *item, listed map[slipstream.Digest]store.Rendition) {
	d, ok := listed[i.digest]
	var l listing
	if !ok || !i.listable || json.Unmarshal(d.Doc, &l) != nil {
		return
	}
	i.files = l.Files
	for _, f := range l.Files {
		a.pieces[f.SHA256] = f.Size
		if f.Coded > 0 {
			a.coded[f.SHA256] = place{d.SHA256, f.At, f.Coded}
		}
	}
}

// channels reads what each channel offers, and names what has no name yet.
func (r *reading) channels(a *app) error {
	list, err := r.tx.Channels().List(r.ctx, a.name)
	if err != nil {
		return err
	}
	histories := make([]history, len(list))
	for i, c := range list {
		raw, err := r.tx.Settings().Get(r.ctx, historyKey(a.name, c.Name))
		if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
			return err
		}
		if histories[i], err = parseHistory(raw); err != nil {
			return broken{err}
		}
	}
	for i, c := range list {
		rollouts, withdrawn, err := r.offers(a, c.Name)
		if err != nil {
			return err
		}
		h := &histories[i]
		if h.follow(rollouts, withdrawn, func(name string, release slipstream.Digest) bool { return a.means(histories, name, release) }) {
			value, err := json.Marshal(h)
			if err != nil {
				return err
			}
			r.writes = append(r.writes, store.Setting{Key: historyKey(a.name, c.Name), Value: value})
		}
		ch := &channel{byOffer: map[string]string{}, byLeft: map[string]string{}, byName: map[string][]*named{}}
		for at := len(h.Entries) - 1; at >= 0; at-- {
			n := &h.Entries[at]
			ch.byOffer[n.Offer] = n.Name
			ch.byName[n.Name] = append(ch.byName[n.Name], n)
		}
		for i := range rollouts {
			ch.byLeft[offerOf(&rollouts[i])] = h.leaving(offerOf(&rollouts[i]))
			if on := a.items[rollouts[i].Manifest]; on != nil && on.listable && on.files == nil && !slices.Contains(r.unlisted, on.digest) {
				r.unlisted = append(r.unlisted, on.digest)
			}
		}
		a.channels[c.Name] = ch
	}
	return nil
}

// means reports whether a name stands for another release that some device could run which could run this one too.
func (a *app) means(histories []history, name string, release slipstream.Digest) bool {
	this := a.items[release]
	clashes := func(other *item) bool {
		return this != nil && other != nil && other.digest != this.digest && meets(this.platform, other.platform)
	}
	for _, i := range a.versions[name] {
		if clashes(i) && (i.seq < this.seq || i.version != this.version) {
			return true
		}
	}
	for h := range histories {
		for _, n := range histories[h].Entries {
			if n.Name == name && clashes(a.items[n.Release]) {
				return true
			}
		}
	}
	return false
}

// offers are the rollouts of a channel over all platforms, the highest first, and what is withdrawn there.
func (r *reading) offers(a *app, channel string) (rollouts []slipstream.Rollout, withdrawn []slipstream.Digest, err error) {
	seen := map[string]bool{}
	for _, row := range r.rows[a.name] {
		if row.Channel != channel {
			continue
		}
		key := stateKey{row.App, row.Channel, row.Platform}
		have, ok := r.book.states[key]
		if !ok || have.rev != row.Rev || have.pkg != a.options.Package {
			ps, err := packageOf(row, a.options.Package)
			if err != nil {
				return nil, nil, broken{err}
			}
			have = offered{rev: row.Rev, pkg: a.options.Package, rollouts: ps.Rollouts, withdrawn: ps.Withdrawn}
		}
		r.states[key] = have
		for _, ro := range have.rollouts {
			if !seen[ro.ID] {
				seen[ro.ID] = true
				rollouts = append(rollouts, ro)
			}
		}
		withdrawn = append(withdrawn, have.withdrawn...)
	}
	slices.SortStableFunc(rollouts, func(x, y slipstream.Rollout) int { return cmp.Compare(y.Seq, x.Seq) })
	return rollouts, withdrawn, nil
}

func packageOf(row store.StateRow, pkg string) (slipstream.PackageState, error) {
	payload := row.Private
	if payload == nil {
		e, err := sign.ParseEnvelope(row.Envelope, sign.TypeState, slipstream.MaxStateBytes)
		if err != nil {
			return slipstream.PackageState{}, err
		}
		payload = e.Payload
	}
	var st slipstream.State
	if err := sign.Decode(payload, &st); err != nil {
		return slipstream.PackageState{}, err
	}
	return st.Packages[pkg], nil
}
