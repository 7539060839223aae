package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// listed is one line of the tables below. A new command is one file and one line.
type listed struct {
	name string
	make func(*tool) *cobra.Command
}

// deviceCommands are in every build: what a device does, and what it takes to look at one.
func deviceCommands() []listed {
	return []listed{
		{"check", newCheckCommand},
		{"confirm", newConfirmCommand},
		{"delta", newDeltaCommand},
		{"easyclick", newEasyclickCommand},
		{"fetch", newFetchCommand},
		{"patch", newPatchCommand},
		{"run", newRunCommand},
		{"verify", newVerifyCommand},
		{"version", newVersionCommand},
	}
}

// deviceDeltaCommands are those of `delta` in every build.
func deviceDeltaCommands() []listed {
	return []listed{{"apply", newDeltaApplyCommand}, {"info", newDeltaInfoCommand}}
}

// fullNames are the commands of the full build alone: those of the server, the publisher, the admin and the lab. The file
// commands_full.go makes them; it and all that only they need carry the constraint `!device`.
func fullNames() []string {
	return []string{
		"alert", "app", "audit", "backup", "build", "capgo", "channel", "codepush", "console", "demo", "demo-program", "device", "doctor", "explain", "export", "floor", "gc",
		"import", "key", "lab", "lab-client", "login", "member", "migrate", "openapi", "promote", "protocol", "publish", "release", "report", "restore",
		"rollback", "rollout", "serve", "simulate", "status", "token", "withdraw",
	}
}

// fullDeltaNames are the subcommands of `delta` in the full build alone.
func fullDeltaNames() []string { return []string{"bench", "diff"} }

// commands gives what args ask for: one command where they name one, since making all takes longer than most commands run,
// else all, for help and completion.
func commands(t *tool, args []string) []*cobra.Command {
	table := append(deviceCommands(), fullCommands()...)
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		if i := slices.IndexFunc(table, func(c listed) bool { return c.name == a }); i >= 0 {
			table = table[i : i+1]
		}
		break
	}
	return makeAll(t, table)
}

func makeAll(t *tool, table []listed) []*cobra.Command {
	out := make([]*cobra.Command, 0, len(table))
	for _, c := range table {
		out = append(out, c.make(t))
	}
	return out
}
