package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Placeholders of a command.
const (
	PlaceFiles = "{files}" // a word of its own: every file becomes one argument
	PlaceList  = "{list}"  // a file that names them, one a line
	PlaceOut   = "{out}"   // where the result goes
	PlaceRoot  = "{root}"  // folder in which the files lie
	PlaceFrom  = "{from}"  // full names of the commits
	PlaceTo    = "{to}"
)

// Job is one run of a compiler.
type Job struct {
	Command  string // with placeholders
	Shell    bool   // hand Command to sh; the files are its "$@"
	Dir      string // in which it runs
	Env      []string
	Root     string // of Files
	Files    []string
	Output   string // file that the result becomes
	From, To string
	Limit    time.Duration // 0 for none
	Log      io.Writer     // gets all that the compiler prints
}

// Compile runs the compiler. Its result is written beside Output first and takes its place when the compiler ended with
// status 0 and left a file with something in it; else Output stays as it was.
func (j *Job) Compile(ctx context.Context) (err error) {
	if len(j.Files) == 0 {
		return slipstream.Invalidf("there is no file to compile")
	}
	if info, err := os.Lstat(j.Output); err == nil && !info.Mode().IsRegular() {
		return slipstream.Hint(fmt.Errorf("%s is there and no file", j.Output), "name another --output")
	}
	scratch, err := os.MkdirTemp(filepath.Dir(j.Output), ".slipstream-build-")
	if err != nil {
		return slipstream.Hint(fmt.Errorf("make folder for the result: %w", err), "the folder of --output must exist and be writable")
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if err := os.Mkdir(filepath.Join(scratch, "out"), 0o755); err != nil {
		return fmt.Errorf("make folder for the result: %w", err)
	}
	out := filepath.Join(scratch, "out", filepath.Base(j.Output))
	list := filepath.Join(scratch, "files")
	if err := j.writeList(list); err != nil {
		return err
	}
	args, err := j.arguments(map[string]string{PlaceOut: out, PlaceList: list, PlaceRoot: j.Root, PlaceFrom: j.From, PlaceTo: j.To})
	if err != nil {
		return err
	}
	if err := j.run(ctx, args, out, list); err != nil {
		return err
	}
	if err := checkResult(out, args[0]); err != nil {
		return err
	}
	if err := os.Rename(out, j.Output); err != nil {
		return fmt.Errorf("put the result in place: %w", err)
	}
	return nil
}

func (j *Job) writeList(path string) error {
	if !strings.Contains(j.Command, PlaceList) {
		return nil
	}
	for _, f := range j.Files {
		if strings.ContainsAny(f, "\r\n") {
			return slipstream.Hint(fmt.Errorf("the name %q has a line end: no list can hold it", f), "use %s, or leave it out by --exclude", PlaceFiles)
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(j.Files, "\n")+"\n"), 0o644); err != nil {
		return fmt.Errorf("write list of files: %w", err)
	}
	return nil
}

// arguments are the words that are run.
func (j *Job) arguments(places map[string]string) ([]string, error) {
	if err := CheckCommand(j.Command, j.Shell); err != nil {
		return nil, err
	}
	if j.Shell {
		// The values never become part of the program's text: they are parameters and variables of the shell.
		text := strings.NewReplacer(PlaceFiles, `"$@"`, PlaceOut, `"$SLIPSTREAM_OUT"`, PlaceList, `"$SLIPSTREAM_LIST"`, PlaceRoot, `"$SLIPSTREAM_ROOT"`,
			PlaceFrom, `"$SLIPSTREAM_FROM"`, PlaceTo, `"$SLIPSTREAM_TO"`).Replace(j.Command)
		return append([]string{"sh", "-c", text, "sh"}, j.Files...), nil
	}
	words, err := SplitCommand(j.Command)
	if err != nil {
		return nil, err
	}
	var args []string
	for _, w := range words {
		if w == PlaceFiles {
			args = append(args, j.Files...)
			continue
		}
		var pairs []string
		for name, value := range places {
			pairs = append(pairs, name, value)
		}
		args = append(args, strings.NewReplacer(pairs...).Replace(w))
	}
	return args, nil
}

func (j *Job) run(ctx context.Context, args []string, out, list string) error {
	if j.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, j.Limit, slipstream.Hint(fmt.Errorf("%s was not done within %s and was stopped", args[0], j.Limit), "give it longer by --exec-timeout"))
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = j.Dir, j.Log, j.Log
	cmd.WaitDelay = 2 * time.Second // for what it started itself and left
	cmd.Env = append(slices.Clone(j.Env), "SLIPSTREAM_OUT="+out, "SLIPSTREAM_LIST="+list, "SLIPSTREAM_ROOT="+j.Root, "SLIPSTREAM_FROM="+j.From, "SLIPSTREAM_TO="+j.To)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		return slipstream.Hint(fmt.Errorf("%s failed: %w", args[0], err), "what it printed stands above; the former result was left as it is")
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
		return slipstream.Hint(fmt.Errorf("start %s: %w", args[0], err), "put it on PATH or name it by its path; a path is looked up from %s", j.Dir)
	case len(j.Files) > 100:
		return slipstream.Hint(fmt.Errorf("start %s: %w", args[0], err), "there are %d files: hand them over as a list by %s", len(j.Files), PlaceList)
	}
	return fmt.Errorf("run %s: %w", args[0], err)
}

