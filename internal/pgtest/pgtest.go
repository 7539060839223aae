//go:build unix

// Package pgtest gives tests databases of a private PostgreSQL. A test binary has one cluster, started when the first
// test asks for a database, and stops it at its end:
//
//	var cluster = pgtest.New()
//
//	func TestMain(m *testing.M) { os.Exit(cluster.Run(m)) }
//
// Where PostgreSQL is not installed, tests that ask are skipped with a message that begins with "MISSING: postgres".
package pgtest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/slipstream-ota/slipstream/internal/pgcluster"
)

// Cluster is the private PostgreSQL of a test binary.
type Cluster struct {
	start   sync.Once
	cluster *pgcluster.Cluster
	err     error
}

// New gives a cluster that is not yet started.
func New() *Cluster { return &Cluster{} }

// Run runs the tests and stops the cluster. It gives m's exit code.
func (c *Cluster) Run(m interface{ Run() int }) int {
	code := m.Run()
	if c.cluster == nil {
		return code
	}
	if err := c.cluster.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
		return max(code, 1)
	}
	return code
}

// Database gives t the URL of an empty database. It is emptied and used again when t has ended.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	c.start.Do(func() { c.cluster, c.err = pgcluster.Start() })
	if errors.Is(c.err, pgcluster.ErrMissing) {
		t.Skip(c.err)
	}
	if c.err != nil {
		t.Fatalf("start PostgreSQL: %v", c.err)
	}
	url, giveBack, err := c.cluster.Database()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := giveBack(); err != nil {
			t.Error(err)
		}
	})
	return url
}
