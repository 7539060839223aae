package codepush

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// History is what is kept of a deployment: its key since when, and the labels that it gave out. Labels are never given out
// twice, also when entries are forgotten.
type History struct {
	Key     string    `json:"key"`
	Since   time.Time `json:"since"`
	Last    int       `json:"last"`
	Entries []Label   `json:"entries"` // oldest first
}

// Label is one label: a rollout of a release.
type Label struct {
	N         int               `json:"n"`
	Release   slipstream.Digest `json:"release"`
	Rollout   string            `json:"rollout"`
	Mandatory bool              `json:"mandatory,omitempty"`
	// Own is what clients of the management API decided about it, nil for the label of a channel's rollout.
	Own *Own `json:"own,omitempty"`
}

func (r Label) Name() string { return "v" + strconv.Itoa(r.N) }

// maxHistory is how many labels are kept besides those of rollouts that stand.
const maxHistory = 200

func recordKey(app, channel, platform string) string {
	return Name + "/history/" + app + "/" + channel + "/" + platform
}

func parseRecord(raw []byte) (History, error) {
	var r History
	if len(raw) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("read history of labels: %w", err)
	}
	return r, nil
}

// follow gives labels to what is new in the package's state, the lowest rollout first, and says whether anything
// changed. When the newest label is of a release that was withdrawn, what devices go back to becomes the newest.
func (r *History) follow(key string, ps slipstream.PackageState, now time.Time) bool {
	changed := r.Key != key
	if changed {
		r.Key, r.Since = key, now
	}
	standing := map[string]bool{}
	for _, e := range r.Entries {
		if e.Own != nil {
			standing[e.Rollout] = true
		}
	}
	for _, ro := range slices.Backward(ps.Rollouts) {
		standing[ro.ID] = true
		at := r.newest(ro.ID)
		if at < 0 {
			r.add(&ro)
			changed = true
		} else if r.Entries[at].Mandatory != ro.Apply.Mandatory {
			r.Entries[at].Mandatory = ro.Apply.Mandatory
			changed = true
		}
	}
	if r.goesBack(ps) {
		changed = true
	}
	over := len(r.Entries) - maxHistory
	r.Entries = slices.DeleteFunc(r.Entries, func(e Label) bool {
		forget := over > 0 && !standing[e.Rollout]
		if forget {
			over--
			changed = true
		}
		return forget
	})
	return changed
}

func (r *History) goesBack(ps slipstream.PackageState) bool {
	if len(r.Entries) == 0 {
		return false
	}
	last := r.Entries[len(r.Entries)-1]
	if !slices.Contains(ps.Withdrawn, last.Release) {
		return false
	}
	for i := range ps.Rollouts {
		ro := &ps.Rollouts[i]
		if !slices.Contains(ps.Withdrawn, ro.Manifest) {
			r.add(ro)
			return true
		}
	}
	return false
}

func (r *History) add(ro *slipstream.Rollout) {
	r.Last++
	r.Entries = append(r.Entries, Label{N: r.Last, Release: ro.Manifest, Rollout: ro.ID, Mandatory: ro.Apply.Mandatory})
}

// newest is the index of a rollout's newest label, or -1.
func (r *History) newest(rollout string) int {
	for i, e := range slices.Backward(r.Entries) {
		if e.Rollout == rollout {
			return i
		}
	}
	return -1
}
