package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

func newConfirmCommand(t *tool) *cobra.Command {
	var f deviceFlags
	var launch string
	var alive bool
	c := &cobra.Command{
		Use:   "confirm",
		Short: "Say that the running release works",
		Long: `Say that the running release works.

A program that ` + "`slipstream run`" + ` started calls it without any flag: SLIPSTREAM_CONTROL and SLIPSTREAM_TOKEN are in its
environment. A script that began a launch with ` + "`slipstream fetch --start`" + ` gives the same flags and --launch TOKEN.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			token := first(launch, lookup(t.environ, "SLIPSTREAM_TOKEN"))
			verb := "confirm"
			if alive {
				verb = "alive"
			}
			if path := lookup(t.environ, "SLIPSTREAM_CONTROL"); path != "" && launch == "" {
				return tellLauncher(c.Context(), path, verb, token)
			}
			if token == "" || f.app == "" || alive {
				return usageError{slipstream.Hint(errors.New("no launch to confirm"),
					"run it from a program that `slipstream run` started, or give --app, --dir and --launch TOKEN")}
			}
			return f.with(c.Context(), t, func(ctx context.Context, d *client.Client) error { return d.Confirm(ctx, token) })
		},
	}
	f.define(c, t)
	c.Flags().StringVar(&launch, "launch", "", "token of the launch (default: SLIPSTREAM_TOKEN)")
	c.Flags().BoolVar(&alive, "alive", false, "only give a sign of life to the launcher's watchdog")
	return c
}
