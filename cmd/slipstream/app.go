//go:build !device

package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/rollout"
)

func newAppCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use:   "app",
		Short: "Make apps and look at them",
		Args:  noSubcommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newAppCreate(t), newAppList(t), newAppShow(t), newAppSet(t), newAppRoot(t), newAppStateKey(t))
	return c
}

func newAppList(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List apps", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			apps, err := server.Apps(c.Context())
			if err != nil {
				return fmt.Errorf("list apps: %w", err)
			}
			return t.print(apps, func(w io.Writer) {
				if len(apps) == 0 {
					fmt.Fprintln(w, "No apps. `slipstream app create NAME` makes one.")
					return
				}
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "NAME\tDISPLAY\tKIND\tROOT\tPLATFORMS\tCHANNELS")
				for _, a := range apps {
					fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", a.Name, dash(a.Display), dash(a.Kind), rootText(a), strings.Join(a.Platforms, ","), strings.Join(a.Channels, ","))
				}
				tw.Flush()
			})
		},
	}
	t.serverFlags(c)
	return c
}

func dash(s string) string { return first(s, "-") }

func rootText(a api.App) string {
	if a.RootVersion == 0 {
		return "none"
	}
	return fmt.Sprintf("v%d", a.RootVersion)
}

func newAppShow(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "show [NAME]", Short: "Show an app", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			app, err := t.defaultApp(strings.Join(args, ""))
			if err != nil {
				return err
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			a, err := server.App(c.Context(), app)
			if err != nil {
				return fmt.Errorf("show app: %w", err)
			}
			return t.print(a, func(w io.Writer) { printApp(w, a) })
		},
	}
	t.serverFlags(c)
	return c
}

func printApp(w io.Writer, a api.App) {
	fmt.Fprintln(w, a.Name)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("display", "%s", dash(a.Display))
	row("kind", "%s", dash(a.Kind))
	row("confirmed by", "%s", first(a.Confirm, rollout.ConfirmRelease))
	row("platforms", "%s", strings.Join(a.Platforms, ", "))
	row("channels", "%s", strings.Join(a.Channels, ", "))
	if a.RootExpires == nil {
		row("root", "none registered")
	} else {
		row("root", "version %d, expires %s", a.RootVersion, a.RootExpires.Format(slipstream.TimeLayout))
	}
	for _, k := range a.StateKeys {
		note := ""
		if !k.Active {
			note = " (not in the newest root)"
		}
		row("state key", "%s %s%s", k.KeyID, k.Public, note)
	}
	tw.Flush()
}

func newAppSet(t *tool) *cobra.Command {
	var display, kind, confirm string
	var platforms []string
	c := &cobra.Command{
		Use: "set NAME", Short: "Change an app's display name, kind, platforms, or who confirms", Args: exactly(1, "one app"),
		Example: "  slipstream app set shop --platforms android,ios,harmony\n  slipstream app set shop --confirm host",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			var ch api.AppChange
			if c.Flags().Changed("display") {
				ch.Display = &display
			}
			if c.Flags().Changed("kind") {
				ch.Kind = &kind
			}
			if c.Flags().Changed("confirm") {
				ch.Confirm = &confirm
			}
			if c.Flags().Changed("platforms") {
				have, err := server.App(c.Context(), args[0])
				if err != nil {
					return fmt.Errorf("read app: %w", err)
				}
				ch.Platforms = append(have.Platforms, platforms...)
			}
			a, err := server.ChangeApp(c.Context(), args[0], ch)
			if err != nil {
				return fmt.Errorf("change app: %w", err)
			}
			return t.print(a, func(w io.Writer) { printApp(w, a) })
		},
	}
	c.Flags().StringVar(&display, "display", "", "display name")
	c.Flags().StringVar(&kind, "kind", "", "what the app is made with")
	c.Flags().StringVar(&confirm, "confirm", "", "who confirms that a start worked: `host`, or release for the code of each release (the default)")
	c.Flags().StringSliceVar(&platforms, "platforms", nil, "platforms to add")
	t.serverFlags(c)
	return c
}

