package manage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/protocol/codepush/semver"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

const maxDescription = 10000 // bytes, as on the original

// packageInfo is what is said of a release. What is nil is not said.
type packageInfo struct {
	AppVersion  *string `json:"appVersion"`
	Description *string `json:"description"`
	IsDisabled  *bool   `json:"isDisabled"`
	IsMandatory *bool   `json:"isMandatory"`
	Rollout     *int    `json:"rollout"`
	Label       string  `json:"label"`
	// What an import says besides: where the release comes from, and the hash that must come out.
	PackageHash        slipstream.Digest `json:"packageHash"`
	ReleaseMethod      string            `json:"releaseMethod"`
	OriginalLabel      string            `json:"originalLabel"`
	OriginalDeployment string            `json:"originalDeployment"`
	UploadTime         int64             `json:"uploadTime"` // ms
}

// labelled is a label in the words of the tool.
type labelled struct {
	AppVersion         string            `json:"appVersion"`
	BlobURL            string            `json:"blobUrl"`
	Description        string            `json:"description"`
	IsDisabled         bool              `json:"isDisabled"`
	IsMandatory        bool              `json:"isMandatory"`
	Label              string            `json:"label"`
	OriginalLabel      string            `json:"originalLabel,omitempty"`
	OriginalDeployment string            `json:"originalDeployment,omitempty"`
	PackageHash        slipstream.Digest `json:"packageHash"`
	ReleasedBy         string            `json:"releasedBy"`
	ReleaseMethod      string            `json:"releaseMethod"`
	Rollout            *int              `json:"rollout"`
	Size               int64             `json:"size"`
	UploadTime         int64             `json:"uploadTime"`
	// Digest is the adapter-only release that stands for it here.
	Digest slipstream.Digest `json:"digest"`
}

func (s *Server) said(c call, e *codepush.Label) labelled {
	o := e.Own
	out := labelled{AppVersion: o.Range, Description: o.Description, IsDisabled: o.Disabled, IsMandatory: e.Mandatory, Label: e.Name(), OriginalLabel: o.Of,
		OriginalDeployment: o.From, PackageHash: o.Hash, ReleasedBy: email(o.By), ReleaseMethod: o.Method, Size: o.Size, UploadTime: o.At.UnixMilli(), Digest: e.Release,
		BlobURL: s.cfg.BaseURL(c.Request) + Prefix + "/files/" + string(o.Blob)}
	if o.Share < slipstream.FullShare {
		percent := o.Share / 100
		out.Rollout = &percent
	}
	return out
}

func (s *Server) history(c call) (answer, error) {
	d, err := s.in(c)
	if err != nil {
		return answer{}, err
	}
	var out []labelled
	err = s.cfg.Store.View(c.ctx, func(tx store.Tx) error {
		h, err := codepush.HistoryOf(c.ctx, tx, d.app, d.channel, d.platform)
		if err != nil {
			return err
		}
		out, err = s.releases(c, tx, d, &h)
		return err
	})
	return ok(map[string]any{"history": out}), err
}

func (s *Server) clearHistory(c call) (answer, error) {
	d, err := s.in(c)
	if err != nil {
		return answer{}, err
	}
	err = s.cfg.Store.Update(c.ctx, func(tx store.Tx) error {
		if err := errors.Join(deleteReleases(c.ctx, tx, d), codepush.Clear(c.ctx, tx, d.app, d.channel, d.platform)); err != nil {
			return err
		}
		return s.audit(c.ctx, tx, c, "codepush.clear", d.app, d.display, nil)
	})
	return answer{status: http.StatusNoContent}, err
}

// metrics counts devices, each once: what they run by their last word, and what became of each release.
func (s *Server) metrics(c call) (answer, error) {
	d, err := s.in(c)
	if err != nil {
		return answer{}, err
	}
	var h codepush.History
	if err := s.cfg.Store.View(c.ctx, func(tx store.Tx) (err error) {
		h, err = codepush.HistoryOf(c.ctx, tx, d.app, d.channel, d.platform)
		return err
	}); err != nil {
		return answer{}, err
	}
	type metric struct {
		Active     int64 `json:"active"`
		Downloaded int64 `json:"downloaded"`
		Failed     int64 `json:"failed"`
		Installed  int64 `json:"installed"`
	}
	out, labels := map[string]*metric{}, map[slipstream.Digest]string{}
	of := func(name string) *metric {
		if out[name] == nil {
			out[name] = &metric{}
		}
		return out[name]
	}
	for i := range h.Entries {
		labels[h.Entries[i].Release] = h.Entries[i].Name()
	}
	counts, err := s.cfg.Store.Reports().Counts(c.ctx, d.app)
	if err != nil {
		return answer{}, err
	}
	for _, n := range counts {
		name := labels[n.Release]
		if name == "" || n.Channel != d.channel || n.Package != d.pkg {
			continue
		}
		switch n.Kind {
		case slipstream.KindFetched:
			of(name).Downloaded += n.Devices
		case slipstream.KindConfirmed:
			of(name).Installed += n.Devices
		case slipstream.KindRolledBack:
			of(name).Failed += n.Devices
		}
	}
	spread, err := s.cfg.Store.Reports().Fleet().Spread(c.ctx, d.app)
	if err != nil {
		return answer{}, err
	}
	for _, g := range spread {
		if g.Channel != d.channel || g.Package != d.pkg {
			continue
		}
		if name := labels[g.Release]; name != "" {
			of(name).Active += g.Devices
		} else if g.Release == "" && g.Runtime != "" {
			of(g.Runtime).Active += g.Devices
		}
	}
	return ok(map[string]any{"metrics": out}), nil
}

