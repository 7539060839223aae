package client

import (
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func capped(r *slipstream.Rollout) { r.Grant = true }

func TestARefusedPlaceIsNotAskedForAgainBeforeTheStateChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.offer(b.repo.publish("main", "1.0.0", v1), capped)
	for range 3 {
		if u := b.update(); u.Answers["main"].Reason != slipstream.ReasonGrantNeeded {
			t.Fatalf("answer %+v", u.Answers["main"])
		}
	}
	if n := b.repo.count("/v1/grants"); n != 1 {
		t.Errorf("asked %d times for a place in one state", n)
	}
	b.repo.grants = map[string]bool{"ro-1.0.0-main": true}
	b.reopen()
	b.update()
	if n := b.repo.count("/v1/grants"); n != 1 {
		t.Errorf("a restart forgot the refusal: asked %d times", n)
	}
	b.repo.edit("main", func(*slipstream.PackageState) {})
	if u := b.update(); len(u.Staged) != 1 {
		t.Errorf("a new state may have made room: %+v", u.Answers["main"])
	}
}

func TestWhoGetsNoPlaceAsksTheNextRolloutInTheSameCheck(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.offer(b.repo.publish("main", "1.0.0", v1), capped)
	b.repo.offer(b.repo.publish("main", "2.0.0", v1), capped)
	b.repo.grants = map[string]bool{"ro-1.0.0-main": true}
	u := b.update()
	if got := u.Answers["main"].Offer; got == nil || got.Release.Version != "1.0.0" {
		t.Errorf("answer %+v", u.Answers["main"])
	}
	if n := b.repo.count("/v1/grants"); n != 2 {
		t.Errorf("%d questions, want one for each rollout", n)
	}
}
