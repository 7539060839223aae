package client

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

// TestWhatIsNotAsSignedNeverStarts: whatever became of the tree on disk since it was staged, a start runs signed bytes.
func TestWhatIsNotAsSignedNeverStarts(t *testing.T) {
	t.Parallel()
	write := func(path, content string) func(dir string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644) }
	}
	for name, damage := range map[string]func(dir string) error{
		"a file is changed":   write("main.js", "owt"),
		"a file is longer":    write("main.js", "two and more"),
		"a file is missing":   func(dir string) error { return os.Remove(filepath.Join(dir, "new.txt")) },
		"a folder is missing": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "lib")) },
		"a file became a folder": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "main.js")), os.Mkdir(filepath.Join(dir, "main.js"), 0o755))
		},
		"the tree is gone":        os.RemoveAll,
		"the manifest is gone":    func(dir string) error { return os.Remove(dir + ".manifest.json") },
		"the manifest is another": func(dir string) error { return os.WriteFile(dir+".manifest.json", []byte("{}"), 0o644) },
		"a file became a link": func(dir string) error {
			outside := dir + ".outside"
			if err := os.Rename(filepath.Join(dir, "main.js"), outside); err != nil {
				return err
			}
			return os.Symlink(outside, filepath.Join(dir, "main.js"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.has("1.0.0", v1)
			second := b.has("1.1.0", v2)
			b.offline()
			dir := b.c.disk.tree(second)
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			l := b.start()
			b.runs(l, "main", v1)
			b.confirm(l)
			if !b.tellsOf(slipstream.KindRolledBack, slipstream.ReasonStorageCorrupted) {
				t.Error("nobody is told why")
			}
			b.online()
			b.update()
			b.runs(b.start(), "main", v2)
		})
	}
}

func TestAFileThatNobodySignedIsRemoved(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.has("1.0.0", v1)
	tree := b.c.disk.tree(d)
	for _, extra := range []string{"plugin.js", "lib/b.js", "cache/deep/c.js"} {
		path := filepath.Join(tree, extra)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("hidden"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	outside := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(outside, "precious"), nil, 0o644), os.Symlink(outside, filepath.Join(tree, "lib", "all"))); err != nil {
		t.Fatal(err)
	}
	l := b.start()
	b.runs(l, "main", v1)
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	var found []string
	err := filepath.WalkDir(tree, func(path string, e os.DirEntry, err error) error {
		if err == nil && path != tree {
			found = append(found, strings.TrimPrefix(path, tree+"/"))
		}
		return err
	})
	if got := strings.Join(found, " "); err != nil || got != "lib lib/a.js main.js run.sh" {
		t.Errorf("the tree holds %s (%v)", got, err)
	}
}

// TestAReleaseThatDamagesItselfIsRefused: otherwise it would be fetched and tried again without end.
func TestAReleaseThatDamagesItselfIsRefused(t *testing.T) {
	t.Parallel()
	for name, confirmed := range map[string]bool{"on trial": false, "after its confirm": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.has("1.0.0", v1)
			b.offers("1.1.0", v2)
			b.update()
			l := b.start()
			if confirmed {
				b.confirm(l)
			}
			if err := os.Remove(filepath.Join(l.Packages["main"].Dir, "new.txt")); err != nil {
				t.Fatal(err)
			}
			b.crash(l)
			b.runs(b.start(), "main", v1)
			if u := b.update(); len(u.Staged) > 0 || len(b.c.Holds("main").Refusals) != 1 {
				t.Errorf("it is staged again: %+v, refusals %+v", u.Answers["main"], b.c.Holds("main").Refusals)
			}
		})
	}
}

// TestWhoCannotChangeAnythingRunsNoDamageEither: the second process on a directory only reads.
func TestWhoCannotChangeAnythingRunsNoDamageEither(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	second := b.has("1.1.0", v2)
	other, err := Open(t.Context(), b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(b.c.disk.tree(second), "main.js"), []byte("owt"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := other.Start(t.Context())
	if err != nil || l.Token != "" || l.Reason != slipstream.ReasonLocked {
		t.Fatalf("launch %+v, %v", l, err)
	}
	b.runs(l, "main", v1)
}

// TestLinksAreNeverFollowed: whoever can write into the device's directory must not make the client delete elsewhere.
func TestLinksAreNeverFollowed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.has("1.0.0", v1)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"releases/.new-" + string(d), "releases/.old-" + string(d), "trust/some.tmp"} {
		if err := os.Symlink(outside, filepath.Join(b.cfg.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.RemoveAll(b.c.disk.tree(d)), os.Symlink(outside, b.c.disk.tree(d))); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	b.start()
	b.install()
	b.start()
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Fatalf("a link was followed: %v", err)
	}
}
