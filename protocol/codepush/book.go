package codepush

import (
	"context"
	"crypto/sha256"
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
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/codepush/semver"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	refreshEvery = time.Minute
	settle       = 50 * time.Millisecond // changes that come close together are read once
	differences  = 5                     // packages from which there is a difference to a newer one
	targets      = 3                     // rollouts of a deployment to whose releases there are differences
	maxVerified  = 10000                 // signatures remembered at once
)

// Book keeps what checks are answered from: the deployments with their labels. It gives labels to new rollouts and makes
// the differences between packages. Packages themselves are rendered by a protocol.Keeper.
type Book struct {
	store    store.Store
	blobs    blob.Store
	clock    func() time.Time
	log      *slog.Logger
	current  atomic.Pointer[edition]
	loading  chan struct{}      // one look at the store at a time, so that no older edition follows a newer one
	failed   map[pair]time.Time // differences that are not worth having or could not be made, and when to try again
	verified map[[sha256.Size]byte]bool
}

// NewBook makes a Book that is empty until Run or Refresh. A nil clock is the real one.
func NewBook(st store.Store, blobs blob.Store, clock func() time.Time, log *slog.Logger) *Book {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if clock == nil {
		clock = time.Now
	}
	b := &Book{store: st, blobs: blobs, clock: clock, log: log.With("protocol", Name), loading: make(chan struct{}, 1), failed: map[pair]time.Time{},
		verified: map[[sha256.Size]byte]bool{}}
	b.current.Store(&edition{})
	return b
}

// edition is one state of the book. It never changes.
type edition struct {
	byKey map[string]*deployment
	diffs map[pair]diff
	files map[slipstream.Digest]bool // what may be downloaded
}

// pair are the hashes of two packages.
type pair struct{ from, to slipstream.Digest }

type diff struct {
	sum  slipstream.Digest
	size int64
}

// deployment is what a key stands for. Platform is "" for devices of any.
type deployment struct {
	app, channel, pkg, platform string
	entries                     []*entry // newest label first
	labels                      map[string]*entry
	hashes                      map[slipstream.Digest]*item // the newest release with that package hash
	standing                    map[string]*entry           // the newest label of a rollout
	placed                      map[string]string           // the first label of a rollout: it places clients
	ranges                      map[string]*semver.Range
	// plan decides where there are labels of its own beside the channel's rollouts, else nil.
	plan *decide.Plan
}

// entry is one label.
type entry struct {
	Label
	name string
	item *item // nil when the release is gone
	// rollout is the one that stands for it, nil when none does any more.
	rollout   *slipstream.Rollout
	withdrawn bool
}

func (e *entry) runtime() slipstream.Runtime {
	if e.Own != nil {
		return slipstream.Runtime{Range: e.Own.Range}
	}
	return e.item.runtime
}

// item is a release. Without a hash it has not been rendered yet.
type item struct {
	digest  slipstream.Digest
	seq     int64
	runtime slipstream.Runtime
	hash    slipstream.Digest
	zip     slipstream.Digest
	size    int64
	single  bool // one file as it is, no zip: there are no differences to it
}

// Run keeps the book fresh until ctx ends. A store that is away is waited for; meanwhile the last edition serves.
func (b *Book) Run(ctx context.Context) error {
	protocol.Follow(ctx, b.store, settle, b.Refresh, func(err error) {
		b.log.LogAttrs(ctx, slog.LevelError, "the deployments could not be read", slog.Any("error", err))
	})
	return nil
}

// Refresh reads the store, gives labels to what is new, puts a new edition in force, and makes the differences that are
// missing. It is called by one goroutine at a time.
func (b *Book) Refresh(ctx context.Context) error {
	missing, err := b.load(ctx)
	if err != nil {
		return err
	}
	made := 0
	for _, want := range missing {
		if b.clock().Before(b.failed[want.pair]) {
			continue
		}
		err := b.make(ctx, want)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.failed[want.pair] = b.clock().Add(refreshEvery)
			b.log.LogAttrs(ctx, slog.LevelError, "a difference between packages could not be made: devices get the whole package", slog.Any("error", err))
			continue
		}
		made++
	}
	if made > 0 {
		_, err = b.load(ctx)
	}
	return err
}

