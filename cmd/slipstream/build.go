//go:build !device

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/ocrunner/device"
	"github.com/slipstream-ota/slipstream/publish/source"
)

// exitUnchanged is the exit code of build with --exit-code when there is nothing to do.
const exitUnchanged = 6

func newBuildCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "build", Short: "Make what is to be published from sources"}
	c.AddCommand(newBuildGitCommand(t))
	return c
}

// buildFlags are the flags of build git, besides those of publish.
type buildFlags struct {
	command, repo, output, patchKey         string
	shell, snapshot, publish, tellUnchanged bool
	filter                                  source.Filter
	limit                                   time.Duration
}

// built is what build git prints with --json.
type built struct {
	From      string          `json:"from"` // full names of the commits
	To        string          `json:"to"`
	Changed   bool            `json:"changed"` // false: there was nothing to hand over, and nothing was made
	Path      string          `json:"path,omitempty"`
	Size      int64           `json:"size,omitempty"`
	Files     []source.Change `json:"files"`
	Published json.RawMessage `json:"published,omitempty"` // what publish --json prints
}

func newBuildGitCommand(t *tool) *cobra.Command {
	var f buildFlags
	var p publishFlags
	c := &cobra.Command{
		Use:   "git FROM TO --exec 'COMPILER -files {files} -output {out}'",
		Short: "Compile the files that changed between two commits",
		Long: `Git hands the files that were added, changed or moved between two commits to a compiler, and checks its exit status and what
it made. The last and only line on standard output is the path of the result; everything else, also what the compiler
prints, goes to standard error. Deleted files, submodules and symbolic links are named there and not handed over.

In the command, {files} becomes one argument for each file, by its absolute path; {list} is a file that names them, one a
line; {out} is where the result must be written; {root}, {from} and {to} are the folder of the tree and the two commits. The
command runs in the folder of --repo and never goes through a shell, unless --shell says so: then sh runs it, with the
files as "$@" and the other values as variables, so that no name is ever read as a command.

The files must be those of TO: where the working tree differs, check TO out, or say --snapshot to compile from a copy of that
commit. When nothing is to be handed over, nothing is made or published, standard output stays empty and the exit code is
0, or 6 with --exit-code.

--publish publishes the result, with the flags of slipstream publish.`,
		Example: `  slipstream build git 0742e1b d1e8636 --exec './PatchGenerator -files {files} -refs Scripts.bundle -output {out}' --include '*.m'
  slipstream build git v1.1.0 HEAD --exec 'PatchGenerator -files {files} -output {out}' --publish --app shop --version 1.1.0 --share 10%`,
		Args: exactly(2, "two commits"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return t.buildGit(c, &f, &p, args[0], args[1])
		},
	}
	p.define(c)
	t.rootFlag(c, &p.root)
	t.serverFlags(c)
	fs := c.Flags()
	fs.StringVar(&f.command, "exec", "", "the compiler and its arguments")
	fs.BoolVar(&f.shell, "shell", false, "run the command by sh: for pipes and the like")
	fs.StringVar(&f.repo, "repo", ".", "folder of the repository, in which the command runs")
	fs.StringVar(&f.output, "output", "", "file that the result becomes (default: binarypatch in the folder of the repository)")
	fs.StringArrayVar(&f.filter.Include, "include", nil, "only these: '*.m' in any folder, 'ios/**/*.m' from the root (repeatable)")
	fs.StringArrayVar(&f.filter.Exclude, "exclude", nil, "not these (repeatable)")
	fs.DurationVar(&f.limit, "exec-timeout", 30*time.Minute, "how long the compiler may take; 0 for as long as it likes")
	fs.BoolVar(&f.snapshot, "snapshot", false, "compile from a copy of TO instead of the working tree")
	fs.BoolVar(&f.tellUnchanged, "exit-code", false, "exit with 6 when there is nothing to compile")
	fs.StringVar(&f.patchKey, "patch-key", "", "encrypt the result with the key in this file (slipstream patch key)")
	fs.BoolVar(&f.publish, "publish", false, "publish the result; the flags of publish say how")
	return c
}

// check refuses what is wrong on the command line before anything is run.
func (f *buildFlags) check(c *cobra.Command) error {
	if f.command == "" {
		return usageError{slipstream.Hint(errors.New("which compiler?"), "say --exec 'PatchGenerator -files {files} -output {out}'")}
	}
	if err := source.CheckCommand(f.command, f.shell); err != nil {
		return usageError{err}
	}
	if f.limit < 0 {
		return usageError{fmt.Errorf("--exec-timeout %s is below zero", f.limit)}
	}
	if f.publish {
		return nil
	}
	for _, name := range []string{"version", "share", "notes", "dry-run", "mandatory", "no-rollout", "channel", "message"} {
		if c.Flags().Changed(name) {
			return usageError{slipstream.Hint(fmt.Errorf("--%s is for publishing", name), "say --publish too")}
		}
	}
	return nil
}

