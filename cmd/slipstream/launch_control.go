package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// maxSocketPath is the shortest limit of the systems for the name of a Unix socket.
const maxSocketPath = 100

// control is the socket over which a child tells its launcher that it works: one line "confirm TOKEN" or "alive TOKEN", answered
// by "ok" or "error REASON". It works while the launcher holds the directory's lock.
type control struct {
	path     string
	temp     string // directory of our own, when the device's directory has too long a name
	listener net.Listener
	requests chan controlRequest
	wait     sync.WaitGroup
}

type controlRequest struct {
	verb, token string
	answer      chan<- error
}

func newControl(ctx context.Context, dir string) (*control, error) {
	dropDeadSockets(ctx, dir)
	c := &control{path: filepath.Join(dir, fmt.Sprintf("control-%d.sock", os.Getpid())), requests: make(chan controlRequest)}
	listener, err := listenUnix(ctx, c.path)
	if err != nil { // the name is too long, or nothing can be written there
		if c.temp, err = os.MkdirTemp("", "slip"); err != nil {
			return nil, fmt.Errorf("make folder for the control socket: %w", err)
		}
		c.path = filepath.Join(c.temp, "control.sock")
		if listener, err = listenUnix(ctx, c.path); err != nil {
			return nil, errors.Join(fmt.Errorf("open control socket: %w", err), os.RemoveAll(c.temp))
		}
	}
	if err := os.Chmod(c.path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect control socket: %w", err), listener.Close())
	}
	c.listener = listener
	c.wait.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.wait.Go(func() { c.serve(ctx, conn) })
		}
	})
	return c, nil
}

func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket name of %d bytes", len(path))
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "unix", path)
}

// dropDeadSockets removes the sockets of launchers that were killed. One that answers belongs to a launcher that lives.
func dropDeadSockets(ctx context.Context, dir string) {
	paths, err := filepath.Glob(filepath.Join(dir, "control-*.sock"))
	if err != nil {
		return
	}
	for _, path := range paths {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "unix", path); err == nil {
			conn.Close()
		} else if os.Remove(path) != nil {
			return // a directory that cannot be written: leave it all
		}
	}
}

func (c *control) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 1024)).ReadString('\n')
	if err != nil {
		return
	}
	verb, token, _ := strings.Cut(strings.TrimSpace(line), " ")
	answer := make(chan error, 1)
	select {
	case c.requests <- controlRequest{verb, token, answer}:
	case <-ctx.Done():
		return
	case <-time.After(5 * time.Second):
		fmt.Fprintln(conn, "error no program runs")
		return
	}
	select {
	case err = <-answer:
	case <-ctx.Done():
		return
	}
	if err != nil {
		fmt.Fprintf(conn, "error %s %s\n", slipstream.ReasonOf(err, slipstream.ReasonInternal), strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Fprintln(conn, "ok")
}

// close ends the socket; its context must be over.
func (c *control) close() error {
	err := c.listener.Close()
	c.wait.Wait()
	if c.temp != "" {
		err = errors.Join(err, os.RemoveAll(c.temp))
	}
	return err
}

// tellLauncher sends one request to the launcher whose socket path names.
func tellLauncher(ctx context.Context, path, verb, token string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return slipstream.Hint(fmt.Errorf("reach the launcher: %w", err), "run this from a program that `slipstream run` started")
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return fmt.Errorf("reach the launcher: %w", err)
	}
	if _, err := fmt.Fprintf(conn, "%s %s\n", verb, token); err != nil {
		return fmt.Errorf("tell the launcher: %w", err)
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 4096)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("hear from the launcher: %w", err)
	}
	line = strings.TrimSpace(line)
	if line == "ok" {
		return nil
	}
	rest, _ := strings.CutPrefix(line, "error ")
	reason, text, _ := strings.Cut(rest, " ")
	return slipstream.Refuse(slipstream.Reason(reason), verb, "%s", text)
}
