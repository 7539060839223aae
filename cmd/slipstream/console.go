//go:build !device

package main

import (
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream/console"
)

func newConsoleCommand(t *tool) *cobra.Command {
	var stay bool
	c := &cobra.Command{
		Use: "console", Short: "Open the web console of the server", Args: exactly(0, "no argument"),
		Long: `Console prints the address of the server's web console. In a terminal it opens it in the browser as well, signed in as
this user: by a link that is good once, for a minute.`,
		RunE: func(c *cobra.Command, _ []string) error {
			url, _, err := t.address()
			if err != nil {
				return err
			}
			page := consoleURL(url)
			if t.json || !terminal(t.stdout) {
				return t.print(map[string]string{"url": page}, func(w io.Writer) { fmt.Fprintln(w, page) })
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			link, err := server.SessionLink(c.Context())
			if err != nil {
				return fmt.Errorf("make a link to sign in by: %w", err)
			}
			fmt.Fprintf(t.stdout, "%s\nThis link signs one browser in, once, within a minute:\n%s#signin=%s\n", page, page, link.Code)
			if !stay {
				browse(page + "#signin=" + link.Code)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&stay, "no-open", false, "open no browser")
	t.serverFlags(c)
	return c
}

// consoleURL is where the console of the server at url is.
func consoleURL(url string) string { return strings.TrimSuffix(url, "/") + console.Base }

// browse asks the system to open a page, and does not wait: some systems' way is the browser itself. Where there is no
// desktop that is no failure: the address was printed.
func browse(page string) {
	name, args := "xdg-open", []string{page}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", page}
	}
	_ = exec.Command(name, args...).Start()
}
