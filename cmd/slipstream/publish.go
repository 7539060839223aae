//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/sign"
)

func newPublishCommand(t *tool) *cobra.Command {
	var f publishFlags
	var h hermesFlags
	c := &cobra.Command{
		Use:   "publish PATH",
		Short: "Sign a folder, file or archive as a release, upload it and offer it on a channel",
		Long: `Publish walks PATH, compares it with what the channel offers, signs a manifest with your release key on this
machine, uploads what the server lacks and offers the release. Run again after a failure, it sends only what is still
missing; run again with the same content, it says so and makes no new release.

A file ` + publish.IgnoreFile + ` at the top of the tree says, as a .gitignore, what is left out. A ` + publish.SettingsFile + ` there,
or one folder above, may hold the flags that stay the same: {"app": "shop", "runtime": ">=3.0.0"}.`,
		Example: `  slipstream publish ./dist --app shop --version 1.4.0
  slipstream publish ./dist --app shop --version 1.4.1 --share 10% --when 'country in cn,jp'
  slipstream publish ./dist --dry-run`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 || len(args) == 0 && f.manifest != "" {
				return nil
			}
			return usageError{slipstream.Hint(fmt.Errorf("publish takes one path, not %d", len(args)), "give the folder that your build writes: slipstream publish ./dist")}
		},
		RunE: func(c *cobra.Command, args []string) error {
			if f.manifest != "" {
				return t.publishSealed(c.Context(), &f, args)
			}
			folder := folderOf(args[0])
			if err := readSettings(c, folder); err != nil {
				return usageError{err}
			}
			req, err := t.request(&f, folder)
			if err != nil {
				return err
			}
			path, closeCopy, err := t.compileHermes(c.Context(), &h, req, args[0])
			if err != nil {
				return err
			}
			return errors.Join(t.publish(c.Context(), &f, req, path), closeCopy())
		},
	}
	f.define(c)
	h.define(c)
	t.rootFlag(c, &f.root)
	t.serverFlags(c)
	return c
}

// published is what publish prints with --json.
type published struct {
	publish.Result
	App      string            `json:"app"`
	Package  string            `json:"package"`
	Channel  string            `json:"channel,omitempty"`
	Share    string            `json:"share,omitempty"`
	DryRun   bool              `json:"dryRun,omitempty"`
	Partial  string            `json:"partial,omitempty"` // file that waits for more signatures
	Diff     *publish.Diff     `json:"diff,omitempty"`
	Back     []string          `json:"back,omitempty"` // ways back that are signed, by version
	Size     int64             `json:"size"`
	Files    int               `json:"files"`
	Warnings []publish.Warning `json:"warnings"`
}

