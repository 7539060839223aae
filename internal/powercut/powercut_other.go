//go:build !linux

package powercut

import (
	"context"
	"errors"
)

var errSystem = errors.New("only on Linux")

// Supported says why this system has no such disks.
func Supported() error { return errSystem }

// Disk is a mounted disk that logs what is written to it.
type Disk struct{}

// New makes a disk.
func New(context.Context, string, int64) (*Disk, error) { return nil, errSystem }

// Dir is where the disk is mounted.
func (*Disk) Dir() string { return "" }

// Len is how many writes and flushes there were.
func (*Disk) Len() int { return 0 }

// Flushes are the places of the log at which a flush ends.
func (*Disk) Flushes() []int { return nil }

// Image is the disk after a cut.
func (*Disk) Image(int, uint64) []byte { return nil }

// Close unmounts everything.
func (*Disk) Close() error { return nil }

// With mounts an image.
func With(context.Context, string, []byte, func(dir string) error) error { return errSystem }
