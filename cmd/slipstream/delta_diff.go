//go:build !device

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/bsdiff"
	"github.com/slipstream-ota/slipstream/publish/delta/dcz"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
	"github.com/slipstream-ota/slipstream/publish/delta/tree"
)

// deltaFlags are the flags of `delta diff`.
type deltaFlags struct {
	profile, format, memory string
	streams                 []string
	decisions               int
	raw, force              bool
	noVerify, againstTools  bool
	silent                  bool // no progress
}

func newDeltaDiffCommand(t *tool) *cobra.Command {
	var f deltaFlags
	c := &cobra.Command{
		Use: "diff OLD NEW OUT", Short: "Make a patch", Args: exactly(3, "OLD, NEW and OUT"),
		Long: `Make a patch that turns OLD into NEW. It is applied and compared before it is written.

--profile auto makes every candidate that the reader can apply and keeps the smallest. rich needs --memory of tables to
apply; simple is for readers that have general compressors only, which --stream names.
--format bsdiff writes BSDIFF40 and --format dcz a body of the content coding dcz (RFC 9842): both of single files, both
without a hash of the result.`,
		Example: "  slipstream delta diff app-1.4.0/ app-1.5.0/ app.patch\n  slipstream delta diff old.js new.js js.patch --profile simple --stream zstd",
		RunE: func(c *cobra.Command, args []string) error {
			out, err := t.deltaDiff(c.Context(), &f, args[0], args[1], args[2])
			if err != nil {
				return err
			}
			if f.againstTools {
				if out.Tools, err = againstTools(c.Context(), args[0], args[1], f.raw); err != nil {
					return err
				}
			}
			return t.print(out, out.text)
		},
	}
	f.define(c)
	fl := c.Flags()
	fl.StringVar(&f.format, "format", formatOwn, "slipstream, bsdiff or dcz")
	fl.BoolVar(&f.force, "force", false, "write over OUT")
	fl.BoolVar(&f.noVerify, "no-verify", false, "do not apply the patch and compare")
	fl.BoolVar(&f.againstTools, "against-tools", false, "try every other tool on this machine too, and compare sizes")
	return c
}

func (f *deltaFlags) define(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.profile, "profile", patch.ProfileAuto, "auto, rich or simple")
	fl.StringVar(&f.memory, "memory", "16MiB", "memory that the reader has for the tables of rich, 1MiB to 192MiB")
	fl.StringSliceVar(&f.streams, "stream", nil, "a compressor that the reader has for simple: stored, deflate, zstd or brotli (default: all)")
	fl.IntVar(&f.decisions, "decisions", 0, "most coded decisions of rich, which bound the time to apply (default 8388608)")
	fl.BoolVar(&f.raw, "raw", false, "take archives as one file")
}

func (f *deltaFlags) options(progress steps) (patch.Options, error) {
	memory, err := parseMemory(f.memory)
	if err != nil {
		return patch.Options{}, err
	}
	o := patch.Options{Profile: f.profile, Memory: memory, Streams: f.streams, MaxDecisions: f.decisions}
	if progress != nil {
		var last int64
		begun := false
		o.Progress = func(done, total int64) {
			if !begun {
				progress.Phase("Matching", total)
				begun = true
			}
			if done > last {
				progress.Add(done - last)
				last = done
			}
		}
	}
	return o, nil
}

// deltaMade tells how a patch was made.
type deltaMade struct {
	Old        int64            `json:"old"` // bytes
	New        int64            `json:"new"`
	Patch      int64            `json:"patch"`
	Inner      int64            `json:"inner"` // bytes of the patch without the lists and hashes that let it stand alone
	Format     string           `json:"format"`
	Profile    string           `json:"profile,omitempty"`
	Stream     string           `json:"stream,omitempty"`
	Memory     int              `json:"memory,omitempty"` // bytes that applying it needs for tables
	Decisions  int64            `json:"decisions,omitempty"`
	Kept       int              `json:"kept"` // files
	Changed    int              `json:"changed"`
	Added      int              `json:"added"`
	Dropped    int              `json:"dropped"`
	Moved      int              `json:"moved"`
	Seconds    float64          `json:"seconds"` // to make it
	Verify     float64          `json:"verify"`  // seconds to apply and compare
	Candidates []deltaCandidate `json:"candidates,omitempty"`
	Tools      []toolResult     `json:"tools,omitempty"`
	single     bool
}

type deltaCandidate struct {
	Profile string `json:"profile"`
	Stream  string `json:"stream,omitempty"`
	Size    int    `json:"size,omitempty"`
	Reason  string `json:"reason,omitempty"` // why it could not be used
}

