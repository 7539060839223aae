package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

// child is one run of the program.
type child struct {
	cmd       *exec.Cmd
	done      chan error
	lines     chan string // lines of the confirm descriptor
	pipe      *os.File    // its reading end
	sign      atomic.Int64
	confirmed bool
	beats     bool // it sends signs of life, so it must go on
	asked     bool // to end for an update, when it likes
	ending    ending
	kill      <-chan time.Time
}

// spawn starts the program from the launch's tree.
func (l *launcher) spawn(launch *client.Launch) (*child, error) {
	tree := launch.Packages[l.pkg]
	args := make([]string, len(l.command))
	for i, a := range l.command {
		a = strings.ReplaceAll(a, "{entry}", filepath.Join(tree.Dir, filepath.FromSlash(tree.Entry)))
		for pkg, t := range launch.Packages {
			a = strings.ReplaceAll(a, "{dir:"+pkg+"}", t.Dir)
		}
		args[i] = strings.ReplaceAll(a, "{dir}", tree.Dir)
	}
	c := &child{cmd: exec.Command(args[0], args[1:]...), done: make(chan error, 1)}
	c.cmd.SysProcAttr = childAttr()
	c.cmd.Env = append(append([]string{}, l.environ...),
		"SLIPSTREAM_DIR="+tree.Dir, "SLIPSTREAM_TOKEN="+launch.Token, "SLIPSTREAM_VERSION="+tree.Version,
		"SLIPSTREAM_RELEASE="+string(tree.Release), "SLIPSTREAM_CONTROL="+l.control.path)
	c.cmd.Stdin = l.stdin
	c.cmd.Stdout, c.cmd.Stderr = l.stdout, l.stderr
	c.sign.Store(time.Now().UnixNano())
	if l.hangAfter > 0 {
		c.cmd.Stdout, c.cmd.Stderr = &lively{l.stdout, c}, &lively{l.stderr, c}
		c.cmd.WaitDelay = l.grace
	}
	closing, err := l.inherit(c, launch)
	if err != nil {
		return nil, err
	}
	err = c.cmd.Start()
	if closing != nil {
		err = errors.Join(err, closing.Close())
	}
	if err != nil {
		if c.pipe != nil {
			err = errors.Join(err, c.pipe.Close())
		}
		if inside, _ := filepath.Rel(tree.Dir, args[0]); filepath.IsLocal(inside) {
			return nil, &unstartable{err}
		}
		return nil, slipstream.Hint(fmt.Errorf("start %s: %w", args[0], err), "check the command after --")
	}
	if c.pipe != nil {
		c.lines = make(chan string, 16)
		go readLines(c.pipe, c.lines)
	}
	go func() { c.done <- c.cmd.Wait() }()
	return c, nil
}

// unstartable says that the system does not run the release's own program: it is missing, for another machine, or not
// executable.
type unstartable struct{ error }

// inherit gives the child the descriptor that it confirms on, at the number that was asked for, and the leases of the
// trees it runs, so that they outlive this process. The returned file is the child's end.
func (l *launcher) inherit(c *child, launch *client.Launch) (*os.File, error) {
	var theirs *os.File
	if number, ok := strings.CutPrefix(l.confirm, confirmFD); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < 3 || n > 63 {
			return nil, usageError{fmt.Errorf("descriptor %q is not a number from 3 to 63", number)}
		}
		ours, write, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("make pipe: %w", err)
		}
		c.pipe, theirs = ours, write
		c.cmd.ExtraFiles = make([]*os.File, n-2)
		c.cmd.ExtraFiles[n-3] = write
	}
	if runtime.GOOS != "windows" {
		c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, launch.LeaseFiles()...)
	}
	return theirs, nil
}

// readLines passes lines on and reads to the very end, whatever comes: a program must never wait because it wrote too much.
// It ends when the child, and whoever it gave the descriptor to, closed it or the launcher did.
func readLines(r *os.File, out chan<- string) {
	defer close(out)
	lines := bufio.NewReaderSize(r, 4<<10)
	for {
		line, tooLong, err := lines.ReadLine()
		if err != nil {
			return
		}
		text := string(line)
		for tooLong && err == nil {
			text = "" // no line that we know is so long
			_, tooLong, err = lines.ReadLine()
		}
		select {
		case out <- text:
		default: // nobody listens any more: one line was enough
		}
	}
}

// lively notes that the program writes.
type lively struct {
	w io.Writer
	c *child
}

func (v *lively) Write(p []byte) (int, error) {
	v.c.sign.Store(time.Now().UnixNano())
	return v.w.Write(p)
}

// stop asks the program to end, and ends it when it does not within the grace.
func (l *launcher) stop(c *child, s os.Signal, mark func(*ending)) {
	mark(&c.ending)
	if c.kill == nil {
		c.kill = time.After(l.grace)
	}
	l.signal(c, s)
}

func (l *launcher) signal(c *child, s os.Signal) {
	if err := signalChild(c.cmd.Process, s); err != nil {
		l.lines.say("warning", "signal not sent: "+err.Error(), nil)
	}
}

// exitOf gives a shell's exit code and words for how a program ended.
func exitOf(cmd *exec.Cmd, werr error) (int, string) {
	state := cmd.ProcessState
	if state == nil {
		return exitError, fmt.Sprint(werr)
	}
	if code := state.ExitCode(); code >= 0 {
		return code, fmt.Sprintf("exit %d", code)
	}
	return signalExit(state), state.String()
}
