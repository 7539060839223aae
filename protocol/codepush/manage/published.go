package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// A deployment's labels are of two kinds: those that this tool made, and those of rollouts that `slipstream publish`
// started on the channel. Its users see both, and may change the first.

// published tells the second kind in the words of the tool.
type published struct {
	ctx      context.Context
	tx       store.Tx
	policy   *rollout.PackagePolicy
	packages map[slipstream.Digest]store.Rendition
	first    map[string]string // the first label of a rollout
}

func readPublished(ctx context.Context, tx store.Tx, d place) (*published, error) {
	p := &published{ctx: ctx, tx: tx, packages: map[slipstream.Digest]store.Rendition{}, first: map[string]string{}}
	ch, err := tx.Channels().Get(ctx, d.app, d.channel)
	if err != nil {
		return nil, err
	}
	policy, err := rollout.PolicyOf(ch)
	if err != nil {
		return nil, err
	}
	if p.policy = policy.Packages[d.pkg]; p.policy == nil {
		p.policy = &rollout.PackagePolicy{}
	}
	made, err := tx.Containers().Renditions(ctx, codepush.Name)
	for _, r := range made {
		if r.From == "" {
			p.packages[r.Release] = r
		}
	}
	return p, err
}

// say fills in a label that a rollout of the channel got. A release that is gone is told by what the label knows.
func (p *published) say(base string, d place, e *codepush.Label) (labelled, error) {
	out := labelled{AppVersion: "*", Label: e.Name(), IsMandatory: e.Mandatory, ReleaseMethod: "Upload", Digest: e.Release}
	if first := p.first[e.Rollout]; first != "" {
		out.ReleaseMethod, out.OriginalLabel = "Rollback", first
	} else {
		p.first[e.Rollout] = e.Name()
	}
	if made, is := p.packages[e.Release]; is {
		hash, err := codepush.HashOf(made)
		if err != nil {
			return out, err
		}
		out.PackageHash, out.Size, out.BlobURL = hash, made.Size, base+Prefix+"/files/"+string(made.SHA256)
	}
	version, message := e.Release.Short(), ""
	r, err := p.tx.Releases().Get(p.ctx, e.Release)
	switch {
	case err == nil:
		version, message = r.Manifest.Version, r.Notes
		out.AppVersion, out.UploadTime = r.Manifest.Runtime.String(), r.Published.UnixMilli()
	case !errors.Is(err, slipstream.ErrNotFound):
		return out, err
	}
	state := ""
	if out.IsDisabled = p.policy.WithdrawnOn(e.Release, d.platform); out.IsDisabled {
		state = ", withdrawn"
	}
	if i := slices.IndexFunc(p.policy.Rollouts, func(o rollout.Entry) bool { return o.ID == e.Rollout }); i >= 0 {
		ro := &p.policy.Rollouts[i]
		out.ReleasedBy, out.UploadTime = email(ro.By), ro.Created.UnixMilli()
		if share := ro.To - ro.From; share < slipstream.FullShare {
			percent := share / 100
			out.Rollout = &percent
		}
		if ro.Apply.Message != "" {
			message = ro.Apply.Message
		}
		if ro.Hold != "" && !out.IsDisabled {
			state += ", " + ro.Hold
		}
		if len(ro.When) > 0 {
			state += ", for some devices only"
		}
	}
	out.Description = fmt.Sprintf("[slipstream publish %s%s]", version, state)
	if message != "" {
		out.Description += " " + message
	}
	return out, nil
}

// releases are all labels of a deployment, oldest first.
func (s *Server) releases(c call, tx store.Tx, d place, h *codepush.History) ([]labelled, error) {
	out := []labelled{}
	var others *published
	for i := range h.Entries {
		e := &h.Entries[i]
		if e.Own != nil {
			out = append(out, s.said(c, e))
			continue
		}
		if others == nil {
			var err error
			if others, err = readPublished(c.ctx, tx, d); err != nil {
				return nil, err
			}
		}
		one, err := others.say(s.cfg.BaseURL(c.Request), d, e)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// chosen is the label that a request is about: a named one, else the latest, nil when there is none. One of `slipstream
// publish` is refused, with the commands that do it.
func chosen(h *codepush.History, said, verb, instead string) (*codepush.Label, error) {
	e := h.Latest()
	if said != "" {
		e = h.Label(said)
	}
	if e != nil && e.Own == nil {
		return nil, slipstream.Hint(fmt.Errorf("%s was published by slipstream, signed, and this tool cannot %s: %w", e.Name(), verb, slipstream.ErrConflict), "%s", instead)
	}
	return e, nil
}
