package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream/publish/delta/bsdiff"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
	"github.com/slipstream-ota/slipstream/publish/delta/tree"
)

// maxPatchFile bounds a patch that is looked into, in bytes.
const maxPatchFile = 2 << 30

// deltaParts tells where bytes of a patch go.
type deltaParts struct {
	Path      string  `json:"path,omitempty"`
	Size      int64   `json:"size"` // bytes that it makes
	Covers    int     `json:"covers"`
	Unchanged int64   `json:"unchanged"` // bytes of the old file as they are
	Changed   int64   `json:"changed"`   // bytes at a place of the old file
	NewText   int64   `json:"newText"`
	Cost      float64 `json:"cost"` // bytes of the patch
	CoverCost float64 `json:"coverCost"`
	PlaceCost float64 `json:"placeCost"`
	ByteCost  float64 `json:"byteCost"`
	TextCost  float64 `json:"textCost"`
}

// deltaInfo tells what a patch is made of.
type deltaInfo struct {
	Patch   int64        `json:"patch"`
	Header  int64        `json:"header"`
	Format  string       `json:"format"`
	Profile string       `json:"profile,omitempty"`
	Stream  string       `json:"stream,omitempty"`
	Memory  int          `json:"memory,omitempty"`
	Kept    int          `json:"kept"` // files
	Streams []int64      `json:"streams,omitempty"`
	Whole   *deltaParts  `json:"whole,omitempty"`
	Lists   *deltaParts  `json:"lists,omitempty"` // what happens to which file
	Files   []deltaParts `json:"files,omitempty"`
}

func newDeltaInfoCommand(t *tool) *cobra.Command {
	var raw bool
	var memory string
	top := 20
	c := &cobra.Command{
		Use: "info OLD PATCH", Short: "Tell where the bytes of a patch go", Args: exactly(2, "OLD and PATCH"),
		Long: `Tell where the bytes of a patch go: to saying which parts of the old file are used (covers), where bytes in them
changed (places), what they became (bytes), and to text that is new; in all and for every file. The patch is applied for
that, and nothing is written.`,
		RunE: func(c *cobra.Command, args []string) error {
			info, err := deltaInspect(c.Context(), args[0], args[1], raw, memory)
			if err != nil {
				return err
			}
			return t.print(info, func(w io.Writer) { info.text(w, top) })
		},
	}
	c.Flags().BoolVar(&raw, "raw", false, "take archives as one file")
	c.Flags().StringVar(&memory, "memory", "192MiB", "most memory that the patch may take for tables")
	c.Flags().IntVar(&top, "top", top, "files to show, the most expensive first (0 = all)")
	return c
}

func deltaInspect(ctx context.Context, oldPath, patchPath string, raw bool, memory string) (_ *deltaInfo, err error) {
	limit, err := parseMemory(memory)
	if err != nil {
		return nil, err
	}
	stat, err := os.Stat(patchPath)
	if err != nil {
		return nil, fmt.Errorf("look at patch: %w", err)
	}
	if stat.Size() > maxPatchFile {
		return nil, fmt.Errorf("a patch of %s is not looked into", formatBytes(stat.Size()))
	}
	body, err := os.ReadFile(patchPath)
	if err != nil {
		return nil, fmt.Errorf("read patch: %w", err)
	}
	if bytes.HasPrefix(body, []byte("BSDIFF40")) {
		i, err := bsdiff.Inspect(bytes.NewReader(body), int64(len(body)))
		return &deltaInfo{Patch: int64(len(body)), Header: 32, Format: formatBsdiff, Streams: []int64{i.Control, i.Difference, i.Extra}}, err
	}
	old, err := openSource(ctx, oldPath, raw, quietProgress{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	scratch := &scratchFiles{}
	i, err := tree.Inspect(ctx, old.Tree, old.base, body, tree.Limits{Memory: limit, Scratch: scratch.create})
	err = errors.Join(err, scratch.close())
	if err != nil {
		return nil, hintAtPatch(err)
	}
	out := &deltaInfo{Patch: i.Size, Header: i.Header, Format: formatOwn, Profile: i.Patch.Profile, Stream: i.Patch.Stream, Memory: i.Patch.Memory, Kept: i.Kept}
	out.Whole = partsOf("", i.Patch.NewSize, i.Patch.Part)
	out.Lists = partsOf("", i.Patch.NewSize-carriedBytes(i), i.Operations)
	for _, f := range i.Files {
		out.Files = append(out.Files, *partsOf(f.Path, f.Size, f.Part))
	}
	slices.SortStableFunc(out.Files, func(a, b deltaParts) int { return cmp.Compare(b.Cost, a.Cost) })
	return out, nil
}

func carriedBytes(i tree.Info) (n int64) {
	for _, f := range i.Files {
		n += f.Size
	}
	return n
}

func partsOf(path string, size int64, p patch.Part) *deltaParts {
	d := &deltaParts{Path: path, Size: size, Covers: p.Covers, Unchanged: p.Covered, Changed: p.Changed, NewText: p.NewText,
		CoverCost: float64(p.CoverBits) / 8, PlaceCost: float64(p.PlaceBits) / 8, ByteCost: float64(p.ByteBits) / 8, TextCost: float64(p.TextBits) / 8}
	d.Cost = d.CoverCost + d.PlaceCost + d.ByteCost + d.TextCost
	return d
}

func (d *deltaInfo) text(w io.Writer, top int) {
	if d.Format == formatBsdiff {
		fmt.Fprintf(w, "BSDIFF40, %d bytes: control %d, difference %d, extra %d\n", d.Patch, d.Streams[0], d.Streams[1], d.Streams[2])
		return
	}
	fmt.Fprintf(w, "%d bytes, %s", d.Patch, strings.TrimSpace(d.Profile+" "+d.Stream))
	if d.Memory > 0 {
		fmt.Fprintf(w, ", %s of tables", formatBytes(int64(d.Memory)))
	}
	fmt.Fprintf(w, "; %d of them are the header with the hashes. %d files as they are, %d carried.\n\n", d.Header, d.Kept, len(d.Files))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, p *deltaParts) {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", name, p.Size, p.Covers, p.Unchanged, p.Changed, p.NewText, p.CoverCost, p.PlaceCost, p.ByteCost, p.TextCost, p.Cost)
	}
	fmt.Fprintln(table, "\tsize\tcovers\tunchanged\tchanged\tnew\t→ covers\t→ places\t→ bytes\t→ new text\t→ all\t")
	row("all", d.Whole)
	if d.Lists.Size > 0 {
		row("lists", d.Lists)
	}
	for i := range d.Files {
		if top > 0 && i == top {
			break
		}
		if d.Files[i].Path != "" {
			row(d.Files[i].Path, &d.Files[i])
		}
	}
	_ = table.Flush() // the terminal is told by the next write
	if top > 0 && len(d.Files) > top {
		fmt.Fprintf(w, "… and %d cheaper files; --top 0 shows all\n", len(d.Files)-top)
	}
	fmt.Fprintln(w, "\nsize, unchanged, changed and new count bytes that are made; → columns count bytes of the patch.")
}
