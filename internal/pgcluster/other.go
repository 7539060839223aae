//go:build !unix

package pgcluster

import "errors"

// Cluster cannot be made on this system.
type Cluster struct{}

// ErrMissing says that there is no PostgreSQL to start.
var ErrMissing = errors.New("MISSING: postgres (a private cluster needs a Unix system)")

// Start fails with ErrMissing.
func Start() (*Cluster, error) { return nil, ErrMissing }

// Missing is true.
func Missing() bool { return true }

// Database fails with ErrMissing.
func (*Cluster) Database() (string, func() error, error) { return "", nil, ErrMissing }

// Stop does nothing.
func (*Cluster) Stop() error { return nil }

// Away fails with ErrMissing.
func (*Cluster) Away() error { return ErrMissing }

// Back fails with ErrMissing.
func (*Cluster) Back() error { return ErrMissing }
