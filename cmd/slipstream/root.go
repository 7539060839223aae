package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/config"
)

// Exit codes, the same for every command.
const (
	exitOK       = 0
	exitError    = 1 // it did not work; standard error says why and what to do
	exitUsage    = 2 // the command line is wrong
	exitRefused  = 3 // a document, key or release was refused
	exitConflict = 4 // somebody else was first, or the thing exists already
	exitNotFound = 5
)

// tool is what every command gets: where to print, and the settings.
type tool struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            *config.Env
	json           bool // --json: print one JSON value instead of text
	environ        []string
	server         serverFlags // --server and --token of the command that runs
}

// serverFlags are the flags of every command that talks to a server.
type serverFlags struct{ url, token string }

// usageError makes the exit code 2.
type usageError struct{ err error }

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

// exitCode carries the exit code of a program that we ran on the user's behalf.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	env, err := config.Load(environ)
	if err != nil {
		return report(stderr, err)
	}
	t := &tool{stdin: stdin, stdout: stdout, stderr: stderr, env: env, environ: environ}
	root := newRootCommand(t, args...)
	group(root)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return report(stderr, root.ExecuteContext(ctx))
}

// report prints err with its hint and gives the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	text := err.Error()
	hint := slipstream.HintOf(err)
	if hint != "" {
		text = strings.TrimSuffix(text, ": "+slipstream.ErrConflict.Error()) // the hint says more
	}
	fmt.Fprintln(w, "Error:", text)
	if hint != "" {
		fmt.Fprintln(w, "Try:", hint)
	}
	var usage usageError
	var refusal *slipstream.Refusal
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &refusal):
		return exitRefused
	case errors.Is(err, slipstream.ErrConflict):
		return exitConflict
	case errors.Is(err, slipstream.ErrNotFound):
		return exitNotFound
	}
	return exitError
}

// newRootCommand has the command that args name, or all of them.
func newRootCommand(t *tool, args ...string) *cobra.Command {
	root := &cobra.Command{
		Use:           "slipstream",
		Short:         rootShort,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noSubcommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().BoolVar(&t.json, "json", false, "print one JSON value instead of text")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{slipstream.Hint(err, "see `%s --help`", c.CommandPath())}
	})
	root.AddCommand(commands(t, args)...)
	return root
}

// print writes v as JSON with --json, else calls text.
func (t *tool) print(v any, text func(w io.Writer)) error {
	if !t.json {
		text(t.stdout)
		return nil
	}
	enc := json.NewEncoder(t.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// terminal reports whether w is a terminal: progress bars and questions only there.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
