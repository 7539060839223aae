//go:build !device

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkStart is what starting each build takes of processor time, turn by turn with a Go program that does nothing.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	source, hello := filepath.Join(dir, "hello.go"), filepath.Join(dir, "hello")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"os\"\n\nfunc main() { _, _ = os.Stdout.WriteString(\"hello\\n\") }\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", hello, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build hello: %v\n%s", err, text)
	}
	full, device := buildFull(b), buildDevice(b)
	turns := inTurn(b, []string{hello}, map[string][]string{"full": {full, "version"}, "device": {device, "version"}}, nil)
	turns.report(b, "start", "hello")
	for name, path := range map[string]string{"full": full, "device": device} {
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/(1<<20), name+"-MiB")
	}
}

// BenchmarkApply is what applying a simple patch to two megabytes of source takes of processor time, turn by turn with
// bspatch and a patch of its own.
func BenchmarkApply(b *testing.B) {
	for _, tool := range []string{"bsdiff", "bspatch"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skip("MISSING: " + tool)
		}
	}
	dir := b.TempDir()
	old, new, ours, theirs, out := filepath.Join(dir, "old"), filepath.Join(dir, "new"), filepath.Join(dir, "ours"), filepath.Join(dir, "theirs"), filepath.Join(dir, "out")
	writePair(b, old, new, 2<<20)
	full, device := buildFull(b), buildDevice(b)
	command(b, full, "delta", "diff", old, new, ours, "--profile", "simple", "--stream", "stored,zstd")
	command(b, "bsdiff", old, new, theirs)
	bspatch, err := exec.LookPath("bspatch")
	if err != nil {
		b.Fatal(err)
	}
	want, err := os.ReadFile(new)
	if err != nil {
		b.Fatal(err)
	}
	apply := []string{"delta", "apply", old, ours, out}
	turns := inTurn(b, []string{bspatch, old, out, theirs}, map[string][]string{"full": append([]string{full}, apply...), "device": append([]string{device}, apply...)}, func() {
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			b.Fatalf("what it made is not the new file (%v)", err)
		}
		if err := os.Remove(out); err != nil {
			b.Fatal(err)
		}
	})
	turns.report(b, "apply", "bspatch")
}

func buildFull(b *testing.B) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), "slipstream")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released: a program linked to the C library starts later
	if text, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build the full build: %v\n%s", err, text)
	}
	return out
}

// turns are the processor times of programs that ran one after another, again and again, by name. "" is the baseline.
type turns map[string][]time.Duration

// inTurn runs the baseline and the others b.N times, at least 15, and calls after for what each has made.
func inTurn(b *testing.B, baseline []string, others map[string][]string, after func()) turns {
	b.Helper()
	out := turns{}
	one := func(name string, args []string) {
		c := exec.Command(args[0], args[1:]...)
		if err := c.Run(); err != nil {
			b.Fatalf("%s: %v", strings.Join(args, " "), err)
		}
		out[name] = append(out[name], c.ProcessState.UserTime()+c.ProcessState.SystemTime())
		if after != nil {
			after()
		}
	}
	for range max(b.N, 15) {
		one("", baseline)
		for name, args := range others {
			one(name, args)
		}
	}
	return out
}

// report gives the median time of each program, and the median of its ratios to the baseline's of the same turn.
func (t turns) report(b *testing.B, what, baseline string) {
	b.ReportMetric(0, "ns/op") // with the builds and the baseline in it, it says nothing
	for name, times := range t {
		if name == "" {
			name = baseline
		} else {
			ratios := make([]float64, len(times))
			for i := range times {
				ratios[i] = times[i].Seconds() / t[""][i].Seconds()
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], fmt.Sprintf("%s-x_%s", name, baseline))
		}
		slices.Sort(times)
		b.ReportMetric(times[len(times)/2].Seconds()*1000, fmt.Sprintf("%s-cpu-ms/%s", name, what))
	}
}

// writePair writes size bytes of Go's own sources, and the same with a name changed, lines added and lines gone.
func writePair(b *testing.B, old, new string, size int) {
	b.Helper()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatalf("find Go's own sources: %v", err)
	}
	var text []byte
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(goroot)), "src", "net"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || len(text) >= size {
			return err
		}
		more, err := os.ReadFile(path)
		text = append(text, more...)
		return err
	})
	if err != nil || len(text) < size {
		b.Fatalf("read Go's own sources: %d bytes, %v", len(text), err)
	}
	var after []byte
	for i, line := range bytes.SplitAfter(text[:size], []byte("\n")) {
		switch {
		case i%500 == 0:
			after = fmt.Appendf(after, "// line %d of what was added, with a number that nothing else has: %d\n", i, i*i*7919)
		case i%500 == 250:
			continue
		case i%40 == 0:
			line = bytes.ReplaceAll(line, []byte("err"), []byte("fault"))
		}
		after = append(after, line...)
	}
	for path, content := range map[string][]byte{old: text[:size], new: after} {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
