package child

import "syscall"

// attributes put the child into its own group, and end it when the thread that started it ends.
func attributes() (*syscall.SysProcAttr, error) {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}, nil
}