// draft is a label about to be given.
type draft struct {
	files     []slipstream.File
	single    bool
	n         int // of the label, 0 for the next
	mandatory bool
	own       codepush.Own
	imported  bool
}

func parseRange(text string) (semver.Range, error) {
	r, err := semver.ParseRange(text)
	if err != nil || strings.TrimSpace(text) == "" || len(text) > 200 {
		return r, slipstream.Invalidf("appVersion %.80q: must be a version or a range of versions, like 1.2.3 or ^1.2.0", text)
	}
	return r, nil
}

// apply takes what is said over into a draft.
func (d *draft) apply(in *packageInfo) error {
	if in.AppVersion != nil {
		if _, err := parseRange(*in.AppVersion); err != nil {
			return err
		}
		d.own.Range = *in.AppVersion
	}
	if in.Description != nil {
		if len(*in.Description) > maxDescription {
			return slipstream.Invalidf("description is longer than %d bytes", maxDescription)
		}
		d.own.Description = *in.Description
	}
	if in.IsDisabled != nil {
		d.own.Disabled = *in.IsDisabled
	}
	if in.IsMandatory != nil {
		d.mandatory = *in.IsMandatory
	}
	if in.Rollout != nil {
		if *in.Rollout < 1 || *in.Rollout > 100 {
			return slipstream.Invalidf("rollout %d: must be within 1 and 100", *in.Rollout)
		}
		d.own.Share = *in.Rollout * 100
	}
	return nil
}

func (s *Server) release(c call) (answer, error) {
	d, err := s.in(c)
	if err != nil {
		return answer{}, err
	}
	u, done, err := s.receive(c)
	defer done()
	if err != nil {
		return answer{}, err
	}
	select { // whoever sends slowly holds nobody up: only what is whole waits in line
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	case <-c.ctx.Done():
		return answer{}, c.ctx.Err()
	}
	next := draft{own: codepush.Own{Share: slipstream.FullShare, Method: "Upload", By: c.who.Name}}
	if err := next.apply(&u.info); err != nil {
		return answer{}, err
	}
	if next.own.Range == "" {
		return answer{}, slipstream.Invalidf("packageInfo must have an appVersion")
	}
	if err := next.origin(&u.info); err != nil {
		return answer{}, err
	}
	if next.files, next.single, err = s.unpack(c.ctx, &u); err != nil {
		return answer{}, err
	}
	return s.commit(c, d, next, u.info.PackageHash)
}

// origin reads what an import says: the label that a release had elsewhere.
func (d *draft) origin(in *packageInfo) error {
	if in.Label == "" {
		return nil
	}
	if _, err := fmt.Sscanf(in.Label, "v%d", &d.n); err != nil || d.n < 1 || d.n > 1<<30 || fmt.Sprintf("v%d", d.n) != in.Label {
		return slipstream.Invalidf("label %.20q: must be v1, v2 …", in.Label)
	}
	d.imported, d.own.Of, d.own.From = true, in.OriginalLabel, in.OriginalDeployment
	switch in.ReleaseMethod {
	case "", "Upload":
	case "Promote", "Rollback":
		d.own.Method = in.ReleaseMethod
	default:
		return slipstream.Invalidf("releaseMethod %.20q: must be Upload, Promote or Rollback", in.ReleaseMethod)
	}
	if in.UploadTime > 0 && in.UploadTime < never {
		d.own.At = time.UnixMilli(in.UploadTime).UTC()
	}
	return nil
}

