package codepush

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/store"
)

// Own is a label that came in through this protocol's management: its release has no signed manifest, so no rollout of a
// channel may name it. What is decided about it stands here; who gets it is decided by package decide, as ever.
type Own struct {
	Range       string            `json:"range"` // app versions, in the words of npm's semver
	Share       int               `json:"share"` // basis points
	Disabled    bool              `json:"disabled,omitempty"`
	Description string            `json:"description,omitempty"`
	Hash        slipstream.Digest `json:"hash"` // of the package
	Blob        slipstream.Digest `json:"blob"` // what is downloaded
	Size        int64             `json:"size"` // of it, bytes
	At          time.Time         `json:"at"`
	By          string            `json:"by,omitempty"`
	// Method is Upload, Promote or Rollback; Of and From are the label and deployment that it is a copy of.
	Method string `json:"method"`
	Of     string `json:"of,omitempty"`
	From   string `json:"from,omitempty"`
}

// MetaSingle marks, in the meta of an adapter-only release, a single file that is no zip.
const MetaSingle = "codepush.single"

func singleFile(m *slipstream.Manifest) bool { return m.Meta[MetaSingle] != nil && len(m.Files) == 1 }

// kept reports whether the paths of a release stay as they came: clients hash them so.
func kept(m *slipstream.Manifest) bool { return m.Meta[slipstream.MetaAdapter] != nil }

// ParseOptions reads the options of an app's switch.
func ParseOptions(raw json.RawMessage) (Options, error) { return parseOptions(raw) }

// ValidKey reports whether clients could send a deployment key.
func ValidKey(key string) bool { return validKey(key) }

// HistoryOf reads what a deployment offered; an empty one is no error.
func HistoryOf(ctx context.Context, tx store.Tx, app, channel, platform string) (History, error) {
	raw, err := tx.Settings().Get(ctx, recordKey(app, channel, platform))
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return History{}, err
	}
	return parseRecord(raw)
}

// Save keeps a history.
func (r *History) Save(ctx context.Context, tx store.Tx, app, channel, platform string) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return tx.Settings().Set(ctx, recordKey(app, channel, platform), raw)
}

// Clear takes all labels away; the next is v1 again. The key stays, and since when the deployment has it.
func Clear(ctx context.Context, tx store.Tx, app, channel, platform string) error {
	h, err := HistoryOf(ctx, tx, app, channel, platform)
	if err != nil {
		return err
	}
	h.Last, h.Entries = 0, nil
	return h.Save(ctx, tx, app, channel, platform)
}

// Forget deletes a history; an empty one is no error.
func Forget(ctx context.Context, tx store.Tx, app, channel, platform string) error {
	err := tx.Settings().Delete(ctx, recordKey(app, channel, platform))
	if errors.Is(err, slipstream.ErrNotFound) {
		return nil
	}
	return err
}

// Newest is the newest label of its own, or nil.
func (r *History) Newest() *Label {
	for i := len(r.Entries) - 1; i >= 0; i-- {
		if r.Entries[i].Own != nil {
			return &r.Entries[i]
		}
	}
	return nil
}

// Latest gives the newest label, of whichever kind, or nil.
func (r *History) Latest() *Label {
	if len(r.Entries) == 0 {
		return nil
	}
	return &r.Entries[len(r.Entries)-1]
}

// Label gives the label with a name, of whichever kind, or nil.
func (r *History) Label(name string) *Label {
	i := slices.IndexFunc(r.Entries, func(e Label) bool { return e.Name() == name })
	if i < 0 {
		return nil
	}
	return &r.Entries[i]
}

// Find gives the label of its own with a name, or nil.
func (r *History) Find(name string) *Label {
	for i := range r.Entries {
		if r.Entries[i].Own != nil && r.Entries[i].Name() == name {
			return &r.Entries[i]
		}
	}
	return nil
}

// Unfinished reports whether the newest label is for a part of the devices still.
func (r *History) Unfinished() bool {
	e := r.Newest()
	return e != nil && !e.Own.Disabled && e.Own.Share < slipstream.FullShare
}

