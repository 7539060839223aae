//go:build !device

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream/api"
)

func newGCCommand(t *tool) *cobra.Command {
	var g api.Collect
	var margin, keepFor string
	c := &cobra.Command{
		Use: "gc", Short: "Find or remove what nothing names any more", Args: exactly(0, "no argument"),
		Long: `Gc tells what could go; with --apply it goes. Bytes go that no release and no container names, when they are older than
the margin: a publish that is under way has uploaded bytes that no release names yet. Releases go only with --keep or
--keep-for, and then those beyond both; never one that a channel offers, nor one that a fallback edge of such a release
names.`,
		Example: "  slipstream gc\n  slipstream gc --keep 20 --keep-for 90d --apply",
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := parseAge(margin)
			if err != nil {
				return usageError{fmt.Errorf("--margin: %w", err)}
			}
			k, err := parseAge(keepFor)
			if err != nil {
				return usageError{fmt.Errorf("--keep-for: %w", err)}
			}
			// The server takes an absent margin for its default, so the least one is a second.
			g.Margin, g.KeepFor = max(int64(m/time.Second), 1), int64(k/time.Second)
			server, err := t.client()
			if err != nil {
				return err
			}
			out, err := server.Collect(c.Context(), g)
			if err != nil {
				return fmt.Errorf("collect garbage: %w", err)
			}
			return t.print(out, func(w io.Writer) {
				verb := "would go"
				if out.Applied {
					verb = "went"
				}
				for _, r := range out.Releases {
					fmt.Fprintf(w, "  release %s %s@%s (seq %d, %s)\n", r.App, r.Package, r.Version, r.Seq, r.Digest.Short())
				}
				fmt.Fprintf(w, "%d releases and %d blobs (%s) %s; %d blobs stay", len(out.Releases), out.Blobs, formatBytes(out.Bytes), verb, out.Kept)
				if out.Fresh > 0 {
					fmt.Fprintf(w, ", and %d that nothing names yet are too young", out.Fresh)
				}
				fmt.Fprintln(w)
				if !out.Applied && out.Blobs+len(out.Releases) > 0 {
					fmt.Fprintln(w, "Nothing is removed yet: add --apply")
				}
			})
		},
	}
	c.Flags().BoolVar(&g.Apply, "apply", false, "remove it")
	c.Flags().StringVar(&margin, "margin", "24h", "age below which nothing goes")
	c.Flags().IntVar(&g.Keep, "keep", 0, "newest releases of each package, platform and runtime that stay")
	c.Flags().StringVar(&keepFor, "keep-for", "0d", "age below which releases stay")
	t.serverFlags(c)
	return c
}
