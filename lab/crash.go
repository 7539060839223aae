package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/crashfs"
)

func crashModel() Proof {
	return Proof{
		Name:  "crash model",
		Claim: "at every instant of a device's life, whatever of its writes a power cut takes or reorders, it is exactly on the old or exactly on the new release",
		Quick: 60 * time.Second, Full: 40 * time.Minute, Long: 23 * time.Second,
		Run: runCrashModel,
	}
}

// span is one step of a life: the operations between begin and end, what a disk was worth before it and after.
type span struct {
	name          string
	begin, end    int
	before, after *verdict
}

// promise is an event that was told to the host: it stays in the outbox from one operation until a server took it.
type promise struct {
	id          string
	from, until int
}

// record is a life that was lived, and what it promised at which operation.
type record struct {
	life     *life
	spans    []span
	promises []promise
}

// liveOn lives a device's life and notes where each step begins and ends; place tells how far the log is.
func liveOn(ctx context.Context, m machine, seed uint64, place func() int) (*record, error) {
	l, err := newLife(m, seed)
	if err != nil {
		return nil, err
	}
	r := &record{life: l}
	l.told = func(e slipstream.Event) {
		r.promises = append(r.promises, promise{id: e.ID, from: place(), until: 1 << 60})
	}
	l.repo.heard = func(id string) {
		for k := range r.promises {
			if r.promises[k].id == id {
				r.promises[k].until = min(r.promises[k].until, place())
			}
		}
	}
	defer func() { l.repo.heard = nil }()
	steps := deviceLife()
	return r, l.live(ctx, steps, func(i int, begins bool) error {
		if !begins {
			r.spans[i].end = place()
			return nil
		}
		r.spans = append(r.spans, span{name: steps[i].name, begin: place()})
		return nil
	})
}

// wrong says what a disk that a power cut left at a place of the log must not be, "" when it is right.
func (r *record) wrong(at int, v *verdict) string {
	if len(v.broken) > 0 {
		return strings.Join(v.broken, "; ")
	}
	s := r.span(at)
	for _, p := range r.promises {
		if p.from <= at && at < p.until && !v.outbox[p.id] {
			return "an event that the host was told is lost"
		}
	}
	if at >= s.end {
		return s.after.differs(v)
	}
	return v.between(s.before, s.after)
}

// span is the step that the operation at a place belongs to; the first place after a step belongs to that step.
func (r *record) span(at int) *span {
	i := slices.IndexFunc(r.spans, func(s span) bool { return at <= s.end })
	if i < 0 {
		i = len(r.spans) - 1
	}
	return &r.spans[i]
}

// differs compares a disk with what was acknowledged.
func (want *verdict) differs(v *verdict) string {
	switch {
	case v.fate != want.fate:
		return fmt.Sprintf("acknowledged was %q, now %q", want.fate, v.fate)
	case v.whole != want.whole:
		return fmt.Sprintf("acknowledged roles were %s, now %s", want.whole, v.whole)
	case v.device != want.device:
		return "the device has another id"
	case v.generation < want.generation:
		return fmt.Sprintf("generation %d was acknowledged, now %d", want.generation, v.generation)
	case v.shown != want.shown:
		return fmt.Sprintf("root.json was of version %d, now %d", want.shown, v.shown)
	case v.kept != want.kept:
		return fmt.Sprintf("a state of epoch %d was accepted, kept is %d", want.kept, v.kept)
	case v.root != want.root || v.epoch != want.epoch || v.channel != want.channel || !maps.Equal(v.anchors, want.anchors):
		return fmt.Sprintf("acknowledged were root %d, epoch %d of %s, anchors %v; now %d, %d of %s, %v",
			want.root, want.epoch, want.channel, want.anchors, v.root, v.epoch, v.channel, v.anchors)
	}
	return ""
}

