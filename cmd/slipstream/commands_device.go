//go:build device

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
)

// What version and help call this build.
const (
	buildName = "device"
	rootShort = "Self-hosted hot updates: the client, as devices have it"
)

// startsLarge: what the packages of this build set up is little.
const startsLarge = false

// fullCommands stand in for what the full build has.
func fullCommands() []listed { return elsewhere(fullNames()) }

func fullDeltaCommands() []listed { return elsewhere(fullDeltaNames()) }

// newBars shows steps as lines: a device has no use for bars.
func newBars(w io.Writer) (steps, func()) { return stepLines{w}, func() {} }

// elsewhere stands in for commands that this build does not have, so that asking for one tells which build does.
func elsewhere(names []string) []listed {
	var out []listed
	for _, name := range names {
		out = append(out, listed{name, func(*tool) *cobra.Command {
			return &cobra.Command{Use: name, Hidden: true, DisableFlagParsing: true, RunE: func(c *cobra.Command, _ []string) error {
				return usageError{slipstream.Hint(fmt.Errorf("%q is not in this program, which is the device build", c.CommandPath()),
					"run it with the full build: `make build`, or go build ./cmd/slipstream without -tags device")}
			}}
		}})
	}
	return out
}
