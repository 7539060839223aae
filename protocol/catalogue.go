package protocol

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/store"
)

// Item is a release as an adapter sees it.
type Item struct {
	Digest    slipstream.Digest
	Package   string
	Platform  string
	Runtime   slipstream.Runtime
	Seq       int64
	Version   string
	Size      int64
	Published time.Time
	Notes     string
	// Rendition is nil while it has not been made yet: such a release is not offered by the adapter.
	Rendition *Rendition
}

// Rendition is a store.Rendition with what its Doc says of it.
type Rendition struct {
	store.Rendition
	Mark string // by which clients know the release, of Doc's md5
}

// App is one app that the protocol is switched on for.
type App struct {
	Name    string
	Display string
	Options json.RawMessage
	items   map[slipstream.Digest]*Item
	ordered []*Item // by seq, highest first
	// rendered are the blobs that renditions stand for: nothing else is served under the protocol's paths.
	rendered map[slipstream.Digest]*Item
}

// Item finds a release by its digest, or gives nil.
func (a *App) Item(d slipstream.Digest) *Item { return a.items[d] }

// Rendered reports whether some release of the app stands for clients as the blob d.
func (a *App) Rendered(d slipstream.Digest) bool { return a.rendered[d] != nil }

// WithBlob is the newest release that stands for clients as the blob d, or nil.
func (a *App) WithBlob(d slipstream.Digest) *Item { return a.rendered[d] }

// Items gives the releases of a package that devices of a platform may run, highest seq first.
func (a *App) Items(pkg, platform string) []*Item {
	var out []*Item
	for _, i := range a.ordered {
		if i.Package == pkg && (i.Platform == platform || i.Platform == slipstream.PlatformAny || platform == "") {
			out = append(out, i)
		}
	}
	return out
}

// ByVersion finds the release of a package that a client means by a version: the same text, else an equal version, the
// highest seq first. nil when there is none.
func (a *App) ByVersion(pkg, platform, version string) *Item {
	var equal *Item
	for _, i := range a.Items(pkg, platform) {
		switch {
		case i.Version == version:
			return i
		case equal == nil && Compare(i.Version, version) == 0:
			equal = i
		}
	}
	return equal
}

// Catalogue is what an adapter answers from. It never changes.
type Catalogue struct{ apps map[string]*App }

// App gives an app that the protocol is switched on for, or slipstream.ErrNotFound.
func (c *Catalogue) App(name string) (*App, error) {
	if a := c.apps[name]; a != nil {
		return a, nil
	}
	return nil, slipstream.Hint(fmt.Errorf("app %q: %w", name, slipstream.ErrNotFound), "the protocol is not switched on for this app: slipstream protocol enable")
}

// Keeper keeps the catalogue of one protocol fresh and renders what is missing.
type Keeper struct {
	protocol Protocol
	store    store.Store
	blobs    blob.Store
	log      *slog.Logger
	current  atomic.Pointer[Catalogue]
	await    time.Duration // how long Settle waits for what is rendered
	loading  chan struct{} // one look at the store at a time, so that no older catalogue follows a newer one

	mu     sync.Mutex
	failed map[slipstream.Digest]time.Time // renditions that failed, and when to try again
	tried  chan struct{}                   // closed after the next attempt to render
}

const (
	retryRender = time.Minute
	retryLoad   = time.Second
	awaitRender = 500 * time.Millisecond
)

// NewKeeper makes a Keeper. Its catalogue is empty until Run or Refresh.
func NewKeeper(p Protocol, st store.Store, blobs blob.Store, log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{protocol: p, store: st, blobs: blobs, log: log.With("protocol", p.Name()), await: awaitRender, loading: make(chan struct{}, 1),
		failed: map[slipstream.Digest]time.Time{}, tried: make(chan struct{})}
	k.current.Store(&Catalogue{})
	return k
}

// Catalogue is the newest catalogue.
func (k *Keeper) Catalogue() *Catalogue { return k.current.Load() }

