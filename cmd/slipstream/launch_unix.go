//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// forwarded are the signals that go on to the child.
func forwarded() []os.Signal {
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}
}

// stops reports whether a signal asks a program to end.
func stops(s os.Signal) bool {
	return s == syscall.SIGINT || s == syscall.SIGTERM || s == syscall.SIGQUIT
}

// signalChild sends a signal to the child's process group. A group that is gone already is no error.
func signalChild(p *os.Process, s os.Signal) error {
	sig, ok := s.(syscall.Signal)
	if !ok {
		return errors.New("not a signal of this system")
	}
	if err := syscall.Kill(-p.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// signalStop asks a program to end, signalAsk to start again when it is ready.
const (
	signalStop = syscall.SIGTERM
	signalAsk  = syscall.SIGHUP
)

// signalExit is the exit code that a shell gives for a program that a signal ended.
func signalExit(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exitError
}
