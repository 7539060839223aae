package rollout_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// world is a server's inside with the app "shop", whose keys the test holds.
type world struct {
	*testing.T
	ctx     context.Context
	store   *sqlite.Store
	blobs   *mem.Store
	service *rollout.Service
	now     time.Time
	root    sign.Signer
	release sign.Signer
	trust   *sign.Trust
}

func newSigner(t *testing.T) sign.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return sign.NewSigner(priv)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, ctx: t.Context(), blobs: mem.New(), now: time.Unix(1_700_000_000, 0).UTC(), root: newSigner(t), release: newSigner(t)}
	var err error
	if w.store, err = sqlite.Open(w.ctx, ":memory:", sqlite.Options{Migrate: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.must(w.store.Close()) })
	keys, err := rollout.OpenKeys(w.ctx, w.store, bytes.Repeat([]byte{1}, 32))
	w.must(err)
	w.service = rollout.New(rollout.Config{Store: w.store, Blobs: w.blobs, Keys: keys, Clock: func() time.Time { return w.now }})
	w.must(w.service.CreateApp(w.ctx, "ann", rollout.AppSpec{Name: "shop", Platforms: []string{"ios"}}))
	w.addRoot(1, w.release, nil)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) view(fn func(tx store.Tx) error) {
	w.Helper()
	w.must(w.store.View(w.ctx, fn))
}

func (w *world) stateKeys() (out []ed25519.PublicKey) {
	w.view(func(tx store.Tx) error {
		out = nil
		keys, err := tx.Apps().StateKeys(w.ctx, "shop")
		for _, k := range keys {
			pub, err := sign.ParsePublic(k.Public)
			w.must(err)
			out = append(out, pub)
		}
		return err
	})
	return out
}

// addRoot registers the root of this version with one release key; state nil means all the server's state keys.
func (w *world) addRoot(version int64, release sign.Signer, state []ed25519.PublicKey) rollout.RootAdded {
	w.Helper()
	added, err := w.service.AddRoot(w.ctx, "ann", "shop", w.rootOf(version, release, state))
	w.must(err)
	return added
}

func (w *world) rootOf(version int64, release sign.Signer, state []ed25519.PublicKey) []byte {
	w.Helper()
	if state == nil {
		state = w.stateKeys()
	}
	one := func(s sign.Signer) sign.RoleKeys { return sign.RoleKeys{Keys: []ed25519.PublicKey{s.Public()}} }
	root, err := sign.NewRoot("shop", w.now.AddDate(5, 0, 0), one(w.root), one(release), sign.RoleKeys{Keys: state})
	w.must(err)
	root.Version = version
	e, err := sign.Seal(sign.TypeRoot, root, w.root)
	w.must(err)
	raw := e.Encode()
	if w.trust == nil {
		w.trust, err = sign.OpenRoot(raw)
		w.must(err)
	}
	return raw
}

// manifest makes and signs a release; its one file is stored unless the test says otherwise.
func (w *world) manifest(seq int64, change ...func(*slipstream.Manifest)) []byte {
	w.Helper()
	content := fmt.Appendf(nil, "release %d", seq)
	d := slipstream.DigestOf(sha256.Sum256(content))
	w.must(w.blobs.Put(w.ctx, d, int64(len(content)), bytes.NewReader(content)))
	m := &slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: seq, Version: fmt.Sprintf("1.%d.0", seq),
		Entry: "a.js", Created: slipstream.At(w.now), Files: []slipstream.File{{Path: "a.js", Size: int64(len(content)), SHA256: d}}}
	for _, c := range change {
		c(m)
	}
	e, err := sign.Seal(sign.TypeManifest, m, w.release)
	w.must(err)
	return e.Encode()
}

func fallback(to ...slipstream.Digest) func(*slipstream.Manifest) {
	return func(m *slipstream.Manifest) { m.Fallback = to }
}

func toAll() *rollout.Offer {
	return &rollout.Offer{Channel: "production", To: slipstream.FullShare}
}

func (w *world) publish(seq int64, change ...func(*slipstream.Manifest)) rollout.Committed {
	w.Helper()
	c, err := w.service.Commit(w.ctx, "bob", rollout.Commit{App: "shop", Manifest: w.manifest(seq, change...), Offer: toAll()})
	w.must(err)
	return c
}

// state is what a device of this platform sees, verified under the first root.
func (w *world) state(platform string) *slipstream.State {
	w.Helper()
	return w.stateUnder(w.trust, platform)
}

func (w *world) row(platform string) (row store.StateRow) {
	w.view(func(tx store.Tx) (err error) {
		row, err = tx.States().Get(w.ctx, "shop", "production", platform)
		return err
	})
	return row
}

