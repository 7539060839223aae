//go:build !linux && !device

package main

// watchMemory knows nothing here.
func watchMemory(_ int, ended <-chan struct{}) int64 {
	<-ended
	return 0
}
