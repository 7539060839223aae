package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// Program is a client that runs as a program of its own.
type Program struct {
	name     string
	cmd      *exec.Cmd
	in       io.WriteCloser
	commands *json.Encoder
	answers  *json.Decoder
}

var _ Driver = (*Program)(nil)

// NewProgram starts a program that speaks the protocol. It is killed when ctx ends. Its standard error goes to stderr.
func NewProgram(ctx context.Context, stderr io.Writer, name string, args ...string) (*Program, error) {
	p := &Program{name: name, cmd: exec.CommandContext(ctx, name, args...)}
	p.cmd.Stderr = stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.commands, p.answers = json.NewEncoder(p.in), json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Tell sends one line and reads one.
func (p *Program) Tell(ctx context.Context, c Command) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, context.Cause(ctx)
	}
	if err := p.commands.Encode(c); err != nil {
		return Answer{}, fmt.Errorf("tell %s to %s: %w", p.name, c.Do, err)
	}
	var a Answer
	if err := p.answers.Decode(&a); err != nil {
		return Answer{}, fmt.Errorf("hear %s about %s: %w", p.name, c.Do, err)
	}
	return a, nil
}

// Close ends the program. One that is still busy is killed.
func (p *Program) Close() error {
	_, err := p.Tell(context.Background(), Command{Do: DoQuit})
	err = errors.Join(err, p.in.Close())
	if err != nil {
		return errors.Join(err, p.cmd.Process.Kill(), ignoreExit(p.cmd.Wait()))
	}
	return p.cmd.Wait()
}

// Kill ends the program in the middle of whatever it does, and waits until it is gone.
func (p *Program) Kill() error {
	return errors.Join(p.cmd.Process.Kill(), ignoreExit(p.cmd.Wait()))
}

// ignoreExit forgives a program that was killed.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
