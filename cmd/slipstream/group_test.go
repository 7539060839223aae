//go:build !device

package main

import "testing"

func TestHelpShowsEveryCommandUnderAHeading(t *testing.T) {
	root := newRootCommand(testTool(t))
	group(root)
	for _, c := range root.Commands() {
		if c.GroupID == "" && !c.Hidden {
			t.Errorf("%s is under no heading: name it in group.go", c.Name())
		}
	}
	for _, g := range groups {
		for _, name := range g.commands {
			if c, _, err := root.Find([]string{name}); err != nil || c == root {
				t.Errorf("%q under %q is no command: %v", name, g.title, err)
			}
		}
	}
}
