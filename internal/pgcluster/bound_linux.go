package pgcluster

import "syscall"

// dieWithParent makes the kernel end the server when the thread that started it ends, so a test binary that is killed
// leaves no server behind.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
