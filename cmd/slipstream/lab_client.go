//go:build !device

package main

import (
	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream/lab/driver"
)

// newLabClientCommand is the Go client behind the protocol that `slipstream lab` drives clients of any language by.
func newLabClientCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:    "lab-client",
		Short:  "A device that does what lines of JSON on standard input tell it (docs/lab-protocol.md)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			return driver.Serve(c.Context(), &driver.Device{}, t.stdin, t.stdout)
		},
	}
}