func (t *tool) buildGit(c *cobra.Command, f *buildFlags, p *publishFlags, fromRevision, toRevision string) (err error) {
	ctx := c.Context()
	repo, err := source.Open(ctx, f.repo, t.environ)
	if err != nil {
		return err
	}
	var out built
	if out.From, err = repo.Commit(ctx, fromRevision); err == nil {
		out.To, err = repo.Commit(ctx, toRevision)
	}
	if err != nil {
		return err
	}
	if reversed, err := repo.Reversed(ctx, out.From, out.To); err == nil && reversed {
		fmt.Fprintf(t.stderr, "Warning: %s is older than %s: this is the way back\n", toRevision, fromRevision)
	}
	if out.Files, err = repo.Changes(ctx, out.From, out.To, f.filter); err != nil {
		return err
	}
	paths := t.tellChanges(out.Files)
	if len(paths) == 0 {
		fmt.Fprintln(t.stderr, "Nothing to compile: no file was added or changed")
		return errors.Join(t.printBuilt(&out), f.unchanged())
	}
	out.Changed = true
	// What publishing would refuse is refused before anything is compiled.
	output, err := filepath.Abs(first(f.output, filepath.Join(f.repo, "binarypatch")))
	if err != nil {
		return fmt.Errorf("find the output: %w", err)
	}
	if f.publish {
		if err := readSettings(c, filepath.Dir(output)); err != nil {
			return usageError{err}
		}
		if _, err := t.request(p, filepath.Dir(output)); err != nil {
			return err
		}
	}
	if err := t.compileChanges(ctx, f, repo, &out, paths, output); err != nil {
		return err
	}
	if f.publish {
		if out.Published, err = t.publishBuilt(ctx, p, output); err != nil {
			return err
		}
	}
	return t.printBuilt(&out)
}

func (f *buildFlags) unchanged() error {
	if f.tellUnchanged {
		return exitCode(exitUnchanged)
	}
	return nil
}

func (t *tool) printBuilt(out *built) error {
	if t.json {
		return t.print(out, nil)
	}
	if out.Path == "" {
		return nil
	}
	_, err := fmt.Fprintln(t.stdout, out.Path)
	return err
}

// tellChanges says on standard error what differs, and gives the paths that are handed over.
func (t *tool) tellChanges(list []source.Change) (paths []string) {
	for _, c := range list {
		switch {
		case c.Kind == source.Skipped:
			fmt.Fprintf(t.stderr, "  . %s (%s: not handed over)\n", c.Path, c.Why)
		case c.Kind == source.Deleted:
			fmt.Fprintf(t.stderr, "  - %s (deleted)\n", c.Path)
		case c.Kind == source.Moved:
			fmt.Fprintf(t.stderr, "  > %s (was %s)\n", c.Path, c.From)
		case c.Kind == source.Added:
			fmt.Fprintf(t.stderr, "  + %s\n", c.Path)
		default:
			fmt.Fprintf(t.stderr, "  ~ %s\n", c.Path)
		}
		if c.Handed() {
			paths = append(paths, c.Path)
		}
	}
	return paths
}

func (t *tool) compileChanges(ctx context.Context, f *buildFlags, repo *source.Repository, out *built, paths []string, output string) (err error) {
	root := repo.Root()
	if f.snapshot {
		if root, err = os.MkdirTemp("", "slipstream-snapshot-"); err != nil {
			return fmt.Errorf("make folder for the snapshot: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
		if err := repo.Extract(ctx, out.To, root); err != nil {
			return err
		}
	} else if err := inWorkingTree(ctx, repo, out.To, paths); err != nil {
		return err
	}
	dir, err := filepath.Abs(f.repo)
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	j := &source.Job{Command: f.command, Shell: f.shell, Dir: dir, Env: t.environ, Root: root, Output: output, From: out.From, To: out.To, Limit: f.limit, Log: t.stderr}
	for _, p := range paths {
		j.Files = append(j.Files, filepath.Join(root, filepath.FromSlash(p)))
	}
	fmt.Fprintf(t.stderr, "Compiling %d files\n", len(paths))
	if f.patchKey == "" {
		err = j.Compile(ctx)
	} else {
		err = compileSealed(ctx, j, f.patchKey)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(output)
	if err != nil {
		return fmt.Errorf("look at the result: %w", err)
	}
	out.Path, out.Size = output, info.Size()
	return nil
}

// compileSealed compiles to a file that is taken away again, so that only the encrypted result stays.
func compileSealed(ctx context.Context, j *source.Job, keyFile string) (err error) {
	key, err := readPatchKey(keyFile)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "slipstream-plain-")
	if err != nil {
		return fmt.Errorf("make folder for the result: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	output := j.Output
	j.Output = filepath.Join(dir, filepath.Base(output))
	if err := j.Compile(ctx); err != nil {
		return err
	}
	return sealPatch(key, j.Output, output)
}

// inWorkingTree refuses files whose content in the working tree is not that of the commit: the result would be of
// something that nobody committed.
func inWorkingTree(ctx context.Context, repo *source.Repository, commit string, paths []string) error {
	if repo.Root() == "" {
		return slipstream.Hint(errors.New("this repository has no working tree"), "say --snapshot to compile from a copy of the commit")
	}
	other, err := repo.Differs(ctx, commit, paths)
	if err != nil {
		return err
	}
	if len(other) > 0 {
		return slipstream.Hint(fmt.Errorf("%s, and %d files in all, are in the working tree other than in %.10s", other[0], len(other), commit),
			"check that commit out, or say --snapshot to compile from a copy of it")
	}
	return nil
}

// publishBuilt publishes the result. What publish prints goes to standard error, or into the JSON value.
func (t *tool) publishBuilt(ctx context.Context, p *publishFlags, path string) (json.RawMessage, error) {
	req, err := t.request(p, filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	aside := *t
	aside.stdout = t.stderr
	var text bytes.Buffer
	if t.json {
		aside.stdout = &text
	}
	if err := aside.publish(ctx, p, req, path); err != nil {
		return nil, fmt.Errorf("%s was made, and publishing it failed: %w", path, err)
	}
	return text.Bytes(), nil
}

// sealPatch encrypts the file from to the file to.
func sealPatch(key []byte, from, to string) error {
	return cipherFile(key, from, to, device.Encrypt)
}
