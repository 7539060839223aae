package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

// fetchResult is what fetch prints. Dir and Token are those of the launch with --start.
type fetchResult struct {
	Staged  []answerLine      `json:"staged"`
	Dir     string            `json:"dir,omitempty"`
	Entry   string            `json:"entry,omitempty"`
	Version string            `json:"version,omitempty"`
	Release slipstream.Digest `json:"release,omitempty"`
	Token   string            `json:"token,omitempty"`
	Trial   bool              `json:"trial,omitempty"`
}

func newFetchCommand(t *tool) *cobra.Command {
	var f deviceFlags
	var start bool
	c := &cobra.Command{
		Use:   "fetch --app APP [flags]",
		Short: "Check, download and stage; with --start also begin a launch",
		Long: `Check, download and stage what this device should run next.

With --start a launch begins too: the directory to run and the launch's token are printed, for scripts that run the
program themselves and call ` + "`slipstream confirm`" + ` when it works. A launch that nobody confirms counts against a release
on trial.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.with(c.Context(), t, func(ctx context.Context, d *client.Client) error {
				return t.fetch(ctx, d, f.packages[0], start)
			})
		},
	}
	f.define(c, t)
	c.Flags().BoolVar(&start, "start", false, "begin a launch and print its directory and token")
	return c
}

func (t *tool) fetch(ctx context.Context, d *client.Client, pkg string, start bool) error {
	updated, err := d.Update(ctx)
	if err != nil && !start {
		return err
	}
	if err != nil {
		fmt.Fprintln(t.stderr, "Not updated:", err)
	}
	out := fetchResult{Staged: []answerLine{}}
	if updated != nil {
		for _, o := range updated.Staged {
			out.Staged = append(out.Staged, answerLine{Package: o.Package, Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease,
				Version: o.Release.Version, Release: o.Release.Digest, Size: o.Release.Size})
		}
	}
	if start {
		launch, err := d.Start(ctx)
		if err != nil {
			return err
		}
		tree := launch.Packages[pkg]
		out.Dir, out.Entry, out.Version, out.Release, out.Token, out.Trial = tree.Dir, tree.Entry, tree.Version, tree.Release, launch.Token, tree.Trial
	}
	return t.print(out, func(w io.Writer) {
		for _, s := range out.Staged {
			fmt.Fprintf(w, "staged %s %s\n", s.Package, s.Version)
		}
		switch {
		case start:
			fmt.Fprintf(w, "dir %s\ntoken %s\n", out.Dir, out.Token)
		case len(out.Staged) == 0:
			fmt.Fprintln(w, "nothing new")
		}
	})
}
