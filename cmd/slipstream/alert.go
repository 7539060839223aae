//go:build !device

package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/store"
)

func newAlertCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "alert", Short: "See what people should know, and who is told", Args: noSubcommand,
		Long: `The server raises alerts when the guard halts a rollout or is wary of one, when too few devices confirm a release or none
is heard of, when a release is published or withdrawn, and when keys are used. Targets are told: webhooks, chats by
shoutrrr, DingTalk robots.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newAlertList(t), newAlertSettle(t, "ack", "Say that somebody looks after an alert: no more messages about it", (*api.Client).AcknowledgeAlert),
		newAlertSettle(t, "resolve", "Say that an alert is over", (*api.Client).ResolveAlert), newAlertTest(t), newAlertTarget(t), newAlertDeliveries(t), newAlertRetry(t), newAlertRules(t))
	return c
}

func newAlertList(t *tool) *cobra.Command {
	var q api.AlertQuery
	var all bool
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List alerts that stand, the newest first", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			q.Active = !all
			list, err := server.Alerts(c.Context(), q)
			if err != nil {
				return fmt.Errorf("list alerts: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				if len(list) == 0 {
					fmt.Fprintln(w, "Nothing to tell")
					return
				}
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "ID\tSEVERITY\tSTATE\tKIND\tLAST\tTIMES\tTITLE")
				for _, a := range list {
					fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%d\t%s\n", a.ID, a.Severity, a.State, a.Kind, a.Last.UTC().Format("2006-01-02 15:04"), a.Count, a.Title)
				}
				tw.Flush()
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also those that are over, and what was only noted")
	c.Flags().StringVar(&q.App, "app", "", "only of this app")
	c.Flags().StringVar(&q.Kind, "kind", "", "only of this kind: "+strings.Join(alert.Kinds()[:7], ", "))
	c.Flags().Int64Var(&q.Before, "before", 0, "only alerts before this id")
	c.Flags().IntVar(&q.Limit, "limit", 50, "at most so many")
	t.serverFlags(c)
	return c
}

// settleFunc acknowledges or resolves.
type settleFunc func(c *api.Client, ctx context.Context, id int64, note string) (api.Alert, error)

func newAlertSettle(t *tool, name, short string, settle settleFunc) *cobra.Command {
	var note string
	c := &cobra.Command{
		Use: name + " ID", Short: short, Args: exactly(1, "one alert"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usageError{fmt.Errorf("alert %q is no number; `slipstream alert ls` shows them", args[0])}
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			a, err := settle(server, c.Context(), id, note)
			if err != nil {
				return fmt.Errorf("%s alert: %w", name, err)
			}
			return t.print(a, func(w io.Writer) { fmt.Fprintf(w, "Alert %d is %s: %s\n", a.ID, a.State, a.Title) })
		},
	}
	c.Flags().StringVar(&note, "note", "", "what there is to say")
	t.serverFlags(c)
	return c
}

func newAlertTest(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "test TARGET", Short: "Send a test message to a target now", Args: exactly(1, "one target"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			out, err := server.TestAlertTarget(c.Context(), args[0])
			if err != nil {
				return fmt.Errorf("test target: %w", err)
			}
			if !out.Sent {
				return fmt.Errorf("target %s did not take the message: %s", args[0], out.Error)
			}
			return t.print(out, func(w io.Writer) { fmt.Fprintf(w, "Target %s took the message\n", args[0]) })
		},
	}
	t.serverFlags(c)
	return c
}

func newAlertTarget(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "target", Short: "Say who is told", Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTargetAdd(t), newTargetList(t), newTargetRemove(t))
	return c
}

func newTargetAdd(t *tool) *cobra.Command {
	var n api.NewAlertTarget
	var hook, chat, robot string
	c := &cobra.Command{
		Use: "add NAME", Short: "Tell somebody more", Args: exactly(1, "one name"),
		Long: `Messages to a webhook are signed (headers webhook-id, webhook-timestamp, webhook-signature, as on standardwebhooks.com). The
secret is made when none is given, and shown once; --secret ed25519 makes a private key and shows the public one.`,
		Example: `  slipstream alert target add ops --webhook https://ops.example.org/slipstream
  slipstream alert target add team --shoutrrr 'slack://xoxb:…@C0123' --severity warning
  slipstream alert target add push --webhook https://push.example.org/hook --on publish,change`,
		RunE: func(c *cobra.Command, args []string) error {
			n.Name = args[0]
			given := 0
			for kind, url := range map[string]string{"webhook": hook, "shoutrrr": chat, "dingtalk": robot} {
				if url != "" {
					n.Type, n.URL = kind, url
					given++
				}
			}
			if given != 1 {
				return usageError{fmt.Errorf("give one of --webhook, --shoutrrr and --dingtalk")}
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			out, err := server.AddAlertTarget(c.Context(), n)
			if err != nil {
				return fmt.Errorf("add target: %w", err)
			}
			return t.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "Target %s is told from now on; `slipstream alert test %s` tries it\n", out.Name, out.Name)
				switch {
				case out.Public != "":
					fmt.Fprintf(w, "Its messages are checked with the public key %s\n", out.Public)
				case out.Secret != "" && out.Type == "webhook":
					fmt.Fprintf(w, "Its messages are signed with the secret %s, shown this once\n", out.Secret)
				}
			})
		},
	}
	f := c.Flags()
	f.StringVar(&hook, "webhook", "", "URL that gets signed JSON")
	f.StringVar(&chat, "shoutrrr", "", "chat, as a URL of shoutrrr: slack://…, lark://…, wecom://…, generic://…")
	f.StringVar(&robot, "dingtalk", "", "webhook address of a DingTalk robot")
	f.StringVar(&n.Secret, "secret", "", "what messages are signed with: whsec_… or ed25519; of a DingTalk robot its SEC…")
	f.StringSliceVar(&n.Kinds, "on", nil, "only these kinds (default: all but change): "+strings.Join(alert.Kinds(), ", "))
	f.StringVar(&n.Severity, "severity", "", "the least that is told: info, warning or critical")
	f.StringVar(&n.App, "app", "", "only alerts of this app")
	t.serverFlags(c)
	return c
}

