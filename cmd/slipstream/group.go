package main

import (
	"slices"

	"github.com/spf13/cobra"
)

// groups are the headings of the help and what stands under them.
var groups = []struct {
	title    string
	commands []string
}{
	{"Start here:", []string{"demo", "serve", "login", "console", "doctor"}},
	{"Apps and releases:", []string{"app", "channel", "publish", "release", "build", "key", "verify", "delta", "export"}},
	{"Who gets what:", []string{"status", "rollout", "promote", "rollback", "withdraw", "floor", "explain"}},
	{"What happens out there:", []string{"device", "report", "alert", "audit"}},
	{"On a device:", []string{"run", "check", "fetch", "confirm"}},
	{"Other systems' clients:", []string{"protocol", "capgo", "codepush", "easyclick", "patch", "import"}},
	{"Running a server:", []string{"member", "token", "backup", "restore", "migrate", "gc"}},
	{"Trying it out and proving it:", []string{"simulate", "lab", "openapi", "version", "help", "completion"}},
}

// group puts root's commands under their headings. A build that leaves commands out leaves out their headings.
func group(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, g := range groups {
		for _, c := range root.Commands() {
			if c.Hidden || !slices.Contains(g.commands, c.Name()) {
				continue
			}
			if !root.ContainsGroup(g.title) {
				root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
			}
			c.GroupID = g.title
		}
	}
}
