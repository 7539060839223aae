package protocol

import (
	"fmt"
	"testing"
	"time"
)

func TestWhoAsksForMuchThatDoesNotExistIsSlowedDown(t *testing.T) {
	t.Parallel()
	m, now := NewMisses(), time.Unix(1_700_000_000, 0)
	for i := range MissBurst {
		if wait := m.Note(fmt.Sprintf("203.0.113.%d:1000", i), now); wait != 0 {
			t.Fatalf("miss %d waits %s", i, wait)
		}
	}
	if wait := m.Note("203.0.113.200:1000", now); wait <= 0 || wait > time.Second {
		t.Fatalf("one too many waits %s", wait)
	}
	if wait := m.Note("203.0.113.200:1000", now.Add(time.Second)); wait != 0 {
		t.Fatalf("a second later it waits %s", wait)
	}
	if wait := m.Note("198.51.100.1:1000", now); wait != 0 {
		t.Fatalf("another network waits %s", wait)
	}
	for range 3 * MissBurst {
		for _, own := range []string{"127.0.0.1:1", "[::1]:1", "10.1.2.3:1", "nonsense"} {
			if wait := m.Note(own, now); wait != 0 {
				t.Fatalf("%s waits %s", own, wait)
			}
		}
	}
}
