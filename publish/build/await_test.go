package build

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// bases gives the bases of r in the order in which their containers are made.
func (w *world) bases(r *slipstream.Release) (out []slipstream.Digest) {
	w.Helper()
	jobs, err := w.store.Jobs().List(w.Context(), r.Digest)
	w.must(err)
	slices.SortStableFunc(jobs, func(a, b store.Job) int { return a.Priority - b.Priority })
	for _, j := range jobs {
		if j.From != "" {
			out = append(out, j.From)
		}
	}
	return out
}

func TestTheWayFromTheLastReleaseInForceIsMadeFirst(t *testing.T) {
	for _, c := range []struct{ about, policy string }{
		{"the one between was withdrawn", `{"rollouts":[{"id":"new","manifest":"NEW","to":10000}],"withdrawn":[{"digest":"BAD"}]}`},
		{"the one between is halted", `{"rollouts":[{"id":"new","manifest":"NEW","to":500},{"id":"bad","manifest":"BAD","to":10000,"hold":"halted"},{"id":"good","manifest":"GOOD","to":10000}]}`},
		{"the one between was for a few", `{"rollouts":[{"id":"new","manifest":"NEW","to":500},{"id":"bad","manifest":"BAD","to":500},{"id":"good","manifest":"GOOD","to":10000}]}`},
	} {
		t.Run(c.about, func(t *testing.T) {
			w := newWorld(t)
			oldest, good, bad, next := w.release(), w.release(), w.release(), w.release()
			w.decide(c.policy, map[string]*slipstream.Release{"NEW": next, "BAD": bad, "GOOD": good})
			w.must(w.builder("a", w.blobs).plan(t.Context()))
			if got, want := w.bases(next), []slipstream.Digest{good.Digest, bad.Digest, oldest.Digest}; !slices.Equal(got, want) {
				t.Errorf("bases %v, want %v", got, want)
			}
		})
	}
}

func TestWhoAsksBeforeThePlanDoesNotStandBehindIt(t *testing.T) {
	w := newWorld(t)
	old := w.release()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var next *slipstream.Release
	blobs := &failing{Store: w.blobs}
	b := w.builder("a", blobs)
	blobs.wait = func(context.Context) {
		if next == nil { // while the full container of the old one is made, the next is published and asked for
			next = w.release()
			w.offer(next)
			b.Want(next.Digest, old.Digest)
			b.Wake()
			return
		}
		stop()
	}
	w.offer(old)
	w.must(b.Run(ctx))
	jobs, err := w.store.Jobs().List(t.Context(), next.Digest)
	w.must(err)
	for _, j := range jobs {
		if j.From == old.Digest && j.Priority != priorityPlanned {
			t.Errorf("the only base has priority %d, want %d", j.Priority, priorityPlanned)
		}
	}
}

func TestADeviceThatAsksEarlyGetsTheSmallWay(t *testing.T) {
	w := newWorld(t)
	old := w.release()
	next := w.release()
	w.offer(next)
	b := w.builder("a", w.blobs)
	b.cfg.Wait = time.Minute
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer func() { stop(); running.Wait() }()
	running.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	if !b.Await(t.Context(), next.Digest, old.Digest) {
		t.Fatal("answered without the way that was about to be made")
	}
	w.wantFrom("after the wait", next, old)
	if began := time.Now(); !b.Await(t.Context(), next.Digest, old.Digest) || time.Since(began) > b.cfg.Wait/2 {
		t.Error("what is there is not waited for")
	}
}

func TestNobodyWaitsInVain(t *testing.T) {
	at := func(age time.Duration, state store.JobState) func(*world, *slipstream.Release, *slipstream.Release) {
		return func(w *world, next, old *slipstream.Release) {
			_, err := w.store.Jobs().Add(w.Context(), []store.Job{{Release: next.Digest, From: old.Digest, Created: w.now.Add(-age)}})
			w.must(err)
			j, err := w.store.Jobs().Claim(w.Context(), "other", w.now, lease)
			w.must(err)
			j.Updated = w.now.Add(-age)
			if j.State = state; state != store.JobRunning {
				w.must(w.store.Jobs().Finish(w.Context(), j))
			}
		}
	}
	for _, c := range []struct {
		about string
		job   func(w *world, next, old *slipstream.Release)
		from  func(old *slipstream.Release) slipstream.Digest
		full  bool
	}{
		{about: "a stranger's base", from: func(*slipstream.Release) slipstream.Digest { return name(1) }},
		{about: "a job that takes long", job: at(time.Minute, store.JobRunning)},
		{about: "a job that failed", job: at(0, store.JobFailed)},
		{about: "a job that ended long ago, of which the list knows", job: at(time.Minute, store.JobDone)},
		{about: "too many wait", full: true},
	} {
		t.Run(c.about, func(t *testing.T) {
			w := newWorld(t)
			old := w.release()
			next := w.release()
			w.offer(next)
			b := w.builder("a", w.blobs)
			b.cfg.Wait = time.Minute
			for c.full && len(b.places) < cap(b.places) {
				b.places <- struct{}{}
			}
			if c.job != nil {
				c.job(w, next, old)
			}
			from := old.Digest
			if c.from != nil {
				from = c.from(old)
			}
			began := time.Now()
			if b.Await(t.Context(), next.Digest, from) {
				t.Error("worth looking again, it says")
			}
			if took := time.Since(began); took > b.cfg.Wait/2 {
				t.Errorf("it waited %s", took)
			}
			if n := len(b.places); n != 0 && !c.full {
				t.Errorf("%d places are still taken", n)
			}
		})
	}
}

func TestAWaitIsShort(t *testing.T) {
	w := newWorld(t)
	old := w.release()
	next := w.release()
	w.offer(next)
	b := w.builder("a", w.blobs) // nobody works
	b.cfg.Wait = 200 * time.Millisecond
	began := time.Now()
	if b.Await(t.Context(), next.Digest, old.Digest) {
		t.Error("worth looking again, it says")
	}
	if took := time.Since(began); took < b.cfg.Wait || took > 100*b.cfg.Wait {
		t.Errorf("it waited %s, want %s", took, b.cfg.Wait)
	}
}
