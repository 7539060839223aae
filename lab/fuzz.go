package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How many inputs are made for each target: changed ones from those that are committed, drawn by the seed, and in the
// full form as many again by the fuzzer that follows the coverage. Fixed counts, not times: the same on any machine.
const (
	quickChanged = 100
	fullChanged  = 2000
	fuzzRuns     = 20000
	fuzzResident = 512 // MiB that all inputs of a package may take together, and a worker of the fuzzer
)

func fuzzers() Proof {
	return Proof{
		Name:  "fuzzers",
		Claim: "no parser of bytes that strangers send panics, accepts what its writer would not write, or allocates beyond its bounds",
		Quick: 100 * time.Second, Full: 90 * time.Minute, Long: 100 * time.Second,
		Needs: []Need{NeedSource()},
		Run:   func(ctx context.Context, env Env) (Result, error) { return fuzz(ctx, env, nil) },
	}
}

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

// fuzzTargets finds the targets of a checkout, by folder.
func fuzzTargets(source string) (map[string][]string, error) {
	out := map[string][]string{}
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != source && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(source, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, m := range fuzzTarget.FindAllSubmatch(text, -1) {
			folder := "./" + filepath.ToSlash(dir)
			out[folder] = append(out[folder], string(m[1]))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for fuzz targets: %w", err)
	}
	return out, nil
}

// fuzz runs every target on its committed inputs and on changed ones, and in the full form lets the fuzzer make fuzzRuns
// more. only, when not nil, names the folders to take.
func fuzz(ctx context.Context, env Env, only []string) (Result, error) {
	targets, err := fuzzTargets(env.Source)
	if err != nil {
		return Result{}, err
	}
	if only != nil {
		maps.DeleteFunc(targets, func(folder string, _ []string) bool { return !slices.Contains(only, folder) })
	}
	f := &fuzzing{source: env.Source, dir: env.Dir, random: rand.New(rand.NewPCG(env.Seed, 7)), targets: targets, changed: fullChanged}
	if env.Quick {
		f.changed = quickChanged
	}
	if err := f.borrow(); err != nil {
		return f.result(), err
	}
	if err := f.buildAll(ctx); err != nil {
		return f.result(), err
	}
	for _, folder := range slices.Sorted(maps.Keys(targets)) {
		if err := f.folder(ctx, folder, !env.Quick); err != nil {
			return f.result(), err
		}
	}
	return f.result(), nil
}

type fuzzing struct {
	tally
	source, dir string
	random      *rand.Rand
	targets     map[string][]string // names by folder
	programs    map[string]string   // their tests, by folder
	changed     int                 // inputs to make for each target
	committed   int
	made        int // changed from these
	fresh       int // by the fuzzer
	peak        int // MiB
}

func (f *fuzzing) result() Result {
	n := 0
	for _, names := range f.targets {
		n += len(names)
	}
	return f.tally.result("inputs of %d targets in %d packages: %d committed, %d changed from them, %d by the fuzzer; at most %d MiB resident",
		n, len(f.targets), f.committed, f.made, f.fresh, f.peak)
}

// folder tries all targets of one package.
func (f *fuzzing) folder(ctx context.Context, folder string, fuzzer bool) error {
	scratch := filepath.Join(f.dir, filepath.FromSlash(folder))
	for _, target := range f.targets[folder] {
		if err := f.prepare(folder, target, scratch); err != nil {
			return err
		}
	}
	if err := f.runInputs(ctx, folder, f.programs[folder], scratch); err != nil {
		return err
	}
	if !fuzzer {
		return nil
	}
	program := filepath.Join(scratch, "fuzzer.test")
	if err := f.build(ctx, []string{folder}, program, "-fuzz", "."); err != nil {
		return err
	}
	for _, target := range f.targets[folder] {
		if err := f.runFuzzer(ctx, folder, target, program, filepath.Join(scratch, "found")); err != nil {
			return err
		}
	}
	return nil
}

// borrow links all test data of the source, but for the inputs of fuzz targets, into the same places of a tree of its own:
// that is where the targets run, and some read what lies beside them.
func (f *fuzzing) borrow() error {
	source, err := filepath.Abs(f.source)
	if err != nil {
		return fmt.Errorf("find test data: %w", err)
	}
	err = filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != source && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "fuzz"):
			return fs.SkipDir
		case filepath.Base(filepath.Dir(path)) != "testdata":
			return nil
		}
		rel, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		link := filepath.Join(f.dir, rel)
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(path, link)); err != nil {
			return err
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("link test data: %w", err)
	}
	return nil
}

