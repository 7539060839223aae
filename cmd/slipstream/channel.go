//go:build !device

package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/rollout"
)

// at says which app, channel and package a command means.
type at struct{ app, channel, pkg string }

// channelFlags defines --app and --channel, packageFlags --package too.
func (t *tool) channelFlags(c *cobra.Command, a *at) {
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	c.Flags().StringVar(&a.channel, "channel", slipstream.DefaultChannel, "channel")
	t.serverFlags(c)
}

func (t *tool) packageFlags(c *cobra.Command, a *at) {
	t.channelFlags(c, a)
	c.Flags().StringVar(&a.pkg, "package", slipstream.DefaultPackage, "package inside the app")
}

// on fills the app in and gives the server.
func (t *tool) on(a *at) (*api.Client, error) {
	var err error
	if a.app, err = t.defaultApp(a.app); err != nil {
		return nil, err
	}
	return t.client()
}

func newChannelCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "channel", Short: "Make channels and look at them", Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newChannelCreate(t), newChannelList(t), newChannelShow(t), newChannelSet(t), newChannelFreeze(t, true), newChannelFreeze(t, false))
	return c
}

// timingFlags are the flags of a channel's timing.
type timingFlags struct{ checkAfter, jitter, lifetime, spread time.Duration }

func (f *timingFlags) define(c *cobra.Command) {
	c.Flags().DurationVar(&f.checkAfter, "check-after", rollout.DefaultCheckAfter*time.Second, "time between two checks of a device")
	c.Flags().DurationVar(&f.jitter, "jitter", rollout.DefaultJitter*time.Second, "time that devices add at random")
	c.Flags().DurationVar(&f.lifetime, "lifetime", rollout.DefaultLifetime*time.Second, "how long a signed state is valid; it is signed again at half of it")
	c.Flags().DurationVar(&f.spread, "spread", rollout.DefaultSpread*time.Second, "time over which devices that are told of a change spread their checks; a tenth when it is urgent")
}

// timing is t with what the user said.
func (f *timingFlags) timing(c *cobra.Command, t rollout.Timing) rollout.Timing {
	if c.Flags().Changed("check-after") {
		t.CheckAfter = int(f.checkAfter / time.Second)
	}
	if c.Flags().Changed("jitter") {
		if t.Jitter = int(f.jitter / time.Second); t.Jitter == 0 {
			t.Jitter = -1
		}
	}
	if c.Flags().Changed("lifetime") {
		t.Lifetime = int(f.lifetime / time.Second)
	}
	if c.Flags().Changed("spread") {
		t.Spread = max(int(f.spread/time.Second), 1)
	}
	return t
}

func newChannelCreate(t *tool) *cobra.Command {
	var a at
	var f timingFlags
	var n api.NewChannel
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a channel", Args: exactly(1, "one name"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			n.Name, n.Timing = args[0], f.timing(c, rollout.Timing{})
			ch, err := server.CreateChannel(c.Context(), a.app, n)
			if errors.Is(err, slipstream.ErrConflict) {
				return slipstream.Hint(fmt.Errorf("channel %s of %s exists already: %w", n.Name, a.app, slipstream.ErrConflict), "`slipstream channel set %s` changes it", n.Name)
			}
			if err != nil {
				return fmt.Errorf("create channel: %w", err)
			}
			return t.print(ch, func(w io.Writer) { fmt.Fprintf(w, "Channel %s of %s is ready\n", ch.Name, ch.App) })
		},
	}
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	c.Flags().StringVar(&n.Display, "display", "", "display name")
	f.define(c)
	t.serverFlags(c)
	return c
}

func newChannelList(t *tool) *cobra.Command {
	var a at
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List channels", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			list, err := server.Channels(c.Context(), a.app)
			if err != nil {
				return fmt.Errorf("list channels: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "NAME\tDISPLAY\tPACKAGES\tEPOCH\tCHANGED")
				for _, ch := range list {
					fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%s\n", ch.Name, dash(ch.Display), len(ch.Policy.Packages), epochOf(ch), ch.Updated.UTC().Format("2006-01-02 15:04"))
				}
				tw.Flush()
			})
		},
	}
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

func epochOf(ch api.Channel) (epoch int64) {
	for _, s := range ch.States {
		epoch = max(epoch, s.Epoch)
	}
	return epoch
}

func newChannelShow(t *tool) *cobra.Command {
	var a at
	c := &cobra.Command{
		Use: "show NAME", Short: "Show a channel: rollouts, withdrawals, floors, states", Args: exactly(1, "one channel"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			ch, err := server.Channel(c.Context(), a.app, args[0])
			if err != nil {
				return fmt.Errorf("show channel: %w", err)
			}
			return t.print(ch, func(w io.Writer) { printChannel(w, ch) })
		},
	}
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

func printChannel(w io.Writer, ch api.Channel) {
	fmt.Fprintf(w, "%s %s\n", ch.App, ch.Name)
	for _, name := range sortedKeys(ch.Policy.Packages) {
		pp := ch.Policy.Packages[name]
		fmt.Fprintf(w, "\npackage %s\n", name)
		printRollouts(w, pp, shownOf(pp, ch.Places))
		for _, x := range pp.Withdrawn {
			fmt.Fprintf(w, "  withdrawn  %s (seq %d) for %s %s\n", x.Version, x.Seq, x.Platform, x.Reason)
		}
		for _, x := range pp.Floors {
			fmt.Fprintf(w, "  floor      seq %d for %s, runtime %s\n", x.Seq, x.Platform, x.Runtime)
		}
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "STATE\tEPOCH\tEXPIRES\tSIZE")
	for _, s := range ch.States {
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\n", s.Platform, s.Epoch, s.Expires.UTC().Format("2006-01-02 15:04"), formatBytes(int64(s.Bytes)))
	}
	tw.Flush()
}

func newChannelSet(t *tool) *cobra.Command {
	var a at
	var f timingFlags
	var g guardFlags
	var display string
	c := &cobra.Command{
		Use: "set NAME", Short: "Change a channel's display name, timing or guard", Args: exactly(1, "one channel"),
		Example: "  slipstream channel set production --check-after 5m --jitter 1m",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			have, err := server.Channel(c.Context(), a.app, args[0])
			if err != nil {
				return fmt.Errorf("read channel: %w", err)
			}
			timing := f.timing(c, have.Policy.Timing)
			ch := api.ChannelChange{Guard: g.change(c, have.Policy.Guard)}
			if timing != have.Policy.Timing {
				ch.Timing = &timing
			}
			if c.Flags().Changed("display") {
				ch.Display = &display
			}
			out, err := server.ChangeChannel(c.Context(), a.app, args[0], ch)
			if err != nil {
				return fmt.Errorf("change channel: %w", err)
			}
			return t.print(out, func(w io.Writer) { fmt.Fprintf(w, "Channel %s of %s is changed\n", out.Name, out.App) })
		},
	}
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	c.Flags().StringVar(&display, "display", "", "display name")
	g.define(c)
	f.define(c)
	t.serverFlags(c)
	return c
}
