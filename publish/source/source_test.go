package source

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// checkout is a real repository in a folder of its own.
type checkout struct {
	t   *testing.T
	dir string
}

func newCheckout(t *testing.T) *checkout {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("MISSING: git")
	}
	c := &checkout{t, filepath.Join(t.TempDir(), "my project")}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c.git("init", "-q", "-b", "main")
	return c
}

func (c *checkout) git(args ...string) string {
	c.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", c.dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (c *checkout) write(path, text string) {
	c.t.Helper()
	path = filepath.Join(c.dir, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *checkout) remove(path string) {
	c.t.Helper()
	if err := os.Remove(filepath.Join(c.dir, path)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *checkout) link(target, path string) {
	c.t.Helper()
	if err := os.Symlink(target, filepath.Join(c.dir, path)); err != nil {
		c.t.Skipf("MISSING: symbolic links: %v", err)
	}
}

func (c *checkout) commit() string {
	c.t.Helper()
	c.git("add", "-A")
	c.git("commit", "-q", "-m", "step", "--allow-empty")
	return c.git("rev-parse", "HEAD")
}

func (c *checkout) open() *Repository {
	c.t.Helper()
	r, err := Open(c.t.Context(), c.dir, os.Environ())
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *checkout) changes(from, to string, f Filter) []Change {
	c.t.Helper()
	list, err := c.open().Changes(c.t.Context(), from, to, f)
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

func wantChanges(t *testing.T, got []Change, want ...Change) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("changes are\n%+v\nnot\n%+v", got, want)
	}
}

const long = "a line\nanother line\na third line\nand so on\nuntil it can be known again\n"

func TestEveryChangeIsNamedAsWhatItIs(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	c.write("stays.m", "1")
	c.write("changes.m", "1")
	c.write("goes.m", "what goes")
	c.write("old place/moved.m", long)
	c.write("becomes a link.m", "1")
	c.link("stays.m", "becomes a file.m")
	c.link("goes.m", "link that goes")
	from := c.commit()
	c.write("changes.m", "2")
	c.remove("goes.m")
	c.write("new place/moved.m", long)
	c.remove("old place/moved.m")
	c.write("with space.m", "1")
	c.write("热更新/修复 崩溃.m", "1")
	c.write("-output.m", "1")
	c.write("a\"b'c$(touch x)\tend.m", "1")
	c.remove("becomes a link.m")
	c.link("stays.m", "becomes a link.m")
	c.remove("becomes a file.m")
	c.write("becomes a file.m", "1")
	c.link("stays.m", "new link")
	c.remove("link that goes")
	to := c.commit()
	wantChanges(t, c.changes(from, to, Filter{}),
		Change{Path: "-output.m", Kind: Added},
		Change{Path: "a\"b'c$(touch x)\tend.m", Kind: Added},
		Change{Path: "becomes a file.m", Kind: Changed},
		Change{Path: "becomes a link.m", Kind: Skipped, Why: "a symbolic link"},
		Change{Path: "changes.m", Kind: Changed},
		Change{Path: "goes.m", Kind: Deleted},
		Change{Path: "link that goes", Kind: Skipped, Why: "a symbolic link"},
		Change{Path: "new link", Kind: Skipped, Why: "a symbolic link"},
		Change{Path: "new place/moved.m", From: "old place/moved.m", Kind: Moved},
		Change{Path: "with space.m", Kind: Added},
		Change{Path: "热更新/修复 崩溃.m", Kind: Added})
	if list := c.changes(to, to, Filter{}); list != nil {
		t.Fatalf("nothing changed, and yet %+v", list)
	}
}

func TestAUsersSettingsOfGitDoNotMatter(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	for _, set := range [][2]string{{"diff.renames", "false"}, {"diff.noprefix", "true"}, {"diff.external", "false"}, {"color.ui", "always"}, {"core.quotepath", "true"}, {"diff.relative", "true"}} {
		c.git("config", set[0], set[1])
	}
	c.write("目录/a.m", long)
	from := c.commit()
	c.write("目录/b.m", long)
	c.remove("目录/a.m")
	wantChanges(t, c.changes(from, c.commit(), Filter{}), Change{Path: "目录/b.m", From: "目录/a.m", Kind: Moved})
}

func TestFiltersChooseByNameAndByPath(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	from := c.commit()
	for _, p := range []string{"a.m", "a.h", "ios/b.m", "ios/deep/c.m", "ios/deep/c.txt", "tests/d.m"} {
		c.write(p, "1")
	}
	to := c.commit()
	for _, x := range []struct {
		filter Filter
		want   string
	}{
		{Filter{Include: []string{"*.m"}}, "a.m ios/b.m ios/deep/c.m tests/d.m"},
		{Filter{Include: []string{"ios/*.m"}}, "ios/b.m"},
		{Filter{Include: []string{"ios/**/*.m"}}, "ios/b.m ios/deep/c.m"},
		{Filter{Include: []string{"*.m", "*.h"}, Exclude: []string{"tests/"}}, "a.h a.m ios/b.m ios/deep/c.m"},
		{Filter{Exclude: []string{"*.m"}}, "a.h ios/deep/c.txt"},
		{Filter{Include: []string{":(exclude)a.m"}}, ""},
	} {
		var got []string
		for _, change := range c.changes(from, to, x.filter) {
			got = append(got, change.Path)
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%+v chooses %v, not %s", x.filter, got, x.want)
		}
	}
	if _, err := c.open().Changes(t.Context(), from, to, Filter{Include: []string{""}}); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("an empty pattern: %v", err)
	}
}