// Settle takes what the store holds by now, so that whoever changed something sees it in this node's next answers.
// Differences come later, and are not waited for.
func (b *Book) Settle(ctx context.Context) error {
	_, err := b.load(ctx)
	return err
}

// load swaps a new edition in and gives the differences that are not there yet.
func (b *Book) load(ctx context.Context) ([]wanted, error) {
	select {
	case b.loading <- struct{}{}:
		defer func() { <-b.loading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another look at the store: %w", ctx.Err())
	}
	var r *reading
	err := protocol.Remember(ctx, b.store, func(tx store.Tx) ([]store.Setting, error) {
		r = &reading{book: b, ctx: ctx, tx: tx, now: b.clock()}
		err := r.all()
		return r.writes, err
	})
	if err != nil {
		return nil, fmt.Errorf("read deployments: %w", err)
	}
	b.current.Store(r.edition)
	return r.wanted(), nil
}

// wanted is a difference to make, between releases.
type wanted struct {
	pair
	old, next slipstream.Digest
}

// reading is one pass over the store.
type reading struct {
	book    *Book
	ctx     context.Context
	tx      store.Tx
	now     time.Time
	edition *edition
	made    map[slipstream.Digest]store.Rendition
	since   map[string]time.Time // of the keys
	writes  []store.Setting
}

func (r *reading) all() error {
	r.edition = &edition{byKey: map[string]*deployment{}, diffs: map[pair]diff{}, files: map[slipstream.Digest]bool{}}
	r.made, r.since = map[slipstream.Digest]store.Rendition{}, map[string]time.Time{}
	on, err := protocol.Switched(r.ctx, r.tx, Name)
	if err != nil || len(on) == 0 {
		return err
	}
	list, err := r.tx.Containers().Renditions(r.ctx, Name)
	if err != nil {
		return err
	}
	for _, d := range list {
		r.edition.files[d.SHA256] = true
		if d.From == "" {
			r.made[d.Release] = d
			continue
		}
		var about difference
		if err := json.Unmarshal(d.Doc, &about); err != nil {
			return fmt.Errorf("read difference: %w", err)
		}
		r.edition.diffs[pair{about.From, about.Hash}] = diff{d.SHA256, d.Size}
	}
	for _, app := range slices.Sorted(maps.Keys(on)) {
		err := r.app(app, on[app])
		if is := new(broken); errors.As(err, is) {
			// What is wrong with one app must not keep the others from what is new.
			r.book.log.LogAttrs(r.ctx, slog.LevelError, "the deployments of an app cannot be read: its clients get what they got before", slog.String("app", app), slog.Any("error", err))
			r.keep(app)
			continue
		}
		if err != nil {
			return fmt.Errorf("app %s: %w", app, err)
		}
	}
	return nil
}

// broken is what is wrong with the data of one app, not with the store.
type broken struct{ error }

// keep takes an app's deployments over from the edition before.
func (r *reading) keep(app string) {
	for key, d := range r.book.current.Load().byKey {
		if other := r.edition.byKey[key]; d.app == app && (other == nil || other.app != app) {
			r.edition.byKey[key], r.since[key] = d, time.Time{}
		}
	}
}

func (r *reading) app(app string, raw json.RawMessage) error {
	o, err := parseOptions(raw)
	if err != nil {
		return broken{err}
	}
	releases, err := r.tx.Releases().List(r.ctx, store.ReleaseFilter{App: app, Package: o.Package})
	if err != nil {
		return err
	}
	items := make(map[slipstream.Digest]*item, len(releases))
	for _, rel := range releases {
		i := &item{digest: rel.Digest, seq: rel.Manifest.Seq, runtime: rel.Manifest.Runtime, single: singleFile(rel.Manifest)}
		var doc rendition
		if made, ok := r.made[rel.Digest]; ok && json.Unmarshal(made.Doc, &doc) == nil && r.book.signed(r.ctx, rel.Digest, doc, o.SigningKey) {
			i.hash, i.zip, i.size = doc.Hash, made.SHA256, made.Size
		}
		items[rel.Digest] = i
	}
	for _, channel := range slices.Sorted(maps.Keys(o.Deployments)) {
		for platform, key := range o.Deployments[channel] {
			d := &deployment{app: app, channel: channel, pkg: o.Package, platform: platform}
			if platform == slipstream.PlatformAny {
				d.platform = ""
			}
			if err := r.deployment(d, key, platform, items); err != nil {
				return fmt.Errorf("channel %s: %w", channel, err)
			}
		}
	}
	return nil
}

// signed says whether a package may be offered to apps that have this key embedded.
func (b *Book) signed(ctx context.Context, release slipstream.Digest, doc rendition, key string) bool {
	if key == "" {
		return true
	}
	mark := sha256.Sum256([]byte(key + "\x00" + doc.Token + "\x00" + string(doc.Hash)))
	if ok, known := b.verified[mark]; known {
		return ok
	}
	public, err := parsePublic(key)
	if err == nil {
		err = verify(doc.Token, doc.Hash, public)
	}
	if err != nil {
		b.log.LogAttrs(ctx, slog.LevelWarn, "a release is not signed for CodePush: its clients are not offered it", slog.String("release", release.Short()), slog.Any("error", err))
	}
	if len(b.verified) >= maxVerified {
		b.verified = map[[sha256.Size]byte]bool{}
	}
	b.verified[mark] = err == nil
	return err == nil
}

// state is the one that the deployment's devices are decided by.
func (r *reading) state(app, channel, platform string) (*slipstream.State, error) {
	row, err := r.tx.States().Get(r.ctx, app, channel, platform)
	if errors.Is(err, slipstream.ErrNotFound) {
		row, err = r.tx.States().Get(r.ctx, app, channel, slipstream.PlatformAny)
	}
	if err != nil {
		return nil, err
	}
	payload := row.Private
	if payload == nil {
		e, err := sign.ParseEnvelope(row.Envelope, sign.TypeState, slipstream.MaxStateBytes)
		if err != nil {
			return nil, broken{err}
		}
		payload = e.Payload
	}
	st := new(slipstream.State)
	if err := sign.Decode(payload, st); err != nil {
		return nil, broken{err}
	}
	return st, nil
}

func (r *reading) deployment(d *deployment, key, platform string, items map[slipstream.Digest]*item) error {
	st, err := r.state(d.app, d.channel, platform)
	unsigned := errors.Is(err, slipstream.ErrNotFound)
	if unsigned {
		st, err = &slipstream.State{App: d.app, Channel: d.channel, Platform: platform}, nil // without a root nothing is signed
	}
	if err != nil {
		return err
	}
	name := recordKey(d.app, d.channel, platform)
	raw, err := r.tx.Settings().Get(r.ctx, name)
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return err
	}
	history, err := parseRecord(raw)
	if err != nil {
		return broken{err}
	}
	if _, err := r.tx.Channels().Get(r.ctx, d.app, d.channel); errors.Is(err, slipstream.ErrNotFound) {
		return nil // the channel comes later
	} else if err != nil {
		return err
	}
	ps := st.Packages[d.pkg]
	if history.follow(key, ps, r.now) {
		value, err := json.Marshal(history)
		if err != nil {
			return err
		}
		r.writes = append(r.writes, store.Setting{Key: name, Value: value})
	}
	// A key belongs to whoever named it first: another app cannot take devices over by naming it too.
	if other := r.edition.byKey[key]; other != nil {
		r.book.log.LogAttrs(r.ctx, slog.LevelWarn, "two deployments have the same key: the older one keeps it",
			slog.String("one", other.app+"/"+other.channel), slog.String("other", d.app+"/"+d.channel))
		if !history.Since.Before(r.since[key]) {
			return nil
		}
	}
	ps, own := history.with(ps, items)
	if own || unsigned {
		if d.plan, err = planOf(st, d.pkg, ps, r.now); err != nil {
			return broken{err}
		}
	}
	d.fill(history, ps, items)
	r.edition.byKey[key], r.since[key] = d, history.Since
	return nil
}