func newAppRoot(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "root", Short: "Register and show an app's roots", Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newAppRootRegister(t), newAppRootShow(t))
	return c
}

func newAppRootRegister(t *tool) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use: "register FILE", Short: "Register the next root, signed by a threshold of the one before", Args: exactly(1, "one root file"),
		Long: `Register sends a root to the server, which signs all states anew under it, and keeps it as root.json in your
configuration folder. Live releases that the new root no longer verifies are listed: sign them again by "release resign".`,
		RunE: func(c *cobra.Command, args []string) error {
			raw, err := readSmall(args[0], slipstream.MaxRootBytes)
			if err != nil {
				return fmt.Errorf("read root: %w", err)
			}
			if app, err = rootApp(raw, app); err != nil {
				return err
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			added, err := server.AddRoot(c.Context(), app, raw)
			if err != nil {
				return fmt.Errorf("register root: %w", err)
			}
			if err := t.keepRoot(app, added.Version, raw); err != nil {
				return err
			}
			return t.print(added, func(w io.Writer) {
				fmt.Fprintf(w, "Root version %d of %s is registered\n", added.Version, app)
				t.warnUnverified(added.Unverified)
			})
		},
	}
	c.Flags().StringVar(&app, "app", "", "app (default: the one that the root names)")
	t.serverFlags(c)
	return c
}

// keepRoot keeps a registered root beside root.json, which stays the newest: a server that lost its roots gets them all
// again, oldest first.
func (t *tool) keepRoot(app string, version int64, raw []byte) error {
	newest := t.env.Folder().RootFile(app)
	archive := func(version int64, raw []byte) error {
		return t.env.Folder().Write(filepath.Join(filepath.Dir(newest), fmt.Sprintf("root-%d.json", version)), raw, 0o644)
	}
	if err := archive(version, raw); err != nil {
		return err
	}
	if have, err := openRootFile(newest); err == nil {
		if err := archive(have.Root().Version, have.Envelope()); err != nil {
			return err
		}
		if have.Root().Version > version {
			return nil
		}
	}
	return t.env.Folder().Write(newest, raw, 0o644)
}

func (t *tool) warnUnverified(list []rollout.Live) {
	for _, l := range list {
		fmt.Fprintf(t.stderr, "Warning: version %s of package %s, live on channel %s, is not signed as this root asks: devices refuse it. Run `slipstream release resign %s`.\n",
			l.Version, l.Package, l.Channel, l.Digest.Short())
	}
}

func newAppRootShow(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "show [NAME]", Short: "Print the newest root as the server has it", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			app, err := t.defaultApp(strings.Join(args, ""))
			if err != nil {
				return err
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			roots, err := server.Roots(c.Context(), app)
			if err != nil {
				return fmt.Errorf("read roots: %w", err)
			}
			if len(roots) == 0 {
				return slipstream.Hint(fmt.Errorf("root of app %s: %w", app, slipstream.ErrNotFound), "`slipstream app create %s` makes and registers one", app)
			}
			_, err = t.stdout.Write(roots[len(roots)-1]) // the very bytes, for a file
			return err
		},
	}
	t.serverFlags(c)
	return c
}

func newAppStateKey(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "state-key NAME", Short: "Make another state key on the server, for the next root", Args: exactly(1, "one app"),
		Long: `State-key has the server make another key to sign states with. It is used once a root names it: give what is printed
to "key root rotate --state-key", have the root signed, and register it.`,
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			k, err := server.NewStateKey(c.Context(), args[0])
			if err != nil {
				return fmt.Errorf("make state key: %w", err)
			}
			return t.print(k, func(w io.Writer) { fmt.Fprintln(w, k.Public) })
		},
	}
	t.serverFlags(c)
	return c
}

// notFound reports whether err says that something is not there.
func notFound(err error) bool { return errors.Is(err, slipstream.ErrNotFound) }
