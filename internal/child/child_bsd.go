//go:build unix && !linux

package child

import "syscall"

func attributes() (*syscall.SysProcAttr, error) { return &syscall.SysProcAttr{Setpgid: true}, nil }
