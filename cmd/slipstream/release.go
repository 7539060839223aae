//go:build !device

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/sign"
)

func newReleaseCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use:   "release",
		Short: "Look at releases, compare them, sign them",
		Long:  "A release is named by its digest (or the first digits of it), or by package@version.",
		Args:  noSubcommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newReleaseList(t), newReleaseShow(t), newReleaseDiff(t), newReleaseSign(t), newReleaseResign(t))
	return c
}

func newReleaseList(t *tool) *cobra.Command {
	var q publish.ReleaseQuery
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List releases, the newest first", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if q.App, err = t.defaultApp(q.App); err != nil {
				return err
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			list, err := server.Releases(c.Context(), q)
			if err != nil {
				return fmt.Errorf("list releases: %w", err)
			}
			return t.print(append([]publish.ReleaseInfo{}, list...), func(w io.Writer) { printReleases(w, list) })
		},
	}
	fs := c.Flags()
	fs.StringVar(&q.App, "app", "", "app (default: the only app known here)")
	fs.StringVar(&q.Package, "package", "", "only this package")
	fs.StringVar(&q.Platform, "platform", "", "only this platform")
	fs.StringVar(&q.Channel, "channel", "", "only what this channel offers")
	fs.IntVar(&q.Limit, "limit", 20, "at most so many")
	t.serverFlags(c)
	return c
}

func printReleases(w io.Writer, list []publish.ReleaseInfo) {
	if len(list) == 0 {
		fmt.Fprintln(w, "No releases")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "PACKAGE\tVERSION\tSEQ\tPLATFORM\tRUNTIME\tFILES\tSIZE\tPUBLISHED\tDIGEST\tCHANNELS")
	for _, r := range list {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", r.Package, r.Version, r.Seq, r.Platform, r.Runtime, r.Files,
			formatBytes(r.Size), r.Published.UTC().Format("2006-01-02 15:04"), r.Digest.Short(), where(r))
	}
	tw.Flush()
}

