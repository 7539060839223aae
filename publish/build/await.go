package build

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// A device that asks a moment after a release was published would take the full container although a patch is about to
// be there. It is worth a moment's wait, and never more than that.
const (
	waitLook   = 100 * time.Millisecond // between looks at what other nodes do
	waitYoung  = 10 * time.Second       // a job that is older takes long: nobody waits for it
	maxWaiting = 32                     // requests that wait at once; more are answered with what is there
)

// Await is Want, and waits a moment when the way from there is about to be made. It reports whether it is worth
// looking again: a job for this very pair has ended meanwhile.
func (b *Builder) Await(ctx context.Context, release, from slipstream.Digest) bool {
	w := wish{release, from}
	b.Want(release, from)
	select {
	case b.places <- struct{}{}:
		defer func() { <-b.places }()
	default:
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Wait)
	defer cancel()
	tick := time.NewTicker(waitLook)
	defer tick.Stop()
	for known := false; ; known = true {
		ended := b.ended.wait()
		switch stands, err := b.stands(ctx, w); {
		case err != nil, stands == hopeless:
			return false
		case stands == made:
			return true
		case !known:
			if leads, err := b.leads(ctx, w); err != nil || !leads {
				return false
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-ended:
		case <-tick.C:
		}
	}
}

// standing says how a pair's job is getting on.
type standing int

const (
	coming   standing = iota // it is young, or not planned yet
	made                     // it has ended just now
	hopeless                 // it takes long, failed, or ended before: what is listed knows of it
)

func (b *Builder) stands(ctx context.Context, w wish) (standing, error) {
	jobs, err := b.cfg.Store.Jobs().List(ctx, w.release)
	if err != nil {
		return hopeless, err
	}
	i := slices.IndexFunc(jobs, func(j store.Job) bool { return j.From == w.from })
	switch {
	case i < 0 && len(jobs) >= maxWanted:
		return hopeless, nil
	case i < 0:
		return coming, nil
	case jobs[i].State == store.JobDone && b.cfg.Clock().Sub(jobs[i].Updated) <= waitYoung:
		return made, nil
	case jobs[i].State == store.JobDone, jobs[i].State == store.JobFailed, b.cfg.Clock().Sub(jobs[i].Created) > waitYoung:
		return hopeless, nil
	}
	return coming, nil
}

// signal wakes all who wait for it.
type signal struct {
	mu   sync.Mutex
	next chan struct{}
}

func newSignal() *signal { return &signal{next: make(chan struct{})} }

// wait gives what the next send closes.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

func (s *signal) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.next)
	s.next = make(chan struct{})
}
