//go:build !device

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
)

func newDeviceCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "device", Short: "Look at devices and what they reported, or delete that", Args: noSubcommand,
		Long: `A device is known by the SHA-256 of the app and its install id, in 64 hex digits, as reports carry it. Where a command
wants a device, the raw install id will do: it is hashed here and not sent.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newDeviceList(t), newDeviceShow(t), newDeviceForget(t))
	return c
}

// wireID is a device id as the server knows it.
func wireID(app, id string) string {
	if slipstream.Digest(id).Valid() {
		return id
	}
	sum := sha256.Sum256([]byte(app + ":" + id))
	return hex.EncodeToString(sum[:])
}

func (t *tool) fleetFlags(c *cobra.Command, app *string, of *api.OfFleet) {
	c.Flags().StringVar(app, "app", "", "app (default: the only app known here)")
	c.Flags().StringVar(&of.Channel, "channel", "", "only of this channel")
	c.Flags().StringVar(&of.Package, "package", "", "only of this package")
	c.Flags().StringVar(&of.Release, "release", "", "only of this release: version, package@version or digest")
	t.serverFlags(c)
}

func newDeviceList(t *tool) *cobra.Command {
	var a at
	var q api.DeviceQuery
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List devices and what they run", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			list, err := server.Devices(c.Context(), a.app, q)
			if err != nil {
				return fmt.Errorf("list devices: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "DEVICE\tPACKAGE\tRUNS\tCHANNEL\tPLATFORM\tRUNTIME\tSEEN IN THE HOUR OF")
				for _, d := range list.Devices {
					fmt.Fprintf(tw, "%.16s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Device, d.Package, runsText(d.Version, d.Release), dash(d.Channel), dash(d.Platform), dash(d.Runtime), minuteOf(d.LastSeen))
				}
				tw.Flush()
				if list.Next != "" {
					fmt.Fprintf(w, "There are more: --after %s\n", list.Next)
				}
			})
		},
	}
	t.fleetFlags(c, &a.app, &q.OfFleet)
	c.Flags().StringVar(&q.Platform, "platform", "", "only of this platform")
	c.Flags().StringVar(&q.Runtime, "runtime", "", "only with this runtime")
	c.Flags().StringVar(&q.Prefix, "prefix", "", "only ids that begin so")
	c.Flags().StringVar(&q.After, "after", "", "go on where another page ended")
	c.Flags().IntVar(&q.Limit, "limit", 100, "at most so many, up to 1000")
	return c
}

// runsText says what runs: a version, else a digest, else what came with the app.
func runsText(version string, release slipstream.Digest) string {
	switch {
	case version != "":
		return version
	case release != "":
		return release.Short()
	}
	return "embedded"
}

func minuteOf(at time.Time) string { return at.UTC().Format("2006-01-02 15:04") }

func newDeviceShow(t *tool) *cobra.Command {
	var a at
	c := &cobra.Command{
		Use: "show DEVICE", Short: "Show all that is kept of a device", Args: exactly(1, "a device id or an install id"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			d, err := server.Device(c.Context(), a.app, wireID(a.app, args[0]))
			if err != nil {
				return fmt.Errorf("look at device: %w", err)
			}
			return t.print(d, func(w io.Writer) { printDevice(w, d) })
		},
	}
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

func printDevice(w io.Writer, d api.DeviceHistory) {
	fmt.Fprintf(w, "Device %s\n", d.Device)
	for _, p := range d.Packages {
		fmt.Fprintf(w, "  %s runs %s on channel %s, platform %s, runtime %s; known since %s, last heard in the hour of %s\n", p.Package, runsText(p.Version, p.Release),
			dash(p.Channel), dash(p.Platform), dash(p.Runtime), minuteOf(p.FirstSeen), minuteOf(p.LastSeen))
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(d.Trials) > 0 {
		fmt.Fprintln(tw, "\nENROLLED\tROLLOUT\tARM\tRELEASE\tOUTCOME\tREASON")
		for _, r := range d.Trials {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", minuteOf(r.Enrolled), r.Rollout, r.Arm, runsText(r.Version, r.Release), r.Outcome, dash(string(r.Reason)))
		}
	}
	if len(d.Events) > 0 {
		fmt.Fprintln(tw, "\nRECEIVED\tKIND\tPACKAGE\tRELEASE\tSTAGE\tREASON\tDETAIL")
		for _, e := range d.Events {
			detail := e.Detail
			if e.Metric != "" {
				detail = fmt.Sprintf("%s = %s", e.Metric, e.Value)
			}
			if detail == "" && e.Codec != "" {
				detail = fmt.Sprintf("%s by %s", formatBytes(e.Bytes), e.Codec)
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", minuteOf(e.Received), e.Kind, dash(e.Package), dash(e.Release.Short()), dash(e.Stage), dash(string(e.Reason)), dash(oneLine(detail)))
		}
	}
	tw.Flush()
}

// oneLine keeps what a device wrote from moving the cursor or filling the screen.
func oneLine(s string) string {
	out := []rune{}
	for _, r := range s {
		if len(out) == 120 {
			return string(out) + "…"
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}

func newDeviceForget(t *tool) *cobra.Command {
	var a at
	c := &cobra.Command{
		Use: "forget DEVICE", Short: "Delete all that is kept of a device", Args: exactly(1, "a device id or an install id"),
		Long: `Forget deletes the device's reports, what it runs, its trials and its part of every count and sum. What was counted by
minute, hour and day stays: it names no device. A device that goes on reporting is known again from then on.`,
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			f, err := server.ForgetDevice(c.Context(), a.app, wireID(a.app, args[0]))
			if err != nil {
				return fmt.Errorf("forget device: %w", err)
			}
			return t.print(f, func(w io.Writer) { fmt.Fprintf(w, "Forgotten, with %d reports.\n", f.Events) })
		},
	}
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}
