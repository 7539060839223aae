//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/rollout"
)

func newRolloutCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use:   "rollout",
		Short: "Start, share, pause, resume and finish rollouts",
		Long: `A rollout offers one release on a channel to a share of the devices that its conditions name. The first one on a
package's list that means a device wins. Where ROLLOUT is left out, the topmost one that is not withdrawn is meant; it
can be named by its id or by its version.

Pause stops new devices taking a release. To make devices leave it, use "slipstream withdraw"; to put an earlier one in
force, "slipstream rollback".`,
		Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newRolloutStart(t), newRolloutShare(t), newRolloutEdit(t), newRolloutMove(t), newRolloutShow(t), newRolloutCompare(t),
		newRolloutStage(t), newRolloutFinish(t), newRolloutReplay(t))
	for _, v := range []struct {
		use, short, said string
		change           func() api.RolloutChange
	}{
		{"pause", "Stop new devices taking the release", "is paused", func() api.RolloutChange { return api.RolloutChange{Hold: said(slipstream.HoldPaused)} }},
		{"resume", "Take a pause or a halt back", "goes on", func() api.RolloutChange { return api.RolloutChange{Hold: said("none")} }},
		{"skip", "Put the next stage of the plan in force at once", "is a stage further", func() api.RolloutChange { return api.RolloutChange{Skip: true} }},
		{"freeze", "Keep the plan where it is; the guard and people still act", "stays where it is", func() api.RolloutChange { return api.RolloutChange{Freeze: yes(true)} }},
		{"thaw", "Let a frozen plan go on", "goes on", func() api.RolloutChange { return api.RolloutChange{Freeze: yes(false)} }},
		{"end", "Take the rollout off the list; devices that run its release keep it", "is off the list", func() api.RolloutChange { return api.RolloutChange{End: true} }},
		{"retry", "Let devices that gave the release up try it once more", "may be tried once more", func() api.RolloutChange { return api.RolloutChange{Retry: true} }},
	} {
		c.AddCommand(newRolloutVerb(t, v.use, v.short, v.said, v.change))
	}
	return c
}

func said(s string) *string { return &s }

func yes(b bool) *bool { return &b }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// pick finds the rollout that ref names by id or version; "" is the topmost one that is not withdrawn.
func pick(ctx context.Context, server *api.Client, a at, ref string) (rollout.Entry, error) {
	ch, err := server.Channel(ctx, a.app, a.channel)
	if err != nil {
		return rollout.Entry{}, fmt.Errorf("read channel: %w", err)
	}
	return pickFrom(ch, a, ref)
}

func pickFrom(ch api.Channel, a at, ref string) (rollout.Entry, error) {
	pp := ch.Policy.Packages[a.pkg]
	if pp == nil {
		pp = &rollout.PackagePolicy{}
	}
	for _, e := range pp.Rollouts {
		if ref == e.ID || ref == e.Version || ref == "" && !pp.WithdrawnOn(e.Manifest, e.Platform) {
			return e, nil
		}
	}
	err := fmt.Errorf("rollout %s of package %s on channel %s: %w", first(ref, "in force"), a.pkg, a.channel, slipstream.ErrNotFound)
	if _, found, ferr := ch.Policy.Find(ref); ferr == nil {
		return *found, nil
	}
	return rollout.Entry{}, slipstream.Hint(err, "`slipstream rollout show` lists what there is; `slipstream rollout start` offers a published release")
}

// tell prints what came of a change.
func (t *tool) tell(a at, done rollout.Done, text string) error {
	return t.print(done, func(w io.Writer) {
		if e := done.Rollout; e != nil {
			fmt.Fprintf(w, "Version %s of package %s on %s %s (rollout %s, share %s, epoch %d)\n", e.Version, a.pkg, a.channel, text, e.ID, rollout.Percent(e.To-e.From), done.Epoch)
		} else {
			fmt.Fprintf(w, "Package %s on %s: %s (epoch %d)\n", a.pkg, a.channel, text, done.Epoch)
		}
		t.warn(done.Warnings)
	})
}

