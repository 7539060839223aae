package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

var errDead = errors.New("the process is dead")

// TestKilledAtEveryWrite lets the process die before the nth write of an update from v1 to v2, for every n, and looks at
// what the next process runs: exactly one or the other, and it can still update.
func TestKilledAtEveryWrite(t *testing.T) {
	t.Parallel()
	v1, v2 := files{"main.js": "one", "a/same": "s"}, files{"main.js": "two", "a/same": "s", "b/new": "n"}
	for n := 1; ; n++ {
		b := newBench(t)
		b.has("1.0.0", v1)
		b.offers("1.1.0", v2)
		left := n
		b.disk.set(func(string, string) error {
			if left--; left <= 0 {
				return errDead
			}
			return nil
		})
		reached := b.liveOn()
		b.disk.set(nil)
		b.reopen()
		l := b.start()
		switch got := l.Packages["main"].Version; got {
		case "1.0.0":
			b.runs(l, "main", v1)
			if reached == "confirmed" {
				t.Fatalf("write %d: a confirmed release was lost", n)
			}
		case "1.1.0":
			b.runs(l, "main", v2)
		default:
			t.Fatalf("write %d: runs %q", n, got)
		}
		b.confirm(l)
		b.update()
		l = b.start()
		b.runs(l, "main", v2)
		b.confirm(l)
		b.noLeftovers(n)
		if left > 0 {
			t.Logf("%d writes", n-1)
			return
		}
	}
}

// liveOn is a life that may end anywhere; it says how far it came.
func (b *bench) liveOn() string {
	if _, err := b.c.Update(b.Context()); err != nil {
		return "updating"
	}
	l, err := b.c.Start(b.Context())
	if err != nil || !l.Trial {
		return "staged"
	}
	if l.Confirm(b.Context()) != nil {
		return "on trial"
	}
	return "confirmed"
}

// noLeftovers looks for unfinished trees and temporary files.
func (b *bench) noLeftovers(n int) {
	b.Helper()
	for _, pattern := range []string{"*.tmp", "*/*.tmp", "releases/.*", "fetch/*"} {
		found, err := filepath.Glob(filepath.Join(b.cfg.Dir, pattern))
		if err != nil || len(found) > 0 {
			b.Fatalf("write %d: left behind %v (%v)", n, found, err)
		}
	}
	for _, d := range []slipstream.Digest{b.c.Holds("main").Running.Digest} {
		if _, err := os.Stat(filepath.Join(b.cfg.Dir, "releases", string(d))); err != nil {
			b.Fatal(fmt.Errorf("write %d: %w", n, err))
		}
	}
}
