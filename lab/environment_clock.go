package lab

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/crashfs"
)

const aYear = 365 * 24 * time.Hour

// skewed is the clock of a device that is wrong by some time.
type skewed struct {
	right *clock
	by    time.Duration
}

func (s skewed) Now() time.Time                         { return s.right.Now().Add(s.by) }
func (s skewed) After(d time.Duration) <-chan time.Time { return s.right.After(d) }

// onRelease2 is a device that has confirmed release 2 under a right clock.
func onRelease2(ctx context.Context, t *trials) (*hardLife, error) {
	disk := crashfs.New()
	if err := disk.MkdirAll(filepath.FromSlash("/app")); err != nil {
		return nil, err
	}
	h, err := newHardLife(machine{fs: disk, locks: disk, dir: filepath.FromSlash("/app/updates"), settle: disk.Settle}, t.env.Seed)
	if err != nil {
		return nil, err
	}
	h.start(ctx, h.clock)
	h.confirm(ctx)
	h.offerRelease(Spec{Package: mainPkg, Seq: 2})
	h.update(ctx)
	h.start(ctx, h.clock)
	h.confirm(ctx)
	if n := h.client.Holds(mainPkg).Official.Seq; n != 2 || len(h.wrong) > 0 {
		return nil, fmt.Errorf("release %d is official instead of 2: %s", n, h.problem())
	}
	return h, nil
}

// takes says what is wrong when the device, under this clock, does not take the release that is offered.
func (h *hardLife) takes(ctx context.Context, now client.Clock, seq int64, byDecision bool) string {
	h.offerRelease(Spec{Package: mainPkg, Seq: seq})
	if !h.reopen(ctx, now, h.repo) {
		return h.problem()
	}
	u, err := h.client.Update(ctx)
	if err != nil {
		return fmt.Sprintf("update: %v", err)
	}
	if u.Decision != byDecision {
		return fmt.Sprintf("asked for a decision: %t", u.Decision)
	}
	h.start(ctx, now)
	h.confirm(ctx)
	if got := h.client.Holds(mainPkg).Official.Seq; got != seq {
		return fmt.Sprintf("release %d is official instead of %d; %s", got, seq, h.problem())
	}
	return h.problem()
}

func clockBack(ctx context.Context, t *trials) error {
	for _, by := range []time.Duration{-time.Hour, -25 * time.Hour, -aYear, -50 * aYear} {
		h, err := onRelease2(ctx, t)
		if err != nil {
			return err
		}
		t.expect(fmt.Sprintf("the next release, clock wrong by %s", by), h.takes(ctx, skewed{h.clock, by}, 3, false))
		t.expect("the one after, with the right clock", h.takes(ctx, h.clock, 4, false))
	}
	return nil
}

func clockForward(ctx context.Context, t *trials) error {
	for _, by := range []time.Duration{time.Hour, 25 * time.Hour, aYear, 11 * aYear} {
		h, err := onRelease2(ctx, t)
		if err != nil {
			return err
		}
		expired := by > stateLife
		t.expect(fmt.Sprintf("the next release, clock wrong by %s", by), h.takes(ctx, skewed{h.clock, by}, 3, expired))
		t.expect("the one after, with the right clock, by the public state", h.takes(ctx, h.clock, 4, false))
	}
	return clockForwardWithoutDecisions(ctx, t)
}

