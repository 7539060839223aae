// Package build makes the containers of releases in the background: it plans which ones are worth having, keeps the
// plan in the store's queue, and works through it on every node, so that nothing is made twice or forgotten in a crash.
package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/store"
)

// Priorities of jobs. The full container is what every device can take; then the bases in their order; what a device
// asked for and nobody had planned comes behind those.
const (
	priorityFull    = 0
	priorityPlanned = 10
	priorityWanted  = 100
)

const (
	lease        = time.Minute
	renewEvery   = 15 * time.Second
	tellEvery    = time.Second      // between two looks whether there is progress to record
	idleEvery    = 10 * time.Second // between looks into the queue, which other nodes fill as well
	replanEvery  = 10 * time.Minute // the fleet moves on, and so does what is worth having
	retryFirst   = time.Minute
	retryMost    = time.Hour
	maxAttempts  = 6
	giveUpFor    = 24 * time.Hour // a full container that was given up is tried anew after that
	notYet       = 10 * time.Second
	farewell     = 3 * time.Second // to give a job back when this node stops
	maxWanted    = 64              // bases of one release, planned and asked for
	wantedAtOnce = 256             // wishes that wait to be looked at; more are forgotten and come again
)

// Config is what a Builder is made of. Store, Blobs and Owner are needed.
type Config struct {
	Store   store.Store
	Blobs   blob.Store
	Owner   string // this node, different from every other
	TempDir string // for spooling, "" = the system's
	Clock   func() time.Time
	Log     *slog.Logger
	// Running tells which releases the devices of a package run; nil when nobody knows.
	Running func(ctx context.Context, app, pkg string) ([]Share, error)
	Bounds  Bounds
	// Budget bounds the processor time that the bases of one release may take together; default 10 minutes. No base is begun
	// once it is used up.
	Budget time.Duration
	// Processor gives the processor time that this process has used, false when that is not known. Nil: as the system tells it.
	Processor func() (time.Duration, bool)
	// Wait bounds how long Await waits for a container that is about to be made; default 800 ms.
	Wait time.Duration
}

// Builder plans and makes containers.
type Builder struct {
	cfg    Config
	wake   chan struct{}
	wishes chan wish
	ended  *signal       // after every job of this node
	places chan struct{} // of those who wait
}

type wish struct{ release, from slipstream.Digest }

// New makes a Builder. Nothing happens until Run or Settle.
func New(cfg Config) *Builder {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Budget <= 0 {
		cfg.Budget = 10 * time.Minute
	}
	if cfg.Processor == nil {
		cfg.Processor = processorTime
	}
	if cfg.Wait <= 0 {
		cfg.Wait = 800 * time.Millisecond
	}
	return &Builder{cfg: cfg, wake: make(chan struct{}, 1), wishes: make(chan wish, wantedAtOnce),
		ended: newSignal(), places: make(chan struct{}, maxWaiting)}
}

// Wake says that there may be something to do. It never blocks.
func (b *Builder) Wake() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Want says that a device on from asked for release and found no way but the full one. It never blocks; what is asked
// for too often at once is forgotten, for the next device asks again.
func (b *Builder) Want(release, from slipstream.Digest) {
	select {
	case b.wishes <- wish{release, from}:
	default:
	}
}

// Run plans and works until ctx ends. What comes in while there is work is looked at between two jobs: the full container
// of a new release does not wait for every base of the one before. What devices ask for comes after what is planned at
// the same time, so that what was planned keeps its order.
func (b *Builder) Run(ctx context.Context) error {
	var planned time.Time
	var asked []wish
	for ctx.Err() == nil {
		if now := b.cfg.Clock(); now.Sub(planned) >= replanEvery || planned.After(now) {
			if err := b.plan(ctx); err != nil {
				b.tell(ctx, "containers could not be planned", err)
			}
			planned = now
		}
		for _, w := range asked {
			if err := b.grant(ctx, w); err != nil {
				b.tell(ctx, "a container that was asked for could not be planned", err)
			}
		}
		worked, err := b.work(ctx)
		if err != nil {
			b.tell(ctx, "containers could not be built", err)
		}
		pause := idleEvery
		if worked && err == nil {
			pause = 0
		}
		var replan bool
		if replan, asked = b.listen(ctx, pause); replan {
			planned = time.Time{}
		}
	}
	return nil
}

