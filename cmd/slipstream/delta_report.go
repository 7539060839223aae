//go:build !device

package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

// leastPatch is the size in bytes of the best patch below which a pair says nothing about compression.
const leastPatch = 200

// referenceColumns are the names that the reference tool's column may have in a table of sizes.
func referenceColumns() []string { return []string{referenceTool, "hdiffz -m -SD lzma2"} }

// result gives what a tool made of the pair.
func (p *benchPair) result(tool string) (toolResult, bool) {
	i := slices.IndexFunc(p.Results, func(r toolResult) bool { return r.Tool == tool && r.Error == "" })
	if i < 0 {
		return toolResult{}, false
	}
	return p.Results[i], true
}

// base gives the size that is 1.00.
func (p *benchPair) base() int64 {
	if r, ok := p.result(referenceTool); ok {
		return r.Patch
	}
	for _, column := range referenceColumns() {
		if n := p.Reference[column]; n > 0 {
			return n
		}
	}
	return 0
}

// best gives the smallest patch of all other tools, measured here or in the table of sizes.
func (p *benchPair) best() (tool string, size int64) {
	take := func(name string, n int64) {
		if n > 0 && (size == 0 || n < size || n == size && name < tool) {
			tool, size = name, n
		}
	}
	for _, r := range p.Results {
		if r.Error == "" && !slices.ContainsFunc(benchProfiles(), func(b benchProfile) bool { return b.name == r.Tool }) {
			take(r.Tool, r.Patch)
		}
	}
	for name, n := range p.Reference {
		take(name, n)
	}
	return tool, size
}

// counts says whether the pair is in the means.
func (p *benchPair) counts() bool {
	smallest := int64(math.MaxInt64)
	for _, r := range p.Results {
		if r.Error == "" && r.Patch > 0 {
			smallest = min(smallest, r.Patch)
		}
	}
	if _, n := p.best(); n > 0 {
		smallest = min(smallest, n)
	}
	return p.Repeats == "" && smallest >= leastPatch
}

// names gives every tool that was run, ours first.
func (r *benchReport) names() []string {
	var out []string
	for _, p := range r.Pairs {
		for _, x := range p.Results {
			if !slices.Contains(out, x.Tool) {
				out = append(out, x.Tool)
			}
		}
	}
	return out
}

// mean gives the geometric mean of what ratio says of each pair; ratios of zero are not counted.
func (r *benchReport) mean(of func(p *benchPair) bool, ratio func(p *benchPair) float64) (float64, int) {
	sum, n := 0.0, 0
	for _, p := range r.Pairs {
		if v := ratio(p); of(p) && v > 0 {
			sum, n = sum+math.Log(v), n+1
		}
	}
	if n == 0 {
		return 0, 0
	}
	return math.Exp(sum / float64(n)), n
}

