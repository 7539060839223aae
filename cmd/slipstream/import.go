//go:build !device

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/protocol/codepush/transfer"
)

// bundleServer is the server that commands talk to, as CodePush's own tool would.
func (t *tool) bundleServer() (*transfer.Server, error) {
	url, token, err := t.address()
	if err != nil {
		return nil, err
	}
	return &transfer.Server{URL: strings.TrimSuffix(url, "/") + "/" + codepush.Name, AccessKey: token}, nil
}

func newImportCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "import", Short: "Bring apps over from another system's server"}
	c.AddCommand(newImportCodepush(t))
	return c
}

func newImportCodepush(t *tool) *cobra.Command {
	var folder, export, key, app string
	var skip bool
	c := &cobra.Command{
		Use: "codepush [URL]", Short: "Bring CodePush apps over: deployments with their keys, and releases", Args: cobra.MaximumNArgs(1),
		Long: `Import reads the apps, deployments and releases of a running CodePush server by its management API, or of a folder that
--export wrote, and brings them to this server under the same keys and labels. Each package must give the hash that it had.
Run again, it brings what is new. A release that fails holds up those after it, for labels only rise. Releases come adapter-only: for CodePush clients alone, without a signed manifest.

Not brought: accounts, access keys and collaborators, counts of installs, differences between packages (they are made anew).`,
		Example: `  slipstream import codepush https://codepush.example.com --access-key KEY
  slipstream import codepush https://codepush.example.com --access-key KEY --export ./old
  slipstream import codepush --folder ./old`,
		RunE: func(c *cobra.Command, args []string) error {
			var from transfer.Source = transfer.Folder(folder)
			switch {
			case len(args) == 1 && folder == "":
				key = first(key, t.env.Get("codepush-key", ""))
				if key == "" {
					return slipstream.Hint(errors.New("an access key of that server is needed"), "--access-key, or SLIPSTREAM_CODEPUSH_KEY; `code-push access-key add` makes one")
				}
				from = &transfer.Server{URL: strings.TrimSuffix(args[0], "/"), AccessKey: key}
			case len(args) == 1 || folder == "":
				return usageError{slipstream.Hint(errors.New("say where from"), "the URL of a server, or --folder DIR")}
			}
			var out transfer.Result
			var err error
			if export != "" {
				out, err = transfer.Folder(export).Save(c.Context(), from, app)
			} else {
				to, serr := t.bundleServer()
				if serr != nil {
					return serr
				}
				out, err = transfer.Import(c.Context(), from, to, app, skip)
			}
			if err != nil {
				return err
			}
			if err := t.print(out, func(w io.Writer) { printTransfer(w, out) }); err != nil {
				return err
			}
			if len(out.Missed) > 0 {
				return slipstream.Hint(fmt.Errorf("%d could not be brought", len(out.Missed)), "mend the cause and run the same again: what is here already is not brought twice. --skip-lost leaves out for good what cannot be had any more")
			}
			return nil
		},
	}
	c.Flags().StringVar(&folder, "folder", "", "read an export from this folder instead of a server")
	c.Flags().StringVar(&export, "export", "", "write an export into this folder instead of importing")
	c.Flags().StringVar(&key, "access-key", "", "access key of the server at URL (default: SLIPSTREAM_CODEPUSH_KEY)")
	c.Flags().StringVar(&app, "app", "", "only the app with this name there")
	c.Flags().BoolVar(&skip, "skip-lost", false, "leave out releases that cannot be brought, for good: labels only rise")
	t.serverFlags(c)
	return c
}

func printTransfer(w io.Writer, r transfer.Result) {
	fmt.Fprintf(w, "%d apps, %d deployments, %d releases brought, %d were here\n", r.Apps, r.Deployments, r.Releases, r.Known)
	for _, m := range r.Missed {
		fmt.Fprintf(w, "  not brought: %s\n", m)
	}
}
