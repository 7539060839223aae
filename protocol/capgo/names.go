package capgo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Clients decide by the name of a bundle. What stands here gives every offer of a release on a channel its own: the first
// is called by the release's version, each later one by the version and a count. So a release that is offered again (by a
// rollback, or for another try) reaches also those who failed with it before and hold its first name against it.

// history is what a channel called its offers, oldest first.
type history struct {
	Entries []named `json:"entries"`
}

// named is one offer. Offer is the rollout, with its count of retries where it had any.
type named struct {
	Name    string            `json:"name"`
	Release slipstream.Digest `json:"release"`
	Offer   string            `json:"offer"`
}

// rollout is the id of the rollout that the offer was of.
func (n *named) rollout() string {
	id, _, _ := strings.Cut(n.Offer, "#")
	return id
}

// maxNames is how many names a channel keeps besides those of releases that it offers.
const maxNames = 200

func historyKey(app, channel string) string { return Name + "/names/" + app + "/" + channel }

func parseHistory(raw []byte) (history, error) {
	var h history
	if len(raw) == 0 {
		return h, nil
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, fmt.Errorf("read names: %w", err)
	}
	return h, nil
}

func offerOf(ro *slipstream.Rollout) string {
	if ro.Retry == 0 {
		return ro.ID
	}
	return ro.ID + "#" + strconv.Itoa(ro.Retry)
}

// at is the index of an offer's name, or -1.
func (h *history) at(offer string) int {
	return slices.IndexFunc(h.Entries, func(n named) bool { return n.Offer == offer })
}

// leaving is the newest name of an offer to those who must leave something, "" when it has none but its own.
func (h *history) leaving(offer string) string {
	for _, e := range slices.Backward(h.Entries) {
		if strings.HasPrefix(e.Offer, offer+"#") && e.Offer != offer && len(e.Offer) == len(offer)+1+shortDigits {
			return e.Name
		}
	}
	return ""
}

const shortDigits = 12 // of a digest, longer than any count of retries

// follow gives a name to every offer that has none, the lowest rollout first, and says whether anything changed. taken says
// whether a name means something else for devices that could run the release.
//
// Where the newest release is withdrawn and an older offer is in force again, devices that must leave get that one by another
// name still, also those who failed with it once; for all others it keeps its name.
func (h *history) follow(rollouts []slipstream.Rollout, withdrawn []slipstream.Digest, taken func(name string, release slipstream.Digest) bool) bool {
	changed, standing := false, map[slipstream.Digest]bool{}
	give := func(ro *slipstream.Rollout, offer string) {
		if h.at(offer) >= 0 {
			return
		}
		name := ro.Version
		for n := 2; h.used(name, ro.Manifest) || taken(name, ro.Manifest); n++ {
			name = numbered(ro.Version, n)
		}
		h.Entries = append(h.Entries, named{Name: name, Release: ro.Manifest, Offer: offer})
		changed = true
	}
	for _, ro := range slices.Backward(rollouts) {
		standing[ro.Manifest] = true
		if !slices.Contains(withdrawn, ro.Manifest) {
			give(&ro, offerOf(&ro))
		}
	}
	left := h.newest(withdrawn)
	for _, ro := range slices.Backward(rollouts) {
		if offer := offerOf(&ro); left >= 0 && h.at(offer) >= 0 && h.at(offer) < left && !slices.Contains(withdrawn, ro.Manifest) {
			give(&ro, leavingOf(&ro, h.Entries[left].Release))
		}
	}
	over := len(h.Entries) - maxNames
	h.Entries = slices.DeleteFunc(h.Entries, func(e named) bool {
		forget := over > 0 && !standing[e.Release]
		if forget {
			over--
			changed = true
		}
		return forget
	})
	return changed
}

// leavingOf is an offer to those who must leave a release.
func leavingOf(ro *slipstream.Rollout, left slipstream.Digest) string {
	return offerOf(ro) + "#" + left.Short()
}

// newest is the index of the newest name of one of these releases, or -1.
func (h *history) newest(releases []slipstream.Digest) int {
	for i, e := range slices.Backward(h.Entries) {
		if slices.Contains(releases, e.Release) {
			return i
		}
	}
	return -1
}

// used reports whether the release was offered by that name before: somebody may have failed with it.
func (h *history) used(name string, release slipstream.Digest) bool {
	return slices.ContainsFunc(h.Entries, func(e named) bool { return e.Name == name && e.Release == release })
}

// numbered is a version with a count that does not change its rank.
func numbered(version string, n int) string {
	sign := "+"
	if strings.Contains(version, "+") {
		sign = "."
	}
	return version + sign + strconv.Itoa(n)
}

// unnumbered takes the count away again, "" when there is none.
func unnumbered(name string) string {
	at := strings.LastIndexAny(name, "+.")
	if at <= 0 || !strings.Contains(name, "+") {
		return ""
	}
	if _, err := strconv.Atoi(name[at+1:]); err != nil {
		return ""
	}
	return name[:at]
}
