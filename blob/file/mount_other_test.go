//go:build !linux

package file_test

import "testing"

func mountSmall(t *testing.T, _ string) { t.Skip("MISSING: tmpfs") }
