package main

import "syscall"

// childAttr puts the child into its own process group, and ends it when this process dies without a word: an orphan would
// hold the port that the next launch needs.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
