//go:build !device

package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// deltaTool is another program that makes and applies patches of single files.
type deltaTool struct {
	name         string
	diff, apply  func(old, new, patch string, size int64) []string
	needs, usage string // what its help must say; how to ask for it
}

// deltaTools are the tools that may be on a machine, with the settings by which their patches are smallest at bearable
// cost. The first one is what others are measured against.
func deltaTools() []deltaTool {
	zstd := func(level ...string) func(old, new, patch string, size int64) []string {
		return func(old, new, patch string, size int64) []string {
			return append(append([]string{"zstd", "-q", "-f"}, level...), "--long="+zstdWindow(size), "--patch-from="+old, new, "-o", patch)
		}
	}
	unzstd := func(old, new, patch string, size int64) []string {
		return []string{"zstd", "-q", "-f", "-d", "--long=" + zstdWindow(size), "--patch-from=" + old, patch, "-o", new}
	}
	return []deltaTool{
		{name: referenceTool,
			diff: func(old, new, patch string, _ int64) []string {
				return []string{"hdiffz", "-f", "-m-3", "-block-0", "-SD", "-c-lzma2-9-64m", old, new, patch}
			},
			apply: func(old, new, patch string, _ int64) []string { return []string{"hpatchz", "-f", old, patch, new} }},
		{name: "bsdiff",
			diff:  func(old, new, patch string, _ int64) []string { return []string{"bsdiff", old, new, patch} },
			apply: func(old, new, patch string, _ int64) []string { return []string{"bspatch", old, new, patch} }},
		{name: "xdelta3",
			diff: func(old, new, patch string, size int64) []string {
				return []string{"xdelta3", "-q", "-f", "-9", "-B", fmt.Sprint(max(size, 1<<20)), "-e", "-s", old, new, patch}
			},
			apply: func(old, new, patch string, size int64) []string {
				return []string{"xdelta3", "-q", "-f", "-B", fmt.Sprint(max(size, 1<<20)), "-d", "-s", old, patch, new}
			}},
		{name: "zstd -19", diff: zstd("-19"), apply: unzstd},
		{name: "zstd -22", diff: zstd("--ultra", "-22"), apply: unzstd},
		{name: "brotli -11", needs: "--dictionary", usage: "--help",
			diff: func(old, new, patch string, _ int64) []string {
				return []string{"brotli", "-f", "-q", "11", "--large_window=30", "-D", old, new, "-o", patch}
			},
			apply: func(old, new, patch string, _ int64) []string {
				return []string{"brotli", "-f", "-d", "--large_window=30", "-D", old, patch, "-o", new}
			}},
	}
}

// referenceTool is the name of the tool and setting that is 1.00.
const referenceTool = "hdiffz"

func zstdWindow(size int64) string {
	return fmt.Sprint(min(max(bits.Len64(uint64(size)), 10), 31))
}

// foundTools are those of deltaTools that this machine has, and what it says of the others.
func foundTools(ctx context.Context) (found []deltaTool, missing []string) {
	for _, d := range deltaTools() {
		program := d.diff("", "", "", 0)[0]
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, d.name+" (no "+program+")")
			continue
		}
		if d.needs != "" {
			help, _ := exec.CommandContext(ctx, program, d.usage).CombinedOutput() // some exit with an error after their help
			if !bytes.Contains(help, []byte(d.needs)) {
				missing = append(missing, d.name+" ("+program+" without "+d.needs+")")
				continue
			}
		}
		found = append(found, d)
	}
	return found, missing
}

// toolResult is what a tool made of a pair.
type toolResult struct {
	Tool         string  `json:"tool"`
	Patch        int64   `json:"patch,omitempty"`
	DiffSeconds  float64 `json:"diffSeconds,omitempty"`
	ApplySeconds float64 `json:"applySeconds,omitempty"`
	DiffCPU      float64 `json:"diffCPU,omitempty"` // seconds of processor time, which other programs move less
	ApplyCPU     float64 `json:"applyCPU,omitempty"`
	DiffMemory   int64   `json:"diffMemory,omitempty"` // peak, bytes; 0 = not known
	ApplyMemory  int64   `json:"applyMemory,omitempty"`
	Error        string  `json:"error,omitempty"`
}

// measure runs a tool on two files, runs times as long as a run is short, and compares what it makes. Times are medians.
func (d deltaTool) measure(ctx context.Context, old, new, dir string, runs int) toolResult {
	r := toolResult{Tool: d.name}
	stat := func(path string) int64 {
		if info, err := os.Stat(path); err == nil {
			return info.Size()
		}
		return 0
	}
	size := max(stat(old), stat(new))
	patch, out := filepath.Join(dir, "patch"), filepath.Join(dir, "out")
	var err error
	var made, applied spent
	if made, err = medianRun(ctx, d.diff(old, new, patch, size), runs); err == nil {
		r.Patch = stat(patch)
		applied, err = medianRun(ctx, d.apply(old, out, patch, size), runs)
	}
	r.take(made, applied)
	if err == nil {
		err = sameFiles(new, out)
	}
	if err = errors.Join(err, removeFiles(patch, out)); err != nil {
		r.Error = err.Error()
	}
	return r
}