func TestSubmodulesAreNamedAndNotHandedOver(t *testing.T) {
	t.Parallel()
	lib := newCheckout(t)
	lib.write("lib.m", "1")
	lib.commit()
	c := newCheckout(t)
	c.write("a.m", "1")
	from := c.commit()
	c.git("submodule", "--quiet", "add", lib.dir, "lib")
	c.remove(".gitmodules") // only the folder itself counts here
	added := c.commit()
	wantChanges(t, c.changes(from, added, Filter{}), Change{Path: "lib", Kind: Skipped, Why: "a submodule"})
	wantChanges(t, c.changes(added, from, Filter{}), Change{Path: "lib", Kind: Skipped, Why: "a submodule"})
}

func TestRevisionsThatAreNotThereAreRefusedWithAWayOut(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	c.write("a.m", "1")
	first := c.commit()
	c.write("a.m", "2")
	second := c.commit()
	c.git("tag", "-a", "v1", "-m", "one", first)
	r := c.open()
	for _, revision := range []string{"v1", "HEAD~1", first[:8], "main^"} {
		if got, err := r.Commit(t.Context(), revision); err != nil || got != first {
			t.Errorf("%s is %s, %v", revision, got, err)
		}
	}
	for _, revision := range []string{"nonsense", "", "--all", "main:a.m", strings.Repeat("a", 40), "main..v1"} {
		if _, err := r.Commit(t.Context(), revision); !errors.Is(err, slipstream.ErrNotFound) || slipstream.HintOf(err) == "" {
			t.Errorf("%q: %v", revision, err)
		}
	}
	shallow := &checkout{t, filepath.Join(t.TempDir(), "shallow")}
	c.git("clone", "-q", "--depth", "1", "file://"+c.dir, shallow.dir)
	if _, err := shallow.open().Commit(t.Context(), first); err == nil || !strings.Contains(slipstream.HintOf(err), "shallow") {
		t.Errorf("in a shallow clone: %v, hint %q", err, slipstream.HintOf(err))
	}
	if reversed, err := r.Reversed(t.Context(), second, first); err != nil || !reversed {
		t.Errorf("the way back is not noticed: %v", err)
	}
	if reversed, err := r.Reversed(t.Context(), first, second); err != nil || reversed {
		t.Errorf("the way on counts as the way back: %v", err)
	}
	if _, err := Open(t.Context(), t.TempDir(), os.Environ()); err == nil || slipstream.HintOf(err) == "" {
		t.Errorf("a folder without a repository: %v", err)
	}
}

func TestTheWorkingTreeAndASnapshot(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	c.write("修复/a b.m", "1")
	c.write("b.m", "1")
	from := c.commit()
	c.write("修复/a b.m", "2")
	c.write("b.m", "2")
	to := c.commit()
	paths := []string{"b.m", "修复/a b.m"}
	if other, err := c.open().Differs(t.Context(), to, paths); err != nil || len(other) > 0 {
		t.Fatalf("%v, %v", other, err)
	}
	c.write("修复/a b.m", "uncommitted")
	c.remove("b.m")
	if other, err := c.open().Differs(t.Context(), to, paths); err != nil || !slices.Equal(other, paths) {
		t.Fatalf("%q, %v", other, err)
	}
	status := c.git("status", "--porcelain")
	folder := t.TempDir()
	if err := c.open().Extract(t.Context(), from, folder); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "修复", "a b.m")); err != nil || string(text) != "1" {
		t.Fatalf("the snapshot has %q, %v", text, err)
	}
	if now := c.git("status", "--porcelain"); now != status {
		t.Fatalf("the repository changed: %s", now)
	}
	bare := &checkout{t, filepath.Join(t.TempDir(), "bare.git")}
	c.git("clone", "-q", "--bare", c.dir, bare.dir)
	folder = t.TempDir()
	if err := bare.open().Extract(t.Context(), to, folder); err != nil || bare.open().Root() != "" {
		t.Fatalf("from a bare repository: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "b.m")); err != nil || string(text) != "2" {
		t.Fatalf("the snapshot has %q, %v", text, err)
	}
}

