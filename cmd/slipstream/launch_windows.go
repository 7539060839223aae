package main

import (
	"errors"
	"os"
	"syscall"
)

func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func forwarded() []os.Signal { return []os.Signal{os.Interrupt} }

func stops(os.Signal) bool { return true }

// signalChild can only end a process here.
func signalChild(p *os.Process, s os.Signal) error {
	if s == signalAsk {
		return errors.New("this system cannot ask a program to restart")
	}
	return p.Kill()
}

// signalStop asks a program to end, signalAsk to start again when it is ready.
const (
	signalStop = syscall.SIGTERM
	signalAsk  = syscall.SIGHUP
)

func signalExit(*os.ProcessState) int { return exitError }