func (t *tool) warn(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintln(t.stderr, "Warning:", w)
	}
}

func newRolloutVerb(t *tool, use, short, text string, change func() api.RolloutChange) *cobra.Command {
	var a at
	c := &cobra.Command{
		Use: use + " [ROLLOUT]", Short: short, Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			e, err := pick(c.Context(), server, a, strings.Join(args, ""))
			if err != nil {
				return err
			}
			done, err := server.ChangeRollout(c.Context(), a.app, a.channel, e.ID, change())
			if err != nil {
				return fmt.Errorf("%s rollout: %w", use, err)
			}
			return t.tell(a, done, text)
		},
	}
	t.packageFlags(c, &a)
	return c
}

// offerFlags are the flags of a new rollout.
type offerFlags struct {
	share, from, control, salt, notes string
	when                              []string
	apply                             slipstream.Apply
	private                           bool
	at                                int
	capacity                          int64
	plan                              planFlags
}

func (f *offerFlags) define(c *cobra.Command) {
	f.plan.define(c)
	fs := c.Flags()
	fs.StringVar(&f.share, "share", "100%", "share of the devices")
	defineCap(c, &f.capacity)
	fs.StringVar(&f.from, "from", "0%", "where the share begins, for the arms of one test")
	fs.StringVar(&f.control, "control", "", "share of the devices kept on the former release for comparison (default 5%)")
	fs.StringVar(&f.salt, "salt", "", "rollouts with the same salt meet the same devices (default: each its own)")
	fs.StringArrayVar(&f.when, "when", nil, "only devices for which this holds: 'country in cn,jp' (repeatable)")
	fs.BoolVar(&f.private, "private", false, "keep the rollout out of the public state")
	fs.IntVar(&f.at, "at", 0, "place in the package's list; 0 is the top")
	fs.StringVar(&f.notes, "notes", "", "notes for people")
	defineApply(c, &f.apply)
}

func defineCap(c *cobra.Command, devices *int64) {
	c.Flags().Int64Var(devices, "cap", 0, "only so many devices, first come, first served; 0 is no bound")
}

func checkCap(devices int64) error {
	if devices < 0 {
		return usageError{fmt.Errorf("cap %d: must be a number of devices, or 0 for no bound", devices)}
	}
	return nil
}

func defineApply(c *cobra.Command, a *slipstream.Apply) {
	fs := c.Flags()
	fs.BoolVar(&a.Mandatory, "mandatory", false, "the host must not let users put the update off")
	fs.StringVar(&a.Mode, "mode", "", "when the update takes effect: "+strings.Join(applyModes(), ", "))
	fs.StringVar(&a.Priority, "priority", "", "low, normal or critical")
	fs.StringVar(&a.Message, "message", "", "text for users, shown by hosts that ask")
	fs.IntVar(&a.Timeout, "timeout", 0, "seconds that a blocking update may take")
}

func (f *offerFlags) start() (s api.StartRollout, err error) {
	s = api.StartRollout{Salt: f.salt, Apply: f.apply, Private: f.private, Notes: f.notes, At: f.at, Cap: f.capacity}
	if err := checkCap(f.capacity); err != nil {
		return s, err
	}
	share, err := publish.ParseShare(f.share)
	if err != nil {
		return s, usageError{err}
	}
	if s.From, err = parsePosition(f.from); err != nil {
		return s, usageError{err}
	}
	to := s.From + share
	if f.from != "0%" && f.share == "100%" {
		to = slipstream.FullShare
	}
	s.To = &to
	if s.Control, err = parseControl(f.control); err != nil {
		return s, err
	}
	if s.When, err = parseWhen(f.when); err != nil {
		return s, err
	}
	s.Plan, err = f.plan.read(time.Now())
	return s, err
}

