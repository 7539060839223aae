// Package protocoltest is a server for the tests of adapters: the real store, rollouts and decisions, with keys that are
// made from a seed, so that golden files can name digests.
package protocoltest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	mrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/deliver"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/report"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// Base is the address under which devices of the world reach it.
const Base = "https://update.example"

// World is one server with the app shop. Its clock stands still until a test turns it.
type World struct {
	testing.TB
	Store   store.Store
	Blobs   blob.Store
	Rollout *rollout.Service
	Devices *deliver.Server
	Keeper  *protocol.Keeper
	Book    interface{ Refresh(context.Context) error } // of an adapter that keeps one of its own, else nil; Settle refreshes it
	Now     time.Time

	protocol protocol.Protocol
	seq      int64
	rollouts map[string]string // version → id of its rollout
	digests  map[string]slipstream.Digest
}

// New starts a world for one protocol, which is not switched on yet.
func New(t testing.TB, p protocol.Protocol) *World {
	t.Helper()
	ctx := t.Context()
	st, err := sqlite.Open(ctx, ":memory:", sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &World{TB: t, Store: st, Blobs: mem.New(), Now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), protocol: p,
		rollouts: map[string]string{}, digests: map[string]slipstream.Digest{}}
	clock := func() time.Time { return w.Now }
	keys, err := rollout.OpenKeys(ctx, st, bytes.Repeat([]byte{7}, 32))
	w.must(err)
	w.Rollout = rollout.New(rollout.Config{Store: st, Blobs: w.Blobs, Keys: keys, Clock: clock, Rand: mrand.NewChaCha8([32]byte{1})})
	intake := report.NewIntake(st.Reports(), report.Config{Salt: []byte("salt")})
	w.Devices = deliver.New(deliver.Config{Store: st, Blobs: w.Blobs, Keys: keys, Reports: intake, Clock: clock})
	w.Keeper = protocol.NewKeeper(p, st, w.Blobs, nil)
	w.makeApp(ctx)
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- w.Devices.Run(running) }()
	go func() { done <- intake.Run(running) }()
	t.Cleanup(func() {
		stop()
		w.must(errors.Join(<-done, <-done, st.Close()))
	})
	w.Settle()
	return w
}

func (w *World) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func signer(name string) sign.Signer {
	seed := sha256.Sum256([]byte("key of a world: " + name))
	return sign.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
}

func (w *World) makeApp(ctx context.Context) {
	w.Helper()
	w.must(w.Rollout.CreateApp(ctx, "test", rollout.AppSpec{Name: "shop"}))
	var keys []store.StateKey
	w.must(w.Store.View(ctx, func(tx store.Tx) (err error) {
		keys, err = tx.Apps().StateKeys(ctx, "shop")
		return err
	}))
	state, err := sign.ParsePublic(keys[0].Public)
	w.must(err)
	one := func(p ed25519.PublicKey) sign.RoleKeys { return sign.RoleKeys{Keys: []ed25519.PublicKey{p}} }
	root, err := sign.NewRoot("shop", w.Now.AddDate(5, 0, 0), one(signer("root").Public()), one(signer("release").Public()), one(state))
	w.must(err)
	e, err := sign.Seal(sign.TypeRoot, root, signer("root"))
	w.must(err)
	_, err = w.Rollout.AddRoot(ctx, "test", "shop", e.Encode())
	w.must(err)
}

// Enable switches the protocol on for the app, with options.
func (w *World) Enable(options string) {
	w.Helper()
	w.must(w.Store.Update(w.Context(), func(tx store.Tx) error {
		return protocol.Enable(w.Context(), tx, w.protocol, "shop", []byte(options))
	}))
	w.Settle()
}

