package simfleet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/deliver"
	"github.com/slipstream-ota/slipstream/report"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// world is a server on a SQLite file, over loopback, that believes what a proxy says of senders.
type world struct {
	testing.TB
	store   store.Store
	blobs   blob.Store
	rollout *rollout.Service
	devices *deliver.Server
	url     string
	root    []byte
	seq     int64
	shipped []slipstream.Digest
}

func key(name string) sign.Signer {
	seed := sha256.Sum256([]byte("key of a world: " + name))
	return sign.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx := t.Context()
	st, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "db"), sqlite.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, store: st, blobs: mem.New()}
	keys, err := rollout.OpenKeys(ctx, st, bytes.Repeat([]byte{7}, 32))
	w.must(err)
	w.rollout = rollout.New(rollout.Config{Store: st, Blobs: w.blobs, Keys: keys})
	intake := report.NewIntake(st.Reports(), report.Config{Salt: []byte("salt")})
	w.devices = deliver.New(deliver.Config{Store: st, Blobs: w.blobs, Keys: keys, Reports: intake, TrustedProxies: func(ip string) bool { return ip == "127.0.0.1" }})
	w.makeApp(ctx)
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- w.devices.Run(running) }()
	go func() { done <- intake.Run(running) }()
	server := httptest.NewServer(w.devices.Handler())
	w.url = server.URL
	t.Cleanup(func() {
		server.Close()
		stop()
		for range cap(done) {
			w.must(<-done)
		}
		w.must(st.Close())
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) makeApp(ctx context.Context) {
	w.Helper()
	w.must(w.rollout.CreateApp(ctx, "test", rollout.AppSpec{Name: "shop"}))
	var keys []store.StateKey
	w.must(w.store.View(ctx, func(tx store.Tx) (err error) {
		keys, err = tx.Apps().StateKeys(ctx, "shop")
		return err
	}))
	state, err := sign.ParsePublic(keys[0].Public)
	w.must(err)
	one := func(p ed25519.PublicKey) sign.RoleKeys { return sign.RoleKeys{Keys: []ed25519.PublicKey{p}} }
	root, err := sign.NewRoot("shop", time.Now().AddDate(1, 0, 0), one(key("root").Public()), one(key("release").Public()), one(state))
	w.must(err)
	e, err := sign.Seal(sign.TypeRoot, root, key("root"))
	w.must(err)
	w.root = e.Encode()
	_, err = w.rollout.AddRoot(ctx, "test", "shop", w.root)
	w.must(err)
}

// publish commits a release of a few kilobytes and offers it to a share of the devices, in hundredths of a percent.
func (w *world) publish(version string, to int) slipstream.Digest {
	w.Helper()
	ctx := w.Context()
	w.seq++
	m := &slipstream.Manifest{App: "shop", Package: slipstream.DefaultPackage, Platform: slipstream.PlatformAny, Runtime: slipstream.AnyRuntime(), Seq: w.seq,
		Version: version, Entry: "a.js", Created: slipstream.At(time.Unix(1_700_000_000, 0)), Fallback: slices.Sorted(slices.Values(w.shipped))}
	for _, path := range []string{"a.js", "b.js", "c/d.js"} {
		text := strings.Repeat(path+" of "+version+"\n", 100)
		sum := slipstream.DigestOf(sha256.Sum256([]byte(text)))
		w.must(w.blobs.Put(ctx, sum, int64(len(text)), strings.NewReader(text)))
		m.Files = append(m.Files, slipstream.File{Path: path, Size: int64(len(text)), SHA256: sum})
	}
	e, err := sign.Seal(sign.TypeManifest, m, key("release"))
	w.must(err)
	done, err := w.rollout.Commit(ctx, "test", rollout.Commit{App: "shop", Manifest: e.Encode(), Offer: &rollout.Offer{Channel: slipstream.DefaultChannel, To: to}})
	if err != nil {
		w.Fatalf("publish %s: %v", version, err)
	}
	w.shipped = append(w.shipped, done.Release.Digest)
	for deadline := time.Now().Add(10 * time.Second); w.devices.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatal("the server is not ready")
		}
	}
	return done.Release.Digest
}

// counted is how many devices the server counted, by kind of report, for one release.
func (w *world) counted(release slipstream.Digest) map[slipstream.Kind]int64 {
	w.Helper()
	list, err := w.store.Reports().Counts(w.Context(), "shop")
	w.must(err)
	out := map[slipstream.Kind]int64{}
	for _, c := range list {
		if c.Release == release {
			out[c.Kind] += c.Devices
		}
	}
	return out
}

func (w *world) config(devices int) Config {
	return Config{App: "shop", Servers: []string{w.url}, Root: w.root, Devices: devices, Seed: 1, Poll: time.Second, Restart: 50 * time.Millisecond, Confirm: 20 * time.Millisecond}
}

// run runs a fleet until no device has anything to do any more.
func (w *world) run(f *Fleet) Report {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
	defer cancel()
	go func() {
		for now := f.Now(); ctx.Err() == nil && now.Settled < f.cfg.Devices || f.liars != nil && !f.liars.idle(); now = f.Now() {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	f.Run(ctx)
	r := f.Report()
	for _, e := range r.Errors {
		w.Errorf("%d × %s: %s", e.Times, e.What, e.Example)
	}
	return r
}

func (w *world) fleet(cfg Config) *Fleet {
	w.Helper()
	f, err := New(cfg, nil)
	w.must(err)
	return f
}

func show(r Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d arrived, %d silent, %d broken, late %s, in %s\n", r.Arrived, r.Devices, r.Silent, r.Broken, r.Late, r.Elapsed)
	for _, x := range r.Running {
		fmt.Fprintf(&b, "  runs %q: %d\n", x.Version, x.Devices)
	}
	for _, t := range r.Tallies {
		fmt.Fprintf(&b, "  %+v\n", t)
	}
	for _, t := range r.Told {
		fmt.Fprintf(&b, "  %s %s: %d\n", t.Version, t.Kind, t.Devices)
	}
	for _, t := range r.Requests {
		fmt.Fprintf(&b, "  %+v\n", t)
	}
	return b.String()
}
