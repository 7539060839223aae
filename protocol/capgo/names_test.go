package capgo

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func itoa(n int) string { return strconv.Itoa(n) }

func digest(n int) slipstream.Digest { return slipstream.Digest(fmt.Sprintf("%012x%052x", n, 0)) }

// TestNamesAreNeverTakenTwice: through a long life of a channel (releases, retries, withdrawals, rollbacks) an offer keeps its
// name, no name stands for two offers, and who must leave something is never sent back under a name that was on offer before.
func TestNamesAreNeverTakenTwice(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var h history
	names, versions := map[string]string{}, map[slipstream.Digest]string{}
	var rollouts []slipstream.Rollout // highest first
	var withdrawn []slipstream.Digest
	for step := range 120 {
		switch n := random.IntN(4); {
		case n <= 1 || len(rollouts) == 0:
			d := digest(step)
			versions[d] = fmt.Sprintf("1.%d.0", step)
			rollouts = slices.Insert(rollouts, 0, slipstream.Rollout{ID: fmt.Sprintf("r%d", step), Manifest: d, Seq: int64(step + 1), Version: versions[d]})
		case n == 2:
			rollouts[random.IntN(len(rollouts))].Retry++
		default:
			withdrawn = append(withdrawn, rollouts[0].Manifest)
			rollouts = rollouts[1:]
		}
		known := slices.Clone(h.Entries)
		if h.follow(rollouts, withdrawn, func(string, slipstream.Digest) bool { return false }) == slices.Equal(h.Entries, known) {
			t.Fatal("a change that is none, or none that is one")
		}
		for _, e := range h.Entries {
			if had, ok := names[e.Name]; ok && had != e.Offer {
				t.Fatalf("step %d: %s stands for %s and %s", step, e.Name, had, e.Offer)
			}
			names[e.Name] = e.Offer
			if v := versions[e.Release]; e.Name != v && unnumbered(e.Name) != v {
				t.Fatalf("step %d: %s for version %s", step, e.Name, v)
			}
		}
		left := h.newest(withdrawn)
		for _, ro := range rollouts {
			at := h.at(offerOf(&ro))
			if at < 0 {
				t.Fatalf("step %d: %s has no name", step, ro.ID)
			}
			if at >= left {
				continue
			}
			if back := h.at(leavingOf(&ro, h.Entries[left].Release)); back < left || h.leaving(offerOf(&ro)) != h.Entries[back].Name {
				t.Fatalf("step %d: who leaves %s is sent back to %s by an old name", step, h.Entries[left].Name, ro.Version)
			}
		}
		if h.follow(rollouts, withdrawn, func(string, slipstream.Digest) bool { return false }) {
			t.Fatal("following again changes something")
		}
	}
}

// TestOldNamesAreForgotten: those of offers that stand stay.
func TestOldNamesAreForgotten(t *testing.T) {
	t.Parallel()
	var h history
	standing := slipstream.Rollout{ID: "first", Manifest: digest(1), Version: "1.0.0"}
	for n := range 3 * maxNames {
		h.follow([]slipstream.Rollout{{ID: "r" + itoa(n), Manifest: digest(n + 2), Version: "2." + itoa(n)}, standing}, nil, func(string, slipstream.Digest) bool { return false })
	}
	if len(h.Entries) > maxNames || h.at("first") < 0 || h.at("r"+itoa(3*maxNames-1)) < 0 {
		t.Errorf("%d names", len(h.Entries))
	}
}

// TestCounts: a name with a count leads back to its version.
func TestCounts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version string
		n       int
		want    string
	}{{"1.4.0", 2, "1.4.0+2"}, {"1.4.0+ci.7", 3, "1.4.0+ci.7.3"}, {"next", 10, "next+10"}} {
		got := numbered(c.version, c.n)
		if got != c.want || unnumbered(got) != c.version {
			t.Errorf("%s, %d: %s, back %s", c.version, c.n, got, unnumbered(got))
		}
	}
	for _, name := range []string{"1.4.0", "builtin", "", "1.4.0+x"} {
		if got := unnumbered(name); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