// listen takes what came in, waiting up to pause for it, and says whether to plan anew and what devices asked for.
// However fast wishes come, it takes no more of them than can wait, so that work goes on between.
func (b *Builder) listen(ctx context.Context, pause time.Duration) (replan bool, asked []wish) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	if pause > 0 {
		select {
		case <-ctx.Done():
			return false, nil
		case <-b.wake:
			replan = true
		case w := <-b.wishes:
			asked = append(asked, w)
		case <-timer.C:
			return false, nil
		}
	}
	for range wantedAtOnce {
		select {
		case <-b.wake:
			replan = true
		case w := <-b.wishes:
			asked = append(asked, w)
		default:
			return replan, asked
		}
	}
	return replan, asked
}

// Settle plans, and works until nothing is due. A job that fails is left in the queue and its error given.
func (b *Builder) Settle(ctx context.Context) error {
	if err := b.plan(ctx); err != nil {
		return err
	}
	var failed error
	for {
		select {
		case w := <-b.wishes:
			failed = errors.Join(failed, b.grant(ctx, w))
			continue
		default:
		}
		worked, err := b.work(ctx)
		failed = errors.Join(failed, err)
		if !worked || ctx.Err() != nil {
			return errors.Join(failed, ctx.Err())
		}
	}
}

func (b *Builder) tell(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		b.cfg.Log.LogAttrs(ctx, slog.LevelError, what, slog.Any("error", err))
	}
}

// work does the next job of the queue and says whether there was one.
func (b *Builder) work(ctx context.Context) (bool, error) {
	jobs := b.cfg.Store.Jobs()
	j, err := jobs.Claim(ctx, b.cfg.Owner, b.cfg.Clock(), lease)
	if errors.Is(err, slipstream.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer b.ended.send()
	m := b.meter()
	j.Note, err = b.attempt(ctx, &j)
	j.State, j.Updated = store.JobDone, b.cfg.Clock()
	j.Spent += m.taken()
	j.Due = j.Updated
	var soon notYetError
	switch {
	case err == nil:
	case ctx.Err() != nil: // this node stops: somebody else may go on at once
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		j.State, j.Note = store.JobQueued, "the node that worked on it stopped"
		return true, errors.Join(err, lost(jobs.Finish(ctx, j)))
	case errors.Is(err, errTaken):
		return true, nil
	case errors.As(err, &soon):
		j.State, j.Note, j.Due, err = store.JobQueued, slipstream.CutDetail(err.Error()), soon.until, nil
	default:
		j.State, j.Note, j.Due = store.JobFailed, slipstream.CutDetail(err.Error()), time.Time{}
		if j.Attempts < maxAttempts {
			j.Due = j.Updated.Add(min(retryFirst<<(2*(j.Attempts-1)), retryMost))
		}
	}
	if err != nil {
		err = fmt.Errorf("containers of %s from %s, attempt %d: %w", j.Release.Short(), baseName(j.From), j.Attempts, err)
	}
	return true, errors.Join(err, lost(jobs.Finish(ctx, j)))
}

// lost passes over a job that went to another node, or away, while it was worked on: what was made is right all the
// same.
func lost(err error) error {
	if errors.Is(err, slipstream.ErrConflict) {
		return nil
	}
	return err
}

func baseName(from slipstream.Digest) string {
	if from == "" {
		return "nothing"
	}
	return from.Short()
}

// notYetError says that the full container, which bounds the others, is still to come, and when to look again.
type notYetError struct{ until time.Time }

func (notYetError) Error() string { return "the full container is not there yet" }

// attempt makes what j asks for and says what came of it.
func (b *Builder) attempt(ctx context.Context, j *store.Job) (note string, err error) {
	if j.Attempts > maxAttempts { // what fails in words comes no more often than that
		return "", fmt.Errorf("given up after %d attempts: the last ended without a word, as when the node that works on it is killed; see whether it has memory enough", j.Attempts-1)
	}
	target, base, full, err := b.look(ctx, j)
	switch {
	case errors.Is(err, slipstream.ErrNotFound):
		return "the release or its base is gone", nil
	case err != nil:
		return "", err
	}
	if base != nil {
		spent, until, err := b.siblings(ctx, j.Release)
		switch {
		case err != nil:
			return "", err
		case full == 0:
			return "", notYetError{until}
		case spent > b.cfg.Budget:
			return fmt.Sprintf("not made: the bases of this release took %s of processor time already", spent.Round(time.Second)), nil
		}
	}
	held, told, stop := b.hold(ctx, j)
	defer stop()
	made, err := publish.BuildContainers(held, b.cfg.Blobs, target, base, publish.ContainerOptions{
		TempDir: b.cfg.TempDir, Full: full, Progress: told.progress, Stage: told.stage,
		Put: func(ctx context.Context, k slipstream.Container) error { return b.put(ctx, j.Release, k) },
	})
	if taken := context.Cause(held); err != nil && errors.Is(taken, errTaken) {
		return "", taken
	}
	if err != nil {
		return "", err
	}
	return describe(made), nil
}

func describe(made []slipstream.Container) string {
	if len(made) == 0 {
		return "no container is smaller than the full one"
	}
	var note string
	for i, k := range made {
		if i > 0 {
			note += ", "
		}
		note += fmt.Sprintf("%s %d bytes", k.Codec, k.Size)
	}
	return note
}

// look gives what a job is about: base is nil for the full container, full the size of that one, 0 while it is not there.
func (b *Builder) look(ctx context.Context, j *store.Job) (target, base *slipstream.Release, full int64, err error) {
	err = b.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		target, base, full = nil, nil, 0
		if target, err = tx.Releases().Get(ctx, j.Release); err != nil {
			return err
		}
		if j.From == "" {
			return nil
		}
		if base, err = tx.Releases().Get(ctx, j.From); err != nil {
			return err
		}
		list, err := tx.Containers().List(ctx, j.Release)
		for _, k := range list {
			if k.From == "" && (full == 0 || k.Size < full) {
				full = k.Size
			}
		}
		return err
	})
	return target, base, full, err
}

