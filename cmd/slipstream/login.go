//go:build !device

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/internal/config"
)

func newLoginCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "login URL", Short: "Remember a server and a token for this user",
		Long: `Login checks a token with the server and keeps both for the commands of this user. The token is --token,
SLIPSTREAM_TOKEN, or is read from standard input.`,
		Example: "  slipstream login https://updates.example.org",
		Args:    exactly(1, "one server address"),
		RunE: func(c *cobra.Command, args []string) error {
			url := strings.TrimSuffix(args[0], "/")
			if _, err := api.NewClient(url, "", nil); err != nil {
				return usageError{err}
			}
			token, err := t.tokenForLogin()
			if err != nil {
				return err
			}
			server, err := api.NewClient(url, token, nil)
			if err != nil {
				return err
			}
			me, err := server.WhoAmI(c.Context())
			if err != nil {
				return fmt.Errorf("log in: %w", err)
			}
			if err := t.env.Folder().SaveServer(config.Server{URL: url, Token: token}); err != nil {
				return err
			}
			out := map[string]string{"url": url, "name": me.Name, "role": string(me.Role), "app": me.App}
			return t.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "Logged in to %s as %s, role %s for %s\n", url, me.Name, me.Role, first(me.App, "all apps"))
			})
		},
	}
	c.Flags().StringVar(&t.server.token, "token", "", "API token; better not on the command line, others can see it there")
	return c
}

// tokenForLogin is what was given, else what is typed or piped in.
func (t *tool) tokenForLogin() (string, error) {
	if s := first(t.server.token, t.env.Get("token", "")); s != "" {
		return s, nil
	}
	if terminal(t.stdin) {
		b, err := t.ask("Token")
		return string(b), err
	}
	line, err := bufio.NewReader(io.LimitReader(t.stdin, 1<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read token: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", usageError{slipstream.Hint(errors.New("no token"), "pipe it in, set SLIPSTREAM_TOKEN, or run this in a terminal; `slipstream token create` makes one")}
	}
	return line, nil
}