// between compares a disk with what was before a step and what is after it.
func (v *verdict) between(before, after *verdict) string {
	if v.fate != before.fate && v.fate != after.fate {
		return fmt.Sprintf("neither the old %q nor the new %q, but %q", before.fate, after.fate, v.fate)
	}
	if v.device != before.device && v.device != after.device && before.device != "" {
		return "the device has another id"
	}
	if v.root < before.root || v.root > after.root {
		return fmt.Sprintf("root %d after %d", v.root, before.root)
	}
	if v.generation < before.generation {
		return fmt.Sprintf("generation %d after %d", v.generation, before.generation)
	}
	// A step that trusts another state role forgets the epochs that it learned under the one before.
	if v.root == before.root && v.channel == before.channel && v.epoch < min(before.epoch, after.epoch) {
		return fmt.Sprintf("epoch %d after %d", v.epoch, before.epoch)
	}
	for pkg, seq := range v.anchors {
		if seq != before.anchors[pkg] && seq != after.anchors[pkg] {
			return fmt.Sprintf("anchor %d of %s, between %d and %d", seq, pkg, before.anchors[pkg], after.anchors[pkg])
		}
	}
	return ""
}

func runCrashModel(ctx context.Context, env Env) (Result, error) {
	s, err := liveInMemory(ctx, env.Seed)
	if err != nil {
		return Result{}, err
	}
	s.bounds = crashfs.Bounds{Exhaustive: 100, Random: 8, Seed: env.Seed}
	if env.Quick {
		s.bounds = crashfs.Bounds{Exhaustive: 6, Recent: 5, Seed: env.Seed}
		s.goOn, s.stride, s.mutants, s.again = 32, 5, 13, 200
	}
	if err := s.expect(ctx); err != nil {
		return Result{}, err
	}
	if err := s.everywhere(ctx, crashfs.Reordered); err != nil {
		return s.result(), err
	}
	if err := s.everywhere(ctx, crashfs.Journaled); err != nil {
		return s.result(), err
	}
	err = s.withoutSyncs(ctx, s.mutants)
	return s.result(), err
}