func (d deltaMade) text(w io.Writer) {
	if d.New > 0 {
		fmt.Fprintf(w, "%s patch for %s (%.2f %%)", formatBytes(d.Patch), formatBytes(d.New), 100*float64(d.Patch)/float64(d.New))
	} else {
		fmt.Fprintf(w, "%s patch", formatBytes(d.Patch))
	}
	if d.Profile != "" {
		fmt.Fprintf(w, ", %s", strings.TrimSpace(d.Profile+" "+d.Stream))
	}
	fmt.Fprintf(w, ", made in %.2f s\n", d.Seconds)
	if !d.single {
		fmt.Fprintf(w, "files: %d unchanged, %d changed, %d new, %d moved or copied, %d gone\n", d.Kept, d.Changed, d.Added, d.Moved, d.Dropped)
	}
	for _, c := range d.Candidates {
		if c.Reason != "" {
			fmt.Fprintf(w, "  %-14s not used: %s\n", strings.TrimSpace(c.Profile+" "+c.Stream), c.Reason)
		} else {
			fmt.Fprintf(w, "  %-14s %9d bytes\n", strings.TrimSpace(c.Profile+" "+c.Stream), c.Size)
		}
	}
	for _, r := range d.Tools {
		switch {
		case r.Error != "":
			fmt.Fprintf(w, "  %-14s failed: %s\n", r.Tool, r.Error)
		default:
			fmt.Fprintf(w, "  %-14s %9d bytes, %.2f times ours, %.2f s\n", r.Tool, r.Patch, float64(r.Patch)/float64(max(d.Inner, 1)), r.DiffSeconds)
		}
	}
}

// deltaDiff makes the patch of two sources and writes it to out.
func (t *tool) deltaDiff(ctx context.Context, f *deltaFlags, oldPath, newPath, out string) (_ *deltaMade, err error) {
	if err := free(out, f.force); err != nil {
		return nil, err
	}
	progress, end := t.deltaProgress(f.silent)
	defer end()
	old, err := openSource(ctx, oldPath, f.raw || f.format != formatOwn, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	new, err := openSource(ctx, newPath, f.raw || f.format != formatOwn, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, new.Close()) }()
	o, err := f.options(progress)
	if err != nil {
		return nil, err
	}
	m := &deltaMade{Old: old.size, New: new.size, Format: f.format, single: new.Single}
	var body []byte
	begin := time.Now()
	switch f.format {
	case formatOwn:
		var s tree.Stats
		if body, s, err = tree.Diff(ctx, old.Tree, new.Tree, o); err == nil {
			m.take(s)
		}
	case formatBsdiff, formatDCZ:
		body, err = foreignDiff(ctx, f.format, old, new)
		m.Inner = int64(len(body))
	default:
		err = usageError{fmt.Errorf("--format %s is none of slipstream, bsdiff, dcz", f.format)}
	}
	if err != nil {
		return nil, err
	}
	m.Seconds, m.Patch = time.Since(begin).Seconds(), int64(len(body))
	if !f.noVerify {
		begin = time.Now()
		progress.Phase("Comparing", 0)
		if err := verifyPatch(ctx, old, new, body, o.Memory); err != nil {
			return nil, fmt.Errorf("the patch does not make the new file: %w", err)
		}
		m.Verify = time.Since(begin).Seconds()
	}
	return m, writeOut(out, func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	}, false)
}

func (m *deltaMade) take(s tree.Stats) {
	m.Profile, m.Stream, m.Memory, m.Decisions, m.Inner = s.Profile, s.Stream, s.Memory, s.Decisions, int64(s.Stats.Size)
	m.Kept, m.Changed, m.Added, m.Dropped, m.Moved = s.Kept, s.Changed, s.Added, s.Dropped, s.Copied+s.Repeated
	for _, c := range s.Candidates {
		m.Candidates = append(m.Candidates, deltaCandidate{c.Profile, c.Stream, c.Size, c.Reason})
	}
}

func foreignDiff(ctx context.Context, format string, old, new *deltaSource) ([]byte, error) {
	a, err := old.content()
	if err != nil {
		return nil, err
	}
	b, err := new.content()
	if err != nil {
		return nil, err
	}
	if format == formatDCZ {
		return dcz.Encode(a, b)
	}
	var out bytes.Buffer
	err = bsdiff.Diff(ctx, &out, a, b)
	return out.Bytes(), err
}

// verifyPatch applies a patch and compares every file with what it was made for.
func verifyPatch(ctx context.Context, old, new *deltaSource, body []byte, memory int) (err error) {
	if bytes.HasPrefix(body, []byte("SLPT")) {
		scratch := &scratchFiles{}
		defer func() { err = errors.Join(err, scratch.close()) }()
		l := tree.Limits{Memory: memory, Total: max(new.size, 1), Scratch: scratch.create}
		files, err := tree.Apply(ctx, old.Tree, old.base, bytes.NewReader(body), l, nowhereSink{})
		if err == nil && !slices.EqualFunc(files, new.Files, func(a, b slipstream.File) bool {
			return a.SHA256 == b.SHA256 && a.Size == b.Size && a.Exec == b.Exec && (new.Single || a.Path == b.Path)
		}) {
			err = errors.New("the files differ")
		}
		return err
	}
	h := sha256.New()
	if err := applyForeign(ctx, h, old, bytes.NewReader(body), int64(len(body)), new.size); err != nil {
		return err
	}
	if slipstream.DigestOf([32]byte(h.Sum(nil))) != new.Files[0].SHA256 {
		return errors.New("the bytes differ")
	}
	return nil
}

// nowhereSink keeps nothing.
type nowhereSink struct{}

func (nowhereSink) Create(slipstream.File) (io.WriteCloser, error) { return nowhereFile{}, nil }
func (nowhereSink) Keep(slipstream.File, slipstream.File) error    { return nil }
func (nowhereSink) Repeat(slipstream.File, slipstream.File) error  { return nil }

type nowhereFile struct{}

func (nowhereFile) Write(p []byte) (int, error) { return len(p), nil }
func (nowhereFile) Close() error                { return nil }