func (d *deployment) fill(history History, ps slipstream.PackageState, items map[slipstream.Digest]*item) {
	d.labels, d.hashes, d.standing = map[string]*entry{}, map[slipstream.Digest]*item{}, map[string]*entry{}
	d.placed, d.ranges = map[string]string{}, map[string]*semver.Range{}
	d.read(slipstream.AnyRuntime())
	for _, i := range items {
		if have := d.hashes[i.hash]; i.hash != "" && (have == nil || have.seq < i.seq) {
			d.hashes[i.hash] = i
		}
		d.read(i.runtime)
	}
	rollouts := map[string]*slipstream.Rollout{}
	for i := range ps.Rollouts {
		rollouts[ps.Rollouts[i].ID] = &ps.Rollouts[i]
	}
	for _, f := range ps.Floors {
		d.read(f.Runtime)
	}
	for _, rec := range history.Entries {
		if rec.Own != nil {
			d.read(slipstream.Runtime{Range: rec.Own.Range})
		}
		e := &entry{Label: rec, name: rec.Name(), item: items[rec.Release], rollout: rollouts[rec.Rollout], withdrawn: slices.Contains(ps.Withdrawn, rec.Release)}
		if d.placed[rec.Rollout] == "" {
			d.placed[rec.Rollout] = e.name
		}
		d.standing[rec.Rollout], d.labels[e.name] = e, e
		d.entries = append(d.entries, e)
	}
	slices.Reverse(d.entries)
}