func (w *world) stateUnder(trust *sign.Trust, platform string) *slipstream.State {
	w.Helper()
	s, err := trust.State(w.row(platform).Envelope)
	w.must(err)
	return s
}

func (w *world) actions() (out []string) {
	w.view(func(tx store.Tx) error {
		out = nil
		list, err := tx.Log().Audit().List(w.ctx, store.AuditQuery{})
		for _, e := range list {
			out = append(out, e.Action)
		}
		return err
	})
	slices.Reverse(out)
	return out
}

func TestAReleaseBecomesVisibleWithItsRolloutInOneStep(t *testing.T) {
	w := newWorld(t)
	before := w.state("ios").Epoch
	c := w.publish(1)
	for _, platform := range []string{"any", "ios"} {
		s := w.state(platform)
		r := s.Packages["main"].Rollouts
		if len(r) != 1 || r[0].Manifest != c.Release.Digest || s.Epoch != c.Epoch || s.Epoch <= before || s.RootVersion != 1 {
			t.Errorf("%s: %+v", platform, s)
		}
	}
	if want := []string{"app.create", "root.add", "release.publish", "rollout.start"}; !slices.Equal(w.actions(), want) {
		t.Errorf("recorded %v, want %v", w.actions(), want)
	}
}

func TestCommittingTwiceChangesNothing(t *testing.T) {
	w := newWorld(t)
	m := w.manifest(1)
	var ids []string
	for range 2 {
		c, err := w.service.Commit(w.ctx, "bob", rollout.Commit{App: "shop", Manifest: m, Offer: toAll()})
		w.must(err)
		ids = append(ids, c.Rollout.ID)
	}
	if ids[0] != ids[1] || len(w.state("any").Packages["main"].Rollouts) != 1 {
		t.Errorf("rollouts %v", ids)
	}
}

func TestACommitIsRefusedWhole(t *testing.T) {
	w := newWorld(t)
	w.publish(5)
	missing := slipstream.Digest(strings.Repeat("ab", 32))
	stranger := newSigner(t)
	strange := func(seq int64) []byte {
		mine := w.release
		w.release = stranger
		defer func() { w.release = mine }()
		return w.manifest(seq)
	}
	var gone *rollout.MissingError
	for _, c := range []struct {
		name     string
		commit   rollout.Commit
		is       error
		reason   slipstream.Reason
		asTarget any
	}{
		{"a seq that is not above the highest", rollout.Commit{App: "shop", Manifest: w.manifest(5, version("2.0.0"))}, rollout.ErrSeqTaken, "", nil},
		{"a version that is taken", rollout.Commit{App: "shop", Manifest: w.manifest(6, version("1.5.0"))}, rollout.ErrVersionTaken, "", nil},
		{"a blob that is not there", rollout.Commit{App: "shop", Manifest: w.manifest(6, func(m *slipstream.Manifest) { m.Files[0].SHA256 = missing })}, slipstream.ErrNotFound, "", &gone},
		{"a size that is not the blob's", rollout.Commit{App: "shop", Manifest: w.manifest(6, func(m *slipstream.Manifest) { m.Files[0].Size++ })}, nil, slipstream.ReasonFileMismatch, nil},
		{"a key outside the release role", rollout.Commit{App: "shop", Manifest: strange(6)}, nil, slipstream.ReasonSignatureInvalid, nil},
		{"another app's manifest", rollout.Commit{App: "shop", Manifest: w.manifest(6, func(m *slipstream.Manifest) { m.App = "cart" })}, nil, slipstream.ReasonWrongApp, nil},
		{"an app that is not there", rollout.Commit{App: "nope", Manifest: w.manifest(6)}, slipstream.ErrNotFound, "", nil},
		{"a channel that is not there", rollout.Commit{App: "shop", Manifest: w.manifest(6), Offer: &rollout.Offer{Channel: "beta", To: 1}}, slipstream.ErrNotFound, "", nil},
		{"a share beyond everybody", rollout.Commit{App: "shop", Manifest: w.manifest(6), Offer: &rollout.Offer{Channel: "production", To: 10001}}, slipstream.ErrInvalid, "", nil},
		{"an embedded release on a channel", rollout.Commit{App: "shop", Manifest: w.manifest(6), Embedded: true, Offer: toAll()}, slipstream.ErrInvalid, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			epoch, recorded := w.state("any").Epoch, len(w.actions())
			_, err := w.service.Commit(w.ctx, "bob", c.commit)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || c.reason != "" && slipstream.ReasonOf(err, "") != c.reason {
				t.Fatalf("got %v", err)
			}
			if c.asTarget != nil && (!errors.As(err, c.asTarget) || gone.Digests[0] != missing) {
				t.Errorf("names no missing blob: %v", err)
			}
			if w.state("any").Epoch != epoch || len(w.actions()) != recorded {
				t.Error("something changed all the same")
			}
			w.view(func(tx store.Tx) error {
				if n, err := tx.Releases().HighestSeq(w.ctx, "shop", "main"); n != 5 {
					t.Errorf("highest seq %d, %v", n, err)
				}
				return nil
			})
		})
	}
}

