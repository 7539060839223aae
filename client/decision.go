package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/sign"
)

// CheckDecision is Check by the server's signed decision instead of the public state: it sees private rollouts, and
// works when the device's clock makes every state look expired. What it names must still pass the anchor rule, the
// floor and the manifest's checks here.
func (c *Client) CheckDecision(ctx context.Context) (*Checked, error) {
	ctx, release, err := c.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := c.writer(); err != nil {
		return nil, err
	}
	now := c.clock.Now()
	if c.rootsDue() {
		if err := c.walkRoots(ctx); err != nil {
			c.log.Warn("newer roots not asked for", "error", err)
		}
	}
	d, err := c.decision(ctx, now)
	if err != nil {
		return nil, c.failed("check", "", err)
	}
	out := &Checked{Epoch: d.Epoch, Next: c.cfg.Poll, Decision: true}
	c.next(out, d.CheckAfter, 0)
	return out, c.conclude(ctx, out, nil, d, now)
}

// decision asks for a decision with a fresh nonce, accepts it, and keeps its epoch and signed time.
func (c *Client) decision(ctx context.Context, now time.Time) (*slipstream.Decision, error) {
	var nonce [32]byte
	if _, err := io.ReadFull(c.cfg.Rand, nonce[:]); err != nil {
		return nil, fmt.Errorf("make nonce: %w", err)
	}
	c.mu.Lock()
	req := slipstream.CheckRequest{App: c.cfg.App, Channel: c.channel, Nonce: base64.StdEncoding.EncodeToString(nonce[:]), Device: c.facts(),
		Packages: map[string]slipstream.PackageOnBoard{}}
	s, env := c.body.Trial, c.env()
	for _, pkg := range c.cfg.Packages {
		running := s.Running(env, pkg)
		on := slipstream.PackageOnBoard{Digest: running.Digest, Seq: running.Seq, Anchor: s.Anchor(env, pkg).Seq}
		for _, f := range s.Blocked(now, pkg) {
			on.Refused = append(on.Refused, f.Digest)
		}
		on.Granted, on.Full = c.places()
		on.Granted, on.Full = on.Granted[:min(len(on.Granted), maxPlaces)], on.Full[:min(len(on.Full), maxPlaces)]
		req.Packages[pkg] = on
	}
	c.mu.Unlock()
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode check: %w", err)
	}
	var d *slipstream.Decision
	ask := func() error {
		return c.net.document(ctx, http.MethodPost, "/v1/check", body, slipstream.MaxDecisionBytes, func(raw []byte) error {
			var err error
			d, err = c.acceptDecision(raw, req, now)
			return err
		})
	}
	err = ask()
	if asksForRoots(err) {
		if werr := c.walkRoots(ctx); werr != nil {
			c.log.Warn("newer roots not reached", "error", werr)
		}
		err = ask()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for a decision: %w", err)
	}
	return d, nil
}

func (c *Client) acceptDecision(raw []byte, req slipstream.CheckRequest, now time.Time) (*slipstream.Decision, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.lastState()
	d, err := c.trust.AcceptDecision(raw, sign.ExpectDecision{App: c.cfg.App, Channel: c.channel, Device: req.Device.ID, Nonce: req.Nonce,
		LastEpoch: known.Epoch, Now: now, HighestSigned: time.Unix(known.Signed, 0)})
	if err != nil {
		return nil, err
	}
	if d.Epoch > known.Epoch || d.Issued.Unix() > known.Signed {
		known.Epoch, known.Signed = max(known.Epoch, d.Epoch), max(known.Signed, d.Issued.Unix())
		if err := c.remember(known); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// ruleByDecision takes a server's decision as far as the device's own rules allow it. mu is held.
func (c *Client) ruleByDecision(pkg string, d slipstream.PackageDecision) ruling {
	r := ruling{verdict: d.Verdict, reason: d.Reason, rollout: d.Rollout, control: d.Control, grant: d.Grant}
	leaving := d.Reason == slipstream.ReasonWithdrawn || d.Reason == slipstream.ReasonBelowFloor
	switch {
	case d.Release != nil && (d.Verdict == slipstream.VerdictUpdate || d.Verdict == slipstream.VerdictRollback):
		if reason := c.forbids(pkg, *d.Release, d.Retry, leaving); reason != "" {
			r.verdict, r.reason = slipstream.VerdictNone, reason
			return r
		}
		r.offer = &Offer{Package: pkg, Release: *d.Release, Rollout: d.Rollout, Retry: d.Retry, Leaving: leaving, Reason: d.Reason}
		if d.Apply != nil {
			r.offer.Apply = *d.Apply
		}
	case d.Verdict == slipstream.VerdictRollback || d.Verdict == slipstream.VerdictBlocked:
		r.leave = true
		local := c.local(pkg)
		r.embedded = !local.RunningEmbedded
		if held := c.wayBack(pkg, local); held != "" {
			r.fallback, r.embedded = &held, false
		}
	}
	return r
}

// wayBack is the newest release in local that may be fallen back to: it fits the shell, and by the last state known it is
// neither withdrawn nor below its floor; "" when there is none. Refused releases are not held. mu is held.
func (c *Client) wayBack(pkg string, local decide.Local) slipstream.Digest {
	why := func(trial.Release) slipstream.Reason { return "" }
	if last, _ := c.lastState(); last != nil {
		why = c.victims(last, pkg)
	}
	for _, h := range local.Held {
		refused := slices.ContainsFunc(local.Refused, func(f decide.Refusal) bool { return f.Digest == h.Digest })
		if !refused && c.fits(h.Runtime) && why(trial.Release{Digest: h.Digest, Seq: h.Seq}) == "" {
			return h.Digest
		}
	}
	return ""
}

const maxLeft = 32

// left is the body of now, with a note that release d is left in this epoch. mu is held.
func (c *Client) left(d slipstream.Digest) body {
	next := c.body
	if len(next.Left) >= maxLeft {
		next.Left = nil
	}
	next.Left = cloneWith(next.Left, c.channel+"/"+string(d), c.body.Channels[c.channel].Epoch)
	return next
}

// forbids applies the client's own rules to a release that a decision names: refusals, what was left in this epoch, the
// floor that the last state knows, and the anchor rule.
func (c *Client) forbids(pkg string, target slipstream.ReleaseRef, retry int, leaving bool) slipstream.Reason {
	s, env := c.body.Trial, c.env()
	for _, f := range s.Blocked(env.Now, pkg) {
		if f.Digest == target.Digest && retry <= f.Retry {
			return slipstream.ReasonRefusedAfterCrash
		}
	}
	why := func(trial.Release) slipstream.Reason { return "" }
	if last, _ := c.lastState(); last != nil {
		why = c.victims(last, pkg)
	}
	if why(trial.Release{Digest: target.Digest, Seq: target.Seq}) == slipstream.ReasonBelowFloor {
		return slipstream.ReasonBelowFloor
	}
	if epoch, left := c.body.Left[c.channel+"/"+string(target.Digest)]; left && c.body.Channels[c.channel].Epoch <= epoch {
		return slipstream.ReasonWithdrawn // nothing was changed since: a server that says both would have devices restart for ever
	}
	anchor := s.Anchor(env, pkg)
	if target.Seq > anchor.Seq || target.Digest == anchor.Digest {
		return ""
	}
	running := s.Running(env, pkg)
	anchorLeft := why(anchor) != "" || leaving && running.Digest == anchor.Digest
	if anchorLeft && slices.Contains(anchor.Fallback, target.Digest) {
		return ""
	}
	return slipstream.ReasonDowngrade
}
