package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// Formats of `delta diff`.
const (
	formatOwn    = "slipstream"
	formatBsdiff = "bsdiff"
	formatDCZ    = "dcz"
)

func newDeltaCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "delta", Short: "The delta engine alone: make, apply, look into and measure patches, without a server",
		Long: `Make, apply, look into and measure patches, without a server.

OLD and NEW are two files, two folders or two archives (zip, apk, aar, jar, wgt, tgz: known by their content). Archives are
taken as the files in them, since their compression hides what is alike; --raw takes them as one file. A patch file
carries what it needs to prove that it is applied to the right thing and makes the right thing; the containers of a
server leave that to the signed manifest and are smaller.`,
		Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(makeAll(t, append(deviceDeltaCommands(), fullDeltaCommands()...))...)
	return c
}

// parseMemory reads a size with a unit: 16MiB, 500kB, 1048576.
func parseMemory(s string) (int, error) {
	number := strings.TrimRight(s, "kKMGiB")
	factor, ok := map[string]int{"": 1, "B": 1, "k": 1e3, "kB": 1e3, "KB": 1e3, "KiB": 1 << 10, "M": 1e6, "MB": 1e6, "MiB": 1 << 20, "G": 1e9, "GB": 1e9, "GiB": 1 << 30}[s[len(number):]]
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 || int64(n) > min(1<<40, math.MaxInt)/int64(factor) {
		return 0, usageError{fmt.Errorf("%q is no size: write it as 16MiB", s)}
	}
	return n * factor, nil
}

func (t *tool) deltaProgress(silent bool) (steps, func()) {
	if p, end := t.progress(); p != nil && !silent {
		return p, end
	}
	return quietProgress{}, func() {}
}

type quietProgress struct{}

func (quietProgress) Phase(string, int64) {}
func (quietProgress) Add(int64)           {}
