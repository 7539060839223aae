package rollout_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

func TestResigningKeepsTheEpochAndMovesTheEnd(t *testing.T) {
	w := newWorld(t)
	w.publish(1)
	before, envelope := w.state("any"), w.row("any").Envelope
	w.now = w.now.Add(11 * time.Hour)
	if n, err := w.service.Resign(w.ctx); n != 0 || err != nil {
		t.Fatalf("before half life: %d, %v", n, err)
	}
	w.now = w.now.Add(2 * time.Hour)
	var total int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 { // as four nodes
		wg.Go(func() {
			if _, err := w.service.Resign(w.ctx); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			total++
		})
	}
	wg.Wait()
	raw := w.row("any").Envelope
	after, err := w.trust.AcceptState(raw, sign.ExpectState{App: "shop", Channel: "production", Platform: "any", Last: envelope, Now: w.now})
	w.must(err)
	if after.Epoch != before.Epoch || !after.Expires.After(before.Expires.Time) || !after.Issued.Equal(w.now) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if n, err := w.service.Resign(w.ctx); n != 0 || err != nil {
		t.Errorf("at once again: %d, %v", n, err)
	}
}

func TestAnExpiredStateComesBackUnderANewEpoch(t *testing.T) {
	w := newWorld(t)
	w.publish(1)
	before := w.state("any")
	w.now = w.now.Add(40 * time.Hour)
	if n, err := w.service.Resign(w.ctx); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if after := w.state("any"); after.Epoch <= before.Epoch || after.Epoch < w.now.Unix() {
		t.Errorf("epoch %d after %d", after.Epoch, before.Epoch)
	}
}

func TestARestoredDatabaseGetsNewEpochs(t *testing.T) {
	w := newWorld(t)
	w.publish(1)
	w.now = w.now.Add(time.Hour) // devices have seen epochs up to now
	w.must(rollout.MarkRestored(w.ctx, w.store))
	if n, err := w.service.Resign(w.ctx); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	epoch := w.state("any").Epoch
	if epoch < w.now.Unix() {
		t.Errorf("epoch %d is behind devices", epoch)
	}
	if n, err := w.service.Resign(w.ctx); n != 0 || err != nil || w.state("any").Epoch != epoch {
		t.Errorf("once more: %d, %v", n, err)
	}
}

func TestRotatingTheReleaseKeyTellsWhatIsNoLongerVerified(t *testing.T) {
	w := newWorld(t)
	one := w.publish(1)
	old := w.release
	w.release = newSigner(t)
	added := w.addRoot(2, w.release, nil)
	if len(added.Unverified) != 1 || added.Unverified[0].Digest != one.Release.Digest || added.Version != 2 {
		t.Fatalf("added %+v", added)
	}
	if s := w.state("any"); s.RootVersion != 2 {
		t.Errorf("states name root %d", s.RootVersion)
	}
	if _, err := w.service.StartRollout(w.ctx, "ann", "shop", one.Release.Digest, rollout.Offer{Channel: "production", To: 10}); slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
		t.Errorf("offering what devices refuse: %v", err)
	}
	e, err := sign.ParseEnvelope(one.Release.Envelope, sign.TypeManifest, slipstream.MaxManifestBytes)
	w.must(err)
	w.must(e.Sign(w.release))
	w.must(w.service.AddSignatures(w.ctx, "ann", "shop", one.Release.Digest, e.Encode()))
	w.view(func(tx store.Tx) error {
		r, err := tx.Releases().Get(w.ctx, one.Release.Digest)
		w.must(err)
		both, err := sign.ParseEnvelope(r.Envelope, sign.TypeManifest, slipstream.MaxManifestBytes)
		if err != nil || len(both.Signatures) != 2 || both.Signatures[0].KeyID != sign.KeyID(old.Public()) {
			t.Errorf("signatures %+v, %v", both, err)
		}
		live, err := rollout.Unverified(w.ctx, tx, "shop")
		if len(live) != 0 {
			t.Errorf("still unverified: %+v", live)
		}
		return err
	})
	other := w.publish(2)
	if err := w.service.AddSignatures(w.ctx, "ann", "shop", one.Release.Digest, other.Release.Envelope); slipstream.ReasonOf(err, "") != slipstream.ReasonManifestMismatch {
		t.Errorf("another release's envelope: %v", err)
	}
}

