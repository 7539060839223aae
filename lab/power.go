package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/powercut"
)

func powerCuts() Proof {
	return Proof{
		Name:  "power cuts",
		Claim: "the same life on a real ext4, whose disk loses power at any flush and in between: never unbootable, never mixed",
		Quick: 60 * time.Second, Full: 30 * time.Minute, Long: 29 * time.Second,
		Needs: []Need{NeedFUSE(), NeedLoop(), NeedProgram("mkfs.ext4"), NeedProgram("losetup"), NeedProgram("mount")},
		Run:   runPowerCuts,
	}
}

const (
	powerDiskSize   = 16 << 20
	powerWrites     = 600 // cuts at writes in a full run, beside those at every flush
	powerImagesFast = 40  // cuts of a quick run, half of them at flushes
)

func runPowerCuts(ctx context.Context, env Env) (Result, error) {
	if env.Quick {
		return cutPower(ctx, env, client.Disk{}, powerImagesFast)
	}
	return cutPower(ctx, env, client.Disk{}, 0)
}

// cutPower lives a life through a disk and judges n images of what it left; 0 is two for every flush, and powerWrites.
func cutPower(ctx context.Context, env Env, through client.FS, n int) (_ Result, err error) {
	expected, err := liveInMemory(ctx, env.Seed)
	if err != nil {
		return Result{}, err
	}
	if err := expected.expect(ctx); err != nil {
		return Result{}, err
	}
	disk, err := powercut.New(ctx, filepath.Join(env.Dir, "live"), powerDiskSize)
	if err != nil {
		return Result{}, err
	}
	open := true
	defer func() {
		if open {
			err = errors.Join(err, disk.Close())
		}
	}()
	m := machine{fs: through, locks: client.Disk{}, dir: filepath.Join(disk.Dir(), "updates"), settle: func() {}}
	r, err := liveOn(ctx, m, env.Seed, disk.Len)
	if err != nil {
		return Result{}, fmt.Errorf("live on a disk that never fails: %w", err)
	}
	places, flushes := cuts(disk, env.Seed, n), disk.Flushes()
	open = false
	if err := disk.Close(); err != nil {
		return Result{}, err
	}
	for i := range r.spans {
		r.spans[i].before, r.spans[i].after = expected.spans[i].before, expected.spans[i].after
	}
	p := &powerSearch{record: r, disk: disk, flushes: flushes, env: env}
	work := newCrew(ctx)
	for i, place := range places {
		work.do(func() { p.try(ctx, i, place) })
	}
	err = work.wait()
	return p.result(), err
}

// cuts are the places at which the power goes: right before and after flushes, and at writes between, spread over the
// whole life.
func cuts(disk *powercut.Disk, seed uint64, n int) []int {
	random := rand.New(rand.NewPCG(seed, 0))
	flushes := disk.Flushes()
	some := min(n/4, len(flushes))
	if n == 0 {
		some, n = len(flushes), 2*len(flushes)+powerWrites
	}
	var out []int
	for i := range some {
		after := flushes[i*len(flushes)/some]
		out = append(out, after-1, after)
	}
	for len(out) < n {
		if place := random.IntN(disk.Len() + 1); !atFlush(flushes, place) {
			out = append(out, place)
		}
	}
	slices.Sort(out)
	return out
}

// atFlush says whether a place is right before or right after one of the flushes.
func atFlush(flushes []int, place int) bool {
	_, after := slices.BinarySearch(flushes, place)
	_, before := slices.BinarySearch(flushes, place+1)
	return after || before
}

type powerSearch struct {
	*record
	disk    *powercut.Disk
	flushes []int // of the life, without those of the end
	env     Env

	mu     sync.Mutex
	images int
	cuts   int // of these at flushes
	wrongs int
	notes  []string
}

func (p *powerSearch) try(ctx context.Context, i, place int) {
	if ctx.Err() != nil {
		return
	}
	problem := ""
	scratch := filepath.Join(p.env.Dir, fmt.Sprintf("cut-%d", i))
	err := powercut.With(ctx, scratch, p.disk.Image(place, p.env.Seed+uint64(i)), func(dir string) error {
		real := client.Disk{}
		problem = p.wrong(place, p.life.judge(ctx, machine{fs: real, locks: real, dir: filepath.Join(dir, "updates")}, true))
		return nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.images++
	if atFlush(p.flushes, place) {
		p.cuts++
	}
	if err != nil && problem == "" {
		problem = err.Error()
	}
	if problem != "" && ctx.Err() == nil {
		p.wrongs++
		p.notes = append(p.notes, fmt.Sprintf("image %d, cut at write %d of %d, in step %q: %s", i, place, p.disk.Len(), p.span(place).name, problem))
	}
}

func (p *powerSearch) result() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Result{Tried: p.images, Wrong: p.wrongs, Notes: p.notes,
		Detail: fmt.Sprintf("images of an ext4 that was cut off, %d before and after its %d flushes, %d between; %d writes in the life", p.cuts, len(p.flushes), p.images-p.cuts, p.disk.Len()-len(p.disk.Flushes()))}
}
