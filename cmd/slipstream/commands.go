package main

import "github.com/spf13/cobra"

// commands lists every subcommand; a new one is one file and one line here.
func commands(t *tool) []*cobra.Command {
	return []*cobra.Command{
		newKeyCommand(t),
		newPublishCommand(t),
		newReleaseCommand(t),
		newVerifyCommand(t),
		newVersionCommand(t),
	}
}
