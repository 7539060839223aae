// Package child runs programs for proofs: each in a process group of its own, ended by its own process id, and ended by
// the system when this process dies without a word.
package child

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// ErrUnsupported says that this system has no process groups and signals as the proofs need them.
var ErrUnsupported = errors.New("needs a Unix system")

// Spec describes a program to run. Stdout and Stderr get whole lines, in order, on goroutines that end with the last
// writer of the stream or with Close; nil discards.
type Spec struct {
	Path   string
	Args   []string // without the program's own name
	Env    []string
	Dir    string
	Stdout func(line string)
	Stderr func(line string)
}

// Process is a program that was started.
type Process struct {
	ID   int
	done chan struct{}
	err  error // of Wait, valid after done

	mu      sync.Mutex
	over    bool // the id may belong to somebody else
	process *os.Process

	readers []*os.File
	reading sync.WaitGroup
	tail    tail
}

// Start runs the program. Whoever calls it ends it by Close.
func Start(s Spec) (*Process, error) {
	attr, err := attributes()
	if err != nil {
		return nil, err
	}
	p := &Process{done: make(chan struct{})}
	cmd := exec.Command(s.Path, s.Args...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = s.Env, s.Dir, attr
	var writers []*os.File
	closeAll := func(files []*os.File) (err error) {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
		return err
	}
	for to, lines := range map[*io.Writer]func(string){&cmd.Stdout: s.Stdout, &cmd.Stderr: s.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make pipe: %w", err), closeAll(writers), closeAll(p.readers))
		}
		*to = w
		writers, p.readers = append(writers, w), append(p.readers, r)
		if to == &cmd.Stderr {
			lines = p.tail.before(lines)
		}
		p.reading.Go(func() { readLines(r, lines) })
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the parent-death signal is bound to the thread
		err := cmd.Start()
		started <- err
		if err == nil {
			p.wait(cmd)
		}
	}()
	err = errors.Join(<-started, closeAll(writers))
	if err != nil {
		err = errors.Join(fmt.Errorf("start %s: %w", s.Path, err), closeAll(p.readers))
		p.reading.Wait()
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process, p.ID = cmd.Process, cmd.Process.Pid
	return p, nil
}

func (p *Process) wait(cmd *exec.Cmd) {
	err := cmd.Wait()
	p.mu.Lock()
	p.over, p.err = true, err
	p.mu.Unlock()
	close(p.done)
}

func readLines(r io.Reader, lines func(string)) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if lines != nil {
			lines(s.Text())
		}
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended: nil for exit code 0. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Finish waits until the process has ended and all its output is read, and gives how it ended. When done is closed
// first, it is killed.
func (p *Process) Finish(done <-chan struct{}) error {
	read := make(chan struct{})
	go func() {
		p.reading.Wait()
		close(read)
	}()
	select {
	case <-read:
	case <-done:
	}
	return errors.Join(p.Close(), p.err)
}

// Tail is the last of what the program wrote to standard error.
func (p *Process) Tail() string { return p.tail.String() }

// Signal sends a signal to the process alone. One that has ended gets none, and that is no error.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return nil
	}
	if err := p.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.ID, err)
	}
	return nil
}

// Kill ends the process and its group with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	p.mu.Lock()
	var err error
	if !p.over {
		err = killGroup(p.ID)
	}
	p.mu.Unlock()
	<-p.done
	return err
}

// Close kills what still runs and stops reading its output.
func (p *Process) Close() error {
	err := p.Kill()
	for _, r := range p.readers {
		err = errors.Join(err, r.Close())
	}
	p.reading.Wait()
	return err
}

// tail keeps the end of a text.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 4 << 10

func (t *tail) before(next func(string)) func(string) {
	return func(line string) {
		t.mu.Lock()
		t.text = append(append(t.text, line...), '\n')
		if over := len(t.text) - tailBytes; over > 0 {
			t.text = t.text[over:]
		}
		t.mu.Unlock()
		if next != nil {
			next(line)
		}
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
