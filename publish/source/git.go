package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Repository is a git repository on this machine.
type Repository struct {
	dir  string // in which git is run
	root string // of the working tree, "" for a bare repository
	env  []string
}

// Open finds the repository that a folder lies in; environ is what git runs with, as of os.Environ.
func Open(ctx context.Context, dir string, environ []string) (*Repository, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, slipstream.Hint(fmt.Errorf("find git: %w", err), "install git: it says which files changed")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", dir, err)
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	r := &Repository{dir: dir, env: environ}
	out, err := r.git(ctx, nil, "rev-parse", "--is-bare-repository")
	if err != nil {
		return nil, slipstream.Hint(fmt.Errorf("open repository %s: %w", dir, err), "name the folder of a git repository by --repo")
	}
	if strings.TrimSpace(string(out)) == "true" {
		return r, nil
	}
	out, err = r.git(ctx, nil, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", dir, err)
	}
	r.root = filepath.FromSlash(strings.TrimSuffix(string(out), "\n"))
	return r, nil
}

// Root of the working tree; "" for a bare repository.
func (r *Repository) Root() string { return r.root }

// git runs git and gives what it prints. It never asks on a terminal, and takes no locks that are not needed.
func (r *Repository) git(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", r.dir}, args...)...)
	cmd.Env = append(append(slices.Clone(r.env), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0"), env...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			return nil, fmt.Errorf("git %s: %w: %s", args[0], err, text)
		}
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return out.Bytes(), nil
}

// Commit gives the full name of the commit that a revision means.
func (r *Repository) Commit(ctx context.Context, revision string) (string, error) {
	out, err := r.git(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	if err == nil {
		return strings.TrimSpace(string(out)), nil
	}
	if ctx.Err() != nil {
		return "", err
	}
	missing := fmt.Errorf("no commit %q in %s: %w", revision, r.dir, slipstream.ErrNotFound)
	if out, err := r.git(ctx, nil, "rev-parse", "--is-shallow-repository"); err == nil && strings.TrimSpace(string(out)) == "true" {
		return "", slipstream.Hint(missing, "this clone is shallow and may lack it: `git fetch --unshallow`, in a pipeline a fetch depth of 0")
	}
	return "", slipstream.Hint(missing, "name a commit, branch or tag that this clone has: `git log --oneline` lists them; `git fetch --tags` brings those of the server")
}

// Reversed reports whether the commit to is an ancestor of from: then they were probably given in the wrong order.
func (r *Repository) Reversed(ctx context.Context, from, to string) (bool, error) {
	if from == to {
		return false, nil
	}
	_, err := r.git(ctx, nil, "merge-base", "--is-ancestor", to, from)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return false, nil
	}
	return err == nil, err
}

// Change is one path that differs between two commits. Paths are as git has them: from the root, with /.
type Change struct {
	Path string `json:"path"`
	From string `json:"from,omitempty"` // former path of what was moved
	// Kind is one of Added, Changed, Moved, Deleted, and Skipped for what is no file: Why says what it is.
	Kind string `json:"kind"`
	Why  string `json:"why,omitempty"`
}

// Kinds of a Change.
const (
	Added   = "added"
	Changed = "changed"
	Moved   = "moved"
	Deleted = "deleted"
	Skipped = "skipped"
)

// Handed reports whether the compiler gets the file.
func (c Change) Handed() bool { return c.Kind != Deleted && c.Kind != Skipped }

// Filter says which paths count. A pattern without a / is that of a name in any folder (*.m), one with a / that of a path
// from the root, in which ** stands for any folders (ios/**/*.m).
type Filter struct{ Include, Exclude []string }

func (f Filter) pathspecs() ([]string, error) {
	var specs []string
	for magic, patterns := range map[string][]string{":(top,glob)": f.Include, ":(top,glob,exclude)": f.Exclude} {
		for _, p := range patterns {
			if p == "" || strings.ContainsRune(p, 0) {
				return nil, slipstream.Invalidf("pattern %q is empty or no text", p)
			}
			if p = strings.TrimPrefix(filepath.ToSlash(p), "./"); !strings.Contains(p, "/") {
				p = "**/" + p
			}
			if strings.HasSuffix(p, "/") {
				p += "**"
			}
			specs = append(specs, magic+strings.TrimPrefix(p, "/"))
		}
	}
	return specs, nil
}

// git's modes of what is no ordinary file.
const (
	modeSymlink   = "120000"
	modeSubmodule = "160000"
)

// Changes lists what differs between two commits, by path.
func (r *Repository) Changes(ctx context.Context, from, to string, filter Filter) ([]Change, error) {
	specs, err := filter.pathspecs()
	if err != nil {
		return nil, err
	}
	args := append([]string{"diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none", "-M", from, to, "--"}, specs...)
	out, err := r.git(ctx, nil, args...)
	if err != nil {
		return nil, fmt.Errorf("compare the commits: %w", err)
	}
	return parseChanges(string(out))
}

// parseChanges reads the raw form of git diff-tree -z: ":old new old-id new-id status NUL path NUL", with a second path
// after the first for what was moved (git-diff-tree(1), RAW OUTPUT FORMAT).
func parseChanges(raw string) ([]Change, error) {
	var list []Change
	for raw != "" {
		head, rest, ok := strings.Cut(raw, "\x00")
		words := strings.Fields(head)
		if !ok || len(words) != 5 || !strings.HasPrefix(head, ":") {
			return nil, fmt.Errorf("git says %.80q of a change, which is not understood", head)
		}
		var c Change
		if c.Path, raw, ok = strings.Cut(rest, "\x00"); !ok {
			return nil, fmt.Errorf("git names no path after %.80q", head)
		}
		oldMode, newMode := strings.TrimPrefix(words[0], ":"), words[1]
		switch words[4][0] {
		case 'A', 'C':
			c.Kind = Added
		case 'D':
			c.Kind = Deleted
		case 'R':
			c.Kind = Moved
		default:
			c.Kind = Changed
		}
		if words[4][0] == 'R' || words[4][0] == 'C' {
			c.From = c.Path
			if c.Path, raw, ok = strings.Cut(raw, "\x00"); !ok {
				return nil, fmt.Errorf("git names no second path after %.80q", head)
			}
		}
		switch {
		case newMode == modeSubmodule || c.Kind == Deleted && oldMode == modeSubmodule:
			c.Kind, c.Why = Skipped, "a submodule"
		case newMode == modeSymlink || c.Kind == Deleted && oldMode == modeSymlink:
			c.Kind, c.Why = Skipped, "a symbolic link"
		}
		list = append(list, c)
	}
	return list, nil
}

// Differs lists those of the paths whose content in the working tree is not that of a commit.
func (r *Repository) Differs(ctx context.Context, commit string, paths []string) ([]string, error) {
	var found []string
	for len(paths) > 0 {
		n := min(len(paths), 200) // so that the command line stays short
		args := []string{"--literal-pathspecs", "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-relative", commit, "--"}
		for _, p := range paths[:n] {
			args = append(args, filepath.Join(r.root, filepath.FromSlash(p)))
		}
		out, err := r.git(ctx, nil, args...)
		if err != nil {
			return nil, fmt.Errorf("compare the working tree: %w", err)
		}
		for p := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
			if p != "" {
				found = append(found, p)
			}
		}
		paths = paths[n:]
	}
	return found, nil
}

// Extract writes the whole tree of a commit into an empty folder, as a checkout would, and leaves the repository as it is.
func (r *Repository) Extract(ctx context.Context, commit, folder string) (err error) {
	index, err := os.MkdirTemp("", "slipstream-index-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(index)) }()
	env := []string{"GIT_INDEX_FILE=" + filepath.Join(index, "index"), "GIT_WORK_TREE=" + folder}
	dir, err := r.git(ctx, nil, "rev-parse", "--absolute-git-dir")
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	env = append(env, "GIT_DIR="+strings.TrimSuffix(string(dir), "\n"))
	if _, err := r.git(ctx, env, "read-tree", commit); err != nil {
		return fmt.Errorf("read commit: %w", err)
	}
	if _, err := r.git(ctx, env, "checkout-index", "--all", "--force", "--quiet", "--prefix="+folder+string(filepath.Separator)); err != nil {
		return fmt.Errorf("write the files of the commit: %w", err)
	}
	return nil
}
