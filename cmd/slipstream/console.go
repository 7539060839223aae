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
		Long: `Console prints the address of the server's web console. In a terminal it opens it in the browser as well, and shows
this user's token, which the console asks for.`,
		RunE: func(c *cobra.Command, _ []string) error {
			url, token, err := t.address()
			if err != nil {
				return err
			}
			at := consoleURL(url)
			people := terminal(t.stdout) && !t.json
			err = t.print(map[string]string{"url": at}, func(w io.Writer) {
				fmt.Fprintln(w, at)
				if people && token != "" {
					fmt.Fprintf(w, "Sign in with the token %s\n", token)
				}
			})
			if err != nil || !people || stay {
				return err
			}
			browse(at)
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
