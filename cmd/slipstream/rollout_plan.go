//go:build !device

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/rollout"
)

// planFlags are the flags of a plan.
type planFlags struct {
	plan    string
	start   string
	windows []string
	command *cobra.Command // whose flags these are
}

// define adds the flags. --plan without a value is the default plan.
func (f *planFlags) define(c *cobra.Command) {
	f.command = c
	fs := c.Flags()
	fs.StringVar(&f.plan, "plan", "", "advance by itself: shares, each with the least time in it and, if wanted, the least devices heard of: '1%:30m,10%:2h:50,100%'")
	fs.Lookup("plan").NoOptDefVal = "default"
	fs.StringVar(&f.start, "start", "", "with a plan: not before this time, 2026-12-01T09:00:00Z or 2h from now")
	fs.StringArrayVar(&f.windows, "window", nil, "with a plan: advance only then: 'mon-fri 09:00-17:00 Europe/Berlin' (repeatable)")
}

// read gives nil when no plan is asked for.
func (f *planFlags) read(now time.Time) (*publish.NewPlan, error) {
	if f.plan == "" {
		if f.start == "" && len(f.windows) == 0 {
			return nil, nil
		}
		return nil, usageError{slipstream.Hint(fmt.Errorf("--start and --window belong to a plan"), "add --plan, or --plan=100%% to start everywhere at that time")}
	}
	if f.command != nil && f.command.Flags().Changed("share") {
		return nil, usageError{slipstream.Hint(errors.New("--share and --plan both say to how many"), "leave --share out: the plan's stages are the shares, the first one now and the last one in the end")}
	}
	p := &publish.NewPlan{Stages: f.plan, Windows: f.windows}
	if f.plan == "default" {
		p.Stages = ""
	}
	if _, err := rollout.ParsePlan(p.Stages); err != nil {
		return nil, usageError{err}
	}
	for _, w := range f.windows {
		if _, err := rollout.ParseWindow(w); err != nil {
			return nil, usageError{err}
		}
	}
	if f.start == "" {
		return p, nil
	}
	at, err := parseWhenTime(f.start, now)
	p.Start = &at
	return p, err
}

// parseWhenTime reads an instant, or a time from now.
func parseWhenTime(s string, now time.Time) (slipstream.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return slipstream.At(now.Add(d)), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return slipstream.Time{}, usageError{fmt.Errorf("%q is no time: it looks like 2026-12-01T09:00:00Z, or 2h for two hours from now", s)}
	}
	return slipstream.At(t), nil
}

func newRolloutStage(t *tool) *cobra.Command {
	var a at
	var f planFlags
	c := &cobra.Command{
		Use: "stage [ROLLOUT] PLAN", Short: "Give a running rollout a plan, or another one", Args: cobra.RangeArgs(1, 2),
		Long: `Stage lets a rollout advance by itself: from stage to stage, when the time of one is over, enough devices were heard of,
and the guard has nothing to say against the release. A plan never shrinks what was given already. "none" takes the plan
away; the share stays.`,
		Example: "  slipstream rollout stage 1.4.0 '10%:2h,50%:6h,100%'\n  slipstream rollout stage none",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			plan := &publish.NewPlan{Stages: api.NoPlan}
			if f.plan = args[len(args)-1]; f.plan != api.NoPlan {
				if plan, err = f.read(time.Now()); err != nil {
					return err
				}
			}
			e, err := pick(c.Context(), server, a, strings.Join(args[:len(args)-1], ""))
			if err != nil {
				return err
			}
			done, err := server.ChangeRollout(c.Context(), a.app, a.channel, e.ID, api.RolloutChange{Plan: plan})
			if err != nil {
				return fmt.Errorf("stage rollout: %w", err)
			}
			if f.plan == api.NoPlan {
				return t.tell(a, done, "has no plan any more")
			}
			return t.tell(a, done, "has its plan")
		},
	}
	c.Flags().StringVar(&f.start, "start", "", "not before this time, 2026-12-01T09:00:00Z or 2h from now")
	c.Flags().StringArrayVar(&f.windows, "window", nil, "advance only then: 'mon-fri 09:00-17:00 Europe/Berlin' (repeatable)")
	t.packageFlags(c, &a)
	return c
}

