package main

import "testing"

func TestHelpShowsEveryCommandUnderAHeading(t *testing.T) {
	root := newRootCommand(testTool(t))
	for _, c := range root.Commands() {
		if c.GroupID == "" && !c.Hidden {
			t.Errorf("%s is under no heading: name it in group.go", c.Name())
		}
	}
	for _, g := range root.Groups() {
		if g.ID == "" {
			t.Errorf("a heading without a name: %+v", g)
		}
	}
}