func (r *benchReport) markdown(w io.Writer) {
	names := r.names()
	line := func(cells ...string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	head := func(first string, rest ...string) {
		line(append([]string{first}, rest...)...)
		line(append([]string{"---"}, strings.Split(strings.TrimSuffix(strings.Repeat("--: ", len(rest)), " "), " ")...)...)
	}

	fmt.Fprintln(w, "Patch size, geometric mean (the reference = 1.00; pairs)")
	fmt.Fprintln(w)
	groups := r.groups()
	head("", groups...)
	for _, name := range names {
		cells := []string{name}
		for _, g := range groups {
			m, n := r.mean(func(p *benchPair) bool { return p.counts() && (g == "all" || g == p.Kind) }, func(p *benchPair) float64 {
				x, ok := p.result(name)
				if !ok || p.base() == 0 {
					return 0
				}
				return float64(x.Patch) / float64(p.base())
			})
			cells = append(cells, ratioCell(m, n))
		}
		line(cells...)
	}

	fmt.Fprintln(w, "\nPatch size, bytes")
	fmt.Fprintln(w)
	head("pair", append(append([]string{"new"}, names...), "reference", "best other", "rich / best")...)
	for _, p := range r.Pairs {
		cells := []string{p.Name, fmt.Sprint(p.New)}
		for _, name := range names {
			cells = append(cells, p.cell(name, func(x toolResult) string { return fmt.Sprint(x.Patch) }))
		}
		tool, best := p.best()
		against := "–"
		if x, ok := p.result(profileRich); ok && best > 0 {
			against = fmt.Sprintf("%.2f", float64(x.Patch)/float64(best))
			if !p.counts() {
				against = "(" + against + ")"
			}
		}
		line(append(cells, fmt.Sprint(p.base()), fmt.Sprintf("%d %s", best, tool), against)...)
	}
	for _, p := range r.Pairs {
		if p.Repeats != "" {
			fmt.Fprintf(w, "\n%s has the content of %s and is in no mean.\n", p.Name, p.Repeats)
		}
	}

	r.times(w, func() { head("pair", names...) }, line, names)
	fmt.Fprintln(w, "\nPeak memory to make / to apply, MiB")
	fmt.Fprintln(w)
	head("pair", names...)
	r.rows(line, names, func(x toolResult) string {
		return fmt.Sprintf("%.0f / %.0f", float64(x.DiffMemory)/(1<<20), float64(x.ApplyMemory)/(1<<20))
	})
	fmt.Fprintf(w, "\nThe process of ours alone takes %.0f MiB.\n", float64(r.Startup.DiffMemory)/(1<<20))
	if len(r.Missing) > 0 {
		fmt.Fprintf(w, "\nNot on this machine: %s.\n", strings.Join(r.Missing, ", "))
	}
	for _, p := range r.Pairs {
		for _, x := range p.Results {
			if x.Error != "" {
				fmt.Fprintf(w, "\n%s on %s: %s\n", x.Tool, p.Name, x.Error)
			}
		}
	}
}

// times writes what making and applying took, on the clock and of processor time, and that against bsdiff.
func (r *benchReport) times(w io.Writer, head func(), line func(...string), names []string) {
	fmt.Fprintln(w, "\nTime to make / to apply, seconds")
	fmt.Fprintln(w)
	head()
	r.rows(line, names, func(x toolResult) string { return fmt.Sprintf("%.3f / %.3f", x.DiffSeconds, x.ApplySeconds) })
	fmt.Fprintln(w, "\nProcessor time to make / to apply, seconds")
	fmt.Fprintln(w)
	head()
	r.rows(line, names, func(x toolResult) string { return fmt.Sprintf("%.2f / %.3f", x.DiffCPU, x.ApplyCPU) })
	small, large := func(p *benchPair) bool { return p.Old < 5<<20 }, func(p *benchPair) bool { return p.Old > 10<<20 }
	fmt.Fprintf(w, "\nProcessor time against bsdiff and bspatch, geometric mean (pairs): ")
	for _, name := range names {
		made, n := r.timeRatio(name, "bsdiff", small, func(x toolResult) float64 { return x.DiffCPU })
		madeLarge, m := r.timeRatio(name, "bsdiff", large, func(x toolResult) float64 { return x.DiffCPU })
		applied, k := r.timeRatio(name, "bsdiff", small, func(x toolResult) float64 { return x.ApplyCPU })
		if n+m > 0 && name != "bsdiff" {
			fmt.Fprintf(w, "%s: below 5 MB %s to make and %s to apply, above 10 MB %s to make; ", name, ratioCell(made, n), ratioCell(applied, k), ratioCell(madeLarge, m))
		}
	}
	if r.Program != "" {
		fmt.Fprintf(w, "ours was applied by %s; ", filepath.Base(r.Program))
	}
	fmt.Fprintf(w, "the process of ours alone takes %.3f s, of processor time %.3f s.\n", r.Startup.DiffSeconds, r.Startup.DiffCPU)
}

func (r *benchReport) timeRatio(name, against string, of func(p *benchPair) bool, value func(toolResult) float64) (float64, int) {
	return r.mean(of, func(p *benchPair) float64 {
		x, ok := p.result(name)
		y, found := p.result(against)
		if !ok || !found || value(y) == 0 {
			return 0
		}
		return value(x) / value(y)
	})
}

func (r *benchReport) rows(line func(...string), names []string, cell func(toolResult) string) {
	for _, p := range r.Pairs {
		cells := []string{p.Name}
		for _, name := range names {
			cells = append(cells, p.cell(name, cell))
		}
		line(cells...)
	}
}

func (p *benchPair) cell(name string, of func(toolResult) string) string {
	if x, ok := p.result(name); ok {
		return of(x)
	}
	return "–"
}

// groups gives the kinds in the order of the corpus, and all.
func (r *benchReport) groups() []string {
	var out []string
	for _, p := range r.Pairs {
		if g := p.Kind; !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return append(out, "all")
}

func ratioCell(mean float64, n int) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3f (%d)", mean, n)
}
