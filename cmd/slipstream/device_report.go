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
	"github.com/slipstream-ota/slipstream/store"
)

func newReportCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "report", Short: "What the fleet runs, how it goes over time, and what went wrong", Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newReportSpread(t), newReportSeries(t), newReportReasons(t))
	return c
}

func newReportSpread(t *tool) *cobra.Command {
	var a at
	c := &cobra.Command{
		Use: "spread", Short: "Count the devices by channel, platform, runtime and release", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			s, err := server.Spread(c.Context(), a.app)
			if err != nil {
				return fmt.Errorf("count devices: %w", err)
			}
			return t.print(s, func(w io.Writer) {
				total := int64(0)
				for _, g := range s.Groups {
					total += g.Devices
				}
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "DEVICES\tSHARE\tCHANNEL\tPACKAGE\tPLATFORM\tRUNTIME\tRUNS")
				for _, g := range s.Groups {
					fmt.Fprintf(tw, "%d\t%.1f %%\t%s\t%s\t%s\t%s\t%s\n", g.Devices, 100*float64(g.Devices)/float64(total), dash(g.Channel), g.Package, dash(g.Platform), dash(g.Runtime), runsText(g.Version, g.Release))
				}
				tw.Flush()
			})
		},
	}
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

func newReportSeries(t *tool) *cobra.Command {
	var a at
	var q api.SeriesQuery
	var since string
	c := &cobra.Command{
		Use: "series", Short: "Show what devices reported over time", Args: exactly(0, "no argument"),
		Long: `Series counts, for each minute, hour or day (UTC), the devices that reported a kind of event for a release for the first
time. SUCCESS is confirmed / (confirmed + rolled_back), CRASH is (crashed + hung) / (confirmed + crashed + hung).`,
		RunE: func(c *cobra.Command, _ []string) error {
			if q.Step.Length() == 0 {
				return usageError{slipstream.Hint(fmt.Errorf("step %q is not known", q.Step), "use minute, hour or day")}
			}
			var err error
			if q.From, err = ago(since); err != nil {
				return err
			}
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			s, err := server.Series(c.Context(), a.app, q)
			if err != nil {
				return fmt.Errorf("read series: %w", err)
			}
			return t.print(s, func(w io.Writer) { printSeries(w, s) })
		},
	}
	t.fleetFlags(c, &a.app, &q.OfFleet)
	c.Flags().StringVar((*string)(&q.Kind), "kind", "", "only of this kind, such as confirmed")
	c.Flags().StringVar((*string)(&q.Step), "step", string(store.StepHour), "minute, hour or day")
	c.Flags().StringVar(&since, "since", "", "how far back, such as 2h or 30d (default: 120 steps)")
	return c
}

// ago is the moment that is an age before now; "" is the zero time.
func ago(age string) (time.Time, error) {
	if age == "" {
		return time.Time{}, nil
	}
	d, err := parseAge(age)
	if err != nil {
		return time.Time{}, usageError{fmt.Errorf("since: %w", err)}
	}
	return time.Now().Add(-d), nil
}

func printSeries(w io.Writer, s api.Series) {
	kinds := map[slipstream.Kind]bool{}
	for _, p := range s.Points {
		for k := range p.Kinds {
			kinds[k] = true
		}
	}
	columns := slices.Sorted(maps.Keys(kinds))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "AT")
	for _, k := range columns {
		fmt.Fprintf(tw, "\t%s", strings.ToUpper(string(k)))
	}
	fmt.Fprintln(tw, "\tSUCCESS\tCRASH")
	for _, p := range s.Points {
		fmt.Fprint(tw, minuteOf(p.At))
		for _, k := range columns {
			fmt.Fprintf(tw, "\t%d", p.Kinds[k])
		}
		fmt.Fprintf(tw, "\t%s\t%s\n", shareOf(p.Success), shareOf(p.Crash))
	}
	tw.Flush()
}

func shareOf(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100**v)
}

func newReportReasons(t *tool) *cobra.Command {
	var a at
	var q api.ReasonQuery
	var since string
	c := &cobra.Command{
		Use: "reasons", Short: "Rank what went wrong, by devices", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if q.Since, err = ago(since); err != nil {
				return err
			}
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			list, err := server.Reasons(c.Context(), a.app, q)
			if err != nil {
				return fmt.Errorf("rank reasons: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "DEVICES\tKIND\tSTAGE\tREASON\tPACKAGE\tRELEASE\tCHANNEL\tLAST")
				for _, r := range list {
					release := r.Version
					if release == "" {
						release = r.Release.Short()
					}
					fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Devices, r.Kind, dash(r.Stage), dash(string(r.Reason)), dash(r.Package), dash(release), dash(r.Channel), minuteOf(r.Last))
				}
				tw.Flush()
			})
		},
	}
	t.fleetFlags(c, &a.app, &q.OfFleet)
	c.Flags().StringVar((*string)(&q.Kind), "kind", "", "only of this kind, such as rolled_back")
	c.Flags().StringVar(&since, "since", "", "only those told since, such as 24h or 7d")
	c.Flags().IntVar(&q.Limit, "limit", 50, "at most so many")
	return c
}
