//go:build !device

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
)

func newStatusCommand(t *tool) *cobra.Command {
	var app string
	var once bool
	var every time.Duration
	c := &cobra.Command{
		Use: "status", Short: "Show what is in force, and what devices reported", Args: exactly(0, "no argument"),
		Long: `Status shows every channel: what it offers, to which share, at which stage of its plan, what devices reported and what the
guard makes of it. In a terminal it goes on and shows every change until you press Ctrl-C; otherwise, and with --once or
--json, it prints once.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return usageError{slipstream.Invalidf("every %s: at least 100ms", every)}
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			if terminal(t.stdout) && !once && !t.json {
				return t.watchStatus(c.Context(), server, app, every)
			}
			s, err := server.Status(c.Context(), app)
			if err != nil {
				return fmt.Errorf("read status: %w", err)
			}
			return t.print(s, func(w io.Writer) { t.printStatus(w, s) })
		},
	}
	c.Flags().StringVar(&app, "app", "", "only this app")
	c.Flags().BoolVar(&once, "once", false, "print once, in a terminal too")
	c.Flags().DurationVar(&every, "every", time.Second, "time between two looks, in a terminal")
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
		fmt.Fprintln(tw, "  CHANNEL\tEPOCH\tPACKAGE\tVERSION\tSEQ\tPLATFORM\tRUNTIME\tSHARE\tSTANDS\tSTAGE\tDEVICES\tGUARD")
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
			fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.Epoch, p.Name, r.Version, r.Seq, r.Platform, r.Runtime, shareText(r.Entry),
				standing(r), planStage(r), devicesText(r), guardText(r))
		}
	}
	if rows == 0 {
		fmt.Fprintf(w, "  %s\t%d\t-\t-\t-\t-\t-\t-\tnothing offered\t-\t-\t-\n", c.Name, c.Epoch)
	}
}

func standing(r api.RolloutStatus) string {
	switch {
	case r.Withdrawn:
		return "withdrawn"
	case r.Hold != "":
		return r.Hold
	}
	return "offered"
}

// planStage says how far a plan is and what it waits for, also while it is held.
func planStage(r api.RolloutStatus) string {
	if r.Plan == nil {
		return "-"
	}
	if standing(r) == "offered" {
		return stageText(r, time.Now())
	}
	return fmt.Sprintf("%d of %d", r.Plan.At+1, len(r.Plan.Stages))
}

// guardText is what the guard makes of a rollout, with the evidence against it where there is some.
func guardText(r api.RolloutStatus) string {
	if r.Guard == nil {
		return "-"
	}
	v := r.Guard.Verdict
	text := strings.ReplaceAll(string(v.Level), "_", " ")
	if v.E >= 2 {
		text += fmt.Sprintf(", evidence %.0f of %.0f", min(v.E, 9999), v.Threshold)
	}
	return text
}

// devicesText counts devices by what they told. Those that left for another release are not among those that went back.
func devicesText(r api.RolloutStatus) string {
	counts := maps.Clone(r.Devices)
	var left int64
	for kind, n := range r.Left {
		left += n
		if counts[kind] -= n; counts[kind] <= 0 {
			delete(counts, kind)
		}
	}
	var parts []string
	var seen []slipstream.Kind
	life := []slipstream.Kind{slipstream.KindEnrolled, slipstream.KindFetched, slipstream.KindStaged, slipstream.KindStarted, slipstream.KindConfirmed}
	for _, k := range append(life, slices.Sorted(maps.Keys(counts))...) { // as a release lives on a device, then what went wrong
		if n, ok := counts[k]; ok && !slices.Contains(seen, k) {
			seen = append(seen, k)
			parts = append(parts, fmt.Sprintf("%s %d", words(slipstream.Reason(k)), n))
		}
	}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("left for another %d", left))
	}
	return dash(strings.Join(parts, ", "))
}