// Add gives the next label. n is its number, 0 for the next one. The one before it is for all devices from now on.
func (r *History) Add(n int, release slipstream.Digest, mandatory bool, own Own) *Label {
	if e := r.Newest(); e != nil {
		e.Own.Share = slipstream.FullShare
	}
	if n == 0 {
		n = r.Last + 1
	}
	r.Last = n
	r.Entries = append(r.Entries, Label{N: n, Release: release, Rollout: "cp_" + release.Short(), Mandatory: mandatory, Own: &own})
	return &r.Entries[len(r.Entries)-1]
}

// Trim forgets the oldest labels of its own beyond maxHistory, and gives their releases. Clients that run one of them are as
// good as new.
func (r *History) Trim() []slipstream.Digest {
	over := -maxHistory
	for _, e := range r.Entries {
		if e.Own != nil {
			over++
		}
	}
	var gone []slipstream.Digest
	r.Entries = slices.DeleteFunc(r.Entries, func(e Label) bool {
		forget := e.Own != nil && over > 0
		if forget {
			over--
			gone = append(gone, e.Release)
		}
		return forget
	})
	return gone
}

// with is a package's state with the labels of its own in it, each as a rollout: among the others by seq, the newest on
// top. What is disabled counts as withdrawn. own is false when there are none.
func (r *History) with(ps slipstream.PackageState, items map[slipstream.Digest]*item) (_ slipstream.PackageState, own bool) {
	rollouts, withdrawn := slices.Clone(ps.Rollouts), slices.Clone(ps.Withdrawn)
	for _, e := range r.Entries {
		i := items[e.Release]
		if e.Own == nil || i == nil {
			continue
		}
		own = true
		if e.Own.Disabled {
			withdrawn = append(withdrawn, e.Release)
			continue
		}
		ro := slipstream.Rollout{ID: e.Rollout, Manifest: e.Release, Seq: i.seq, Version: e.Name(), Size: i.size, Runtime: slipstream.Runtime{Range: e.Own.Range},
			To: e.Own.Share, Apply: slipstream.Apply{Mandatory: e.Mandatory, Message: e.Own.Description}}
		at := slices.IndexFunc(rollouts, func(o slipstream.Rollout) bool { return o.Seq < i.seq })
		if at < 0 {
			at = len(rollouts)
		}
		rollouts = slices.Insert(rollouts, at, ro)
	}
	ps.Rollouts, ps.Withdrawn = rollouts, withdrawn
	return ps, own
}

// planOf makes the plan of a state with another package state in it. It is made anew every minute.
func planOf(st *slipstream.State, pkg string, ps slipstream.PackageState, now time.Time) (*decide.Plan, error) {
	own := *st
	own.Packages = map[string]slipstream.PackageState{pkg: ps}
	own.Expires = slipstream.At(now.AddDate(1, 0, 0))
	return decide.Compile(&own)
}

// PackageOf renders an adapter-only release before it is kept, so that nothing is announced that cannot be read.
func PackageOf(ctx context.Context, m *slipstream.Manifest, render func(ctx context.Context, r *slipstream.Release) (store.Rendition, error)) (store.Rendition, slipstream.Digest, error) {
	made, err := render(ctx, &slipstream.Release{Manifest: m})
	if err != nil {
		return made, "", err
	}
	made.Protocol = Name
	hash, err := HashOf(made)
	return made, hash, err
}

// HashOf gives the hash that clients compute of a package.
func HashOf(made store.Rendition) (slipstream.Digest, error) {
	var doc rendition
	err := json.Unmarshal(made.Doc, &doc)
	return doc.Hash, err
}

// Signed refuses a package that apps with these options would refuse: they have a key embedded, and it did not sign it.
func (o *Options) Signed(made store.Rendition) error {
	if o.SigningKey == "" {
		return nil
	}
	var doc rendition
	if err := json.Unmarshal(made.Doc, &doc); err != nil {
		return err
	}
	key, err := parsePublic(o.SigningKey)
	if err != nil {
		return err
	}
	return verify(doc.Token, doc.Hash, key)
}

var _ protocol.Protocol = Protocol{}
