package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

func newCheckCommand(t *tool) *cobra.Command {
	var f deviceFlags
	c := &cobra.Command{
		Use:   "check --app APP [flags]",
		Short: "Ask what this device should run, and download nothing",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.with(c.Context(), t, func(ctx context.Context, d *client.Client) error {
				checked, err := d.Check(ctx)
				if checked == nil {
					return err
				}
				return errors.Join(err, t.printAnswers(checked))
			})
		},
	}
	f.define(c, t)
	return c
}

// with opens the device for one command, and sends what there is to report before it is closed.
func (d *deviceFlags) with(ctx context.Context, t *tool, do func(context.Context, *client.Client) error) (err error) {
	cfg, err := d.config(t)
	if err != nil {
		return err
	}
	c, err := client.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := do(ctx, c); err != nil {
		return lockedHint(err)
	}
	if err := c.Report(ctx); err != nil && slipstream.ReasonOf(err, "") != slipstream.ReasonLocked {
		fmt.Fprintln(t.stderr, "Reports wait for the next time:", err)
	}
	return nil
}

func lockedHint(err error) error {
	if slipstream.ReasonOf(err, "") != slipstream.ReasonLocked {
		return err
	}
	return slipstream.Hint(err, "a `slipstream run` keeps this directory up to date already; give another --dir or stop it")
}

// answerLine is one package of the output of check and fetch.
type answerLine struct {
	Package string             `json:"package"`
	Verdict slipstream.Verdict `json:"verdict"`
	Reason  slipstream.Reason  `json:"reason"`
	Version string             `json:"version,omitempty"`
	Release slipstream.Digest  `json:"release,omitempty"`
	Size    int64              `json:"size,omitempty"`
}

func (t *tool) printAnswers(checked *client.Checked) error {
	var out []answerLine
	for _, pkg := range slices.Sorted(maps.Keys(checked.Answers)) {
		a := checked.Answers[pkg]
		line := answerLine{Package: pkg, Verdict: a.Verdict, Reason: a.Reason}
		if a.Offer != nil {
			line.Version, line.Release, line.Size = a.Offer.Release.Version, a.Offer.Release.Digest, a.Offer.Release.Size
		}
		out = append(out, line)
	}
	return t.print(map[string]any{"epoch": checked.Epoch, "packages": out}, func(w io.Writer) {
		for _, a := range out {
			fmt.Fprintf(w, "%s: %s (%s)", a.Package, words(slipstream.Reason(a.Verdict)), words(a.Reason))
			if a.Version != "" {
				fmt.Fprintf(w, " to %s, %s", a.Version, formatBytes(a.Size))
			}
			fmt.Fprintln(w)
		}
	})
}
