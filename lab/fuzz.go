package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// fuzzRuns is how many inputs the full form makes for each target. A fixed count, not a time: the same on any machine.
const fuzzRuns = 20000

func fuzzers() Proof {
	return Proof{
		Name:  "fuzzers",
		Claim: "no parser of bytes that strangers send panics, accepts what its writer would not write, or allocates beyond its bounds",
		Quick: 100 * time.Second, Full: 60 * time.Minute,
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

// fuzz runs every target on its committed inputs, and in the full form on fuzzRuns new ones. only, when not nil, names
// the folders to take.
func fuzz(ctx context.Context, env Env, only []string) (Result, error) {
	targets, err := fuzzTargets(env.Source)
	if err != nil {
		return Result{}, err
	}
	if only != nil {
		maps.DeleteFunc(targets, func(folder string, _ []string) bool { return !slices.Contains(only, folder) })
	}
	folders := slices.Sorted(maps.Keys(targets))
	f := &fuzzing{source: env.Source, seeds: map[string]int{}}
	if err := f.runSeeds(ctx, folders); err != nil {
		return f.result(targets), err
	}
	for _, folder := range folders {
		for _, target := range targets[folder] {
			if f.seeds[folder+" "+target] == 0 {
				f.wrongf("%s in %s has no inputs to begin with", target, folder)
			}
		}
	}
	if env.Quick {
		return f.result(targets), nil
	}
	for _, folder := range folders {
		for _, target := range targets[folder] {
			if err := f.runNew(ctx, folder, target); err != nil {
				return f.result(targets), err
			}
		}
	}
	return f.result(targets), nil
}

type fuzzing struct {
	tally
	source string
	seeds  map[string]int // inputs run, by folder and target
	fresh  int
}

func (f *fuzzing) result(targets map[string][]string) Result {
	n := 0
	for _, t := range targets {
		n += len(t)
	}
	return f.tally.result("inputs of %d targets in %d packages, %d of them committed", n, len(targets), f.tried-f.fresh)
}

func (f *fuzzing) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = f.source
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return out, err
	}
	if err != nil {
		return out, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

var (
	seedLine = regexp.MustCompile(`^\s+--- (PASS|FAIL): (Fuzz\w+)/`)
)

// runSeeds runs what f.Add names and what is committed under testdata/fuzz, as ordinary tests.
func (f *fuzzing) runSeeds(ctx context.Context, folders []string) error {
	for _, folder := range folders {
		out, err := f.run(ctx, "test", "-run", "^Fuzz", "-v", "-count=1", folder)
		if ctx.Err() != nil {
			return err
		}
		passed := 0
		lines := bufio.NewScanner(bytes.NewReader(out))
		for lines.Scan() {
			m := seedLine.FindStringSubmatch(lines.Text())
			if m == nil {
				continue
			}
			f.seeds[folder+" "+m[2]]++
			f.try(1)
			if m[1] == "FAIL" {
				f.wrongf("%s: %s", folder, strings.TrimSpace(lines.Text()))
			} else {
				passed++
			}
		}
		if err != nil && f.wrong == 0 {
			f.wrongf("%s, after %d inputs that passed: %v\n%s", folder, passed, err, last(out))
		}
	}
	return nil
}

// runNew makes new inputs from the committed ones.
func (f *fuzzing) runNew(ctx context.Context, folder, target string) error {
	out, err := f.run(ctx, "test", "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", fmt.Sprintf("%dx", fuzzRuns), folder)
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