func (t *tool) publish(ctx context.Context, f *publishFlags, req publish.Request, path string) (err error) {
	signers, err := t.releaseSigners(req.App, f.keys)
	if err != nil && !f.dryRun {
		return err
	}
	if req.Keys, err = t.keyring(req.App, f.root, signers); err != nil {
		return err
	}
	req.Seqs = t.seqs(req.App)
	server, err := t.client()
	if err != nil {
		return err
	}
	progress, done := t.progress()
	defer done()
	tree, err := publish.Open(ctx, path, publish.Limits{}, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	if err := signCodepush(&req, tree, f.codepushKey); err != nil {
		return err
	}
	if err := signCapgo(&req, tree, f.capgoKey); err != nil {
		return err
	}
	plan, err := publish.Prepare(ctx, server, tree, req, time.Now())
	if err != nil {
		return err
	}
	out := published{App: req.App, Package: req.Package, Channel: req.Channel, DryRun: f.dryRun, Diff: &plan.Diff,
		Size: plan.Manifest.Size(), Files: len(plan.Manifest.Files), Warnings: append([]publish.Warning{}, plan.Warnings...)}
	if req.Rollout != nil {
		out.Share = f.reach()
	}
	if !f.dryRun || len(signers) > 0 {
		if _, err := plan.CheckSigners(signers); err != nil {
			return err
		}
	}
	switch {
	case f.dryRun:
		out.Result = publish.Result{Version: plan.Manifest.Version, UpToDate: plan.UpToDate}
		out.Seq, out.Existing = plan.Manifest.Seq, plan.Existing != nil
	case f.partialOut != "":
		out.Partial = f.partialOut
		if out.Result, err = writePartial(ctx, server, plan, signers, f.partialOut, progress); err != nil {
			return err
		}
	default:
		if out.Result, err = publish.Push(ctx, server, plan, signers, time.Now, progress); err != nil {
			return err
		}
		if committed := out.Result.Plan; committed != nil {
			plan, out.Diff = committed, &committed.Diff
		}
		out.addServerWarnings()
	}
	for _, r := range plan.Back {
		out.Back = append(out.Back, fmt.Sprintf("%s (seq %d)", r.Version, r.Seq))
	}
	done()
	return t.print(out, func(w io.Writer) { printPublished(w, t.stderr, &out, plan) })
}

// addServerWarnings takes over what the commit's answer warns of.
func (p *published) addServerWarnings() {
	for _, text := range p.Result.CommitResult.Warnings {
		w := publish.Warning{Code: publish.WarnServer, Text: text}
		known := false
		for _, have := range p.Warnings {
			known = known || have == w
		}
		if !known {
			p.Warnings = append(p.Warnings, w)
		}
	}
}

// writePartial uploads the contents and leaves the manifest, with the signatures that there are, in a file.
func writePartial(ctx context.Context, server publish.Server, plan *publish.Plan, signers []sign.Signer, file string, progress publish.Progress) (publish.Result, error) {
	res := publish.Result{Version: plan.Manifest.Version, Plan: plan}
	if plan.Existing != nil {
		return res, slipstream.Hint(fmt.Errorf("version %s is published already with this content: %w", plan.Manifest.Version, slipstream.ErrConflict),
			"`slipstream release resign` adds signatures to a release that is published")
	}
	e, err := plan.Seal(signers)
	if err != nil {
		return res, err
	}
	if res.Uploaded, err = publish.Upload(ctx, server, plan, progress); err != nil {
		return res, err
	}
	res.Digest, res.Seq, res.Envelope = sign.DigestOf(e.Payload), plan.Manifest.Seq, e.Encode()
	if err := atomicfile.Write(file, append(res.Envelope, '\n'), 0o644); err != nil {
		return res, fmt.Errorf("write manifest: %w", err)
	}
	return res, nil
}

// publishSealed commits a manifest that was signed before.
func (t *tool) publishSealed(ctx context.Context, f *publishFlags, args []string) (err error) {
	envelope, err := readSmall(f.manifest, slipstream.MaxManifestBytes+1)
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	e, err := sign.ParseEnvelope(envelope, sign.TypeManifest, slipstream.MaxManifestBytes+1)
	if err != nil {
		return err
	}
	var m slipstream.Manifest
	if err := sign.Decode(e.Payload, &m); err != nil {
		return err
	}
	req := publish.CommitRequest{App: m.App, Manifest: e.Encode(), Notes: f.notes, Embedded: f.embedded}
	if !f.embedded && !f.noRollout {
		if req.Rollout, err = f.rollout(); err != nil {
			return usageError{err}
		}
	}
	server, err := t.client()
	if err != nil {
		return err
	}
	progress, done := t.progress()
	defer done()
	var tree *publish.Tree
	if len(args) == 1 {
		if tree, err = publish.Open(ctx, args[0], publish.Limits{}, progress); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, tree.Close()) }()
	}
	keys, err := t.keyring(m.App, f.root, nil)
	if err != nil {
		return err
	}
	res, err := publish.PushSealed(ctx, server, req, keys, tree, progress)
	if err != nil {
		return err
	}
	out := published{Result: res, App: m.App, Package: m.Package, Size: m.Size(), Files: len(m.Files), Warnings: []publish.Warning{}}
	if req.Rollout != nil {
		out.Channel, out.Share = req.Rollout.Channel, f.reach()
	}
	out.addServerWarnings()
	done()
	return t.print(out, func(w io.Writer) { printPublished(w, t.stderr, &out, nil) })
}