// parsePosition is a share that may be nothing.
func parsePosition(s string) (int, error) {
	if s == "0" || s == "0%" {
		return 0, nil
	}
	return publish.ParseShare(s)
}

func parseControl(s string) (*int, error) {
	if s == "" {
		return nil, nil
	}
	n, err := parsePosition(s)
	if err != nil {
		return nil, usageError{err}
	}
	return &n, nil
}

func parseWhen(list []string) ([]slipstream.Condition, error) {
	var out []slipstream.Condition
	for _, s := range list {
		c, err := publish.ParseCondition(s)
		if err != nil {
			return nil, usageError{err}
		}
		out = append(out, c)
	}
	return out, nil
}

func newRolloutStart(t *tool) *cobra.Command {
	var a at
	var f offerFlags
	c := &cobra.Command{
		Use: "start RELEASE", Short: "Offer a published release", Args: exactly(1, "one release"),
		Long:    "Start offers a release that is published already, named by version, by package@version or by digest.",
		Example: "  slipstream rollout start 1.4.0 --share 10%\n  slipstream rollout start 1.4.0 --cap 500   # the first 500 devices that come\n  slipstream rollout start 1.4.0 --channel beta --when 'custom.tester in [true]'",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			s, err := f.start()
			if err != nil {
				return err
			}
			s.Package, s.Release = a.pkg, args[0]
			done, err := server.StartRollout(c.Context(), a.app, a.channel, s)
			if err != nil {
				return fmt.Errorf("start rollout: %w", err)
			}
			return t.tell(a, done, "is offered")
		},
	}
	f.define(c)
	t.packageFlags(c, &a)
	return c
}

func newRolloutShare(t *tool) *cobra.Command {
	var a at
	c := &cobra.Command{
		Use: "share [ROLLOUT] SHARE", Short: "Change the share of the devices", Args: cobra.RangeArgs(1, 2),
		Long:    "Share changes how many devices are offered the release. Raising it only adds devices.",
		Example: "  slipstream rollout share 50%\n  slipstream rollout share 1.4.0 100%",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			share, err := publish.ParseShare(args[len(args)-1])
			if err != nil {
				return usageError{err}
			}
			e, err := pick(c.Context(), server, a, strings.Join(args[:len(args)-1], ""))
			if err != nil {
				return err
			}
			to := e.From + share
			if share == slipstream.FullShare {
				to = share
			}
			done, err := server.ChangeRollout(c.Context(), a.app, a.channel, e.ID, api.RolloutChange{To: &to})
			if err != nil {
				return fmt.Errorf("share rollout: %w", err)
			}
			return t.tell(a, done, "is offered")
		},
	}
	t.packageFlags(c, &a)
	return c
}

func newRolloutEdit(t *tool) *cobra.Command {
	var a at
	var apply slipstream.Apply
	var when []string
	var control, notes string
	var capacity int64
	c := &cobra.Command{
		Use: "edit [ROLLOUT]", Short: "Change conditions, control group, cap, notes or how hosts apply the update", Args: cobra.MaximumNArgs(1),
		Example: "  slipstream rollout edit 1.4.0 --mandatory --priority critical\n  slipstream rollout edit --when ''   # for everybody",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			e, err := pick(c.Context(), server, a, strings.Join(args, ""))
			if err != nil {
				return err
			}
			ch, err := editOf(c, e, apply, when, control, notes, capacity)
			if err != nil {
				return err
			}
			done, err := server.ChangeRollout(c.Context(), a.app, a.channel, e.ID, ch)
			if err != nil {
				return fmt.Errorf("edit rollout: %w", err)
			}
			return t.tell(a, done, "is changed")
		},
	}
	c.Flags().StringArrayVar(&when, "when", nil, "the new conditions; one empty text takes them all away")
	c.Flags().StringVar(&control, "control", "", "share of the control group")
	c.Flags().StringVar(&notes, "notes", "", "notes for people")
	defineCap(c, &capacity)
	defineApply(c, &apply)
	t.packageFlags(c, &a)
	return c
}