func version(v string) func(*slipstream.Manifest) {
	return func(m *slipstream.Manifest) { m.Version = v }
}

func TestTwoPublishersRacingGetTwoSeqsOrOneConflict(t *testing.T) {
	w := newWorld(t)
	const publishers = 8
	manifests := make([][]byte, publishers)
	for i := range manifests {
		manifests[i] = w.manifest(int64(1+i/2), version(fmt.Sprintf("2.%d.0", i))) // each seq twice
	}
	errs := make([]error, publishers)
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			_, errs[i] = w.service.Commit(w.ctx, "bob", rollout.Commit{App: "shop", Manifest: manifests[i], Offer: toAll()})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, rollout.ErrSeqTaken):
			t.Errorf("neither published nor a clear conflict: %v", err)
		}
	}
	w.view(func(tx store.Tx) error {
		list, err := tx.Releases().List(w.ctx, store.ReleaseFilter{App: "shop"})
		if len(list) != won || won == 0 {
			t.Errorf("%d won, %d releases", won, len(list))
		}
		if top := w.state("any").Packages["main"].Rollouts[0]; top.Seq != list[0].Manifest.Seq {
			t.Errorf("on top seq %d, highest %d", top.Seq, list[0].Manifest.Seq)
		}
		return err
	})
}

func TestAReleaseForANewPlatformGetsItsStates(t *testing.T) {
	w := newWorld(t)
	w.publish(1, func(m *slipstream.Manifest) { m.Platform = "harmony" })
	if got := w.state("harmony").Packages["main"].Rollouts; len(got) != 1 {
		t.Errorf("harmony: %v", got)
	}
	if got := w.state("any").Packages["main"].Rollouts; len(got) != 0 {
		t.Errorf("any: %v", got)
	}
}

func TestRollbackPutsTheEarlierOneInForceAndWithdrawsTheNewerInOneEpoch(t *testing.T) {
	w := newWorld(t)
	one := w.publish(1)
	two := w.publish(2, fallback(one.Release.Digest))
	before := w.state("any").Epoch
	done, err := w.service.RollBack(w.ctx, "ann", "shop", "production", rollout.RollbackSpec{Package: "main", Reason: "bad"})
	w.must(err)
	s := w.state("any")
	ps := s.Packages["main"]
	if s.Epoch != done.Epoch || s.Epoch <= before || ps.Rollouts[0].Manifest != one.Release.Digest || !slices.Equal(ps.Withdrawn, []slipstream.Digest{two.Release.Digest}) {
		t.Errorf("state %+v", s)
	}
	three := w.publish(3) // whose manifest names no way back
	_, err = w.service.RollBack(w.ctx, "ann", "shop", "production", rollout.RollbackSpec{Package: "main", To: one.Release.Digest})
	var edge *rollout.EdgeError
	if !errors.As(err, &edge) || edge.From[0].Digest != three.Release.Digest || !strings.Contains(slipstream.HintOf(err), "--republish") {
		t.Errorf("without an edge: %v, hint %q", err, slipstream.HintOf(err))
	}
	if got := w.state("any").Packages["main"]; got.Rollouts[0].Manifest != three.Release.Digest || len(got.Withdrawn) != 1 {
		t.Errorf("changed although refused: %+v", got)
	}
}

func TestPromoteOffersTheSameReleaseElsewhere(t *testing.T) {
	w := newWorld(t)
	w.publish(1)
	two := w.publish(2)
	_, err := w.service.CreateChannel(w.ctx, "ann", rollout.ChannelSpec{App: "shop", Name: "beta"})
	w.must(err)
	done, err := w.service.Promote(w.ctx, "ann", "shop", "main", "production", "", rollout.Offer{Channel: "beta", To: 1000})
	w.must(err)
	if len(done) != 1 || done[0].Rollout.Manifest != two.Release.Digest || done[0].Rollout.To != 1000 {
		t.Errorf("started %+v", done)
	}
	if _, err := w.service.Promote(w.ctx, "ann", "shop", "main", "beta", "", rollout.Offer{Channel: "beta", To: 1}); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("onto itself: %v", err)
	}
	if _, err := w.service.Promote(w.ctx, "ann", "shop", "cart", "beta", "", rollout.Offer{Channel: "production", To: 1}); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("a package that offers nothing: %v", err)
	}
}

