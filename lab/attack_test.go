package lab

import "testing"

func TestAttacks(t *testing.T) {
	t.Parallel()
	runQuick(t, attacks())
}

func TestChangedBytes(t *testing.T) {
	t.Parallel()
	runQuick(t, changedBytes())
}

func TestHostileBodies(t *testing.T) {
	t.Parallel()
	runQuick(t, hostileBodies())
}
