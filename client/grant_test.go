package client

import (
	"net/http"
	"net/http/httptest"
	"slices"
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

func TestAServerThatDoesNotAnswerGivesNoPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.offer(b.repo.publish("main", "1.0.0", v1), capped)
	b.repo.grants = map[string]bool{"ro-1.0.0-main": true}
	for _, broken := range []struct {
		name string
		code int
		body string
	}{{"away", 503, ""}, {"a login page", 200, "<html>"}, {"neither yes nor no", 200, "{}"}, {"an unknown rollout", 404, ""}} {
		b.repo.fault = func(r *http.Request, answer *httptest.ResponseRecorder) (*http.Response, error) {
			if r.URL.Path != "/v1/grants" {
				return answer.Result(), nil
			}
			w := httptest.NewRecorder()
			w.WriteHeader(broken.code)
			_, _ = w.WriteString(broken.body)
			return w.Result(), nil
		}
		before := b.repo.count("/v1/grants")
		u := b.update()
		if len(u.Staged) != 0 || u.Answers["main"].Reason != slipstream.ReasonGrantNeeded {
			t.Errorf("%s: answer %+v", broken.name, u.Answers["main"])
		}
		if n := b.repo.count("/v1/grants") - before; n != 1 {
			t.Errorf("%s: one check asked %d times", broken.name, n)
		}
	}
	b.repo.fault = nil
	if u := b.update(); len(u.Staged) != 1 {
		t.Errorf("once it answers: %+v", u.Answers["main"])
	}
}

func TestARefusalByANodeThatLagsIsNotKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.offer(b.repo.publish("main", "1.0.0", v1), capped)
	b.repo.edit("main", func(*slipstream.PackageState) {})
	b.repo.grantEpoch = 1
	b.update()
	b.repo.grants = map[string]bool{"ro-1.0.0-main": true}
	if u := b.update(); len(u.Staged) != 1 {
		t.Errorf("answer %+v", u.Answers["main"])
	}
}

func TestAPlaceIsAskedForBeforeSomethingOlderIsTaken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.offers("1.0.0", v1)
	b.repo.offer(b.repo.publish("main", "2.0.0", v2), capped)
	b.repo.grants = map[string]bool{"ro-2.0.0-main": true}
	if got := b.update().Answers["main"].Offer; got == nil || got.Release.Version != "2.0.0" {
		t.Errorf("offer %+v", got)
	}
}

func TestDecisionsKnowOfPlaces(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	one := b.repo.publish("main", "1.0.0", v1)
	m := b.repo.manifests[one]
	var told []slipstream.PackageOnBoard
	b.repo.decide = func(q slipstream.CheckRequest) map[string]slipstream.PackageDecision {
		on := q.Packages["main"]
		told = append(told, on)
		d := slipstream.PackageDecision{Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonGrantNeeded}
		switch {
		case slices.Contains(on.Granted, "private"):
			d = slipstream.PackageDecision{Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease, Rollout: "private",
				Release: &slipstream.ReleaseRef{Digest: one, Seq: m.Seq, Version: m.Version, Size: m.Size()}}
		case !slices.Contains(on.Full, "first"):
			d.Grant = "first"
		default:
			d.Grant = "private"
		}
		return map[string]slipstream.PackageDecision{"main": d}
	}
	b.repo.grants = map[string]bool{"private": true}
	got, err := b.c.CheckDecision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o := got.Answers["main"].Offer; o == nil || o.Rollout != "private" || len(told) != 3 {
		t.Errorf("after %+v: %+v", told, got.Answers["main"])
	}
}

func TestSeveralPackagesAskForPlacesOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Packages = []string{"cart", "main"} })
	b.repo.offer(b.repo.publish("main", "1.0.0", v1), capped)
	b.repo.offer(b.repo.publish("cart", "3.0.0", v2), capped)
	b.repo.grants = map[string]bool{"ro-3.0.0-cart": true}
	u := b.update()
	if u.Answers["cart"].Offer == nil || u.Answers["main"].Reason != slipstream.ReasonGrantNeeded {
		t.Errorf("answers %+v", u.Answers)
	}
	b.update()
	if n := b.repo.count("/v1/grants"); n != 2 {
		t.Errorf("%d questions, want one for each package", n)
	}
}

func TestWhatIsKnownOfPlacesGoesWithTheirRollouts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.offer(b.repo.publish("main", "1.0.0", v1), capped)
	b.repo.offer(b.repo.publish("main", "2.0.0", v1), capped)
	b.repo.grants = map[string]bool{"ro-1.0.0-main": true}
	b.update()
	if len(b.c.body.Grants) != 1 || len(b.c.body.Ungranted) != 1 {
		t.Fatalf("kept %v and %v", b.c.body.Grants, b.c.body.Ungranted)
	}
	b.repo.edit("main", func(p *slipstream.PackageState) { p.Rollouts = nil })
	b.update()
	if len(b.c.body.Grants) != 0 || len(b.c.body.Ungranted) != 0 {
		t.Errorf("kept %v and %v", b.c.body.Grants, b.c.body.Ungranted)
	}
}