// commit renders and keeps a release and gives it its label, or refuses it and keeps nothing of it.
func (s *Server) commit(c call, d place, next draft, want slipstream.Digest) (answer, error) {
	m := &slipstream.Manifest{Files: next.files, Meta: map[string]json.RawMessage{slipstream.MetaAdapter: json.RawMessage(`"` + codepush.Name + `"`)}}
	if next.single {
		m.Meta[codepush.MetaSingle] = json.RawMessage("true")
	}
	made, hash, err := codepush.PackageOf(c.ctx, m, func(ctx context.Context, r *slipstream.Release) (store.Rendition, error) {
		return codepush.Protocol{}.Render(ctx, r, s.cfg.Blobs)
	})
	if err != nil {
		return answer{}, err
	}
	if want != "" && want != hash {
		return answer{}, slipstream.Refuse(slipstream.ReasonFileMismatch, "package", "its hash is %s, not %s", hash, want)
	}
	next.own.Hash, next.own.Blob, next.own.Size = hash, made.SHA256, made.Size
	var out *codepush.Label
	var known *codepush.Label
	_, err = s.cfg.Rollout.CommitAdapter(c.ctx, c.who.Name, rollout.AdapterCommit{App: d.app, Package: d.pkg, Adapter: codepush.Name, Files: next.files, Notes: next.own.Description,
		Describe: func(tx store.Tx, m *slipstream.Manifest, _ time.Time) error {
			_, o, err := deployments(c.ctx, tx, d.app)
			if err == nil {
				err = o.Signed(made)
			}
			if err != nil {
				return err
			}
			h, err := codepush.HistoryOf(c.ctx, tx, d.app, d.channel, d.platform)
			if err != nil {
				return err
			}
			if known = nil; next.imported {
				if known = h.Find(fmt.Sprintf("v%d", next.n)); known != nil && known.Own.Hash == hash {
					return errKnown
				}
			}
			if err := admits(&h, &next); err != nil {
				return err
			}
			n := next.n
			if n == 0 {
				n = h.Last + 1
			}
			m.Version, m.Platform, m.Runtime = fmt.Sprintf("%s-v%d", d.channel, n), d.platform, slipstream.Runtime{Range: next.own.Range}
			same, err := tx.Releases().List(c.ctx, store.ReleaseFilter{App: d.app, Package: d.pkg, Platform: m.Platform, Version: m.Version})
			if err != nil {
				return err
			}
			if len(same) > 0 { // somebody published that version: it is only a name here
				m.Version += fmt.Sprintf(".%d", m.Seq)
			}
			if next.single {
				m.Meta[codepush.MetaSingle] = json.RawMessage("true")
			}
			return nil
		},
		Then: func(tx store.Tx, r *slipstream.Release, now time.Time) error {
			made.Release = r.Digest
			if err := tx.Containers().PutRendition(c.ctx, made); err != nil {
				return err
			}
			h, err := codepush.HistoryOf(c.ctx, tx, d.app, d.channel, d.platform)
			if err != nil {
				return err
			}
			own := next.own
			if own.At.IsZero() {
				own.At = now
			}
			out = h.Add(next.n, r.Digest, next.mandatory, own)
			label := *out
			out = &label
			for _, old := range h.Trim() {
				if err := tx.Releases().Delete(c.ctx, old); err != nil && !errors.Is(err, slipstream.ErrNotFound) {
					return err
				}
			}
			if err := h.Save(c.ctx, tx, d.app, d.channel, d.platform); err != nil {
				return err
			}
			return s.audit(c.ctx, tx, c, "codepush.release", d.app, d.display+" "+out.Name(), map[string]any{"digest": r.Digest, "method": own.Method, "share": own.Share, "hash": hash})
		}})
	if errors.Is(err, errKnown) {
		return ok(map[string]any{"package": s.said(c, known)}), nil
	}
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: map[string]any{"package": s.said(c, out)}, location: at("apps", d.app, "deployments", d.display, "history")}, nil
}

// errKnown ends a transaction that has nothing to do: the label is there, with these contents.
var errKnown = fmt.Errorf("the label is there already: %w", slipstream.ErrConflict)

// admits refuses what the original refuses: a new label while the newest is for a part of the devices, and the same
// contents twice for the same versions of the app.
func admits(h *codepush.History, next *draft) error {
	if next.imported {
		if next.n <= h.Last {
			return fmt.Errorf("label v%d: the deployment has given out v%d already: %w", next.n, h.Last, slipstream.ErrConflict)
		}
		return nil
	}
	newest := h.Newest()
	if newest == nil {
		return nil
	}
	if h.Unfinished() && next.own.Method != "Rollback" {
		return slipstream.Hint(fmt.Errorf("the latest release %s is only partially rolled out: %w", newest.Name(), slipstream.ErrConflict), "finish its rollout first: patch --rollout 100, or disable it")
	}
	if next.own.Method != "Rollback" && lastFor(h, next.own.Range) == next.own.Hash {
		return fmt.Errorf("the uploaded package is identical to the contents of the deployment's current release: %w", slipstream.ErrConflict)
	}
	return nil
}

// lastFor is the hash of what the app versions that a release is for have so far: of the newest release that a single
// version fits, or of the newest one if it is for the same range. It is "" when there is none.
func lastFor(h *codepush.History, said string) slipstream.Digest {
	want, err := semver.ParseRange(said)
	if err != nil {
		return ""
	}
	version, one := semver.Parse(said)
	for _, e := range slices.Backward(h.Entries) {
		if e.Own == nil {
			return "" // what came by another way is not compared
		}
		have, err := semver.ParseRange(e.Own.Range)
		if err == nil && (one && have.Fits(&version) || !one && have.Equal(&want)) {
			return e.Own.Hash
		}
		if !one {
			return ""
		}
	}
	return ""
}
