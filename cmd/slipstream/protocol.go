//go:build !device

package main

import (
	"context"
	"encoding/json"
	"errors"
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

func newProtocolCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "protocol", Short: "Let apps with another system's update client update from here",
		Long: `Protocol switches adapters on and off, per app. An adapter answers the requests of another system's clients by the same
rollouts, shares and withdrawals as those of our own; the laws that our own clients keep (signatures checked on the device,
going back without a network) hold for such clients only as far as they do it themselves.`,
	}
	c.AddCommand(newProtocolEnable(t), newProtocolDisable(t), newProtocolShow(t))
	return c
}

func newProtocolEnable(t *tool) *cobra.Command {
	var app, options string
	var said capgoOptions
	c := &cobra.Command{
		Use: "enable NAME", Short: "Switch a protocol on for an app, or change its options", Args: exactly(1, "one protocol"),
		Example: `  slipstream protocol enable easyclick --app shop
  slipstream protocol enable easyclick --app shop --options '{"package":"scripts"}'
  slipstream protocol enable capgo --app shop --app-id com.example.shop --public-key .capgo_key_v2.pub`,
		RunE: func(c *cobra.Command, args []string) error {
			app, err := t.defaultApp(app)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if options != "" {
				if raw = json.RawMessage(options); !json.Valid(raw) {
					return slipstream.Hint(fmt.Errorf("options %q are no JSON", options), `they look like '{"package":"main"}'`)
				}
			}
			if raw, err = said.into(args[0], raw); err != nil {
				return err
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			out, err := server.EnableProtocol(c.Context(), app, args[0], raw)
			if err != nil {
				return err
			}
			if err := t.warnOfMissingChannels(c.Context(), server, app, raw); err != nil {
				return err
			}
			return t.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "Protocol %s is on for app %s\n", args[0], app)
				fmt.Fprint(w, pointClients(args[0], server.URL(), app))
			})
		},
	}
	c.Flags().StringVar(&app, "app", "", "app (default: the only app known here)")
	c.Flags().StringVar(&options, "options", "", "JSON object of the protocol's own options")
	c.Flags().StringVar(&said.appID, "app-id", "", "capgo: id of the app, as capacitor.config has it")
	c.Flags().StringVar(&said.publicKey, "public-key", "", "capgo: file of the public key that the app has embedded")
	t.serverFlags(c)
	return c
}

// warnOfMissingChannels names what options mean by a channel and is none: deployments with a key, channels by other names and those
// that devices may choose. Their clients get nothing.
func (t *tool) warnOfMissingChannels(ctx context.Context, server *api.Client, app string, options json.RawMessage) error {
	var o struct {
		Deployments map[string]json.RawMessage `json:"deployments"`
		Channel     string                     `json:"channel"`
		Channels    map[string]string          `json:"channels"`
		SelfAssign  []string                   `json:"selfAssign"`
	}
	if len(options) == 0 || json.Unmarshal(options, &o) != nil {
		return nil
	}
	named := slices.Collect(maps.Keys(o.Deployments))
	named = append(append(named, o.SelfAssign...), slices.Collect(maps.Values(o.Channels))...)
	if o.Channel != "" {
		named = append(named, o.Channel)
	}
	if len(named) == 0 {
		return nil
	}
	slices.Sort(named)
	channels, err := server.Channels(ctx, app)
	if err != nil {
		return fmt.Errorf("list channels: %w", err)
	}
	for _, name := range slices.Compact(named) {
		if !slices.ContainsFunc(channels, func(c api.Channel) bool { return c.Name == name }) {
			t.warn([]string{name + " is no channel yet, so its clients get nothing: `slipstream channel create " + name + " --app " + app + "` makes it"})
		}
	}
	return nil
}

// pointClients says what a protocol's clients are to ask, by the address that this command reached the server by.
func pointClients(protocol, server, app string) string {
	var setting, path, more string
	switch protocol {
	case "easyclick":
		setting, path = "update_url in update.json", "/easyclick/"+app+"/"+slipstream.DefaultChannel+"/update"
	case "ocrunner":
		setting, path = "address before /api/patch", "/ocrunner/"+app+"/"+slipstream.DefaultChannel
	case "codepush":
		setting, path = "CodePushServerUrl", "/"
		more = "  deployment keys: slipstream codepush key list --app " + app + "\n"
	case "capgo":
		setting, path = "updateUrl", "/capgo/"+app+"/updates"
		base := strings.TrimSuffix(server, "/") + "/capgo/" + app
		more = "  statsUrl: " + base + "/stats\n  channelUrl: " + base + "/channel_self\n"
	default:
		return ""
	}
	return fmt.Sprintf("  %s: %s%s\n%s", setting, strings.TrimSuffix(server, "/"), path, more)
}

func newProtocolDisable(t *tool) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use: "disable NAME", Short: "Switch a protocol off for an app: its clients keep what they have", Args: exactly(1, "one protocol"),
		RunE: func(c *cobra.Command, args []string) error {
			app, err := t.defaultApp(app)
			if err != nil {
				return err
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			if err := server.DisableProtocol(c.Context(), app, args[0]); err != nil {
				return err
			}
			out := api.ProtocolSwitch{Name: args[0]}
			return t.print(out, func(w io.Writer) { fmt.Fprintf(w, "Protocol %s is off for app %s\n", args[0], app) })
		},
	}
	c.Flags().StringVar(&app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

func newProtocolShow(t *tool) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use: "show [NAME]", Short: "Show which protocols are on for an app", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			app, err := t.defaultApp(app)
			if err != nil {
				return err
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			list, err := server.Protocols(c.Context(), app)
			if err != nil {
				return err
			}
			out := list
			if len(args) == 1 {
				out = nil
				for _, p := range list {
					if p.Name == args[0] {
						out = append(out, p)
					}
				}
				if out == nil {
					return slipstream.Hint(errors.New("this server knows no protocol "+args[0]), "`slipstream protocol show` lists them")
				}
			}
			return t.print(out, func(w io.Writer) { printProtocols(w, out) })
		},
	}
	c.Flags().StringVar(&app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

func printProtocols(w io.Writer, list []api.ProtocolSwitch) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "PROTOCOL\tON\tOPTIONS")
	for _, p := range list {
		on := "no"
		if p.On {
			on = "yes"
		}
		options := string(p.Options)
		if options == "" {
			options = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", p.Name, on, options)
	}
	tw.Flush()
}
