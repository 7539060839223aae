// Command testsummary reads `go test -json` on standard input, prints a line a package, every failure whole, and at the
// end what was skipped because the machine lacks it, and the totals. It exits 1 when a test failed or none ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

type summary struct {
	output               map[string]*strings.Builder // by package and test
	passed, failed, skip int
	missing              []string
	broken               []string
}

func main() {
	s := summary{output: map[string]*strings.Builder{}}
	if err := s.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
	if !s.close(os.Stdout) {
		os.Exit(1)
	}
}

func (s *summary) read(r io.Reader, w io.Writer) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(w, lines.Text()) // the build's own words
			continue
		}
		s.take(e, w)
	}
	return lines.Err()
}

func (s *summary) take(e event, w io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if s.output[key] == nil {
			s.output[key] = &strings.Builder{}
		}
		s.output[key].WriteString(e.Output)
		if i := strings.Index(e.Output, "MISSING: "); i >= 0 && !strings.HasPrefix(strings.TrimSpace(e.Output), "> ") { // not a line of a script that would skip
			what := strings.TrimSpace(e.Output[i+len("MISSING: "):])
			if !slices.Contains(s.missing, what) {
				s.missing = append(s.missing, what)
			}
		}
		if e.Action == "build-output" {
			fmt.Fprint(w, e.Output)
		}
	case "pass", "fail", "skip":
		s.end(e, key, w)
	}
}

func (s *summary) end(e event, key string, w io.Writer) {
	if e.Test == "" {
		if e.Action != "skip" {
			fmt.Fprintf(w, "%-5s %7.2fs  %s\n", e.Action, e.Elapsed, e.Package)
		}
		if e.Action == "fail" {
			s.broken = append(s.broken, e.Package)
			s.print(w, key)
		}
		return
	}
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skip++
	case "fail":
		s.failed++
		s.print(w, key)
	}
	delete(s.output, key)
}

func (s *summary) print(w io.Writer, key string) {
	if out := s.output[key]; out != nil {
		fmt.Fprintf(w, "--- %s\n%s", strings.TrimSpace(key), out)
	}
}

func (s *summary) close(w io.Writer) bool {
	for _, m := range s.missing {
		fmt.Fprintf(w, "MISSING on this machine, its tests did not run: %s\n", m)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skip)
	return s.failed == 0 && len(s.broken) == 0 && s.passed > 0
}
