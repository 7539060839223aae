//go:build !device

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
)

func newTokenCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Make, list and revoke API tokens",
		Long: `A token lets a person or a CI job use the server. Roles: owner (everything), publisher (releases and rollouts),
operator (rollouts, withdrawals, rollbacks), viewer (looks only); each for all apps or for one.`,
		Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTokenCreate(t), newTokenList(t), newTokenRevoke(t))
	return c
}

func newTokenCreate(t *tool) *cobra.Command {
	var n api.NewToken
	var life string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a token; it is shown once", Args: exactly(1, "one name"),
		Example: "  slipstream token create ci --role publisher --app shop --expires 90d",
		RunE: func(c *cobra.Command, args []string) error {
			n.Name = args[0]
			if err := slipstream.CheckName("token", n.Name); err != nil {
				return usageError{err}
			}
			if _, err := auth.ParseRole(n.Role); err != nil {
				return usageError{err}
			}
			if life != "" {
				d, err := parseAge(life)
				if err != nil {
					return usageError{fmt.Errorf("--expires: %w", err)}
				}
				at := time.Now().Add(d).UTC()
				n.Expires = &at
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			k, err := server.CreateToken(c.Context(), n)
			if err != nil {
				return fmt.Errorf("create token: %w", err)
			}
			return t.print(k, func(w io.Writer) {
				fmt.Fprintln(w, k.Secret)
				fmt.Fprintf(t.stderr, "Token %s (%s) is shown this once; use it as SLIPSTREAM_TOKEN\n", k.ID, k.Role)
			})
		},
	}
	c.Flags().StringVar(&n.Role, "role", string(auth.Publisher), "owner, publisher, operator or viewer")
	c.Flags().StringVar(&n.App, "app", "", "for this app only")
	c.Flags().StringVar(&life, "expires", "", "life of the token, such as 90d (default: no end)")
	t.serverFlags(c)
	return c
}

func newTokenList(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List tokens", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			list, err := server.Tokens(c.Context())
			if err != nil {
				return fmt.Errorf("list tokens: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "ID\tNAME\tROLE\tAPP\tCREATED\tEXPIRES\tLAST USED")
				for _, k := range list {
					fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Role, first(k.App, "all"), k.Created.UTC().Format("2006-01-02"), day(k.Expires, "never"), day(k.LastUsed, "never"))
				}
				tw.Flush()
			})
		},
	}
	t.serverFlags(c)
	return c
}

func day(t *time.Time, otherwise string) string {
	if t == nil {
		return otherwise
	}
	return t.UTC().Format("2006-01-02 15:04")
}

func newTokenRevoke(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "revoke TOKEN", Short: "Take a token, named by id or name, away at once", Args: exactly(1, "one token"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			id, err := tokenID(c.Context(), server, args[0])
			if err != nil {
				return err
			}
			if err := server.RevokeToken(c.Context(), id); err != nil {
				return slipstream.Hint(fmt.Errorf("revoke token: %w", err), "%s", first(slipstream.HintOf(err), "`slipstream token list` shows the ids"))
			}
			return t.print(map[string]string{"revoked": id}, func(w io.Writer) { fmt.Fprintf(w, "Token %s is revoked\n", id) })
		},
	}
	t.serverFlags(c)
	return c
}

// tokenID is the id of the token that ref names by id or, when only one has it, by name.
func tokenID(ctx context.Context, server *api.Client, ref string) (string, error) {
	list, err := server.Tokens(ctx)
	if err != nil {
		return "", fmt.Errorf("list tokens: %w", err)
	}
	var found []string
	for _, k := range list {
		if k.ID == ref {
			return ref, nil
		}
		if k.Name == ref {
			found = append(found, k.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", slipstream.Hint(fmt.Errorf("token %q: %w", ref, slipstream.ErrNotFound), "`slipstream token list` shows the ids")
	}
	return "", slipstream.Hint(fmt.Errorf("%d tokens have the name %q: %w", len(found), ref, slipstream.ErrConflict), "name one by its id: %s", strings.Join(found, ", "))
}
