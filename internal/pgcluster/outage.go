//go:build unix

package pgcluster

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// Away stops the server as a crash does: every connection breaks, new ones are refused. What was committed stays.
func (c *Cluster) Away() error {
	if c.server == nil {
		return nil
	}
	if err := c.server.Signal(syscall.SIGQUIT); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	<-c.exited
	c.server = nil
	return nil
}

// Back starts the server again on the same port and waits until it answers.
func (c *Cluster) Back() error {
	if c.server != nil {
		return nil
	}
	postgres, err := find("postgres")
	if err != nil {
		return err
	}
	attr, err := c.unprivileged()
	if err != nil {
		return err
	}
	return c.serve(postgres, filepath.Join(c.dir, "data"), attr)
}