// Settle waits until everything that was written is in force: renditions, the catalogue, decisions.
func (w *World) Settle() {
	w.Helper()
	w.must(w.Keeper.Refresh(w.Context()))
	if err := w.Store.Update(w.Context(), func(tx store.Tx) error { return tx.Settings().Set(w.Context(), "test/settle", nil) }); err != nil {
		w.Fatal(err)
	}
	var want []store.StateRow
	w.must(w.Store.View(w.Context(), func(tx store.Tx) (err error) {
		want, err = tx.States().Since(w.Context(), 0)
		return err
	}))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		fresh := w.Devices.Ready() == nil
		for _, row := range want {
			a, err := w.Devices.Decide(protocol.Question{App: row.App, Channel: row.Channel, Package: slipstream.DefaultPackage,
				Device: slipstream.DeviceFacts{Platform: row.Platform}})
			fresh = fresh && err == nil && a.Epoch >= row.Epoch
		}
		if fresh {
			break
		}
		if time.Now().After(deadline) {
			w.Fatal("the decisions did not settle")
		}
	}
	if w.Book != nil {
		w.must(w.Book.Refresh(w.Context()))
	}
}

// Offer is a rollout on channel production to a share of the devices, in basis points, without a control group.
func Offer(share int) *rollout.Offer {
	none := 0
	return &rollout.Offer{Channel: "production", To: share, Control: &none}
}

// Counts gives how many devices reported what, over all releases.
func (w *World) Counts() map[string]int64 {
	w.Helper()
	list, err := w.Store.Reports().Counts(w.Context(), "shop")
	w.must(err)
	out := map[string]int64{}
	for _, c := range list {
		if c.Release != "" {
			out[string(c.Kind)] += c.Devices
		}
	}
	return out
}

// Release is what to publish. Zero fields take the defaults; Offer nil publishes without a rollout.
type Release struct {
	Version, Package, Platform, Entry string
	Runtime                           slipstream.Runtime
	Files                             map[string]string
	Meta                              map[string]json.RawMessage
	Offer                             *rollout.Offer
}

// Publish signs and commits a release and gives its digest.
func (w *World) Publish(r Release) slipstream.Digest {
	w.Helper()
	ctx := w.Context()
	w.must(w.Store.View(ctx, func(tx store.Tx) error {
		all, err := tx.Releases().List(ctx, store.ReleaseFilter{App: "shop"})
		for _, r := range all { // an adapter's own too
			w.seq = max(w.seq, r.Manifest.Seq)
		}
		return err
	}))
	w.seq++
	m := &slipstream.Manifest{App: "shop", Package: first(r.Package, slipstream.DefaultPackage), Platform: first(r.Platform, slipstream.PlatformAny),
		Runtime: r.Runtime, Seq: w.seq, Version: r.Version, Entry: r.Entry, Created: slipstream.At(w.Now), Meta: r.Meta}
	if m.Runtime == (slipstream.Runtime{}) {
		m.Runtime = slipstream.AnyRuntime()
	}
	for path, text := range r.Files {
		sum := slipstream.DigestOf(sha256.Sum256([]byte(text)))
		w.must(w.Blobs.Put(ctx, sum, int64(len(text)), strings.NewReader(text)))
		m.Files = append(m.Files, slipstream.File{Path: path, Size: int64(len(text)), SHA256: sum})
	}
	slices.SortFunc(m.Files, func(a, b slipstream.File) int { return strings.Compare(a.Path, b.Path) })
	for _, d := range w.digests {
		m.Fallback = append(m.Fallback, d)
	}
	slices.Sort(m.Fallback)
	e, err := sign.Seal(sign.TypeManifest, m, signer("release"))
	w.must(err)
	done, err := w.Rollout.Commit(ctx, "test", rollout.Commit{App: "shop", Manifest: e.Encode(), Offer: r.Offer})
	if err != nil {
		w.Fatalf("publish %s: %v", r.Version, err)
	}
	if done.Rollout != nil {
		w.rollouts[r.Version] = done.Rollout.ID
	}
	w.digests[r.Version] = done.Release.Digest
	w.Settle()
	return done.Release.Digest
}

// RolloutOf is the id of the rollout that a version was published with.
func (w *World) RolloutOf(version string) string { return w.rollouts[version] }

// DigestOf is the digest of a version.
func (w *World) DigestOf(version string) slipstream.Digest { return w.digests[version] }

func first(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// BaseURL is the world's address, as adapters ask for it.
func BaseURL(*http.Request) string { return Base }