// editOf is the change that the flags which were given ask for.
func editOf(c *cobra.Command, e rollout.Entry, apply slipstream.Apply, when []string, control, notes string, capacity int64) (api.RolloutChange, error) {
	var ch api.RolloutChange
	var err error
	changed := c.Flags().Changed
	now := e.Apply
	for name, set := range map[string]func(){
		"mandatory": func() { now.Mandatory = apply.Mandatory }, "mode": func() { now.Mode = apply.Mode },
		"priority": func() { now.Priority = apply.Priority }, "message": func() { now.Message = apply.Message },
		"timeout": func() { now.Timeout = apply.Timeout },
	} {
		if changed(name) {
			set()
			ch.Apply = &now
		}
	}
	if changed("when") {
		conditions := []slipstream.Condition{}
		if !slices.Equal(when, []string{""}) {
			if conditions, err = parseWhen(when); err != nil {
				return ch, err
			}
		}
		ch.When = &conditions
	}
	if changed("notes") {
		ch.Notes = &notes
	}
	if changed("cap") {
		ch.Cap = &capacity
		if err := checkCap(capacity); err != nil {
			return ch, err
		}
	}
	if ch.Control, err = parseControl(control); err != nil {
		return ch, err
	}
	if ch == (api.RolloutChange{}) {
		return ch, usageError{slipstream.Hint(errors.New("nothing to change"), "see `%s --help`", c.CommandPath())}
	}
	return ch, nil
}

func newRolloutMove(t *tool) *cobra.Command {
	var a at
	c := &cobra.Command{
		Use: "move ROLLOUT PLACE", Short: "Change a rollout's place in its package's list; 0 is the top", Args: exactly(2, "a rollout and a place"),
		RunE: func(c *cobra.Command, args []string) error {
			place, err := strconv.Atoi(args[1])
			if err != nil || place < 0 {
				return usageError{fmt.Errorf("place %q: must be 0 or more", args[1])}
			}
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			e, err := pick(c.Context(), server, a, args[0])
			if err != nil {
				return err
			}
			done, err := server.ChangeRollout(c.Context(), a.app, a.channel, e.ID, api.RolloutChange{Move: &place})
			if err != nil {
				return fmt.Errorf("move rollout: %w", err)
			}
			return t.tell(a, done, "has a new place")
		},
	}
	t.packageFlags(c, &a)
	return c
}

func newRolloutShow(t *tool) *cobra.Command {
	var a at
	c := &cobra.Command{
		Use: "show [ROLLOUT]", Aliases: []string{"list", "ls"}, Short: "Show a package's rollouts in their order, or one of them", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			ch, err := server.Channel(c.Context(), a.app, a.channel)
			if err != nil {
				return fmt.Errorf("read channel: %w", err)
			}
			if len(args) == 1 {
				e, err := pickFrom(ch, a, args[0])
				if err != nil {
					return err
				}
				one := shown{Entry: e, Given: ch.Places[e.ID]}
				if one.Now, err = now(c.Context(), server, a, e.ID); err != nil {
					return err
				}
				return t.print(one, func(w io.Writer) { printRollout(w, one) })
			}
			pp := ch.Policy.Packages[a.pkg]
			if pp == nil {
				pp = &rollout.PackagePolicy{}
			}
			list := shownOf(pp, ch.Places)
			return t.print(list, func(w io.Writer) { printRollouts(w, pp, list) })
		},
	}
	t.packageFlags(c, &a)
	return c
}

// shown is a rollout with how many of its places are given, if it has a cap.
type shown struct {
	rollout.Entry
	Given int64 `json:"given,omitempty"`
	// Now is what devices report of it and what its plan waits for, when it stands in a state.
	Now *api.RolloutStatus `json:"now,omitempty"`
}

