package manage

import (
	"fmt"
	"net/http"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/store"
)

type about struct {
	PackageInfo packageInfo `json:"packageInfo"`
}

// patchRelease changes what is decided about a label. A rollout only grows.
func (s *Server) patchRelease(c call) (answer, error) {
	var in about
	if err := c.read(&in); err != nil {
		return answer{}, err
	}
	d, err := s.in(c)
	if err != nil {
		return answer{}, err
	}
	var out labelled
	changed := false
	err = s.cfg.Store.Update(c.ctx, func(tx store.Tx) error {
		h, err := codepush.HistoryOf(c.ctx, tx, d.app, d.channel, d.platform)
		if err != nil {
			return err
		}
		e, err := chosen(&h, in.PackageInfo.Label, "patch it", "slipstream rollout share, pause or resume, and slipstream withdraw change it; --label names a release of this tool")
		if err != nil {
			return err
		}
		if e == nil {
			return fmt.Errorf("release %q: %w", in.PackageInfo.Label, slipstream.ErrNotFound)
		}
		next := draft{mandatory: e.Mandatory, own: *e.Own}
		if err := next.apply(&in.PackageInfo); err != nil {
			return err
		}
		if r := in.PackageInfo.Rollout; r != nil && (e.Own.Share == slipstream.FullShare || next.own.Share <= e.Own.Share) {
			return slipstream.Hint(fmt.Errorf("the rollout of %s can only grow while it is not complete: %w", e.Name(), slipstream.ErrConflict), "it is %d%% now", e.Own.Share/100)
		}
		changed = next.own != *e.Own || next.mandatory != e.Mandatory
		*e.Own, e.Mandatory = next.own, next.mandatory
		out = s.said(c, e)
		if !changed {
			return nil
		}
		if err := h.Save(c.ctx, tx, d.app, d.channel, d.platform); err != nil {
			return err
		}
		return s.audit(c.ctx, tx, c, "codepush.patch", d.app, d.display+" "+e.Name(), map[string]any{"share": next.own.Share, "disabled": next.own.Disabled, "mandatory": next.mandatory, "range": next.own.Range})
	})
	if err == nil && !changed {
		return answer{status: http.StatusNoContent}, nil
	}
	return ok(map[string]any{"package": out}), err
}

// copied makes a draft of a label that is there.
func (s *Server) copied(c call, d place, pick func(h *codepush.History) (*codepush.Label, error)) (next draft, err error) {
	err = s.cfg.Store.View(c.ctx, func(tx store.Tx) error {
		h, err := codepush.HistoryOf(c.ctx, tx, d.app, d.channel, d.platform)
		if err != nil {
			return err
		}
		e, err := pick(&h)
		if err != nil {
			return err
		}
		r, err := tx.Releases().Get(c.ctx, e.Release)
		if err != nil {
			return err
		}
		next = draft{files: r.Manifest.Files, single: r.Manifest.Meta[codepush.MetaSingle] != nil, mandatory: e.Mandatory, own: *e.Own}
		next.own.Share, next.own.By, next.own.Of, next.own.From, next.own.At = slipstream.FullShare, c.who.Name, e.Name(), "", time.Time{}
		return nil
	})
	return next, err
}

func (s *Server) promote(c call) (answer, error) {
	var in about
	if err := c.read(&in); err != nil {
		return answer{}, err
	}
	from, err := s.in(c)
	if err != nil {
		return answer{}, err
	}
	var to place
	if err := s.cfg.Store.View(c.ctx, func(tx store.Tx) (err error) {
		to, err = deployment(c.ctx, tx, from.app, c.PathValue("to"))
		return err
	}); err != nil {
		return answer{}, err
	}
	next, err := s.copied(c, from, func(h *codepush.History) (*codepush.Label, error) {
		e, err := chosen(h, in.PackageInfo.Label, "promote it", fmt.Sprintf("slipstream promote %s %s --app %s --package %s offers it there as it is; --label names a release of this tool",
			from.channel, to.channel, from.app, from.pkg))
		if err != nil {
			return nil, err
		}
		if e == nil {
			return nil, fmt.Errorf("deployment %q has no such release: %w", from.display, slipstream.ErrNotFound)
		}
		return e, nil
	})
	if err != nil {
		return answer{}, err
	}
	next.own.Method, next.own.From = "Promote", from.display
	if err := next.apply(&in.PackageInfo); err != nil {
		return answer{}, err
	}
	return s.commit(c, to, next, "")
}

func (s *Server) rollBack(c call) (answer, error) {
	d, err := s.in(c)
	if err != nil {
		return answer{}, err
	}
	next, err := s.copied(c, d, func(h *codepush.History) (*codepush.Label, error) { return target(h, c.PathValue("label")) })
	if err != nil {
		return answer{}, err
	}
	next.own.Method, next.own.Disabled = "Rollback", false
	return s.commit(c, d, next, "")
}

// target is the label that a rollback brings back: a named one, else the last one before the newest that is not disabled.
// What somebody disabled comes back only when it is named.
func target(h *codepush.History, label string) (*codepush.Label, error) {
	const instead = "slipstream rollback takes back what slipstream published and brings it back; --targetRelease names a release of this tool"
	if label == "" {
		if _, err := chosen(h, "", "roll it back", instead); err != nil {
			return nil, err
		}
	}
	latest, newest := h.Latest(), h.Newest()
	if newest == nil && label == "" {
		return nil, fmt.Errorf("the deployment has no release: %w", slipstream.ErrNotFound)
	}
	var e *codepush.Label
	if label != "" {
		var err error
		if e, err = chosen(h, label, "go back to it", instead); err != nil {
			return nil, err
		}
	} else {
		for i := range h.Entries {
			if o := &h.Entries[i]; o.Own != nil && o != newest && !o.Own.Disabled {
				e = o
			}
		}
	}
	switch {
	case e == nil:
		return nil, fmt.Errorf("there is no release to go back to: %w", slipstream.ErrNotFound)
	case latest.Own == nil: // it is over another kind: every one of this tool's comes back over it
		return e, nil
	case e == newest:
		return nil, fmt.Errorf("%s is the latest release already: %w", e.Name(), slipstream.ErrConflict)
	case e.Own.Range != newest.Own.Range:
		return nil, fmt.Errorf("%s is for app version %s, the latest release for %s: %w", e.Name(), e.Own.Range, newest.Own.Range, slipstream.ErrConflict)
	}
	return e, nil
}