func newTargetList(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List who is told", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			list, err := server.AlertTargets(c.Context())
			if err != nil {
				return fmt.Errorf("list targets: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "NAME\tTYPE\tADDRESS\tAPP\tON\tFROM")
				for _, g := range list {
					fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", g.Name, g.Type, g.Address, first(g.App, "all"), first(strings.Join(g.Kinds, ","), "all but change"), first(g.Severity, alert.Info))
				}
				tw.Flush()
			})
		},
	}
	t.serverFlags(c)
	return c
}

func newTargetRemove(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "rm NAME", Aliases: []string{"remove"}, Short: "Tell somebody no more, and drop the messages that wait", Args: exactly(1, "one target"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			if err := server.RemoveAlertTarget(c.Context(), args[0]); err != nil {
				return fmt.Errorf("remove target: %w", err)
			}
			return t.print(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "Target %s is told no more\n", args[0]) })
		},
	}
	t.serverFlags(c)
	return c
}

func newAlertDeliveries(t *tool) *cobra.Command {
	var q api.DeliveryQuery
	c := &cobra.Command{
		Use: "deliveries", Short: "List messages and how they went, the newest first", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			list, err := server.AlertDeliveries(c.Context(), q)
			if err != nil {
				return fmt.Errorf("list messages: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "ID\tTARGET\tEVENT\tALERT\tSTATE\tTRIES\tNEXT\tSTATUS\tERROR")
				for _, d := range list {
					next := "-"
					if d.Due != nil && d.State == store.DeliveryQueued {
						next = d.Due.UTC().Format("15:04:05")
					}
					fmt.Fprintf(tw, "%d\t%s\t%s\t%d\t%s\t%d\t%s\t%d\t%s\n", d.ID, d.Target, d.Event, d.Alert, d.State, d.Attempts, next, d.Status, dash(d.Error))
				}
				tw.Flush()
			})
		},
	}
	f := c.Flags()
	f.StringVar(&q.Target, "target", "", "only to this target")
	f.StringVar(&q.State, "state", "", "only queued, sent or dead ones")
	f.Int64Var(&q.Alert, "alert", 0, "only about this alert")
	f.Int64Var(&q.Before, "before", 0, "only messages before this id")
	f.IntVar(&q.Limit, "limit", 50, "at most so many")
	t.serverFlags(c)
	return c
}

func newAlertRetry(t *tool) *cobra.Command {
	var r api.RetryDeliveries
	var all bool
	c := &cobra.Command{
		Use: "retry [ID…]", Short: "Send messages again that were given up",
		RunE: func(c *cobra.Command, args []string) error {
			for _, a := range args {
				id, err := strconv.ParseInt(a, 10, 64)
				if err != nil {
					return usageError{fmt.Errorf("message %q is no number; `slipstream alert deliveries --state dead` shows them", a)}
				}
				r.IDs = append(r.IDs, id)
			}
			if len(r.IDs) == 0 && !all && r.Target == "" {
				return usageError{fmt.Errorf("name messages, a --target, or say --all")}
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			n, err := server.RetryAlertDeliveries(c.Context(), r)
			if err != nil {
				return fmt.Errorf("retry messages: %w", err)
			}
			return t.print(map[string]int64{"queued": n}, func(w io.Writer) { fmt.Fprintf(w, "%d messages are sent again\n", n) })
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all that were given up")
	c.Flags().StringVar(&r.Target, "target", "", "only to this target")
	t.serverFlags(c)
	return c
}

func newAlertRules(t *tool) *cobra.Command {
	var below float64
	var devices int64
	var silence time.Duration
	c := &cobra.Command{
		Use: "rules", Short: "Show or set what numbers are judged by", Args: exactly(0, "no argument"),
		Example: "  slipstream alert rules --success-below 0.97 --min-devices 100 --no-data-after 2h",
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			r, err := server.AlertRules(c.Context())
			if err != nil {
				return fmt.Errorf("read rules: %w", err)
			}
			before := r
			if c.Flags().Changed("success-below") {
				r.SuccessBelow = below
			}
			if c.Flags().Changed("min-devices") {
				r.MinDevices = devices
			}
			if c.Flags().Changed("no-data-after") {
				r.NoDataAfter = int64(silence / time.Second)
			}
			if r != before {
				if err := r.Check(); err != nil {
					return usageError{err}
				}
				if r, err = server.SetAlertRules(c.Context(), r); err != nil {
					return fmt.Errorf("set rules: %w", err)
				}
			}
			return t.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "success below  %.4g %%\nfrom           %d devices on\nsilence after  %s\n", 100*r.SuccessBelow, r.MinDevices, time.Duration(r.NoDataAfter)*time.Second)
			})
		},
	}
	c.Flags().Float64Var(&below, "success-below", 0, "share of ended trials that must be confirmed, such as 0.97; 0 for no such alert")
	c.Flags().Int64Var(&devices, "min-devices", 0, "devices that a rule needs to say anything")
	c.Flags().DurationVar(&silence, "no-data-after", 0, "time without any outcome of devices that took a release; 0 for no such alert")
	t.serverFlags(c)
	return c
}
