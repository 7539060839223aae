//go:build !device

package main

// fileLimit is how many files and connections this process may have open. Windows has no such limit.
func fileLimit() int { return 1 << 16 }
