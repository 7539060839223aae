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
		Quick: 60 * time.Second, Full: 15 * time.Minute,
		Needs: []Need{NeedFUSE(), NeedLoop(), NeedProgram("mkfs.ext4"), NeedProgram("losetup"), NeedProgram("mount")},
		Run:   runPowerCuts,
	}
}

const (
	powerDiskSize   = 16 << 20
	powerImages     = 600
	powerImagesFast = 40
)

func runPowerCuts(ctx context.Context, env Env) (Result, error) {
	n := powerImages
	if env.Quick {
		n = powerImagesFast
	}
	return cutPower(ctx, env, client.Disk{}, n)
}

// cutPower lives a life through disk and judges n images of what it left.
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
	places := cuts(disk, env.Seed, n)
	open = false
	if err := disk.Close(); err != nil {
		return Result{}, err
	}
	for i := range r.spans {
		r.spans[i].before, r.spans[i].after = expected.spans[i].before, expected.spans[i].after
	}
	p := &powerSearch{record: r, disk: disk, env: env}
	work := newCrew(ctx)
	for i, place := range places {
		work.do(func() { p.try(ctx, i, place) })
	}
	err = work.wait()
	return p.result(), err
}

// cuts are the places at which the power goes: at flushes and at writes between, spread over the whole life.
func cuts(disk *powercut.Disk, seed uint64, n int) []int {
	random := rand.New(rand.NewPCG(seed, 0))
	flushes := disk.Flushes()
	var out []int
	for i := range min(n/2, len(flushes)) {
		out = append(out, flushes[i*len(flushes)/min(n/2, len(flushes))])
	}
	for len(out) < n {
		out = append(out, random.IntN(disk.Len()+1))
	}
	slices.Sort(out)
	return out
}

type powerSearch struct {
	*record
	disk *powercut.Disk
	env  Env

	mu     sync.Mutex
	images int
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
		Detail: fmt.Sprintf("images of an ext4 that was cut off; %d writes and %d flushes in the life", p.disk.Len(), len(p.disk.Flushes()))}
}
