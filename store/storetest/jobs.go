package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// twoReleases makes shop with two releases and gives their digests.
func (e *env) twoReleases() (first, second slipstream.Digest) {
	e.Helper()
	e.shop()
	a, b := release(1, "1"), release(2, "2")
	e.update(func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.Releases().Put(ctx, a), tx.Releases().Put(ctx, b))
	})
	return a.Digest, b.Digest
}

func (e *env) queue(jobs ...store.Job) int64 {
	e.Helper()
	for i := range jobs {
		jobs[i].Created = at(i)
	}
	n, err := e.s.Jobs().Add(e.Context(), jobs)
	e.must(err)
	return n
}

func (e *env) claim(owner string, minute int) store.Job {
	e.Helper()
	j, err := e.s.Jobs().Claim(e.Context(), owner, at(minute), time.Minute)
	e.must(err)
	return j
}

var jobCases = []contract{
	{"are queued once, and only for releases that exist", func(e *env) {
		a, b := e.twoReleases()
		e.same(e.queue(store.Job{Release: b}, store.Job{Release: b, From: a}, store.Job{Release: digest("no release")}), int64(2), "new jobs")
		e.same(e.queue(store.Job{Release: b}), int64(0), "new jobs when repeated")
	}},
	{"come by priority, then by age", func(e *env) {
		a, b := e.twoReleases()
		e.queue(store.Job{Release: b, From: a, Priority: 5}, store.Job{Release: b, Priority: 1}, store.Job{Release: a, Priority: 5})
		e.same(e.claim("n", 10).From, slipstream.Digest(""), "first")
		e.same(e.claim("n", 10).Release, b, "second")
		e.same(e.claim("n", 10).Release, a, "third")
		_, err := e.s.Jobs().Claim(e.Context(), "n", at(10), time.Minute)
		e.want(err, slipstream.ErrNotFound, "claim with nothing left")
	}},
	{"a lower priority is taken over, a higher one is not", func(e *env) {
		a, b := e.twoReleases()
		e.queue(store.Job{Release: b, Priority: 3}, store.Job{Release: a, Priority: 5})
		e.queue(store.Job{Release: b, Priority: 9}, store.Job{Release: a, Priority: 1})
		e.same(e.claim("n", 10).Release, a, "first")
		e.same(e.claim("n", 10).Priority, 3, "priority of the second")
	}},
	{"are not due before their time", func(e *env) {
		_, b := e.twoReleases()
		e.queue(store.Job{Release: b, Due: at(30)})
		_, err := e.s.Jobs().Claim(e.Context(), "n", at(29), time.Minute)
		e.want(err, slipstream.ErrNotFound, "claim before its time")
		e.same(e.claim("n", 30).Attempts, 1, "attempts")
	}},
	{"a lease that ran out is somebody else's turn", func(e *env) {
		_, b := e.twoReleases()
		e.queue(store.Job{Release: b})
		mine := e.claim("mine", 10)
		yours := e.claim("yours", 11)
		e.same(yours.Attempts, 2, "attempts")
		e.want(e.s.Jobs().Renew(e.Context(), mine, at(20)), slipstream.ErrConflict, "renew by the one who lost it")
		mine.State = store.JobDone
		e.want(e.s.Jobs().Finish(e.Context(), mine), slipstream.ErrConflict, "finish by the one who lost it")
		yours.Done, yours.Total, yours.Updated = 5, 10, at(12)
		e.must(e.s.Jobs().Renew(e.Context(), yours, at(20)))
		_, err := e.s.Jobs().Claim(e.Context(), "third", at(15), time.Minute)
		e.want(err, slipstream.ErrNotFound, "claim while the lease holds")
		list, err := e.s.Jobs().List(e.Context(), b)
		e.must(err)
		yours.Due = at(20)
		e.same(list, []store.Job{yours}, "job with progress")
	}},
	{"what failed comes again at its time, or never", func(e *env) {
		a, b := e.twoReleases()
		e.queue(store.Job{Release: b}, store.Job{Release: a})
		first, second := e.claim("n", 10), e.claim("n", 10)
		first.State, first.Due, first.Note, first.Spent = store.JobFailed, at(60), "no room", 3*time.Second
		second.State, second.Due = store.JobFailed, time.Time{}
		e.must(errors.Join(e.s.Jobs().Finish(e.Context(), first), e.s.Jobs().Finish(e.Context(), second)))
		again := e.claim("n", 60)
		e.same(again.Release, b, "job that comes again")
		e.same(again.Note, "no room", "its note")
		e.same(again.Spent, 3*time.Second, "time spent")
		again.State = store.JobDone
		e.must(e.s.Jobs().Finish(e.Context(), again))
		_, err := e.s.Jobs().Claim(e.Context(), "n", at(1000), time.Minute)
		e.want(err, slipstream.ErrNotFound, "claim of what was given up")
	}},
	{"what is given back counts no attempt", func(e *env) {
		_, b := e.twoReleases()
		e.queue(store.Job{Release: b})
		j := e.claim("n", 10)
		j.State, j.Due, j.Spent, j.Note = store.JobQueued, at(20), time.Second, "later"
		e.must(e.s.Jobs().Finish(e.Context(), j))
		e.want(e.s.Jobs().Finish(e.Context(), j), slipstream.ErrConflict, "give back what is not one's own any more")
		_, err := e.s.Jobs().Claim(e.Context(), "n", at(19), time.Minute)
		e.want(err, slipstream.ErrNotFound, "claim before its time")
		again := e.claim("n", 20)
		e.same(again.Attempts, 1, "attempts")
		e.same(again.Spent, time.Second, "time spent")
		again.State = store.JobRunning
		e.want(e.s.Jobs().Finish(e.Context(), again), slipstream.ErrInvalid, "an end that is none")
	}},
	{"what is done stays listed with its release alone, until it is dropped", func(e *env) {
		_, b := e.twoReleases()
		e.queue(store.Job{Release: b})
		j := e.claim("n", 10)
		j.State = store.JobDone
		e.must(e.s.Jobs().Finish(e.Context(), j))
		open, err := e.s.Jobs().List(e.Context(), "")
		e.must(err)
		e.same(len(open), 0, "open jobs")
		of, err := e.s.Jobs().List(e.Context(), b)
		e.must(err)
		e.same(len(of), 1, "jobs of the release")
		e.must(e.s.Jobs().Drop(e.Context(), b, ""))
		e.same(e.queue(store.Job{Release: b}), int64(1), "new jobs after the drop")
	}},
	{"go with their release", func(e *env) {
		_, b := e.twoReleases()
		e.queue(store.Job{Release: b})
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Releases().Delete(ctx, b) })
		_, err := e.s.Jobs().Claim(e.Context(), "n", at(10), time.Minute)
		e.want(err, slipstream.ErrNotFound, "claim after the release went")
	}},
	{"two nodes never get the same one", func(e *env) {
		a, b := e.twoReleases()
		var jobs []store.Job
		for i := range 40 {
			jobs = append(jobs, store.Job{Release: []slipstream.Digest{a, b}[i%2], From: digest(string(rune('A' + i)))})
		}
		e.queue(jobs...)
		nodes := []store.Store{e.s, e.node()}
		var mu sync.Mutex
		var wg sync.WaitGroup
		seen := map[[2]slipstream.Digest]int{}
		for i := range 4 {
			wg.Go(func() {
				for {
					j, err := nodes[i%2].Jobs().Claim(e.Context(), string(rune('a'+i)), at(100), time.Hour)
					if errors.Is(err, slipstream.ErrNotFound) {
						return
					}
					if err != nil {
						e.Errorf("claim: %v", err)
						return
					}
					mu.Lock()
					seen[[2]slipstream.Digest{j.Release, j.From}]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		// Who loses a race too often goes home early; the job is not lost for it.
		for {
			j, err := e.s.Jobs().Claim(e.Context(), "last", at(100), time.Hour)
			if errors.Is(err, slipstream.ErrNotFound) {
				break
			}
			e.must(err)
			seen[[2]slipstream.Digest{j.Release, j.From}]++
		}
		for k, n := range seen {
			e.same(n, 1, "times that "+k[1].Short()+" was given out")
		}
		e.same(len(seen), 40, "jobs given out")
	}},
}
