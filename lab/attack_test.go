package lab

import "testing"

// The attacks themselves, by name, and the bodies are tests of package siege.
func TestChangedBytes(t *testing.T) {
	t.Parallel()
	runQuick(t, changedBytes())
}
