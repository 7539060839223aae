package patch

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/slipstream-ota/slipstream/publish/delta/rich"
	"github.com/slipstream-ota/slipstream/publish/delta/suffix"
)

// First byte of a patch.
const (
	mark       = 0x50
	markRich   = mark
	markSimple = mark + 1 // plus the method
)

// gain is how many more bytes a match elsewhere must have right than going on beside the last one.
const gain = 8

// finished is a candidate and its bytes.
type finished struct {
	Candidate
	bytes []byte
	stats Stats
}

func (p *Pair) diff(ctx context.Context, o Options) ([]byte, Stats, error) {
	total := int64(len(p.old)) + 2*int64(len(p.new))
	d := &differ{old: p.old, new: p.new, covers: p.covers, o: o}
	d.progress = func(np int) { o.Progress(total-int64(len(p.new)-np), total) }
	d.progress(0)
	done, err := d.candidates(ctx)
	if err != nil {
		return nil, Stats{}, err
	}
	usable := slices.DeleteFunc(slices.Clone(done), func(f finished) bool { return f.bytes == nil })
	if len(usable) == 0 {
		return nil, Stats{}, fmt.Errorf("no profile is left: %s", done[0].Reason)
	}
	best := choose(usable)
	st := best.stats
	st.Candidate = best.Candidate
	for _, f := range done {
		st.Candidates = append(st.Candidates, f.Candidate)
	}
	o.Progress(total, total)
	return best.bytes, st, nil
}

// choose gives the smallest candidate. A rich one that takes a reader long to apply must earn it: new pictures, say, cost
// eight decisions a byte and come out as long as they are.
func choose(usable []finished) finished {
	smallest := func(f []finished) finished {
		return slices.MinFunc(f, func(a, b finished) int { return cmp.Compare(a.Size, b.Size) })
	}
	best := smallest(usable)
	quick := slices.DeleteFunc(slices.Clone(usable), func(f finished) bool { return f.Decisions > longDecisions })
	if len(quick) == 0 {
		return best
	}
	if q := smallest(quick); q.Size-best.Size < q.Size/worthAtLeast {
		return q
	}
	return best
}

const (
	longDecisions = 1 << 20 // about a second of an interpreter, a fifth of one of a phone
	worthAtLeast  = 50      // one part in so many is what they must save
)

// cover finds what new has of old. The index, the largest thing in memory, is gone afterwards.
func cover(ctx context.Context, old, new []byte) ([]suffix.Cover, error) {
	if len(old) >= largeOld {
		return coverLarge(ctx, old, new)
	}
	return search(ctx, old, new)
}

func search(ctx context.Context, old, new []byte) ([]suffix.Cover, error) {
	index, err := suffix.New(ctx, old)
	if err != nil {
		return nil, err
	}
	return index.Covers(ctx, new, gain)
}

type differ struct {
	old, new []byte
	covers   []suffix.Cover
	o        Options
	progress func(int)
}

// candidates makes what may win, in an order that does not depend on the workers. What costs much is left out when a
// cheap relative shows that it cannot win.
func (d *differ) candidates(ctx context.Context) ([]finished, error) {
	var jobs []func() (finished, error)
	if d.o.Profile != ProfileSimple {
		jobs = append(jobs, func() (finished, error) { return d.rich(ctx) })
	}
	if d.o.Profile == ProfileRich {
		return d.run(jobs)
	}
	covers := prune(d.old, d.new, d.covers, priceOf(d.new).simple)
	steps := encodeSteps(d.old, d.new, covers)
	var fresh [][]byte // without old, when there is little of it in new
	if st := measure(d.old, d.new, covers); st.Covers > 0 && st.NewText*2 > int64(len(d.new)) {
		fresh = encodeSteps(d.old, d.new, nil)
	}
	var cheap, dear []string
	for _, s := range d.o.Streams {
		if d.o.Profile == ProfileAuto && (s == StreamZstd || s == StreamBrotli) && size(steps) > alwaysBelow {
			dear = append(dear, s)
		} else {
			cheap = append(cheap, s)
		}
	}
	simple := func(streams []string) (jobs []func() (finished, error)) {
		for _, s := range streams {
			jobs = append(jobs, func() (finished, error) { return d.simple(ctx, s, steps, covers) })
			if fresh != nil {
				jobs = append(jobs, func() (finished, error) { return d.simple(ctx, s, fresh, nil) })
			}
		}
		return jobs
	}
	done, err := d.run(append(jobs, simple(cheap)...))
	if err != nil || len(dear) == 0 {
		return done, err
	}
	if d.o.Profile == ProfileAuto && done[0].bytes != nil {
		probe, err := d.simple(ctx, StreamDeflate, steps, covers)
		if err != nil {
			return nil, err
		}
		if done[0].Size*10 < probe.Size*7 {
			return done, nil
		}
	}
	more, err := d.run(simple(dear))
	return append(done, more...), err
}

