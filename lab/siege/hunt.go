package siege

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream/lab/driver"
)

// Outcome is what came of a proof.
type Outcome struct {
	Tried, Wrong int
	Detail       string
	Notes        []string
}

func (o *Outcome) fail(format string, args ...any) {
	o.Wrong++
	o.Notes = append(o.Notes, fmt.Sprintf(format, args...))
}

// caseTime is how long one case may take. It is far above what any takes, because machines are busy.
const caseTime = 30 * time.Second

// NewDevice makes a device that was never used before. It ends with ctx.
type NewDevice func(ctx context.Context) (driver.Driver, error)

// Storm runs cases on many devices at once and tells what failed. Below disk every device has its own folder; without it
// all are in memory.
func Storm(ctx context.Context, cases []Case, workers int, fresh NewDevice, disk string) (Outcome, error) {
	var out Outcome
	var mu sync.Mutex
	stock := NewStock()
	err := each(ctx, workers, cases, func(ctx context.Context, c Case) error {
		err := onDisk(ctx, stock, c, fresh, disk)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		mu.Lock()
		defer mu.Unlock()
		if out.Tried++; err != nil {
			out.fail("%s: %v", c.Name, err)
		}
		return nil
	})
	slices.Sort(out.Notes)
	return out, err
}

func onDisk(ctx context.Context, stock *Stock, c Case, fresh NewDevice, disk string) error {
	if disk == "" {
		return attempt(ctx, stock, c, fresh, "")
	}
	if err := os.MkdirAll(disk, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(disk, "device-")
	if err != nil {
		return err
	}
	return errors.Join(attempt(ctx, stock, c, fresh, dir), os.RemoveAll(dir))
}

// attempt runs one case on a device of its own. A client that falls silent fails it.
func attempt(ctx context.Context, stock *Stock, c Case, fresh NewDevice, dir string) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, caseTime, errors.New("the client fell silent"))
	defer cancel()
	d, err := fresh(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return c.Run(ctx, stock, d, dir)
}

// each does every job with some workers, until one fails or ctx ends.
func each[T any](ctx context.Context, workers int, jobs []T, do func(ctx context.Context, job T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan T)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for job := range queue {
				if ctx.Err() == nil {
					if err := do(ctx, job); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for _, job := range jobs {
		select {
		case queue <- job:
		case <-ctx.Done():
		}
	}
	close(queue)
	all.Wait()
	return context.Cause(ctx)
}

// Hunt builds mutants of the client from the source and lets the attacks find them out. A mutant only ever has a disk in
// memory: one that does not look at paths would write where it must not.
type Hunt struct {
	Source string // a checkout
	Dir    string // scratch
	Seed   uint64
	Some   int // how many mutants, chosen by Seed; 0 is all
}

// Run tries the client as it is first: what it fails says nothing about mutants.
func (h Hunt) Run(ctx context.Context) (Outcome, error) {
	cases := slices.DeleteFunc(Cases(), func(c Case) bool { return c.Slow })
	mutants := Mutants()
	all := len(mutants)
	if h.Some > 0 {
		rand.New(rand.NewPCG(h.Seed, 1)).Shuffle(all, func(i, j int) { mutants[i], mutants[j] = mutants[j], mutants[i] })
		mutants = mutants[:min(h.Some, all)]
	}
	program, err := h.build(ctx, "whole", nil)
	if err != nil {
		return Outcome{}, fmt.Errorf("build the client: %w", err)
	}
	control := cases
	if h.Some > 0 {
		control = slices.Clone(cases[:1])
		for _, m := range mutants {
			control = append(control, hinted(cases, m)...)
		}
	}
	out, err := Storm(ctx, control, 4, starter(program), "")
	if err != nil || out.Wrong > 0 {
		return out, err
	}
	out = Outcome{Detail: fmt.Sprintf("%d of %d steps of verification left out, one at a time", len(mutants), all)}
	var mu sync.Mutex
	stock := NewStock()
	err = each(ctx, 2, mutants, func(ctx context.Context, m Mutant) error {
		found, err := h.hunt(ctx, stock, m, cases)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		mu.Lock()
		defer mu.Unlock()
		out.Tried++
		if err != nil {
			out.fail("without %q: %v", m.Name, err)
		} else if found == "" {
			out.fail("without %q no attack succeeds: nothing watches over it", m.Name)
		}
		return nil
	})
	slices.Sort(out.Notes)
	return out, err
}

func hinted(cases []Case, m Mutant) []Case {
	return slices.DeleteFunc(slices.Clone(cases), func(c Case) bool {
		return !slices.ContainsFunc(m.By, func(by string) bool { return strings.HasPrefix(c.Name, by) })
	})
}

// hunt gives the name of the attack that finds the mutant out, "" when none does.
func (h Hunt) hunt(ctx context.Context, stock *Stock, m Mutant, cases []Case) (found string, err error) {
	program, err := h.build(ctx, strings.ReplaceAll(m.Name, " ", "-"), m.Edits)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Dir(program))) }()
	start := starter(program)
	if err := attempt(ctx, stock, cases[0], start, ""); err != nil {
		return "", fmt.Errorf("it does not even update in peace: %w", err)
	}
	for _, c := range append(hinted(cases, m), cases[1:]...) {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if attempt(ctx, stock, c, start, "") != nil {
			return c.Name, nil
		}
	}
	return "", nil
}

func starter(program string) NewDevice {
	return func(ctx context.Context) (driver.Driver, error) { return driver.NewProgram(ctx, io.Discard, program) }
}

// edited gives the text of every file of the source that edits change, by its path.
func edited(source string, edits []Edit) (map[string][]byte, error) {
	changed := map[string][]byte{}
	for _, e := range edits {
		path := filepath.Join(source, filepath.FromSlash(e.File))
		text, done := changed[path]
		if !done {
			var err error
			if text, err = os.ReadFile(path); err != nil {
				return nil, err
			}
		}
		if n := bytes.Count(text, []byte(e.Old)); n != 1 {
			return nil, fmt.Errorf("%s has %d times %q, of which the mutant changes one", e.File, n, e.Old)
		}
		changed[path] = bytes.Replace(text, []byte(e.Old), []byte(e.New), 1)
	}
	return changed, nil
}

// build makes the client with edits laid over the source; nothing in the checkout changes.
func (h Hunt) build(ctx context.Context, name string, edits []Edit) (string, error) {
	source, err := filepath.Abs(h.Source)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(h.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	changed, err := edited(source, edits)
	if err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for i, path := range slices.Sorted(maps.Keys(changed)) {
		overlay.Replace[path] = filepath.Join(dir, fmt.Sprintf("%d.go", i))
	}
	for path, text := range changed {
		if err := os.WriteFile(overlay.Replace[path], text, 0o644); err != nil {
			return "", err
		}
	}
	raw, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	file, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "client")
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-overlay", file, "-o", program, "./lab/testdata/client")
	cmd.Dir = source
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, text)
	}
	return program, nil
}