// prepare copies the committed inputs of a target to a folder of its own and puts changed ones beside them.
func (f *fuzzing) prepare(folder, target, scratch string) error {
	from := filepath.Join(f.source, filepath.FromSlash(folder), "testdata", "fuzz", target)
	seeds, err := readInputs(from)
	if err != nil {
		return err
	}
	if len(seeds) == 0 {
		f.wrongf("%s in %s has no committed inputs", target, folder)
		return nil
	}
	f.committed += len(seeds)
	to := filepath.Join(scratch, "testdata", "fuzz", target)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("make scratch folder: %w", err)
	}
	for i, seed := range seeds {
		if err := seed.write(filepath.Join(to, fmt.Sprintf("committed-%d", i))); err != nil {
			return err
		}
	}
	f.made += f.changed
	for i := range f.changed {
		if err := changedInput(seeds, f.random).write(filepath.Join(to, fmt.Sprintf("changed-%d", i))); err != nil {
			return err
		}
	}
	return nil
}

// buildAll makes the tests of all packages. One command makes many, much faster than one each, but no two with the same last
// part of their names. What only a debugger reads is left out: it is half of the time.
func (f *fuzzing) buildAll(ctx context.Context) error {
	f.programs = map[string]string{}
	rounds := []map[string]string{} // folders by the name that their tests get
	for folder := range f.targets {
		name, i := path.Base(folder), 0
		for i < len(rounds) && rounds[i][name] != "" {
			i++
		}
		if i == len(rounds) {
			rounds = append(rounds, map[string]string{})
		}
		rounds[i][name] = folder
	}
	for i, round := range rounds {
		dir := filepath.Join(f.dir, "programs", strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make scratch folder: %w", err)
		}
		for name, folder := range round {
			f.programs[folder] = filepath.Join(dir, name+".test")
		}
		if err := f.build(ctx, slices.Sorted(maps.Values(round)), dir+string(filepath.Separator), "-ldflags", "-s -w"); err != nil {
			return err
		}
	}
	return nil
}

// build makes the tests of packages: to is a file, or a folder when it ends like one.
func (f *fuzzing) build(ctx context.Context, folders []string, to string, flags ...string) error {
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"test", "-c", "-o", to}, flags, folders)...)
	cmd.Dir = f.source
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("build the tests of %s: %w\n%s", strings.Join(folders, ", "), err, last(out))
	}
	return nil
}

// run runs tests and notes how much memory they took.
func (f *fuzzing) run(ctx context.Context, folder, dir, program string, flags ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, flags...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run the tests of %s: %w", folder, err)
	}
	peak := watchMemory(cmd.Process.Pid)
	err := cmd.Wait()
	mib := peak(cmd.ProcessState)
	if ctx.Err() != nil {
		return out.Bytes(), context.Cause(ctx)
	}
	if cmd.ProcessState != nil {
		if f.peak = max(f.peak, mib); mib > fuzzResident {
			f.wrongf("%s takes %d MiB with %v", folder, mib, flags)
		}
	}
	return out.Bytes(), err
}

var passedLine = regexp.MustCompile(`(?m)^(=== |\s*--- PASS: ).*\n`)

var inputLine = regexp.MustCompile(`(?m)^\s+--- (PASS|FAIL): (Fuzz\w+/\S+)`)

// runInputs runs what f.Add names, what is committed and what was changed, as ordinary tests.
func (f *fuzzing) runInputs(ctx context.Context, folder, program, scratch string) error {
	out, err := f.run(ctx, folder, scratch, program, "-test.run", "^Fuzz", "-test.v")
	if ctx.Err() != nil {
		return err
	}
	passed, failed := 0, 0
	for _, m := range inputLine.FindAllSubmatch(out, -1) {
		if f.try(1); string(m[1]) == "PASS" {
			passed++
			continue
		}
		failed++
		input, rerr := os.ReadFile(filepath.Join(scratch, "testdata", "fuzz", filepath.FromSlash(string(m[2]))))
		f.wrongf("%s, %s: %.2000s %v", folder, m[2], input, rerr)
	}
	if err != nil && failed == 0 {
		f.wrongf("%s, after %d inputs that passed: %v\n%s", folder, passed, err, last(passedLine.ReplaceAll(out, nil)))
	}
	return nil
}

// runFuzzer makes new inputs from the committed ones. One that fails is written beside them, in the checkout.
func (f *fuzzing) runFuzzer(ctx context.Context, folder, target, program, found string) error {
	out, err := f.run(ctx, folder, filepath.Join(f.source, filepath.FromSlash(folder)), program,
		"-test.run", "^$", "-test.fuzz", "^"+target+"$", "-test.fuzztime", fmt.Sprintf("%dx", fuzzRuns), "-test.fuzzcachedir", found)
	if ctx.Err() != nil {
		return err
	}
	f.try(fuzzRuns)
	f.fresh += fuzzRuns
	if err != nil {
		f.wrongf("%s in %s: %v\n%s", target, folder, err, last(out))
	}
	return nil
}

// last is the end of what a program said.
func last(out []byte) []byte {
	const shown = 2 << 10
	return bytes.TrimSpace(out[max(len(out)-shown, 0):])
}
