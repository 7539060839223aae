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
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/sign"
)

// signFlags are those of release sign. Those from app on are for an adapter-only release.
type signFlags struct {
	keys                                []string
	out                                 string
	dryRun                              bool
	app, version, runtime, entry, notes string
	tree, root                          string
	trustServer                         bool
	minSeq                              int64
}

func newReleaseSign(t *tool) *cobra.Command {
	var f signFlags
	c := &cobra.Command{
		Use: "sign FILE|RELEASE", Short: "Sign a manifest of publish --partial-out, or a release that nobody signed", Args: exactly(1, "one manifest file or release"),
		Long: `Look at what you sign: digest, seq, ways back and every file are printed; --dry-run prints them and signs nothing.

With FILE, a manifest that publish --partial-out wrote gets one more signature. No server is needed.

With RELEASE, one that came in through another system's upload (adapter-only) becomes a release of your own: its files are
downloaded, hashed here and signed under a new seq, with ways back, so that rollout start can offer it to all devices. The
adapter-only release stays what it is. Nobody signed it, so the server, or whoever may upload to it, could have put anything
in: give the folder that it was made from as --tree, or say --trust-server.`,
		Example: `  slipstream release sign release-1.4.0.json --key second.key
  slipstream release sign main@production-v7 --tree ./CodePush --version 1.4.0`,
		RunE: func(c *cobra.Command, args []string) error {
			info, err := os.Stat(args[0])
			meant := strings.ContainsAny(args[0], `/\`) || strings.HasSuffix(args[0], ".json") // no release is named like that
			if err == nil && info.Mode().IsRegular() || err != nil && meant {
				return t.signFile(&f, args[0])
			}
			return t.adopt(c, &f, args[0])
		},
	}
	fs := c.Flags()
	fs.StringArrayVar(&f.keys, "key", nil, "private release key file (repeatable; default: SLIPSTREAM_RELEASE_KEY, or the app's key here)")
	fs.StringVar(&f.out, "out", "", "write the signed manifest here: instead of over FILE, or instead of publishing RELEASE")
	fs.BoolVar(&f.dryRun, "dry-run", false, "print what would be signed and sign nothing")
	fs.StringVar(&f.app, "app", "", "app of RELEASE (default: the only app known here)")
	fs.StringVar(&f.tree, "tree", "", "folder that RELEASE must be the same as, file by file")
	fs.BoolVar(&f.trustServer, "trust-server", false, "sign what the server holds without comparing it with a folder")
	fs.StringVar(&f.version, "version", "", "version of the signed release (default: that of RELEASE + -signed)")
	fs.StringVar(&f.runtime, "runtime", "", "what the signed release runs on (default: as RELEASE says)")
	fs.StringVar(&f.entry, "entry", "", "file that the host starts")
	fs.StringVar(&f.notes, "notes", "", "notes for colleagues (default: those of RELEASE)")
	fs.Int64Var(&f.minSeq, "min-seq", 0, "give the signed release at least this number")
	t.rootFlag(c, &f.root)
	t.serverFlags(c)
	return c
}

// signFile adds signatures to a manifest in a file.
func (t *tool) signFile(f *signFlags, file string) error {
	e, err := readEnvelope(file)
	if err != nil {
		return err
	}
	var m slipstream.Manifest
	if err := sign.Decode(e.Payload, &m); err != nil {
		return err
	}
	if err := sign.CheckManifest(&m); err != nil {
		return err
	}
	digest := sign.DigestOf(e.Payload)
	if f.dryRun {
		return t.print(&m, func(w io.Writer) { printSigned(w, &m, digest) })
	}
	signers, err := t.releaseSigners(m.App, f.keys)
	if err != nil {
		return err
	}
	added, err := addSignatures(e, signers)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(first(f.out, file), append(e.Encode(), '\n'), 0o644); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	result := map[string]any{"digest": digest, "signed": added, "signatures": len(e.Signatures), "file": first(f.out, file)}
	return t.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "Signed %s %s %s (seq %d, %d files, %s) with %s\n", m.App, m.Package, m.Version, m.Seq, len(m.Files), formatBytes(m.Size()), strings.Join(added, ", "))
		fmt.Fprintf(w, "  digest  %s, %d signatures\n", digest, len(e.Signatures))
		printSigned(w, &m, digest)
	})
}

// adopted is what release sign prints with --json for an adapter-only release.
type adopted struct {
	publish.Result
	Of       slipstream.Digest    `json:"of"` // the adapter-only release
	Manifest *slipstream.Manifest `json:"manifest"`
	DryRun   bool                 `json:"dryRun,omitempty"`
	File     string               `json:"file,omitempty"`
	Warnings []publish.Warning    `json:"warnings"`
}

// adopt makes a release of the publisher's own out of one that nobody signed.
func (t *tool) adopt(c *cobra.Command, f *signFlags, ref string) (err error) {
	if f.tree == "" && !f.trustServer && !f.dryRun {
		return usageError{slipstream.Hint(errors.New("nobody signed this release, and the server could have put anything in it"),
			"--tree FOLDER compares it with the folder that it was made from; --dry-run shows what would be signed; --trust-server signs it as it is")}
	}
	r, m, err := t.release(c, f.app, ref)
	if err != nil {
		return err
	}
	if err := isNamed(ref, slipstream.DefaultPackage, r.Digest, m); err != nil {
		return err
	}
	app, err := t.defaultApp(f.app)
	if err != nil {
		return err
	}
	signers, err := t.releaseSigners(app, f.keys)
	if err != nil && !f.dryRun {
		return err
	}
	keys, err := t.keyring(app, f.root, signers)
	if err != nil {
		return err
	}
	server, err := t.client()
	if err != nil {
		return err
	}
	progress, done := t.progress()
	defer done()
	fetch := func(ctx context.Context, f slipstream.File) (io.ReadCloser, error) {
		return openBlob(ctx, server.URL(), f)
	}
	got, err := publish.Receive(c.Context(), app, *r, fetch, publish.Limits{}, progress)
	if err != nil {
		return fmt.Errorf("sign %s: %w", ref, err)
	}
	defer func() { err = errors.Join(err, got.Tree.Close()) }()
	if err := sameTree(c.Context(), got, f.tree, progress); err != nil {
		return err
	}
	req := publish.Request{Target: publish.Target{App: app, Package: m.Package, Platform: m.Platform, Runtime: m.Runtime, Version: first(f.version, m.Version+"-signed")},
		Entry: f.entry, Meta: got.Meta, Notes: first(f.notes, r.Notes), MinSeq: f.minSeq, Keys: keys, Seqs: t.seqs(app)}
	if f.runtime != "" {
		req.Runtime = slipstream.Runtime{Range: f.runtime}
	}
	if err := decide.CheckRange(req.Runtime.Range); req.Runtime.Fingerprint == "" && err != nil {
		return slipstream.Hint(fmt.Errorf("runtime of %s: %w", ref, err), "ranges of npm's semver have forms that ours do not: write it as --runtime")
	}
	plan, err := publish.Prepare(c.Context(), server, got.Tree, req, time.Now())
	if err != nil {
		return fmt.Errorf("sign %s: %w", ref, err)
	}
	out := adopted{Of: r.Digest, DryRun: f.dryRun, Manifest: plan.Manifest, Warnings: append([]publish.Warning{}, plan.Warnings...)}
	switch {
	case f.dryRun:
		err = out.would(plan)
	case f.out != "":
		out.File = f.out
		if _, err = plan.CheckSigners(signers); err == nil {
			out.Result, err = writePartial(c.Context(), server, plan, signers, f.out, progress)
		}
	default:
		if out.Result, err = publish.Push(c.Context(), server, plan, signers, time.Now, progress); err == nil && out.Result.Plan != nil {
			out.Manifest = out.Result.Plan.Manifest
		}
	}
	if err != nil {
		return fmt.Errorf("sign %s: %w", ref, err)
	}
	done()
	return t.print(out, func(w io.Writer) { printAdopted(w, t.stderr, &out) })
}

// would fills in what signing the plan would give.
func (a *adopted) would(plan *publish.Plan) error {
	payload, err := sign.Encode(plan.Manifest)
	a.Version, a.Digest, a.Seq, a.Existing = plan.Manifest.Version, sign.DigestOf(payload), plan.Manifest.Seq, plan.Existing != nil
	return err
}

// sameTree compares what came with a folder of the publisher's, if one is named.
func sameTree(ctx context.Context, got *publish.Received, folder string, progress publish.Progress) (err error) {
	if folder == "" {
		return nil
	}
	tree, err := publish.Open(ctx, folder, publish.Limits{}, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	return got.SameTree(folder, tree)
}

func printAdopted(w, warn io.Writer, a *adopted) {
	m := a.Manifest
	switch {
	case a.Existing || a.UpToDate:
		fmt.Fprintf(w, "%s %s %s is published already with this content (seq %d): nothing to sign\n", m.App, m.Package, m.Version, m.Seq)
		return
	case a.DryRun:
		fmt.Fprintln(w, "Would sign")
	case a.File != "":
		fmt.Fprintf(w, "Signed, and wrote the manifest to %s: others add theirs with `slipstream release sign %s`, then `slipstream publish --manifest %s --no-rollout` commits it\n", a.File, a.File, a.File)
	default:
		fmt.Fprintf(w, "Signed and published; `slipstream rollout start %s@%s` offers it\n", m.Package, m.Version)
	}
	printSigned(w, m, a.Digest)
	for _, x := range a.Warnings {
		fmt.Fprintf(warn, "Warning: %s\n", x.Text)
	}
}