// where says on which channels a release stands.
func where(r publish.ReleaseInfo) string {
	parts := append([]string{}, r.Channels...)
	for _, c := range r.Withdrawn {
		parts = append(parts, c+" (withdrawn)")
	}
	if r.Embedded {
		parts = append(parts, "(embedded)")
	}
	if r.AdapterOnly != "" {
		parts = append(parts, "(adapter-only: "+r.AdapterOnly+")")
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// shownRelease is what release show prints with --json.
type shownRelease struct {
	publish.ReleaseInfo
	FileList   []slipstream.File                 `json:"fileList"`
	Containers []slipstream.Container            `json:"containers"`
	Work       []publish.Work                    `json:"work"`
	Fallback   []slipstream.Digest               `json:"fallback"`
	Requires   map[string]slipstream.Requirement `json:"requires,omitempty"`
}

func newReleaseShow(t *tool) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use: "show RELEASE", Short: "Show a release: files, containers, signatures, ways back", Args: exactly(1, "one release"),
		RunE: func(c *cobra.Command, args []string) error {
			r, m, err := t.release(c, app, args[0])
			if err != nil {
				return err
			}
			out := shownRelease{ReleaseInfo: r.ReleaseInfo, FileList: m.Files, Containers: append([]slipstream.Container{}, r.Containers...),
				Work:     append([]publish.Work{}, r.Work...),
				Fallback: append([]slipstream.Digest{}, m.Fallback...), Requires: m.Requires}
			names := map[slipstream.Digest]string{}
			if !t.json {
				if names, err = t.versions(c, m); err != nil {
					return err
				}
			}
			return t.print(out, func(w io.Writer) { printRelease(w, r, m, names) })
		},
	}
	c.Flags().StringVar(&app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

// versions names the releases of m's package, for what people read.
func (t *tool) versions(c *cobra.Command, m *slipstream.Manifest) (map[slipstream.Digest]string, error) {
	server, err := t.client()
	if err != nil {
		return nil, err
	}
	list, err := server.Releases(c.Context(), publish.ReleaseQuery{App: m.App, Package: m.Package})
	if err != nil {
		return nil, fmt.Errorf("list releases: %w", err)
	}
	names := map[slipstream.Digest]string{}
	for _, r := range list {
		names[r.Digest] = r.Version
	}
	return names, nil
}

// versioned is a release by version and digest, "nothing" for none.
func versioned(d slipstream.Digest, names map[slipstream.Digest]string) string {
	switch version := names[d]; {
	case d == "":
		return "nothing"
	case version == "":
		return d.Short()
	default:
		return version + " (" + d.Short() + ")"
	}
}

// describeWork says how far the containers from one base are, "" when they are made.
func describeWork(k publish.Work, names map[slipstream.Digest]string) string {
	line := "containers from " + versioned(k.From, names) + ": " + k.State
	switch {
	case k.State == "done" && !strings.Contains(k.Note, " bytes"):
		return line + ": " + k.Note
	case k.State == "done":
		return ""
	case k.State == "running" && k.Stage != "":
		line += ", " + k.Stage
		if k.Total > 0 {
			line += fmt.Sprintf(" %d%%", 100*k.Done/k.Total)
		}
	case k.State == "failed":
		line += ": " + k.Note
	}
	if k.Again != nil {
		line += ", again at " + stamp(*k.Again)
	}
	return line
}

// release reads one release of app from the server.
func (t *tool) release(c *cobra.Command, app, ref string) (*publish.Release, *slipstream.Manifest, error) {
	app, err := t.defaultApp(app)
	if err != nil {
		return nil, nil, err
	}
	server, err := t.client()
	if err != nil {
		return nil, nil, err
	}
	r, err := server.Release(c.Context(), app, ref)
	if notFound(err) && !strings.Contains(ref, "@") {
		r, err = server.Release(c.Context(), app, slipstream.DefaultPackage+"@"+ref)
	}
	if err != nil {
		return nil, nil, slipstream.Hint(fmt.Errorf("read release %s: %w", ref, err), "`slipstream release list` shows what there is; a release is named by version (of package main), package@version or digest")
	}
	m, err := r.Manifest()
	return &r, m, err
}

func printRelease(w io.Writer, r *publish.Release, m *slipstream.Manifest, names map[slipstream.Digest]string) {
	fmt.Fprintf(w, "%s %s %s, seq %d\n", m.App, m.Package, m.Version, m.Seq)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("digest", "%s", r.Digest)
	row("platform", "%s", m.Platform)
	row("runtime", "%s", m.Runtime)
	if m.Entry != "" {
		row("entry", "%s", m.Entry)
	}
	row("created", "%s", m.Created.Format(slipstream.TimeLayout))
	row("published", "%s", r.Published.Format(slipstream.TimeLayout))
	row("channels", "%s", where(r.ReleaseInfo))
	row("signed by", "%s", first(strings.Join(r.KeyIDs, ", "), "nobody"))
	if r.Notes != "" {
		row("notes", "%s", r.Notes)
	}
	for pkg, q := range m.Requires {
		if len(q.Digests) > 0 {
			row("requires", "%s one of %v", pkg, q.Digests)
		} else {
			row("requires", "%s seq >= %d", pkg, q.MinSeq)
		}
	}
	if m.Data != nil {
		row("data", "reads %s, writes %s", strings.Join(m.Data.Reads, ", "), m.Data.Writes)
	}
	for _, d := range m.Fallback {
		row("falls back", "%s %s", d, names[d])
	}
	for _, c := range r.Containers {
		row("container", "%s from %s, %s", c.Codec, versioned(c.From, names), formatBytes(c.Size))
	}
	for _, k := range r.Work {
		if line := describeWork(k, names); line != "" {
			row("work", "%s", line)
		}
	}
	tw.Flush()
	fmt.Fprintf(w, "%d files, %s\n", len(m.Files), formatBytes(m.Size()))
	tw = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range m.Files {
		exec := ""
		if f.Exec {
			exec = "x"
		}
		fmt.Fprintf(tw, "  %s\t%d\t%s\t%s\n", f.SHA256.Short(), f.Size, exec, f.Path)
	}
	tw.Flush()
}

func newReleaseDiff(t *tool) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use: "diff OLD NEW", Short: "Compare two releases file by file", Args: exactly(2, "two releases"),
		RunE: func(c *cobra.Command, args []string) error {
			_, older, err := t.release(c, app, args[0])
			if err != nil {
				return err
			}
			_, newer, err := t.release(c, app, args[1])
			if err != nil {
				return err
			}
			d := publish.Compare(older, newer)
			return t.print(d, func(w io.Writer) { writeChanges(w, &d) })
		},
	}
	c.Flags().StringVar(&app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

// addSignatures signs e with the keys and gives their ids.
func addSignatures(e *sign.Envelope, signers []sign.Signer) ([]string, error) {
	var ids []string
	for _, s := range signers {
		if err := e.Sign(s); err != nil {
			return nil, err
		}
		ids = append(ids, sign.KeyID(s.Public()))
	}
	return ids, nil
}

func newReleaseResign(t *tool) *cobra.Command {
	var app, root string
	var keys, signedBy []string
	c := &cobra.Command{
		Use: "resign RELEASE", Short: "Add signatures of a new key to a published release; its digest stays", Args: exactly(1, "one release"),
		Long: `Resign makes releases outlive a change of release keys: publish a root that lists the new key, resign what is in force
with it, then publish a root without the old key (docs/guides/lost-key.md).

The server may have made a release up, so it is signed only if a key known here has signed it before: one of --key, one
of the root in your folder (or SLIPSTREAM_ROOT), or one of --signed-by.`,
		RunE: func(c *cobra.Command, args []string) error {
			app, err := t.defaultApp(app)
			if err != nil {
				return err
			}
			r, _, err := t.release(c, app, args[0])
			if err != nil {
				return err
			}
			signers, err := t.releaseSigners(app, keys)
			if err != nil {
				return err
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			ring, err := t.keyring(app, root, signers)
			if err != nil {
				return err
			}
			if ring, err = ring.Follow(c.Context(), server, app); err != nil {
				return err
			}
			for _, old := range signedBy {
				pub, _, err := t.loadPublic(old)
				if err != nil {
					return err
				}
				ring = ring.With(pub)
			}
			// What gets our signature must have had one of ours before: the server may have made it up.
			m, err := ring.Open(app, *r)
			if err != nil {
				return fmt.Errorf("sign %s again: %w", args[0], err)
			}
			if err := isNamed(args[0], slipstream.DefaultPackage, r.Digest, m); err != nil {
				return err
			}
			e, err := sign.ParseEnvelope(r.Envelope, sign.TypeManifest, slipstream.MaxManifestBytes)
			if err != nil {
				return err
			}
			added, err := addSignatures(e, signers)
			if err != nil {
				return err
			}
			if err := server.Resign(c.Context(), m.App, r.Digest, e.Encode()); err != nil {
				return fmt.Errorf("resign release: %w", err)
			}
			result := map[string]any{"digest": r.Digest, "signed": added, "signatures": len(e.Signatures)}
			return t.print(result, func(w io.Writer) {
				fmt.Fprintf(w, "Signed %s %s %s (%s) with %s\n", m.App, m.Package, m.Version, r.Digest.Short(), strings.Join(added, ", "))
				printSigned(w, m, r.Digest)
			})
		},
	}
	c.Flags().StringVar(&app, "app", "", "app (default: the only app known here)")
	c.Flags().StringArrayVar(&keys, "key", nil, "private release key file (repeatable; default: SLIPSTREAM_RELEASE_KEY, or the app's key here)")
	c.Flags().StringArrayVar(&signedBy, "signed-by", nil, "key that signed it before, file or base64 (repeatable): when no root here lists it any more")
	t.rootFlag(c, &root)
	t.serverFlags(c)
	return c
}
