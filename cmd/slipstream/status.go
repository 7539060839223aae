package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
)

func newStatusCommand(t *tool) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use: "status", Short: "Show what is in force, and what devices reported", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			s, err := server.Status(c.Context(), app)
			if err != nil {
				return fmt.Errorf("read status: %w", err)
			}
			return t.print(s, func(w io.Writer) { t.printStatus(w, s) })
		},
	}
	c.Flags().StringVar(&app, "app", "", "only this app")
	t.serverFlags(c)
	return c
}

func (t *tool) printStatus(w io.Writer, s api.Status) {
	if len(s.Apps) == 0 {
		fmt.Fprintln(w, "No apps. `slipstream app create NAME` makes one.")
	}
	for i, a := range s.Apps {
		if i > 0 {
			fmt.Fprintln(w)
		}
		root := "no root"
		if a.RootExpires != nil {
			root = fmt.Sprintf("root v%d, expires %s", a.RootVersion, a.RootExpires.Format("2006-01-02"))
		}
		fmt.Fprintf(w, "%s (%s)\n", a.Name, root)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "  CHANNEL\tEPOCH\tPACKAGE\tVERSION\tSEQ\tPLATFORM\tRUNTIME\tSHARE\tSTANDS\tDEVICES")
		for _, c := range a.Channels {
			printChannelStatus(tw, c)
		}
		tw.Flush()
		t.warn(a.Warnings)
	}
}

func printChannelStatus(w io.Writer, c api.ChannelStatus) {
	rows := 0
	for _, p := range c.Packages {
		for _, r := range p.Rollouts {
			rows++
			stands := "offered"
			switch {
			case r.Withdrawn:
				stands = "withdrawn"
			case r.Hold != "":
				stands = r.Hold
			}
			fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.Epoch, p.Name, r.Version, r.Seq, r.Platform, r.Runtime, shareText(r.Entry), stands, devicesText(r.Devices))
		}
	}
	if rows == 0 {
		fmt.Fprintf(w, "  %s\t%d\t-\t-\t-\t-\t-\t-\tnothing offered\t-\n", c.Name, c.Epoch)
	}
}

func devicesText(counts map[slipstream.Kind]int64) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, counts[k]))
	}
	return dash(strings.Join(parts, ", "))
}