func TestRotatingTheStateKey(t *testing.T) {
	w := newWorld(t)
	w.publish(1)
	k, err := w.service.NewStateKey(w.ctx, "ann", "shop")
	w.must(err)
	pub, err := sign.ParsePublic(k.Public)
	w.must(err)
	raw := w.rootOf(2, w.release, []ed25519.PublicKey{pub})
	next, err := w.trust.Next(raw)
	w.must(err)
	_, err = w.service.AddRoot(w.ctx, "ann", "shop", raw)
	w.must(err)
	if s := w.stateUnder(next, "any"); s.RootVersion != 2 {
		t.Errorf("root version %d", s.RootVersion)
	}
	if _, err := w.trust.State(w.row("any").Envelope); slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
		t.Errorf("the old key still signs: %v", err)
	}
}

func TestRootsAreOnlyAddedInOrder(t *testing.T) {
	w := newWorld(t)
	first := w.trust.Envelope()
	if added, err := w.service.AddRoot(w.ctx, "ann", "shop", first); err != nil || added.Version != 1 {
		t.Errorf("the same again: %+v, %v", added, err)
	}
	stranger, mine := newSigner(t), w.root
	for _, c := range []struct {
		name   string
		raw    func() []byte
		reason slipstream.Reason
	}{
		{"a version too far", func() []byte { return w.rootOf(3, w.release, nil) }, slipstream.ReasonRootVersion},
		{"a root by a stranger", func() []byte { w.root = stranger; defer func() { w.root = mine }(); return w.rootOf(2, w.release, nil) }, slipstream.ReasonSignatureInvalid},
		{"without a state key of this server", func() []byte { return w.rootOf(2, w.release, []ed25519.PublicKey{stranger.Public()}) }, slipstream.ReasonSignatureInvalid},
		{"an expired one", func() []byte {
			now := w.now
			w.now = now.AddDate(-6, 0, 0)
			defer func() { w.now = now }()
			return w.rootOf(2, w.release, nil)
		}, slipstream.ReasonExpiredRoot},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := w.service.AddRoot(w.ctx, "ann", "shop", c.raw()); slipstream.ReasonOf(err, "") != c.reason {
				t.Errorf("got %v", err)
			}
			if s := w.state("any"); s.RootVersion != 1 {
				t.Errorf("root version %d", s.RootVersion)
			}
		})
	}
}

func TestAnotherSecretIsRefused(t *testing.T) {
	w := newWorld(t)
	if _, err := rollout.OpenKeys(w.ctx, w.store, bytes.Repeat([]byte{1}, 32)); err != nil {
		t.Errorf("the same secret: %v", err)
	}
	if _, err := rollout.OpenKeys(w.ctx, w.store, bytes.Repeat([]byte{2}, 32)); err == nil || slipstream.HintOf(err) == "" {
		t.Errorf("another secret: %v", err)
	}
}

