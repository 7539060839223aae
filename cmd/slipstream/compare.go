//go:build !device

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/halt/compare"
)

func newRolloutCompare(t *tool) *cobra.Command {
	var a at
	var q api.CompareQuery
	var lower bool
	c := &cobra.Command{
		Use: "compare [ROLLOUT…]", Short: "Say which arm of an A/B test is better", Args: cobra.MaximumNArgs(compare.MaxArms),
		Long: `Compare holds the arms of an A/B test against each other: rollouts that share one salt over adjoining ranges, or one
rollout and its control group. It compares whether the release works, and every metric that devices reported. Look as often
as you like: the chance that an interval is ever wrong is at most --alpha.

Without ROLLOUT (an id or a version) it takes the newest test with two arms, else the topmost rollout.`,
		Example: `  slipstream rollout compare --app shop
  slipstream rollout compare 1.1.0 1.2.0 --app shop --metric seconds --lower`,
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			q.Package, q.Rollouts = a.pkg, args
			if lower {
				q.Better = compare.Lower
			}
			out, err := server.Compare(c.Context(), a.app, a.channel, q)
			if err != nil {
				return fmt.Errorf("compare: %w", err)
			}
			return t.print(out, func(w io.Writer) { printComparison(w, out) })
		},
	}
	t.packageFlags(c, &a)
	c.Flags().StringVar(&q.Metric, "metric", "", "only this metric (default: works, and all that devices report)")
	c.Flags().BoolVar(&lower, "lower", false, "lower values of the metric are better")
	c.Flags().Float64Var(&q.Alpha, "alpha", compare.DefaultAlpha, "chance of ever being wrong")
	return c
}

func printComparison(w io.Writer, c api.Comparison) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ARM\tROLLOUT\tSHARE\tDEVICES\tCONFIRMED\tFAILED")
	for _, a := range c.Arms {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%d\n", a.Name, a.Rollout, percentOf(a.Share), a.Enrolled, a.Confirmed, a.Failed)
	}
	tw.Flush()
	if c.Doubt != "" {
		fmt.Fprintf(w, "\n%s\n", c.Doubt)
	}
	for _, r := range c.Results {
		better := ""
		if r.Test.Better == compare.Lower {
			better = ", lower is better"
		}
		fmt.Fprintf(w, "\n%s%s\n", r.Test.Metric, better)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, a := range r.Arms {
			value := fmt.Sprintf("mean %.4g", a.Value)
			if r.Test.Kind == compare.YesNo {
				value = fmt.Sprintf("%.2f %%", 100*a.Value)
			}
			if a.Devices == 0 {
				value = "-"
			}
			fmt.Fprintf(tw, "  %s\t%s\tof %d devices\n", a.Name, value, a.Devices)
		}
		tw.Flush()
		if len(r.Pairs) > 1 {
			for _, p := range r.Pairs {
				fmt.Fprintf(w, "  %s against %s: %s\n", p.B, p.A, p.Text)
			}
		}
		if c.Doubt == "" {
			fmt.Fprintf(w, "  %s\n", r.Text)
		}
	}
}

func percentOf(positions int) string { return fmt.Sprintf("%g%%", float64(positions)/100) }