func TestPromotingKeepsARolloutToItsDevices(t *testing.T) {
	w := newWorld(t)
	one := w.publish(1)
	for _, name := range []string{"beta", "gamma"} {
		_, err := w.service.CreateChannel(w.ctx, "ann", rollout.ChannelSpec{App: "shop", Name: name})
		w.must(err)
	}
	when := []slipstream.Condition{{Attr: "os", Op: "in", Value: []byte(`["17"]`)}}
	apply := slipstream.Apply{Mode: slipstream.ModeImmediate}
	_, err := w.service.StartRollout(w.ctx, "ann", "shop", one.Release.Digest, rollout.Offer{Channel: "beta", To: slipstream.FullShare, When: when, Private: true, Apply: apply})
	w.must(err)
	done, err := w.service.Promote(w.ctx, "ann", "shop", "main", "beta", "", rollout.Offer{Channel: "gamma", To: slipstream.FullShare})
	w.must(err)
	if got := done[0].Rollout; !got.Private || len(got.When) != 1 || got.When[0].Attr != "os" || got.Apply != apply {
		t.Errorf("what was for some became %+v", got)
	}
	if got := done[0].Warnings; len(got) != 1 || !strings.Contains(got[0], `only devices get it for which os in ["17"]`) {
		t.Errorf("the answer does not say for whom: %q", got)
	}
	two := w.publish(2)
	_, err = w.service.StartRollout(w.ctx, "ann", "shop", two.Release.Digest, rollout.Offer{Channel: "beta", To: slipstream.FullShare, When: when})
	w.must(err)
	_, err = w.service.CreateChannel(w.ctx, "ann", rollout.ChannelSpec{App: "shop", Name: "delta"})
	w.must(err)
	done, err = w.service.Promote(w.ctx, "ann", "shop", "main", "beta", "", rollout.Offer{Channel: "delta", To: slipstream.FullShare})
	w.must(err)
	if got := strings.Join(done[0].Warnings, "\n"); !strings.Contains(got, "version 1.1.0, which stands under it on channel beta for other devices, is not promoted") {
		t.Errorf("the answer does not say what stays behind: %q", got)
	}
}

func TestARolloutThatNobodyCouldGetIsRefused(t *testing.T) {
	w := newWorld(t)
	one := w.publish(1)
	_, err := w.service.StartRollout(w.ctx, "ann", "shop", one.Release.Digest, rollout.Offer{Channel: "production", To: 100, Grant: true})
	if !errors.Is(err, slipstream.ErrInvalid) || slipstream.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	_, err = w.service.StartRollout(w.ctx, "ann", "shop", one.Release.Digest, rollout.Offer{Channel: "production", To: 100, Cap: -5})
	if !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("a cap below nothing: %v", err)
	}
}

func TestACapStandsInTheStateUntilItIsTakenAway(t *testing.T) {
	w := newWorld(t)
	one := w.publish(1)
	offer := rollout.Offer{Channel: "production", To: slipstream.FullShare, Cap: 500}
	done, err := w.service.StartRollout(w.ctx, "ann", "shop", one.Release.Digest, offer)
	w.must(err)
	id := done.Rollout.ID
	stands := func(when string, capacity int64) {
		t.Helper()
		var caps map[string]int64
		w.view(func(tx store.Tx) error {
			c, err := tx.Channels().Get(w.ctx, "shop", "production")
			w.must(err)
			p, err := rollout.PolicyOf(c)
			w.must(err)
			caps = p.Caps()
			return nil
		})
		got := w.state("any").Packages["main"].Rollouts[0]
		if got.ID != id || got.Grant != (capacity > 0) || caps[id] != capacity || len(caps) > 1 {
			t.Errorf("%s: rollout %+v, caps %v", when, got, caps)
		}
	}
	stands("started", 500)
	same, err := w.service.StartRollout(w.ctx, "ann", "shop", one.Release.Digest, offer)
	w.must(err)
	if same.Rollout.ID != id {
		t.Error("the same offer again is another rollout")
	}
	last := w.state("any").Epoch
	edit := func(capacity int64) error {
		_, err := w.service.Edit(w.ctx, "ann", "shop", "production", id, rollout.Change{Cap: &capacity})
		return err
	}
	w.must(edit(600))
	stands("raised", 600)
	if w.state("any").Epoch <= last {
		t.Error("those who found it full do not hear of more places")
	}
	if err := edit(-1); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("a cap below nothing: %v", err)
	}
	stands("refused", 600)
	w.must(edit(0))
	stands("taken away", 0)
	w.must(edit(7))
	_, err = w.service.Finish(w.ctx, "ann", "shop", "production", id)
	w.must(err)
	stands("finished", 0)
}

