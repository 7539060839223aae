package client

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// Whoever writes into a device's directory makes no root: trust begins with the shipped one and follows signatures.
func TestAStoredRootThatDoesNotFollowTheShippedOneIsIgnored(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	keys := func(s sign.Signer) sign.RoleKeys {
		return sign.RoleKeys{Keys: []ed25519.PublicKey{s.Public()}, Threshold: 1}
	}
	root, err := sign.NewRoot("shop", b.clock.Now().Add(365*24*time.Hour), keys(signer(77)), keys(signer(78)), keys(signer(79)))
	if err != nil {
		t.Fatal(err)
	}
	for version, names := range map[int64][]string{2: {"roots/2.json"}, 5: {"root.json", "roots/5.json"}} {
		root.Version = version
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(b.cfg.Dir, "trust", name), b.repo.seal(sign.TypeRoot, root, signer(77)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.repo.rootKey, b.repo.release, b.repo.stateKey = signer(77), signer(78), signer(79)
	b.offers("6.6.6", files{"main.js": "evil"})
	b.reopen()
	b.updateFails(slipstream.ReasonSignatureInvalid)
	b.runs(b.start(), "main", v1)
}

func TestTheChainOfRootsSurvivesARestart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	for seed := range byte(3) {
		former := b.repo.rootKey
		b.repo.rootKey = signer(50 + seed)
		b.repo.addRoot(former)
	}
	b.update()
	b.offline()
	b.reopen()
	if v := b.c.rootVersion(); v != 4 {
		t.Errorf("root %d after the restart", v)
	}
}

func TestAStagedReleaseOfAFormerKeyIsNotTried(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.repo.offer(b.repo.publish("main", "6.6.6", v2)) // signed by a stolen key
	b.update()
	b.repo.release = signer(22)
	b.repo.addRoot() // leaves the stolen key out
	b.clock.advance(25 * time.Hour)
	if _, err := b.c.Update(t.Context()); err == nil {
		t.Error("the release is still taken")
	}
	b.runs(b.start(), "main", v1)
}

// The highest signed manifest on the disk is the anchor again, also when its tree is gone; and the trees stay until it is
// known which of them are needed.
func TestADestroyedStateLosesNeitherAnchorNorTrees(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct {
		files []string
		tree  bool
	}{
		"both generations":                     {[]string{stateFile, previousState}, true},
		"both generations, the tree gone":      {[]string{stateFile, previousState}, false},
		"the newest generation":                {[]string{stateFile}, true},
		"the newest generation, the tree gone": {[]string{stateFile}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			old := b.has("1.0.0", v1)
			second := b.has("1.1.0", v2)
			if !change.tree {
				if err := os.RemoveAll(b.c.disk.tree(second)); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range change.files {
				if err := os.WriteFile(filepath.Join(b.cfg.Dir, name), []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b.reopen()
			b.start()
			if h := b.c.Holds("main"); h.Anchor.Digest != second {
				t.Errorf("the anchor is seq %d", h.Anchor.Seq)
			}
			if _, err := os.Stat(b.c.disk.tree(old)); errors.Is(err, fs.ErrNotExist) {
				t.Error("the trees were deleted")
			}
			b.repo.edit("main", func(p *slipstream.PackageState) { p.Rollouts = nil })
			third := b.repo.publish("main", "1.2.0", files{"main.js": "three"})
			for i, d := range []slipstream.Digest{old, third} {
				b.repo.offer(d, func(r *slipstream.Rollout) { r.ID = fmt.Sprint("again ", i) })
				b.update()
				if h := b.c.Holds("main"); h.Staged != nil && h.Staged.Digest == old {
					t.Error("1.0.0 is staged, to which no signed edge leads")
				}
			}
			if h := b.c.Holds("main"); h.Staged == nil || h.Staged.Digest != third {
				t.Error("the next release is not taken")
			}
		})
	}
}
