//go:build !device

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/tree"
)

// benchFlags are the flags of `delta bench`.
type benchFlags struct {
	reference, out, pairs string
	program               string // of ours, that applies and whose start is measured
	runs                  int
	toolsOff              bool
}

// benchProfile is one setting of ours that is measured.
type benchProfile struct {
	name string
	args []string
}

// benchProfiles: what phones take, what desktops and servers take, and what clients with general compressors take.
func benchProfiles() []benchProfile {
	return []benchProfile{
		{profileRich, []string{"--memory", "16MiB"}},
		{profileLarge, []string{"--memory", "192MiB"}},
		{profileBrotli, []string{"--profile", "simple", "--stream", "stored,brotli"}},
		{profileZstd, []string{"--profile", "simple", "--stream", "stored,zstd"}},
	}
}

// Names of the profiles in tables.
const (
	profileRich   = "rich 16 MiB"
	profileLarge  = "rich large"
	profileBrotli = "simple brotli"
	profileZstd   = "simple zstd"
)

// benchPair is one pair of a corpus with all that was measured.
type benchPair struct {
	Name      string           `json:"name"`
	Kind      string           `json:"kind"`
	Old       int64            `json:"old"` // bytes of files
	New       int64            `json:"new"`
	Reference map[string]int64 `json:"reference,omitempty"` // patch sizes that were measured elsewhere
	Results   []toolResult     `json:"results"`
	Repeats   string           `json:"repeats,omitempty"` // the pair that has the same content, and counts in its place

	oldPath, newPath string
	content          [sha256.Size]byte
}

// benchReport is everything.
type benchReport struct {
	Pairs   []*benchPair `json:"pairs"`
	Program string       `json:"program,omitempty"` // that applied, where it was not the one that made
	Startup toolResult   `json:"startup"`           // the process alone: doing nothing
	Missing []string     `json:"missing,omitempty"`
}

func newDeltaBenchCommand(t *tool) *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use: "bench DIR", Short: "Measure the engine against every other tool on a corpus", Args: exactly(1, "the folder of a corpus"),
		Long: `Measure the engine's profiles and every other tool found on this machine (hdiffz, bsdiff, xdelta3, zstd, brotli) on the
pairs of a corpus, and write a table of sizes, times and peak memory. Every patch is applied and compared.

DIR/manifest.tsv, or that of a folder in DIR, names the pairs: name, kind (js, hbc, tree, zip, bin), old path, new path.
Archives are measured by content; tools that know single files get trees as one tar. Ratios are against hdiffz, or where
it is missing against the sizes in --reference: a table like the one in the manifest's order, one column per tool. A mean
leaves out pairs whose best patch is below 200 bytes, and pairs that repeat the content of another. The table is written
anew after every pair, so that what was measured stays when the run is ended.`,
		Example: "  slipstream delta bench ./corpus --reference sizes.tsv --out table.md",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := t.deltaBench(c.Context(), args[0], &f)
			if r == nil {
				return err
			}
			return errors.Join(err, t.print(r, func(w io.Writer) {
				if f.out == "" {
					r.markdown(w)
				}
			}))
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.reference, "reference", "", "table of patch sizes of other tools, for those that are not on this machine")
	fl.StringVar(&f.out, "out", "", "write the table to this file")
	fl.StringVar(&f.pairs, "pairs", "", "only pairs whose name contains this")
	fl.StringVar(&f.program, "program", "", "apply with this build of ours, such as the device build (default: this program)")
	fl.IntVar(&f.runs, "runs", 3, "runs of each program, where one takes less than 5 s")
	fl.BoolVar(&f.toolsOff, "no-tools", false, "measure our profiles only")
	return c
}

// save writes the table of what was measured so far.
func (r *benchReport) save(out string) error {
	if out == "" {
		return nil
	}
	err := writeOut(out, func(w io.Writer) error { r.markdown(w); return nil }, false)
	return slipstream.Hint(err, "--out needs a folder that can be written to")
}

