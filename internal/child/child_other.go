//go:build !unix

package child

import "syscall"

// Supported says why programs cannot be run here as proofs need them, nil when they can.
func Supported() error { return ErrUnsupported }

func attributes() (*syscall.SysProcAttr, error) { return nil, ErrUnsupported }

func killGroup(int) error { return ErrUnsupported }