// Run keeps the catalogue fresh until ctx ends. A store that is away is waited for; meanwhile the last catalogue serves.
func (k *Keeper) Run(ctx context.Context) error {
	Follow(ctx, k.store, 0, k.Refresh, func(err error) {
		k.log.LogAttrs(ctx, slog.LevelError, "the releases for a protocol could not be read", slog.Any("error", err))
	})
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Refresh reads the store, puts a new catalogue in force, and renders what is missing, one release after the other; each
// stands in the catalogue as soon as it is made. It is called by one goroutine at a time.
func (k *Keeper) Refresh(ctx context.Context) error {
	missing, err := k.load(ctx)
	if err != nil {
		return err
	}
	for _, r := range missing {
		if !k.due(r) {
			continue
		}
		err := k.render(ctx, r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.rendered(r, err)
		if err != nil {
			k.log.LogAttrs(ctx, slog.LevelError, "a release could not be rendered for a protocol: its clients are not offered it",
				slog.String("release", r.Digest.Short()), slog.Any("error", err))
			continue
		}
		if _, err := k.load(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Settle takes what the store holds by now, so that whoever changed something sees it in this node's next answers. What
// Run is rendering meanwhile is waited for half a second; what takes longer comes by itself.
func (k *Keeper) Settle(ctx context.Context) error {
	wait := time.NewTimer(k.await)
	defer wait.Stop()
	for {
		tried := k.attempt()
		missing, err := k.load(ctx)
		if err != nil || !slices.ContainsFunc(missing, k.due) {
			return err
		}
		select {
		case <-tried:
		case <-wait.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// due says whether a release is to be rendered now: not if that failed a moment ago.
func (k *Keeper) due(r *slipstream.Release) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !time.Now().Before(k.failed[r.Digest])
}

// attempt is closed once the next release was rendered, or could not be.
func (k *Keeper) attempt() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.tried
}

func (k *Keeper) rendered(r *slipstream.Release, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if delete(k.failed, r.Digest); err != nil {
		k.failed[r.Digest] = time.Now().Add(retryRender)
	}
	close(k.tried)
	k.tried = make(chan struct{})
}

func (k *Keeper) render(ctx context.Context, r *slipstream.Release) error {
	rendition, err := k.protocol.Render(ctx, r, k.blobs)
	if err != nil {
		return err
	}
	rendition.Release, rendition.Protocol = r.Digest, k.protocol.Name()
	err = k.store.Update(ctx, func(tx store.Tx) error { return tx.Containers().PutRendition(ctx, rendition) })
	if errors.Is(err, slipstream.ErrNotFound) {
		return nil // deleted meanwhile
	}
	return err
}

// load swaps in what the store says and gives the releases that fit the protocol and are not rendered yet, newest first.
func (k *Keeper) load(ctx context.Context) (missing []*slipstream.Release, err error) {
	select {
	case k.loading <- struct{}{}:
		defer func() { <-k.loading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another look at the store: %w", ctx.Err())
	}
	var next *Catalogue
	err = k.store.View(ctx, func(tx store.Tx) error {
		next, missing = &Catalogue{apps: map[string]*App{}}, nil
		on, err := Switched(ctx, tx, k.protocol.Name())
		if err != nil || len(on) == 0 {
			return err
		}
		list, err := tx.Containers().Renditions(ctx, k.protocol.Name())
		if err != nil {
			return err
		}
		made := map[slipstream.Digest]*Rendition{}
		for _, r := range list {
			if r.From == "" {
				made[r.Release] = marked(r)
			}
		}
		for name, options := range on {
			app, err := tx.Apps().Get(ctx, name)
			if errors.Is(err, slipstream.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			releases, err := tx.Releases().List(ctx, store.ReleaseFilter{App: name})
			if err != nil {
				return err
			}
			a, lacking := k.app(app, options, releases, made)
			next.apps[name] = a
			missing = append(missing, lacking...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read releases: %w", err)
	}
	k.current.Store(next)
	return missing, nil
}

func marked(r store.Rendition) *Rendition {
	var doc struct {
		MD5 string `json:"md5"`
	}
	_ = json.Unmarshal(r.Doc, &doc) // a protocol without such a mark
	return &Rendition{Rendition: r, Mark: doc.MD5}
}

func (k *Keeper) app(app store.App, options json.RawMessage, releases []*slipstream.Release, made map[slipstream.Digest]*Rendition) (*App, []*slipstream.Release) {
	a := &App{Name: app.Name, Display: app.Display, Options: options, items: map[slipstream.Digest]*Item{}, rendered: map[slipstream.Digest]*Item{}}
	var missing []*slipstream.Release
	choosy, picks := k.protocol.(Choosy)
	for _, r := range releases {
		if only := r.Adapter(); only != "" && only != k.protocol.Name() {
			continue
		}
		m := r.Manifest
		i := &Item{Digest: r.Digest, Package: m.Package, Platform: m.Platform, Runtime: m.Runtime, Seq: m.Seq, Version: m.Version, Size: m.Size(),
			Published: r.Published.Time, Notes: r.Notes, Rendition: made[r.Digest]}
		if i.Rendition != nil && (a.rendered[i.Rendition.SHA256] == nil || a.rendered[i.Rendition.SHA256].Seq < i.Seq) {
			a.rendered[i.Rendition.SHA256] = i
		}
		a.items[r.Digest] = i
		a.ordered = append(a.ordered, i)
		if i.Rendition == nil && !r.Embedded && (!picks || choosy.Wants(options, m)) && k.protocol.Fits(m) == nil {
			missing = append(missing, r)
		}
	}
	slices.SortFunc(a.ordered, func(x, y *Item) int { return cmp.Compare(y.Seq, x.Seq) })
	return a, missing
}