// clockForwardWithoutDecisions is a fleet on a plain CDN: nobody signs decisions there.
func clockForwardWithoutDecisions(ctx context.Context, t *trials) error {
	h, err := onRelease2(ctx, t)
	if err != nil {
		return err
	}
	h.offerRelease(Spec{Package: mainPkg, Seq: 3})
	h.repo.Tamper = func(a *Response) {
		if a.Request.URL.Path == "/v1/check" {
			a.Status, a.Bytes = http.StatusNotFound, nil
		}
	}
	told := map[slipstream.Reason]int{}
	for range 3 {
		if !h.reopen(ctx, skewed{h.clock, aYear}, h.repo) {
			break
		}
		_, err := h.client.Update(ctx)
		reason := slipstream.ReasonOf(err, "none")
		t.expectf(reason == slipstream.ReasonExpiredState, "an expired state", "update gives reason %s: %v", reason, err)
		h.start(ctx, skewed{h.clock, aYear})
		t.expectf(h.launch.Packages[mainPkg].Seq == 2, "the app under an expired state", "it runs release %d", h.launch.Packages[mainPkg].Seq)
		h.confirm(ctx)
	}
	for _, e := range h.client.Pending() {
		if e.Kind == slipstream.KindFailed {
			told[e.Reason]++
		}
	}
	t.expectf(told[slipstream.ReasonExpiredState] == 1, "the report of it", "told %v instead of once", told)
	t.expect("the right clock again", h.takes(ctx, h.clock, 4, false))
	return nil
}

// clockReplay plays old states to a device whose clock was set back to when they were fresh.
func clockReplay(ctx context.Context, t *trials) error {
	h, err := onRelease2(ctx, t)
	if err != nil {
		return err
	}
	h.clock.advance(20 * time.Hour) // past half of its life: the same epoch is signed again
	if _, err := h.client.Check(ctx); err != nil {
		return err
	}
	t.expect("a newer release", h.takes(ctx, h.clock, 3, false))
	for _, old := range h.repo.Issued()[:len(h.repo.Issued())-1] {
		back := skewed{h.clock, old.Issued.Add(time.Minute).Sub(h.clock.Now())}
		if !h.reopen(ctx, back, replaying{old.Envelope}) {
			break
		}
		_, err := h.client.Check(ctx)
		reason := slipstream.ReasonOf(err, "none")
		t.expectf(reason == slipstream.ReasonStaleState || reason == slipstream.ReasonExpiredState, fmt.Sprintf("state of epoch %d issued %s", old.Epoch, old.Issued.Format(time.RFC3339)),
			"it is not refused: %v", err)
		h.start(ctx, back)
		h.confirm(ctx)
		t.expectf(h.launch.Packages[mainPkg].Seq == 3, "the app afterwards", "it runs release %d", h.launch.Packages[mainPkg].Seq)
	}
	t.expect("the right clock again", h.takes(ctx, h.clock, 4, false))
	return nil
}

// clockRetry has a bad release: the clock may bring its one further try forward, but never a third.
func clockRetry(ctx context.Context, t *trials) error {
	for _, jumps := range [][]time.Duration{{aYear, aYear, aYear}, {-aYear, -aYear, -aYear}, {aYear, -aYear, 0}, {-aYear, aYear, 0}, {7 * time.Hour, 0, 8 * time.Hour}} {
		h, err := onRelease2(ctx, t)
		if err != nil {
			return err
		}
		h.offerRelease(Spec{Package: mainPkg, Seq: 3})
		h.update(ctx)
		starts := 0
		for _, by := range append([]time.Duration{0}, jumps...) {
			now := skewed{h.clock, by}
			if h.reopen(ctx, now, h.repo) {
				_, err := h.client.Update(ctx)
				h.may("update", err)
			}
			for range 4 {
				h.start(ctx, now)
				if h.launch.Trial {
					starts++
					h.crash(ctx)
					continue
				}
				t.expectf(h.launch.Packages[mainPkg].Seq == 2, "the app between trials", "it runs release %d", h.launch.Packages[mainPkg].Seq)
				h.confirm(ctx)
			}
		}
		// Two crashes end a trial, and there are at most two trials.
		t.expectf(starts == 2 || starts == 4, fmt.Sprintf("clock wrong by %v", jumps), "%d starts of a release that always crashes", starts)
		t.expect("the next release", h.takes(ctx, h.clock, 4, false))
	}
	return nil
}
