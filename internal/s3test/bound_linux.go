package s3test

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel end the gateway when the thread that started it ends, so a test binary that is killed
// leaves no gateway behind.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