func TestCollect(t *testing.T) {
	w := newWorld(t)
	var all []slipstream.Digest
	for seq := int64(1); seq <= 6; seq++ {
		var edges []slipstream.Digest
		if seq == 6 {
			edges = all[3:] // 4 and 5
		}
		c := w.publish(seq, fallback(edges...))
		all = append(all, c.Release.Digest)
	}
	orphan := []byte("an upload that was given up")
	d := sign.DigestOf(orphan)
	w.must(w.blobs.Put(w.ctx, d, int64(len(orphan)), bytes.NewReader(orphan)))

	run := func(spec rollout.CollectSpec) rollout.Collected {
		t.Helper()
		out, err := w.service.Collect(w.ctx, "ann", spec)
		w.must(err)
		return out
	}
	gone := func(c rollout.Collected) (seqs []int64) {
		for _, r := range c.Releases {
			seqs = append(seqs, r.Seq)
		}
		return seqs
	}
	w.now = time.Now().Add(time.Hour) // blobs are dated by the real clock
	if out := run(rollout.CollectSpec{Apply: true}); out.Blobs != 0 || out.Fresh != 1 || len(out.Releases) != 0 {
		t.Errorf("within the margin: %+v", out)
	}
	w.now = w.now.Add(24 * time.Hour)
	if out := run(rollout.CollectSpec{}); out.Applied || out.Blobs != 1 || out.Bytes != int64(len(orphan)) || out.Kept != 6 {
		t.Errorf("plan: %+v", out)
	}
	if _, err := w.blobs.Stat(w.ctx, d); err != nil {
		t.Errorf("a plan removed it: %v", err)
	}
	if out := run(rollout.CollectSpec{Keep: 1, KeepFor: 365 * 24 * time.Hour * 100}); len(out.Releases) != 0 {
		t.Errorf("younger than the retention: %+v", out)
	}
	out := run(rollout.CollectSpec{Apply: true, Keep: 1})
	if want := []int64{3, 2, 1}; !slices.Equal(gone(out), want) || out.Blobs != 4 {
		t.Errorf("went %v with %d blobs, want %v: the channel names 6, its fallback edges 4 and 5", gone(out), out.Blobs, want)
	}
	if _, err := w.blobs.Stat(w.ctx, d); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("orphan: %v", err)
	}
	if err := w.service.DeleteRelease(w.ctx, "ann", "shop", all[4]); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("deleting what a fallback edge names: %v", err)
	}
	_, err := w.service.RollBack(w.ctx, "ann", "shop", "production", rollout.RollbackSpec{Package: "main", To: all[3]})
	var edge *rollout.EdgeError
	if !errors.As(err, &edge) || len(edge.From) != 1 { // 5 names nothing
		t.Errorf("rolling back over 5: %v", err)
	}
}

func TestACommitThatMeetsACollectionLooksAtItsBlobsAgain(t *testing.T) {
	w := newWorld(t)
	m := w.manifest(1)
	started := false
	w.service = rollout.New(rollout.Config{Store: &meddler{Store: w.store, before: func() {
		if started {
			return
		}
		started = true // between the look at the blobs and the commit
		w.now = time.Now().Add(48 * time.Hour)
		if _, err := w.service.Collect(w.ctx, "ann", rollout.CollectSpec{Apply: true}); err != nil {
			t.Error(err)
		}
	}}, Blobs: w.blobs, Keys: w.keys(), Clock: func() time.Time { return w.now }})
	_, err := w.service.Commit(w.ctx, "bob", rollout.Commit{App: "shop", Manifest: m})
	var missing *rollout.MissingError
	if !errors.As(err, &missing) {
		t.Errorf("committed a release whose bytes were collected: %v", err)
	}
}

func (w *world) keys() *rollout.Keys {
	k, err := rollout.OpenKeys(w.ctx, w.store, bytes.Repeat([]byte{1}, 32))
	w.must(err)
	return k
}

// After an upgrade this program may write a state differently; the same epoch may never say two things.
func TestResigningWhatWouldSayMoreGetsANewEpoch(t *testing.T) {
	w := newWorld(t)
	w.publish(1)
	before := w.state("any")
	w.must(w.store.Update(w.ctx, func(tx store.Tx) error {
		c, err := tx.Channels().Get(w.ctx, "shop", "production")
		if err != nil {
			return err
		}
		c.Policy = bytes.Replace(c.Policy, []byte(`{`), []byte(`{"timing":{"checkAfter":60},`), 1)
		return tx.Channels().Save(w.ctx, c)
	}))
	w.now = w.now.Add(13 * time.Hour)
	if n, err := w.service.Resign(w.ctx); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if after := w.state("any"); after.Epoch <= before.Epoch || after.CheckAfter != 60 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}