// deltaBench measures the pairs of a corpus. With an error it gives what was measured before, if anything was.
func (t *tool) deltaBench(ctx context.Context, dir string, f *benchFlags) (_ *benchReport, err error) {
	pairs, err := readCorpus(dir, f.pairs)
	if err != nil {
		return nil, err
	}
	if f.reference != "" {
		if err := readReference(f.reference, pairs); err != nil {
			return nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	applier := first(f.program, self)
	work, err := os.MkdirTemp("", "slipstream-bench-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	r := &benchReport{Program: f.program}
	if f.out != "" { // known now, not after the first pair; a table of an earlier run stays until then
		if _, err := os.Stat(filepath.Dir(f.out)); err != nil {
			return nil, slipstream.Hint(err, "--out needs a folder that is there")
		}
	}
	r.Startup.Tool = "nothing"
	nothing, err := medianRun(ctx, []string{applier, "version"}, max(f.runs, 5))
	if err != nil {
		return nil, err
	}
	r.Startup.take(nothing, spent{})
	var tools []deltaTool
	if !f.toolsOff {
		tools, r.Missing = foundTools(ctx)
	}
	progress, end := t.deltaProgress(false)
	defer end()
	seen := map[[sha256.Size]byte]string{}
	for i, p := range pairs {
		progress.Phase(p.Name, p.Old+p.New)
		if err := p.measure(ctx, self, applier, work, tools, f.runs); err != nil {
			return r.some(), fmt.Errorf("%s: %w (measured before: %d of %d pairs)", p.Name, err, i, len(pairs))
		}
		if p.Repeats = seen[p.content]; p.Repeats == "" {
			seen[p.content] = p.Name
		}
		r.Pairs = pairs[:i+1]
		if err := r.save(f.out); err != nil {
			return r, err
		}
		progress.Add(p.Old + p.New)
	}
	return r, nil
}

// some gives the report when there is anything in it.
func (r *benchReport) some() *benchReport {
	if len(r.Pairs) == 0 {
		return nil
	}
	return r
}

// measure runs our profiles and the tools, each in a process of its own.
func (p *benchPair) measure(ctx context.Context, self, applier, work string, tools []deltaTool, runs int) error {
	old, new, err := p.open(ctx, work)
	if err != nil {
		return err
	}
	for _, profile := range benchProfiles() {
		p.Results = append(p.Results, profile.measure(ctx, self, applier, p, work, runs))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for _, d := range tools {
		p.Results = append(p.Results, d.measure(ctx, old, new, work, runs))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// open hashes both sides, makes what the tools need, and tells pairs of the same content.
func (p *benchPair) open(ctx context.Context, work string) (old, new string, err error) {
	h := sha256.New()
	for i, path := range []string{p.oldPath, p.newPath} {
		s, err := openSource(ctx, path, false, quietProgress{})
		if err != nil {
			return "", "", err
		}
		for _, f := range s.Files {
			fmt.Fprintln(h, f.Path, f.Size, f.SHA256)
		}
		fmt.Fprintln(h)
		name, err := s.asFile(path, work, []string{"old.tar", "new.tar"}[i])
		if err := errors.Join(err, s.Close()); err != nil {
			return "", "", err
		}
		if i == 0 {
			old, p.Old = name, s.size
		} else {
			new, p.New = name, s.size
		}
	}
	p.content = [sha256.Size]byte(h.Sum(nil))
	return old, new, nil
}

func (b benchProfile) measure(ctx context.Context, self, applier string, p *benchPair, work string, runs int) toolResult {
	r := toolResult{Tool: b.name}
	patch, made, out := filepath.Join(work, "ours"), filepath.Join(work, "ours.json"), filepath.Join(work, "made")
	diff := append([]string{self, "--json", "delta", "diff", p.oldPath, p.newPath, patch, "--force", "--no-verify"}, b.args...)
	diffed, err := medianRun(ctx, diff, runs)
	if err == nil {
		r.Patch, err = innerSize(ctx, diff)
	}
	var applied []spent
	for range max(runs, 1) {
		if err != nil {
			break
		}
		var one spent
		one, err = timedRun(ctx, []string{applier, "--json", "delta", "apply", p.oldPath, patch, out})
		applied = append(applied, one)
		if err == nil {
			err = sameContent(ctx, p.newPath, out)
		}
		err = errors.Join(err, os.RemoveAll(out))
	}
	if err == nil {
		r.take(diffed, medians(applied))
	}
	if err = errors.Join(err, removeFiles(patch, made)); err != nil {
		r.Error = err.Error()
	}
	return r
}

// innerSize asks for the size of the patch without the hashes that let it stand alone: those are in the manifest of a
// release, and other tools' patches have none.
func innerSize(ctx context.Context, diff []string) (int64, error) {
	out, err := exec.CommandContext(ctx, diff[0], diff[1:]...).Output()
	if err != nil {
		return 0, err
	}
	var m deltaMade
	if err := json.Unmarshal(out, &m); err != nil {
		return 0, fmt.Errorf("read what diff says: %w", err)
	}
	return m.Inner, nil
}

// sameContent compares two sources file by file.
func sameContent(ctx context.Context, a, b string) error {
	var lists [2]tree.Tree
	for i, path := range []string{a, b} {
		s, err := openSource(ctx, path, i == 1, quietProgress{})
		if err != nil {
			return err
		}
		lists[i] = s.Tree
		if err := s.Close(); err != nil {
			return err
		}
	}
	same := len(lists[0].Files) == len(lists[1].Files)
	for i := 0; same && i < len(lists[0].Files); i++ {
		x, y := lists[0].Files[i], lists[1].Files[i]
		same = x.SHA256 == y.SHA256 && x.Size == y.Size && x.Path == y.Path
	}
	if !same {
		return errors.New("what it makes is not the new one")
	}
	return nil
}

// readCorpus reads the list of pairs.
func readCorpus(dir, only string) ([]*benchPair, error) {
	lists := []string{filepath.Join(dir, "manifest.tsv")}
	if _, err := os.Stat(lists[0]); err != nil {
		if lists, err = filepath.Glob(filepath.Join(dir, "*", "manifest.tsv")); err != nil {
			return nil, err
		}
	}
	var out []*benchPair
	for _, list := range lists {
		rows, err := readTable(list)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			name, base := row["name"], filepath.Dir(list)
			old, new := filepath.FromSlash(row["old"]), filepath.FromSlash(row["new"])
			if name == "" || !filepath.IsLocal(old) || !filepath.IsLocal(new) {
				return nil, fmt.Errorf("%s: the pair %q has no name, or leads out of the corpus", list, name)
			}
			if strings.Contains(name, only) {
				out = append(out, &benchPair{Name: name, Kind: row["kind"], oldPath: filepath.Join(base, old), newPath: filepath.Join(base, new)})
			}
		}
	}
	if len(out) == 0 {
		return nil, slipstream.Hint(fmt.Errorf("%s holds no pairs", dir), "give the folder that make-corpus.sh wrote")
	}
	return out, nil
}

// readTable reads a table with tabs and a header.
func readTable(path string) ([]map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read table: %w", err)
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	names := strings.Split(lines[0], "\t")
	var out []map[string]string
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, v := range strings.Split(strings.TrimRight(line, "\r"), "\t") {
			if i < len(names) {
				row[names[i]] = v
			}
		}
		out = append(out, row)
	}
	return out, nil
}

// readReference takes the sizes of other tools from a table. Archives are looked up by content first.
func readReference(path string, pairs []*benchPair) error {
	rows, err := readTable(path)
	if err != nil {
		return err
	}
	byName := map[string]map[string]string{}
	for _, row := range rows {
		byName[row["pair"]] = row
	}
	for _, p := range pairs {
		row := byName[p.Name+"-unpacked"]
		if row == nil && p.Kind != "zip" {
			row = byName[p.Name]
		}
		p.Reference = map[string]int64{}
		for column, v := range row {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil || strings.HasSuffix(column, "_bytes") || strings.HasSuffix(column, " full") {
				continue
			}
			p.Reference[column] = n
		}
	}
	return nil
}