func newRolloutFinish(t *tool) *cobra.Command {
	var a at
	var winner string
	c := &cobra.Command{
		Use: "finish [ROLLOUT]", Short: "Give the release to every device that the conditions name", Args: cobra.MaximumNArgs(1),
		Long: `Finish ends the control group and the plan, and gives the release to everybody whom the rollout's conditions name. A paused
rollout is resumed by it; a halted one must be resumed first. With --winner the rollouts that share its salt, the other
arms of the test, end with it.`,
		Example: "  slipstream rollout finish 1.4.0\n  slipstream rollout finish --winner 1.4.0-b",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			e, err := pick(c.Context(), server, a, first(winner, strings.Join(args, "")))
			if err != nil {
				return err
			}
			done, err := server.ChangeRollout(c.Context(), a.app, a.channel, e.ID, api.RolloutChange{Finish: winner == "", Winner: winner != ""})
			if err != nil {
				return fmt.Errorf("finish rollout: %w", err)
			}
			return t.tell(a, done, "is finished")
		},
	}
	c.Flags().StringVar(&winner, "winner", "", "the arm of a test that everybody gets; the other arms end")
	t.packageFlags(c, &a)
	return c
}

func newRolloutReplay(t *tool) *cobra.Command {
	var a at
	var all bool
	c := &cobra.Command{
		Use: "replay [ROLLOUT]", Short: "Run the guard's decisions again from the log, and show the evidence over time", Args: cobra.MaximumNArgs(1),
		Long: `Replay feeds the outcomes that were stored to the guard's rule again, look by look, and compares what comes out with what
was kept at the time. ROLLOUT may also be the id of one that is over. The exit code is 1 when a look comes out otherwise:
devices were deleted from the log since, or the log was changed.`,
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			id := strings.Join(args, "")
			if e, err := pick(c.Context(), server, a, id); err == nil {
				id = e.ID
			} else if id == "" {
				return err
			}
			out, err := server.Evidence(c.Context(), a.app, a.channel, id, true)
			if err != nil {
				return fmt.Errorf("replay rollout: %w", err)
			}
			if err := t.print(out, func(w io.Writer) { printEvidence(w, out, all) }); err != nil {
				return err
			}
			for _, l := range out.Looks {
				if l.Same != nil && !*l.Same {
					return slipstream.Hint(fmt.Errorf("look %d comes out otherwise than it was kept", l.N), "devices may have been deleted from the log since")
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every look, not only those that changed something")
	t.packageFlags(c, &a)
	return c
}

// printEvidence shows the looks at which something changed: the level, what was done, or a tenth more devices.
func printEvidence(w io.Writer, list api.EvidenceList, all bool) {
	if len(list.Looks) == 0 {
		fmt.Fprintf(w, "The guard has seen nothing of rollout %s: no device has enrolled\n", list.Rollout)
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "LOOK\tTIME\tTREATED\tFAILED\tCONTROL\tFAILED\tSILENT\tEVIDENCE\tOF\tLEVEL\tDONE\tAGAIN")
	var last api.Look
	for i, l := range list.Looks {
		v := l.Verdict
		if !all && i > 0 && i < len(list.Looks)-1 && l.Action == "" && v.Level == last.Verdict.Level && v.Treated < last.Verdict.Treated+max(1, last.Verdict.Treated/10) {
			continue
		}
		last = l
		again := "-"
		if l.Same != nil {
			again = map[bool]string{true: "same", false: "OTHERWISE"}[*l.Same]
		}
		fmt.Fprintf(tw, "%d\t%s\t%d\t%d\t%d\t%d\t%d\t%.3g\t%.3g\t%s\t%s\t%s\n", l.N, l.At.UTC().Format("01-02 15:04:05"), v.Treated, v.FailedTreated, v.Control, v.FailedControl,
			v.SilentTreated, v.E, v.Threshold, v.Level, dash(string(l.Action)), again)
	}
	tw.Flush()
	end := list.Looks[len(list.Looks)-1]
	fmt.Fprintf(w, "\n%s\n", end.Verdict.Reason)
	if end.Waits != "" {
		fmt.Fprintf(w, "The plan waits: %s\n", end.Waits)
	}
}

// planText is a rollout's plan in a line.
func planText(e rollout.Entry) string {
	if e.Plan == nil {
		return "-"
	}
	parts := make([]string, len(e.Plan.Stages))
	for i, s := range e.Plan.Stages {
		parts[i] = rollout.Percent(s.Share)
		if i == e.Plan.At {
			parts[i] = "[" + parts[i] + "]"
		}
	}
	text := strings.Join(parts, " → ")
	if e.Plan.Frozen {
		text += ", frozen"
	}
	if e.Plan.At < 0 && e.Plan.Start != nil {
		text += ", starts " + stamp(*e.Plan.Start)
	}
	return text
}

// guardFlags are how a channel's rollouts are watched.
type guardFlags struct {
	guard rollout.Guard
	on    bool
}

func (f *guardFlags) define(c *cobra.Command) {
	fs := c.Flags()
	fs.Float64Var(&f.guard.Alpha, "guard-alpha", 0, "chance of ever halting a good release (default 0.01)")
	fs.Float64Var(&f.guard.AllowedRatio, "guard-allowed-ratio", 0, "how much more often than the control group a good release may fail (default 1)")
	fs.Float64Var(&f.guard.Ceiling, "guard-ceiling", 0, "share of failed devices that is never good (default: 3 times the channel's own, at least 0.01)")
	fs.Float64Var(&f.guard.NetworkShare, "guard-network-share", 0, "what one network may weigh (default 0.25; 1 for a fleet behind one address)")
	fs.IntVar(&f.guard.MinNetworks, "guard-networks", 0, "networks that harm must come from before anything is halted (default 2; 1 for a fleet behind one address)")
	fs.StringVar(&f.guard.OnHalt, "guard-on-halt", "", "hold or withdraw")
	fs.BoolVar(&f.on, "guard", true, "watch the rollouts; --guard=false halts nothing and lets plans advance by time alone")
}

// change is what the flags that were given make of the present settings; nil when none was.
func (f *guardFlags) change(c *cobra.Command, now rollout.Guard) *rollout.Guard {
	touched := false
	for name, set := range map[string]func(){
		"guard-alpha": func() { now.Alpha = f.guard.Alpha }, "guard-allowed-ratio": func() { now.AllowedRatio = f.guard.AllowedRatio },
		"guard-ceiling": func() { now.Ceiling = f.guard.Ceiling }, "guard-network-share": func() { now.NetworkShare = f.guard.NetworkShare },
		"guard-networks": func() { now.MinNetworks = f.guard.MinNetworks }, "guard-on-halt": func() { now.OnHalt = f.guard.OnHalt },
		"guard": func() { now.Off = !f.on },
	} {
		if c.Flags().Changed(name) {
			set()
			touched = true
		}
	}
	if !touched {
		return nil
	}
	return &now
}

// newChannelFreeze makes the commands freeze and thaw.
func newChannelFreeze(t *tool, on bool) *cobra.Command {
	var a at
	var until, reason string
	c := &cobra.Command{
		Use: "thaw NAME", Short: "Let the plans of a channel go on", Args: exactly(1, "one channel"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			f := &api.FreezeChange{On: on, Reason: reason}
			if until != "" {
				at, err := parseWhenTime(until, time.Now())
				if err != nil {
					return err
				}
				f.Until = &at.Time
			}
			out, err := server.ChangeChannel(c.Context(), a.app, args[0], api.ChannelChange{Freeze: f})
			if err != nil {
				return fmt.Errorf("freeze channel: %w", err)
			}
			return t.print(out, func(w io.Writer) {
				text := "go on"
				if on {
					text = "stay where they are; the guard and people still act"
				}
				fmt.Fprintf(w, "The plans of channel %s of %s %s\n", out.Name, out.App, text)
			})
		},
	}
	if on {
		c.Use, c.Short = "freeze NAME", "Keep every plan of a channel where it is"
		c.Flags().StringVar(&until, "until", "", "when it ends by itself: 2026-12-27T00:00:00Z, or 72h from now")
		c.Flags().StringVar(&reason, "reason", "", "why, for people")
	}
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}