// siblings looks at the jobs of a release: what its bases took so far, and when to look for its full container while
// that is not there.
func (b *Builder) siblings(ctx context.Context, release slipstream.Digest) (spent time.Duration, until time.Time, err error) {
	jobs, err := b.cfg.Store.Jobs().List(ctx, release)
	until = b.cfg.Clock().Add(notYet)
	for _, j := range jobs {
		switch {
		case j.From != "":
			spent += j.Spent
		case j.State == store.JobFailed && j.Due.IsZero():
			until = until.Add(retryMost)
		case j.State == store.JobFailed && j.Due.After(until):
			until = j.Due.Add(notYet)
		}
	}
	return spent, until, err
}

// errTaken says that another node has the job.
var errTaken = errors.New("the work went to another node")

// hold keeps the lease of a job while it is worked on. The context ends when the job was lost to another node; what t is
// told is recorded, so that people on any node see it.
func (b *Builder) hold(ctx context.Context, j *store.Job) (_ context.Context, t *teller, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	t = &teller{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		mine := *j
		mine.Note = ""
		for told := false; ; {
			select {
			case <-ctx.Done():
				j.Done, j.Total = t.now().done, t.now().total
				return
			case <-tick.C:
			}
			s := t.now()
			news := s != step{mine.Done, mine.Total, mine.Note}
			if now := b.cfg.Clock(); told && !news && now.Sub(mine.Updated) < renewEvery {
				continue
			}
			mine.Done, mine.Total, mine.Note, mine.Updated, told = s.done, s.total, s.stage, b.cfg.Clock(), true
			if err := b.cfg.Store.Jobs().Renew(ctx, mine, mine.Updated.Add(lease)); errors.Is(err, slipstream.ErrConflict) {
				cancel(fmt.Errorf("%w: %w", errTaken, err))
			}
		}
	}()
	return ctx, t, func() { cancel(nil); <-ended }
}

// teller knows how far a job is. Its methods may be called from any goroutine and never wait for the database.
type teller struct {
	mu   sync.Mutex
	last step
}

// step is how far a job is: bytes of a stage.
type step struct {
	done, total int64
	stage       string
}

func (t *teller) now() step {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *teller) progress(done, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last.done, t.last.total = done, total
}

// stage begins another stage, of which nothing is done.
func (t *teller) stage(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = step{stage: name}
}

// put records a container of a release that is still there.
func (b *Builder) put(ctx context.Context, release slipstream.Digest, k slipstream.Container) error {
	return b.cfg.Store.Update(ctx, func(tx store.Tx) error {
		if _, err := tx.Releases().Get(ctx, release); err != nil {
			return err
		}
		return tx.Containers().Put(ctx, release, k)
	})
}