// job compiles with a shell script that stands for somebody's compiler.
func job(t *testing.T, script string) (*Job, *bytes.Buffer) {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("MISSING: sh")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "compiler"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	j := &Job{Command: "./compiler {files} {out}", Dir: dir, Env: os.Environ(), Root: dir, Output: filepath.Join(dir, "patch"), Log: &log}
	for _, name := range []string{"a b.m", "$(touch hurt).m", "热更新.m"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		j.Files = append(j.Files, path)
	}
	return j, &log
}

const concatenate = `for last; do :; done; n=0
for f; do [ "$f" = "$last" ] || cat "$f" >>"$last"; done`

const concatenated = "a b.m\n$(touch hurt).m\n热更新.m\n"

func TestACompilerGetsEveryFileAsOneArgument(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"files":         "./compiler {files} {out}",
		"a list":        `sh -c 'while read -r f; do cat "$f"; done <"$1" >"$2"' x {list} {out}`,
		"a shell":       "cat {files} | cat >{out}",
		"a shell's own": `for f in "$@"; do cat "$f"; done >"$SLIPSTREAM_OUT"`,
	} {
		j, _ := job(t, concatenate)
		j.Command, j.Shell = command, strings.HasPrefix(name, "a shell")
		if err := j.Compile(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := os.ReadFile(j.Output); err != nil || string(got) != concatenated {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		left, err := os.ReadDir(j.Dir)
		if err != nil || len(left) != 5 {
			t.Errorf("%s leaves %v, %v", name, left, err)
		}
	}
}

func TestAFormerResultStaysUntilThereIsANewOne(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct{ script, want string }{
		"a compiler that fails":              {`echo broken >&2; echo half >"$4"; exit 3`, "exit status 3"},
		"one that makes nothing":             {"exit 0", "made no file"},
		"one that makes an empty file":       {`: >"$4"`, "empty file"},
		"one that makes a folder":            {`mkdir "$4"`, "no file"},
		"one that makes a link":              {`ln -s /etc/passwd "$4"`, "no file"},
		"one that never ends":                {"exec sleep 60", "was stopped"},
		"one whose child holds the pipe too": {"sleep 60 & wait", "was stopped"},
	} {
		j, log := job(t, x.script)
		if err := os.WriteFile(j.Output, []byte("former"), 0o644); err != nil {
			t.Fatal(err)
		}
		if x.want == "was stopped" {
			j.Limit = 300 * time.Millisecond
		}
		if err := j.Compile(t.Context()); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(j.Output); err != nil || string(got) != "former" {
			t.Errorf("%s leaves %q, %v", name, got, err)
		}
		if strings.Contains(x.script, "broken") && log.String() != "broken\n" {
			t.Errorf("%s said %q", name, log)
		}
	}
}

func TestCommandsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"":                          "there is no command",
		"cc {files}":                "no {out}",
		"cc {out}":                  "neither {files} nor {list}",
		"cc --in={files} -o {out}":  "inside the word",
		"cc 'half {files} -o {out}": "never closed",
		"{files} {out}":             "instead of a program",
		"cc\x00{files} {out}":       "NUL",
	} {
		if err := CheckCommand(command, false); !errors.Is(err, slipstream.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", command, err)
		}
	}
	j, _ := job(t, "")
	j.Command = "no-such-compiler-anywhere {files} {out}"
	if err := j.Compile(context.Background()); err == nil || !strings.Contains(slipstream.HintOf(err), "PATH") {
		t.Errorf("%v, hint %q", err, slipstream.HintOf(err))
	}
}

func TestWordsOfACommand(t *testing.T) {
	t.Parallel()
	for command, want := range map[string][]string{
		`cc -files {files}  -refs Scripts.bundle`: {"cc", "-files", "{files}", "-refs", "Scripts.bundle"},
		`"my cc" 'a "b"' c\ d`:                    {"my cc", `a "b"`, "c d"},
		`C:\tools\cc.exe "C:\my files\x"`:         {`C:\tools\cc.exe`, `C:\my files\x`},
		`a"b"'c' ""`:                              {"abc", ""},
		`$HOME * $(x) ; | & > y`:                  {"$HOME", "*", "$(x)", ";", "|", "&", ">", "y"},
	} {
		if got, err := SplitCommand(command); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", command, got, err)
		}
	}
}

// FuzzChanges: whatever stands for git's answer is read into changes with a path and a kind, or refused.
func FuzzChanges(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw string) {
		list, err := parseChanges(raw)
		if err != nil {
			return
		}
		for _, c := range list {
			if c.Kind == "" || strings.ContainsRune(c.Path, 0) || c.Kind == Skipped && c.Why == "" {
				t.Fatalf("%q is read as %+v", raw, c)
			}
		}
	})
}
