//go:build unix && !linux

package main

import "syscall"

// childAttr puts the child into its own process group.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
