package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
)

// noSubcommand refuses the words that a command with subcommands does not know.
func noSubcommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", c.CommandPath()+" "+args[0])
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return usageError{slipstream.Hint(err, "`%s %s`, or see `%s --help`", c.CommandPath(), near[0], c.CommandPath())}
	}
	return usageError{slipstream.Hint(err, "see `%s --help`", c.CommandPath())}
}

// exactly is cobra.ExactArgs with the exit code and the words of this tool.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{slipstream.Hint(fmt.Errorf("%s takes %s, not %d arguments", c.CommandPath(), what, len(args)), "see `%s --help`", c.CommandPath())}
		}
		return nil
	}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// lookup finds a variable of an environment that was handed over.
func lookup(environ []string, name string) string {
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v
		}
	}
	return ""
}
