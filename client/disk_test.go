package client

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
)

func TestATreeThatIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.offers("1.0.0", v1)
	l := b.install()
	if err := os.RemoveAll(l.Packages["main"].Dir); err != nil {
		t.Fatal(err)
	}
	b.runs(b.start(), "main", nil)
	if !b.tellsOf(slipstream.KindRolledBack, slipstream.ReasonStorageCorrupted) {
		t.Error("no reason was told")
	}
	b.install()
	b.runs(b.start(), "main", v1)
}

func TestACorruptedState(t *testing.T) {
	t.Parallel()
	damage := func(b *bench, names ...string) {
		for _, name := range names {
			path := filepath.Join(b.cfg.Dir, name)
			raw, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			raw[len(raw)/2] ^= 1
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	t.Run("gives the generation before", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.has("1.0.0", v1)
		b.start()
		damage(b, stateFile)
		b.reopen()
		b.runs(b.start(), "main", v1)
	})
	t.Run("both give the embedded release and a fresh start", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.has("1.0.0", v1)
		damage(b, stateFile, previousState)
		b.reopen()
		b.runs(b.start(), "main", nil)
		b.install()
		b.runs(b.start(), "main", v1)
		if err := b.c.Report(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(b.repo.kinds(), "failed:storage_corrupted") {
			t.Errorf("reports %v", b.repo.kinds())
		}
	})
	t.Run("is never read in part", func(t *testing.T) {
		t.Parallel()
		raw, err := encodeGeneration(3, body{Trial: trial.New("production", "1")})
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			for bit := range 8 {
				bad := slices.Clone(raw)
				bad[i] ^= 1 << bit
				if number, _, err := decodeGeneration(bad); err == nil && number == 3 {
					t.Fatalf("bit %d of byte %d (%q) was accepted", bit, i, raw[i])
				}
			}
		}
	})
}

func TestTheDiskIsFullOrReadOnly(t *testing.T) {
	t.Parallel()
	for reason, fail := range map[slipstream.Reason]func(string, string) error{slipstream.ReasonDiskFull: diskFull, slipstream.ReasonReadOnly: readOnly} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.has("1.0.0", v1)
			b.offers("1.1.0", v2)
			b.disk.set(func(op, name string) error {
				if strings.Contains(name, "fetch") {
					return fail(op, name)
				}
				return nil
			})
			b.updateFails(reason)
			if !b.tellsOf(slipstream.KindFailed, reason) {
				t.Errorf("told %v", b.told)
			}
			b.disk.set(nil)
			b.update()
			b.disk.set(fail)
			l := b.start()
			b.runs(l, "main", v1)
			if l.Trial || l.Token != "" || l.Reason != reason {
				t.Errorf("a start that cannot be written down is %+v", l)
			}
			if err := l.Confirm(t.Context()); slipstream.ReasonOf(err, "") != reason {
				t.Errorf("confirm: %v", err)
			}
			b.disk.set(nil)
			b.runs(b.start(), "main", v2)
		})
	}
}

// lockless is a directory that cannot even be locked.
type lockless struct{ Disk }

func TestAReadOnlyDirectoryStillRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.reopen(func(c *Config) { c.Locks = lockless{} })
	l := b.start()
	b.runs(l, "main", v1)
	if l.Reason != slipstream.ReasonReadOnly {
		t.Errorf("reason %q", l.Reason)
	}
	b.updateFails(slipstream.ReasonReadOnly)
}