// printPublished writes the outcome to w and the warnings to warn.
func printPublished(w, warn io.Writer, p *published, plan *publish.Plan) {
	name := fmt.Sprintf("%s %s %s", p.App, p.Package, p.Version)
	if p.DryRun && plan != nil {
		printDiff(w, &plan.Diff, plan.Current)
	}
	summary := fmt.Sprintf("%d files, %s", p.Files, formatBytes(p.Size))
	switch {
	case p.UpToDate:
		fmt.Fprintf(w, "%s is published already with this content (seq %d): nothing to do\n", name, p.Seq)
		if p.Channel != "" {
			fmt.Fprintln(w, "`slipstream rollout share` changes how many devices get it")
		}
	case p.DryRun && p.Existing:
		fmt.Fprintf(w, "%s is published already (seq %d) and would be offered on %s\n", name, p.Seq, p.Channel)
	case p.DryRun:
		fmt.Fprintf(w, "Would publish %s as seq %d: %s\n", name, p.Seq, summary)
	case p.Partial != "":
		fmt.Fprintf(w, "Wrote the manifest of %s (seq %d, %s) to %s\n", name, p.Seq, p.Digest.Short(), p.Partial)
		fmt.Fprintf(w, "Others sign it with `slipstream release sign %s`, then `slipstream publish --manifest %s` commits it within a day\n", p.Partial, p.Partial)
	case p.Existing:
		fmt.Fprintf(w, "%s was published already (seq %d, %s)\n", name, p.Seq, p.Digest.Short())
	default:
		fmt.Fprintf(w, "Published %s as seq %d: %s, %d blobs (%s) uploaded\n", name, p.Seq, summary, p.Uploaded, formatBytes(p.UploadedBytes))
		fmt.Fprintf(w, "  digest  %s\n", p.Digest)
	}
	if len(p.Back) > 0 {
		fmt.Fprintf(w, "  signed ways back: %s\n", strings.Join(p.Back, ", "))
	}
	if p.Rollout != "" {
		fmt.Fprintf(w, "  rollout %s on channel %s to %s, epoch %d\n", p.Rollout, p.Channel, p.Share, p.Epoch)
	}
	for _, x := range p.Warnings {
		fmt.Fprintf(warn, "Warning: %s\n", x.Text)
	}
}

// printDiff writes a comparison file by file; more than a screen of it is summed up by its counts alone at the end.
func printDiff(w io.Writer, d *publish.Diff, current *publish.ReleaseInfo) {
	if current == nil {
		fmt.Fprintln(w, "The channel offers nothing for this platform and runtime yet")
	} else {
		fmt.Fprintf(w, "Compared with %s (seq %d):\n", current.Version, current.Seq)
	}
	writeChanges(w, d)
}

func writeChanges(w io.Writer, d *publish.Diff) {
	for _, c := range d.Changes {
		switch c.Kind {
		case publish.Added:
			fmt.Fprintf(w, "  + %s (%s)\n", c.Path, formatBytes(c.Size))
		case publish.Removed:
			fmt.Fprintf(w, "  - %s\n", c.Path)
		case publish.Moved:
			fmt.Fprintf(w, "  > %s (was %s)\n", c.Path, c.From)
		case publish.Mode:
			fmt.Fprintf(w, "  x %s (executable bit)\n", c.Path)
		default:
			fmt.Fprintf(w, "  ~ %s (%s, was %s)\n", c.Path, formatBytes(c.Size), formatBytes(c.OldSize))
		}
	}
	n := d.Counts()
	fmt.Fprintf(w, "%d added, %d changed, %d moved, %d removed, %d unchanged; %s of new content\n",
		n[publish.Added], n[publish.Changed]+n[publish.Mode], n[publish.Moved], n[publish.Removed], d.Unchanged, formatBytes(d.Bytes))
}

// readEnvelope reads a signed document of the publisher from a file.
func readEnvelope(file string) (*sign.Envelope, error) {
	data, err := readSmall(file, slipstream.MaxManifestBytes+1)
	if errors.Is(err, os.ErrNotExist) {
		err = slipstream.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return sign.ParseEnvelope(data, sign.TypeManifest, slipstream.MaxManifestBytes+1)
}