// alwaysBelow is a size of columns that is compressed in all ways without a thought.
const alwaysBelow = 8 << 10

// run does the jobs, some at the same time, and gives what they made in their order.
func (d *differ) run(jobs []func() (finished, error)) ([]finished, error) {
	done := make([]finished, len(jobs))
	errs := make([]error, len(jobs))
	free := make(chan struct{}, d.o.Workers)
	var wg sync.WaitGroup
	for i, job := range jobs {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			done[i], errs[i] = job()
		})
	}
	wg.Wait()
	return done, errors.Join(errs...)
}

func (d *differ) simple(ctx context.Context, stream string, steps [][]byte, covers []suffix.Cover) (finished, error) {
	m, _ := methodOf(stream)
	f := finished{Candidate: Candidate{Profile: ProfileSimple, Stream: stream}}
	body, err := compress(ctx, d.o.Compressors, m, steps)
	if err != nil {
		return f, err
	}
	f.bytes = append(head(markSimple+m, 0, d.old, d.new), body...)
	f.Size = len(f.bytes)
	f.stats = measure(d.old, d.new, covers)
	return f, nil
}

// rich makes the candidate of context mixing. Too many decisions are a reason, not an error.
func (d *differ) rich(ctx context.Context) (finished, error) {
	f := finished{Candidate: Candidate{Profile: ProfileRich}}
	covers := prune(d.old, d.new, d.covers, priceOf(d.new).rich)
	f.stats = measure(d.old, d.new, covers)
	class := min(rich.ClassFor(d.o.Memory), rich.Fitting(f.stats.Changed+f.stats.NewText))
	f.stats.Memory = rich.TableBytes(class)
	body, coded, err := rich.Encode(ctx, d.old, d.new, convert(covers), class, int64(d.o.MaxDecisions), d.progress)
	f.Decisions = coded.Decisions
	switch {
	case errors.Is(err, rich.ErrTooMany):
		f.Reason = fmt.Sprintf("it would take more than %d decisions", d.o.MaxDecisions)
		return f, nil
	case errors.Is(err, rich.ErrTooLarge):
		f.Reason = "rich takes less than 1 GiB of old and of new"
		return f, nil
	case err != nil:
		return f, err
	}
	f.bytes = append(head(markRich, byte(class), d.old, d.new), body...)
	f.Size = len(f.bytes)
	return f, nil
}

func convert(covers []suffix.Cover) []rich.Cover {
	out := make([]rich.Cover, len(covers))
	for i, c := range covers {
		out[i] = rich.Cover(c)
	}
	return out
}

func size(parts [][]byte) int {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return n
}

func head(mark byte, class byte, old, new []byte) []byte {
	out := []byte{mark}
	if mark == markRich {
		out = append(out, class)
	}
	return binary.AppendVarint(out, int64(len(new))-int64(len(old)))
}

// measure counts what covers do.
func measure(old, new []byte, covers []suffix.Cover) Stats {
	st := Stats{Covers: len(covers), NewText: int64(len(new))}
	for _, c := range covers {
		st.Covered += int64(c.Len)
		st.Changed += int64(differing(old[c.Old:c.Old+c.Len], new[c.New:c.New+c.Len]))
	}
	st.NewText -= st.Covered
	return st
}