// liveInMemory lives the same life on a model of a disk, to know what each step is worth.
func liveInMemory(ctx context.Context, seed uint64) (*search, error) {
	disk := crashfs.New()
	dir := filepath.FromSlash("/app/updates")
	if err := disk.MkdirAll(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	disk.Record()
	r, err := liveOn(ctx, machine{fs: disk, locks: disk, dir: dir, settle: disk.Settle}, seed, disk.Len)
	if err != nil {
		return nil, fmt.Errorf("live on a disk that never fails: %w", err)
	}
	return &search{record: r, trace: disk.Trace(), dir: dir, goOn: 1, stride: 1, mutants: 1, again: 100}, nil
}

// search looks for a disk that is wrong.
type search struct {
	*record
	trace   *crashfs.Trace
	dir     string
	bounds  crashfs.Bounds
	goOn    int // every how manyeth disk must prove that it can go on
	stride  int // every how manyeth operation is looked at, beside the ends of steps
	mutants int // every how manyeth fsync is left out
	again   int // on every how manyeth disk power fails again

	known    sync.Map // image sum → *once
	cutTwice sync.Map // image sums

	mu        sync.Mutex
	states    int
	disks     int
	twice     int // states of a second power cut, during the first start after the first
	wrongs    int
	notes     []string
	syncs     int
	redundant map[string]int // sites of syncs that another one makes up for
}

type once struct {
	sync.Once
	verdict *verdict
}

func (s *search) verdict(ctx context.Context, img *crashfs.Image) *verdict {
	entry, _ := s.known.LoadOrStore(img.Sum, &once{})
	o := entry.(*once)
	o.Do(func() {
		disk := img.FS()
		o.verdict = s.life.judge(ctx, machine{fs: disk, locks: disk, dir: s.dir}, int(img.Sum[0])%s.goOn == 0)
		s.mu.Lock()
		s.disks++
		s.mu.Unlock()
	})
	return o.verdict
}

// expect finds what a disk that lost nothing is worth before and after every step.
func (s *search) expect(ctx context.Context) error {
	at := crashfs.NewCursor(s.trace, crashfs.Reordered)
	worth := func(place int) (*verdict, error) {
		for at.At() < place {
			at.Next()
		}
		v := s.verdict(ctx, at.Whole())
		if len(v.broken) > 0 {
			return nil, fmt.Errorf("a disk that lost nothing is broken after %d operations: %s", place, strings.Join(v.broken, "; "))
		}
		return v, nil
	}
	var err error
	for i := range s.spans {
		if s.spans[i].before, err = worth(s.spans[i].begin); err != nil {
			return err
		}
		if s.spans[i].after, err = worth(s.spans[i].end); err != nil {
			return err
		}
		if b, a := s.spans[i].before, s.spans[i].after; a.root < b.root || a.root == b.root && a.channel == b.channel && a.epoch < b.epoch {
			return fmt.Errorf("%s: from root %d, epoch %d to root %d, epoch %d without any loss", s.spans[i].name, b.root, b.epoch, a.root, a.epoch)
		}
	}
	return ctx.Err()
}

// everywhere judges the disks of every prefix of the life.
func (s *search) everywhere(ctx context.Context, model crashfs.Model) error {
	marks := map[int]bool{}
	for _, span := range s.spans {
		marks[span.end] = true
	}
	work := newCrew(ctx)
	at := crashfs.NewCursor(s.trace, model)
	for ok := true; ok && ctx.Err() == nil; ok = at.Next() {
		bounds := s.bounds
		bounds.Fresh = !marks[at.At()]
		if bounds.Fresh && (at.Passed().Syncs() || at.At()%s.stride != 0) {
			continue // after a sync nothing is allowed that was not allowed before
		}
		place := at.At()
		for img := range at.Images(bounds) {
			work.do(func() { s.try(ctx, place, img) })
		}
	}
	return work.wait()
}

func (s *search) try(ctx context.Context, at int, img *crashfs.Image) {
	if ctx.Err() != nil {
		return
	}
	problem := s.wrong(at, s.verdict(ctx, img))
	if problem == "" && int(binary.BigEndian.Uint16(img.Sum[1:]))%s.again == 0 {
		if _, done := s.cutTwice.LoadOrStore(img.Sum, true); !done {
			problem = s.tryAgain(ctx, img)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states++
	if problem != "" && ctx.Err() == nil {
		s.wrongs++
		s.notes = append(s.notes, fmt.Sprintf("%s: %s\n(%s)", s.where(at), problem, img.Lost()))
	}
}

// tryAgain cuts the power a second time, at every operation of the first start after the first cut.
func (s *search) tryAgain(ctx context.Context, img *crashfs.Image) string {
	disk := img.FS()
	disk.Record()
	j := s.life.judging(machine{fs: disk, locks: disk, dir: s.dir}, 2)
	if err := errors.Join(j.reopen(ctx, noNetwork{}), j.start(ctx), j.locked.kill()); err != nil {
		return err.Error()
	}
	trace := disk.Trace()
	end := crashfs.NewCursor(trace, crashfs.Reordered)
	for end.Next() {
	}
	before, after := s.verdict(ctx, img), s.verdict(ctx, end.Whole())
	at := crashfs.NewCursor(trace, crashfs.Reordered)
	for at.Next() {
		if at.Passed().Syncs() {
			continue
		}
		for second := range at.Images(crashfs.Bounds{Exhaustive: 8, Recent: 4, Fresh: true}) {
			v := s.verdict(ctx, second)
			problem := strings.Join(v.broken, "; ")
			if problem == "" {
				problem = v.between(before, after)
			}
			s.mu.Lock()
			s.twice++
			s.mu.Unlock()
			if problem != "" {
				return fmt.Sprintf("after a second power cut (%s): %s", second.Lost(), problem)
			}
		}
	}
	return ""
}

func (s *search) where(at int) string {
	for i, span := range s.spans {
		if at <= span.end {
			return fmt.Sprintf("step %d, %s, operation %d of %d", i, span.name, at-span.begin, span.end-span.begin)
		}
	}
	return "at the end"
}

// withoutSyncs leaves out one fsync after the other. Each must make some disk wrong, unless the next fsync of the same
// file or folder comes before the step returns, and no disk in between is wrong: then nothing that was acknowledged
// rests on it.
func (s *search) withoutSyncs(ctx context.Context, every int) error {
	s.redundant = map[string]int{}
	work := newCrew(ctx)
	at := crashfs.NewCursor(s.trace, crashfs.Reordered)
	seen := 0
	for ok := true; ok && ctx.Err() == nil; ok = at.Next() {
		op, more := at.Ahead()
		if !more || op.Kind != crashfs.Sync && op.Kind != crashfs.SyncDir {
			continue
		}
		if seen++; seen%every != 0 {
			continue
		}
		s.syncs++
		place, without := at.At(), at.Clone()
		work.do(func() {
			noticed, end := s.noticed(ctx, without, op)
			if noticed || ctx.Err() != nil {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.redundant[site(op)]++
			if end > s.span(place).end || end < 0 {
				s.wrongs++
				s.notes = append(s.notes, fmt.Sprintf("%s: nothing notices when this fsync is left out: %s", s.where(place+1), site(op)))
			}
		})
	}
	return work.wait()
}

// noticed reports whether a disk is wrong somewhere between the sync that is left out and the next one that makes up
// for it, and where that one is; -1 when there is none.
func (s *search) noticed(ctx context.Context, c *crashfs.Cursor, skipped crashfs.Op) (noticed bool, end int) {
	place := c.At()
	c.Skip()
	for ctx.Err() == nil {
		for img := range c.Lacking(place) {
			if s.wrong(c.At(), s.verdict(ctx, img)) != "" {
				return true, c.At()
			}
		}
		if !c.Next() {
			return false, -1
		}
		if op := c.Passed(); op.Kind == crashfs.Settle || op.Kind == skipped.Kind && op.Node == skipped.Node {
			return false, c.At()
		}
	}
	return false, -1
}

// site names the place in the client that called a sync, innermost function first.
func site(op crashfs.Op) string {
	var names []string
	frames := runtime.CallersFrames(op.Stack)
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		_, name, inside := strings.Cut(f.Function, "/slipstream/client.")
		if !inside {
			continue
		}
		name = strings.NewReplacer("(*", "", ")", "").Replace(name)
		names = append(names, name)
	}
	return string(op.Kind) + " in " + strings.Join(names, " < ")
}

func (s *search) result() Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Result{Tried: s.states, Wrong: s.wrongs, Notes: s.notes}
	left := 0
	for _, name := range slices.Sorted(maps.Keys(s.redundant)) {
		left += s.redundant[name]
		r.Notes = append(r.Notes, fmt.Sprintf("another fsync of the same folder follows before anything is acknowledged (%d times): %s", s.redundant[name], name))
	}
	r.Detail = fmt.Sprintf("states of %d operations, %d different disks, %d of a second cut; %d fsyncs left out one by one: %d noticed, %d made up for by the next", len(s.trace.Ops), s.disks, s.twice, s.syncs, s.syncs-left, left)
	return r
}

// crew does jobs on all cores. Jobs that come too fast wait.
type crew struct {
	ctx  context.Context
	jobs chan func()
	all  sync.WaitGroup
}

func newCrew(ctx context.Context) *crew {
	c := &crew{ctx: ctx, jobs: make(chan func(), 64)}
	for range runtime.GOMAXPROCS(0) {
		c.all.Go(func() {
			for job := range c.jobs {
				job()
			}
		})
	}
	return c
}

func (c *crew) do(job func()) {
	select {
	case c.jobs <- job:
	case <-c.ctx.Done():
	}
}

// wait ends the crew when all jobs are done, and gives the reason when they were stopped.
func (c *crew) wait() error {
	close(c.jobs)
	c.all.Wait()
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return nil
}