func checkResult(out, program string) error {
	info, err := os.Lstat(out)
	if errors.Is(err, os.ErrNotExist) {
		return slipstream.Hint(fmt.Errorf("%s ended well and made no file", program), "let it write to %s", PlaceOut)
	}
	switch {
	case err != nil:
		return fmt.Errorf("look at the result: %w", err)
	case !info.Mode().IsRegular():
		return slipstream.Hint(fmt.Errorf("%s made something that is no file", program), "it must write one file to %s", PlaceOut)
	case info.Size() == 0:
		return fmt.Errorf("%s ended well and made an empty file", program)
	}
	return nil
}

// CheckCommand refuses a command that cannot do its work.
func CheckCommand(command string, shell bool) error {
	if strings.ContainsRune(command, 0) {
		return slipstream.Invalidf("the command holds a NUL")
	}
	words := []string{command}
	if !shell {
		var err error
		if words, err = SplitCommand(command); err != nil {
			return err
		}
		for _, w := range words {
			if w != PlaceFiles && strings.Contains(w, PlaceFiles) {
				return slipstream.Hint(slipstream.Invalidf("%s stands inside the word %q, and it becomes many words", PlaceFiles, w),
					"let it stand alone, or hand over a list: %s", strings.ReplaceAll(w, PlaceFiles, PlaceList))
			}
		}
		if len(words) > 0 && words[0] == PlaceFiles {
			return slipstream.Invalidf("the command begins with %s instead of a program", PlaceFiles)
		}
	}
	if strings.TrimSpace(command) == "" {
		return slipstream.Hint(slipstream.Invalidf("there is no command"), "say --exec 'PatchGenerator -files {files} -output {out}'")
	}
	has := func(place string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, place) })
	}
	named := shell && (strings.Contains(command, "$@") || strings.Contains(command, "$SLIPSTREAM_LIST"))
	if !has(PlaceFiles) && !has(PlaceList) && !named {
		return slipstream.Invalidf("the command has neither %s nor %s: it would not know what changed", PlaceFiles, PlaceList)
	}
	if !has(PlaceOut) && !(shell && strings.Contains(command, "SLIPSTREAM_OUT")) {
		return slipstream.Invalidf("the command has no %s: nothing would know where its result is", PlaceOut)
	}
	return nil
}

// SplitCommand cuts a command into its words: at blanks, but not inside '…' or "…". A backslash before a blank, a quote or
// another backslash takes away its meaning (not inside '…'); any other backslash is itself. Nothing is expanded.
func SplitCommand(command string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	runes := []rune(command)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case r == '\\' && quote != '\'' && i+1 < len(runes) && strings.ContainsRune(`\"' `, runes[i+1]):
			i++
			word.WriteRune(runes[i])
			inWord = true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, inWord = r, true
		case quote == 0 && strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, slipstream.Invalidf("a %c of the command is never closed", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