func TestAChannelIsChanged(t *testing.T) {
	w := newWorld(t)
	_, err := w.service.SaveChannel(w.ctx, "ann", rollout.ChannelSpec{App: "shop", Name: "production", Display: "Everybody", Timing: rollout.Timing{CheckAfter: 60, Jitter: -1, Lifetime: 600}})
	w.must(err)
	w.view(func(tx store.Tx) error {
		c, err := tx.Channels().Get(w.ctx, "shop", "production")
		if c.Display != "Everybody" {
			t.Errorf("display %q", c.Display)
		}
		return err
	})
	if s := w.state("any"); s.CheckAfter != 60 || s.Jitter != 0 || s.Expires.Sub(s.Issued.Time) != 10*time.Minute {
		t.Errorf("state %+v", s)
	}
	if _, err := w.service.SaveChannel(w.ctx, "ann", rollout.ChannelSpec{App: "shop", Name: "production", Timing: rollout.Timing{Lifetime: 60}}); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("states that expire at once: %v", err)
	}
}

func TestAFloorThatNothingReachesNeedsForce(t *testing.T) {
	w := newWorld(t)
	w.publish(1)
	f := rollout.Floor{Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: 2}
	if _, err := w.service.SetFloor(w.ctx, "ann", "shop", "production", "main", f, false); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("without force: %v", err)
	}
	_, err := w.service.SetFloor(w.ctx, "ann", "shop", "production", "main", f, true)
	w.must(err)
	if got := w.state("any").Packages["main"].Floors; len(got) != 1 || got[0].Seq != 2 {
		t.Errorf("floors %v", got)
	}
}

func TestAStateThatWouldGrowTooLargeIsRefused(t *testing.T) {
	w := newWorld(t)
	w.publish(1)
	values := make([]string, 900)
	for i := range values {
		values[i] = fmt.Sprintf("%q", fmt.Sprint("device ", i))
	}
	long := []slipstream.Condition{{Attr: "custom.name", Op: "in", Value: []byte("[" + strings.Join(values, ",") + "]")}}
	var err error
	n := 0
	for ; n < 10 && err == nil; n++ {
		o := rollout.Offer{Channel: "production", To: 100 * (n + 1), When: long}
		_, err = w.service.StartRollout(w.ctx, "ann", "shop", w.release1(), o)
	}
	if slipstream.ReasonOf(err, "") != slipstream.ReasonTooLarge || slipstream.HintOf(err) == "" {
		t.Fatalf("after %d long lists: %v", n, err)
	}
	if len(w.row("any").Envelope) > slipstream.MaxStateBytes {
		t.Error("stored all the same")
	}
	_, err = w.service.StartRollout(w.ctx, "ann", "shop", w.release1(), rollout.Offer{Channel: "production", To: 5000, When: long, Private: true})
	w.must(err)
	if row := w.row("any"); len(row.Private) <= slipstream.MaxStatePayload {
		t.Errorf("the private state has %d bytes", len(row.Private))
	}
}

func (w *world) release1() (d slipstream.Digest) {
	w.view(func(tx store.Tx) error {
		list, err := tx.Releases().List(w.ctx, store.ReleaseFilter{App: "shop", Version: "1.1.0"})
		d = list[0].Digest
		return err
	})
	return d
}

func TestPrivateRolloutsAreInNoPublicState(t *testing.T) {
	w := newWorld(t)
	w.publish(1)
	_, err := w.service.Commit(w.ctx, "bob", rollout.Commit{App: "shop", Manifest: w.manifest(2), Offer: &rollout.Offer{Channel: "production", To: slipstream.FullShare, Private: true}})
	w.must(err)
	row := w.row("any")
	if s := w.state("any"); len(s.Packages["main"].Rollouts) != 1 || s.Packages["main"].Rollouts[0].Seq != 1 {
		t.Errorf("public state %+v", s)
	}
	var private slipstream.State
	w.must(sign.Decode(row.Private, &private))
	if private.Packages["main"].Rollouts[0].Seq != 2 || private.Epoch != row.Epoch {
		t.Errorf("private state %+v", private)
	}
}
