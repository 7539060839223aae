//go:build !device

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream/protocol/codepush/transfer"
)

func newCodepushCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "codepush", Short: "Look after the deployment keys of CodePush apps"}
	key := &cobra.Command{Use: "key", Short: "List or set deployment keys"}
	key.AddCommand(newCodepushKeyList(t), newCodepushKeySet(t))
	c.AddCommand(key)
	return c
}

// shownKey is a deployment with its key.
type shownKey struct {
	Deployment string `json:"deployment"`
	Key        string `json:"key"`
}

func newCodepushKeyList(t *tool) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List an app's deployments and their keys", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			app, server, err := t.bundles(app)
			if err != nil {
				return err
			}
			list, err := server.Deployments(c.Context(), app)
			if err != nil {
				return err
			}
			out := []shownKey{}
			for _, d := range list {
				out = append(out, shownKey{d.Name, d.Key})
			}
			return t.print(out, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "DEPLOYMENT\tKEY")
				for _, k := range out {
					fmt.Fprintf(tw, "%s\t%s\n", k.Deployment, k.Key)
				}
				tw.Flush()
			})
		},
	}
	c.Flags().StringVar(&app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

func newCodepushKeySet(t *tool) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use: "set DEPLOYMENT [KEY]", Short: "Give a deployment a key, such as the one that shipped apps have", Args: cobra.RangeArgs(1, 2),
		Long: `Set gives a deployment a key; a deployment that does not exist is made, and its channel with it. Without KEY a new one is
made. Where an app has keys by platform, a deployment is named CHANNEL@PLATFORM.`,
		RunE: func(c *cobra.Command, args []string) error {
			app, server, err := t.bundles(app)
			if err != nil {
				return err
			}
			key := ""
			if len(args) == 2 {
				key = args[1]
			} else if key, err = transfer.NewKey(); err != nil {
				return err
			}
			if err := server.SetKey(c.Context(), app, args[0], key); err != nil {
				return err
			}
			out := shownKey{args[0], key}
			return t.print(out, func(w io.Writer) { fmt.Fprintf(w, "Deployment %s has the key %s\n", args[0], key) })
		},
	}
	c.Flags().StringVar(&app, "app", "", "app (default: the only app known here)")
	t.serverFlags(c)
	return c
}

// bundles are an app and the server that has it, as CodePush's own tool would see them. The app is said by its own name or by
// the one that people see, which CodePush's rule for names is wider about.
func (t *tool) bundles(said string) (app string, server *transfer.Server, err error) {
	if app = said; app == "" {
		if app, err = t.defaultApp(""); err != nil {
			return "", nil, err
		}
	}
	server, err = t.bundleServer()
	return app, server, err
}
