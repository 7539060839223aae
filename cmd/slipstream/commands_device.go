//go:build device

package main

import "io"

// What version and help call this build.
const (
	buildName = "device"
	rootShort = "Self-hosted hot updates: the client, as devices have it"
)

// fullCommands stand in for what the full build has.
func fullCommands() []listed { return elsewhere(fullNames()) }

func fullDeltaCommands() []listed { return elsewhere(fullDeltaNames()) }

// newBars shows steps as lines: a device has no use for bars.
func newBars(w io.Writer) (steps, func()) { return stepLines{w}, func() {} }