// now is how a rollout stands with devices, plan and guard, nil when no state has it.
func now(ctx context.Context, server *api.Client, a at, id string) (*api.RolloutStatus, error) {
	s, err := server.Status(ctx, a.app)
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	for _, app := range s.Apps {
		for _, c := range app.Channels {
			for _, p := range c.Packages {
				for i := range p.Rollouts {
					if c.Name == a.channel && p.Rollouts[i].ID == id {
						return &p.Rollouts[i], nil
					}
				}
			}
		}
	}
	return nil, nil
}

func shownOf(pp *rollout.PackagePolicy, places map[string]int64) []shown {
	list := []shown{}
	for _, e := range pp.Rollouts {
		list = append(list, shown{Entry: e, Given: places[e.ID]})
	}
	return list
}

func (s shown) capText() string {
	if s.Cap == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", s.Given, s.Cap)
}

func printRollouts(w io.Writer, pp *rollout.PackagePolicy, list []shown) {
	if len(list) == 0 {
		fmt.Fprintln(w, "No rollouts")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ROLLOUT\tVERSION\tSEQ\tPLATFORM\tRUNTIME\tSHARE\tCAP\tPLAN\tSTANDS\tCONDITIONS\tSTARTED")
	for _, e := range list {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.Version, e.Seq, e.Platform, e.Runtime, shareText(e.Entry), e.capText(), planText(e.Entry), stands(pp, e.Entry),
			conditionsText(e.Entry), e.Created.UTC().Format("2006-01-02 15:04"))
	}
	tw.Flush()
}

func shareText(e rollout.Entry) string {
	if e.From == 0 {
		return rollout.Percent(e.To)
	}
	return rollout.Percent(e.From) + "–" + rollout.Percent(e.To)
}

// stands says how a rollout stands.
func stands(pp *rollout.PackagePolicy, e rollout.Entry) string {
	switch {
	case pp.WithdrawnOn(e.Manifest, e.Platform):
		return "withdrawn"
	case e.Hold != "":
		return e.Hold
	case !slices.ContainsFunc(pp.Standing(e.Platform, true), func(o rollout.Entry) bool { return o.ID == e.ID }):
		return "covered" // by one above it that takes everybody
	case e.Private:
		return "private"
	}
	return "offered"
}

func conditionsText(e rollout.Entry) string {
	var parts []string
	for _, c := range e.When {
		value := string(c.Value)
		if len(value) > 40 {
			value = value[:40] + "…"
		}
		parts = append(parts, fmt.Sprintf("%s %s %s", c.Attr, c.Op, value))
	}
	return dash(strings.Join(parts, ", "))
}

func printRollout(w io.Writer, s shown) {
	e := s.Entry
	fmt.Fprintf(w, "%s: version %s, seq %d\n", e.ID, e.Version, e.Seq)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := [][2]string{
		{"digest", string(e.Manifest)}, {"platform", e.Platform}, {"runtime", e.Runtime.String()}, {"share", shareText(e)}, {"cap", s.capText()},
		{"plan", planText(e)}, {"control", rollout.Percent(e.Control)}, {"salt", e.PositionSalt()}, {"hold", dash(e.Hold)}, {"conditions", conditionsText(e)},
		{"mode", first(e.Apply.Mode, slipstream.ModeNextLaunch)}, {"priority", first(e.Apply.Priority, slipstream.PriorityNormal)},
		{"mandatory", strconv.FormatBool(e.Apply.Mandatory)}, {"private", strconv.FormatBool(e.Private)}, {"retry", strconv.Itoa(e.Retry)},
		{"started", e.Created.Format(slipstream.TimeLayout) + " by " + dash(e.By)}, {"notes", dash(e.Notes)},
	}
	if n := s.Now; n != nil {
		rows = append(rows, [2]string{"stands", standing(*n)}, [2]string{"stage", planStage(*n)}, [2]string{"devices", devicesText(*n)}, [2]string{"guard", guardText(*n)})
	}
	for _, row := range rows {
		fmt.Fprintf(tw, "  %s\t%s\n", row[0], row[1])
	}
	tw.Flush()
}
