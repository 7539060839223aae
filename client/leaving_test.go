package client

import (
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

func TestACrashingReleaseIsLeftOffline(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.offers("1.1.0", v2)
	b.update()
	b.offline()
	for attempt := range 2 {
		l := b.start()
		b.runs(l, "main", v2)
		if l.Attempt != attempt+1 {
			t.Errorf("attempt %d, expected %d", l.Attempt, attempt+1)
		}
		b.crash(l)
	}
	b.runs(b.start(), "main", v1)
	if !b.tellsOf(slipstream.KindRolledBack, slipstream.ReasonCrashed) {
		t.Error("the rollback has no reason")
	}

	t.Run("and stays away for six hours", func(t *testing.T) {
		b.online()
		if u := b.update(); u.Answers["main"].Offer != nil || len(b.c.Holds("main").Refusals) != 1 {
			t.Fatalf("answer %+v", u.Answers["main"])
		}
	})
	t.Run("then is tried once more without a download", func(t *testing.T) {
		b.clock.advance(6 * time.Hour)
		b.repo.asked = nil
		if u := b.update(); len(u.Staged) != 1 {
			t.Fatalf("answer %+v", u.Answers["main"])
		}
		if b.repo.count("/v1/containers/")+b.repo.count("/v1/blobs/") != 0 {
			t.Errorf("downloaded again: %v", b.repo.asked)
		}
		for range 2 {
			l := b.start()
			b.runs(l, "main", v2)
			b.crash(l)
		}
		b.runs(b.start(), "main", v1)
		b.clock.advance(12 * time.Hour)
		if u := b.update(); u.Answers["main"].Offer != nil {
			t.Fatalf("answer %+v", u.Answers["main"])
		}
	})
	t.Run("until the server raises the retry number", func(t *testing.T) {
		b.repo.edit("main", func(p *slipstream.PackageState) { p.Rollouts[0].Retry = 1 })
		if u := b.update(); len(u.Staged) != 1 {
			t.Fatalf("answer %+v", u.Answers["main"])
		}
	})
}

func TestWithdrawnFallsBackToWhatIsHeld(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d1 := b.has("1.0.0", v1)
	d2 := b.has("1.1.0", v2)
	b.repo.edit("main", func(p *slipstream.PackageState) {
		p.Withdrawn = append(p.Withdrawn, d2)
		p.Rollouts = nil
	})
	u := b.update()
	if a := u.Answers["main"]; a.Verdict != slipstream.VerdictRollback || a.Reason != slipstream.ReasonWithdrawn {
		t.Fatalf("answer %+v", a)
	}
	if len(b.asks) != 1 || b.asks[0].Reason != slipstream.ReasonWithdrawn {
		t.Errorf("the host was asked %v", b.asks)
	}
	l := b.start()
	b.runs(l, "main", v1)
	if l.Trial {
		t.Error("a release that was good is tried again")
	}

	t.Run("and the embedded one is the last resort", func(t *testing.T) {
		b.repo.edit("main", func(p *slipstream.PackageState) { p.Withdrawn = append(p.Withdrawn, d1) })
		b.update()
		b.runs(b.start(), "main", nil)
	})
}

func TestOperatorsRollbackNeedsASignedEdge(t *testing.T) {
	t.Parallel()
	for name, edge := range map[string]bool{"with the edge": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d1 := b.repo.publish("main", "1.0.0", v1)
			d2 := b.repo.publish("main", "1.1.0", v2, func(m *slipstream.Manifest) {
				if edge {
					m.Fallback = []slipstream.Digest{d1}
				}
			})
			b.repo.offer(d2)
			b.install()
			b.repo.edit("main", func(p *slipstream.PackageState) { p.Withdrawn, p.Rollouts = []slipstream.Digest{d2}, nil })
			b.repo.offer(d1)
			b.update()
			l := b.start()
			if edge {
				b.runs(l, "main", v1)
				b.confirm(l)
				return
			}
			b.runs(l, "main", nil)
		})
	}
}

func TestAFloorIsObeyed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.repo.edit("main", func(p *slipstream.PackageState) {
		p.Rollouts = nil
		p.Floors = []slipstream.Floor{{Runtime: slipstream.AnyRuntime(), Seq: 2}}
	})
	u := b.update()
	if u.Answers["main"].Reason != slipstream.ReasonBelowFloor {
		t.Fatalf("answer %+v", u.Answers["main"])
	}
	b.runs(b.start(), "main", nil)
}

func TestAPausedRolloutIsNotStagedAndLeavesTheLine(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.offers("1.0.0", v1)
	b.update()
	b.repo.edit("main", func(p *slipstream.PackageState) { p.Rollouts[0].Hold = slipstream.HoldPaused })
	if u := b.update(); u.Answers["main"].Reason != slipstream.ReasonPaused {
		t.Fatalf("answer %+v", u.Answers["main"])
	}
	b.runs(b.start(), "main", nil)
}

func TestANewShellLeavesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1, func(m *slipstream.Manifest) { m.Runtime = slipstream.Runtime{Range: "1.x"} })
	b.offline()
	b.reopen(func(c *Config) { c.Runtime = "2.0.0" })
	b.runs(b.start(), "main", nil)
	if !b.tellsOf(slipstream.KindRolledBack, slipstream.ReasonRuntimeChanged) {
		t.Error("no reason was told")
	}
	b.online()
	if u := b.update(); u.Answers["main"].Verdict != slipstream.VerdictUpgradeRuntime {
		t.Fatalf("answer %+v", u.Answers["main"])
	}
}