func (r *toolResult) take(made, applied spent) {
	r.DiffSeconds, r.DiffCPU, r.DiffMemory = made.seconds, made.cpu, made.memory
	r.ApplySeconds, r.ApplyCPU, r.ApplyMemory = applied.seconds, applied.cpu, applied.memory
}

func removeFiles(paths ...string) error {
	var err error
	for _, p := range paths {
		if e := os.Remove(p); !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func sameFiles(a, b string) error {
	x, err := os.Open(a)
	if err != nil {
		return err
	}
	y, err := os.Open(b)
	if err != nil {
		return errors.Join(err, x.Close())
	}
	same := true
	p, q := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, e1 := io.ReadFull(x, p)
		m, e2 := io.ReadFull(y, q)
		if !bytes.Equal(p[:n], q[:m]) {
			same = false
		}
		if e1 != nil || e2 != nil || !same {
			break
		}
	}
	if !same {
		err = errors.New("what it makes is not the new file")
	}
	return errors.Join(err, x.Close(), y.Close())
}

// longRun is the time above which a run is not repeated.
const longRun = 5 * time.Second

// spent is what a run of a program took.
type spent struct {
	seconds, cpu float64 // on the clock, and of processor time
	memory       int64   // peak, bytes
}

// medianRun runs a program some times, gives the medians of its times and the largest peak.
func medianRun(ctx context.Context, command []string, times int) (spent, error) {
	var all []spent
	for range max(times, 1) {
		r, err := timedRun(ctx, command)
		if err != nil {
			return spent{}, err
		}
		if all = append(all, r); r.seconds > longRun.Seconds() {
			break
		}
	}
	return medians(all), nil
}

func medians(all []spent) spent {
	median := func(of func(spent) float64) float64 {
		slices.SortFunc(all, func(a, b spent) int { return cmp.Compare(of(a), of(b)) })
		return of(all[len(all)/2])
	}
	out := spent{seconds: median(func(r spent) float64 { return r.seconds }), cpu: median(func(r spent) float64 { return r.cpu })}
	for _, r := range all {
		out.memory = max(out.memory, r.memory)
	}
	return out
}

// timedRun runs a program and watches its memory.
func timedRun(ctx context.Context, command []string) (spent, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return spent{}, err
	}
	ended := make(chan struct{})
	peak := make(chan int64, 1)
	go func() { peak <- watchMemory(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	r := spent{seconds: time.Since(begin).Seconds(), cpu: (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}
	close(ended)
	r.memory = <-peak
	if err != nil {
		return r, fmt.Errorf("%s: %w: %s", command[0], err, strings.TrimSpace(said.String()))
	}
	return r, nil
}

// asFile gives path itself when it is a file, else an archive of the folder with fixed metadata, for tools that know
// single files only.
func (s *deltaSource) asFile(path, dir, name string) (_ string, err error) {
	if s.Single {
		return path, nil
	}
	out := filepath.Join(dir, name)
	f, err := os.Create(out)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	for i, file := range s.Files {
		if err := w.WriteHeader(&tar.Header{Name: file.Path, Size: file.Size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatGNU}); err != nil {
			return "", err
		}
		r, err := s.open(i)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(w, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return "", err
		}
	}
	return out, w.Close()
}

// againstTools runs every tool on the pair once.
func againstTools(ctx context.Context, oldPath, newPath string, raw bool) (_ []toolResult, err error) {
	dir, err := os.MkdirTemp("", "slipstream-delta-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	old, new, err := asFiles(ctx, oldPath, newPath, raw, dir)
	if err != nil {
		return nil, err
	}
	var out []toolResult
	tools, _ := foundTools(ctx)
	for _, d := range tools {
		out = append(out, d.measure(ctx, old, new, dir, 1))
	}
	return out, ctx.Err()
}

func asFiles(ctx context.Context, oldPath, newPath string, raw bool, dir string) (old, new string, err error) {
	for i, path := range []string{oldPath, newPath} {
		s, err := openSource(ctx, path, raw, quietProgress{})
		if err != nil {
			return "", "", err
		}
		name, err := s.asFile(path, dir, []string{"old.tar", "new.tar"}[i])
		if err := errors.Join(err, s.Close()); err != nil {
			return "", "", err
		}
		if i == 0 {
			old = name
		} else {
			new = name
		}
	}
	return old, new, nil
}
