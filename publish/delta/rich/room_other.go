//go:build !linux

package rich

func useLargePages([]byte) {}
