package rich

import "syscall"

// useLargePages asks the kernel for large pages. When it has none, all is as without.
func useLargePages(b []byte) { _ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) }