// read keeps a range parsed; one that these rules do not know fits nothing.
func (d *deployment) read(rt slipstream.Runtime) {
	if rt.Range == "" || d.ranges[rt.Range] != nil {
		return
	}
	r, err := semver.ParseRange(rt.Range)
	if err != nil {
		r = semver.Range{}
	}
	d.ranges[rt.Range] = &r
}

// wanted are the differences to the releases on offer from what devices may have.
func (r *reading) wanted() []wanted {
	var out []wanted
	asked := map[pair]bool{}
	for _, key := range slices.Sorted(maps.Keys(r.edition.byKey)) {
		d, left := r.edition.byKey[key], targets
		for _, to := range d.entries {
			if left == 0 {
				break
			}
			if to.rollout == nil || to.withdrawn || to.item == nil || to.item.hash == "" || to.item.single {
				continue
			}
			left--
			near := map[slipstream.Digest]bool{}
			for _, from := range d.entries {
				if from.item == nil || from.item.hash == "" || from.item.single || from.item.hash == to.item.hash || near[from.item.hash] || len(near) == differences {
					continue
				}
				near[from.item.hash] = true
				p := pair{from.item.hash, to.item.hash}
				if _, there := r.edition.diffs[p]; !there && !asked[p] {
					asked[p] = true
					out = append(out, wanted{p, from.item.digest, to.item.digest})
				}
			}
		}
	}
	return out
}

// make makes one difference and keeps it, also when it is larger than the package: then it is never offered.
func (b *Book) make(ctx context.Context, w wanted) error {
	var old, next *slipstream.Release
	if err := b.store.View(ctx, func(tx store.Tx) (err error) {
		if old, err = tx.Releases().Get(ctx, w.old); err != nil {
			return err
		}
		next, err = tx.Releases().Get(ctx, w.next)
		return err
	}); err != nil {
		return fmt.Errorf("read releases: %w", err)
	}
	from, err := layout(old.Manifest)
	if err != nil {
		return err
	}
	to, err := layout(next.Manifest)
	if err != nil {
		return err
	}
	sum, size, err := putDiff(ctx, b.blobs, from, to)
	if err != nil {
		return err
	}
	doc, err := json.Marshal(difference{From: w.from, Hash: w.to})
	if err != nil {
		return err
	}
	err = b.store.Update(ctx, func(tx store.Tx) error {
		return tx.Containers().PutRendition(ctx, store.Rendition{Release: w.next, From: w.old, Protocol: Name, Size: size, SHA256: sum, Doc: doc})
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		return nil // deleted meanwhile
	}
	return err
}
