//go:build unix

// Package pgcluster starts a private PostgreSQL for tests and proofs, from the programs found on this machine.
package pgcluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cluster is a private PostgreSQL: its own data directory, a random loopback port, a random password, fsync on.
type Cluster struct {
	dir      string
	port     int
	password string
	server   *os.Process
	exited   chan error // gets the end of the server

	mu        sync.Mutex
	databases int      // made so far
	free      []string // of them, empty and unused
}

// ErrMissing says that PostgreSQL is not installed.
var ErrMissing = errors.New("MISSING: postgres (install the PostgreSQL server, or put initdb and postgres on the PATH)")

// Start makes a cluster and starts it. Whoever calls it ends it by Stop.
func Start() (*Cluster, error) {
	c := &Cluster{password: rand.Text()}
	if err := c.launch(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Missing reports whether PostgreSQL is not installed.
func Missing() bool {
	_, err1 := find("initdb")
	_, err2 := find("postgres")
	return err1 != nil || err2 != nil
}

// Database gives the URL of an empty database, and what empties it and keeps it for the next caller.
func (c *Cluster) Database() (url string, giveBack func() error, err error) {
	name, err := c.take()
	if err != nil {
		return "", nil, err
	}
	return c.url(name), func() error { return c.giveBack(name) }, nil
}

func (c *Cluster) take() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.free); n > 0 {
		name := c.free[n-1]
		c.free = c.free[:n-1]
		return name, nil
	}
	c.databases++
	name := "test" + strconv.Itoa(c.databases)
	return name, c.admin("postgres", `CREATE DATABASE `+name)
}

// giveBack empties the database, which takes a tenth of the time of making another.
func (c *Cluster) giveBack(name string) error {
	err := c.admin(name, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
		DROP SCHEMA public CASCADE; CREATE SCHEMA public`)
	if err != nil {
		return fmt.Errorf("empty the database: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = append(c.free, name)
	return nil
}

func (c *Cluster) url(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", c.password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)), Path: database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

func (c *Cluster) admin(database, statements string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url(database))
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, statements).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// find looks for a program of PostgreSQL on the PATH and where distributions put it, the highest version first.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"} {
		matches, err := filepath.Glob(filepath.Join(pattern, program))
		if err != nil {
			return "", err
		}
		found = append(found, matches...)
	}
	if len(found) == 0 {
		return "", ErrMissing
	}
	slices.Sort(found)
	return found[len(found)-1], nil
}

func (c *Cluster) launch() (err error) {
	initdb, err := find("initdb")
	if err != nil {
		return err
	}
	postgres, err := find("postgres")
	if err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "slipstream-postgres-"); err != nil {
		return err
	}
	attr, err := c.unprivileged()
	if err != nil {
		return err
	}
	pw := filepath.Join(c.dir, "password")
	if err := os.WriteFile(pw, []byte(c.password), 0o644); err != nil { // in a folder of mode 0700
		return err
	}
	data := filepath.Join(c.dir, "data")
	init := exec.Command(initdb, "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", pw, "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions")
	init.SysProcAttr, init.Dir = attr, c.dir
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if c.port, err = freePort(); err != nil {
		return err
	}
	return c.serve(postgres, data, attr)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func (c *Cluster) serve(postgres, data string, attr *syscall.SysProcAttr) error {
	logPath := filepath.Join(c.dir, "log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(postgres, "-D", data, "-p", strconv.Itoa(c.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "max_connections=300", "-c", "shared_buffers=64MB", "-c", "max_wal_size=512MB", "-c", "log_min_messages=fatal")
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = attr, c.dir, log, log
	dieWithParent(cmd.SysProcAttr)
	started := make(chan error)
	c.exited = make(chan error, 1)
	go func() {
		runtime.LockOSThread() // dieWithParent is about this thread
		err := cmd.Start()
		started <- err
		if err == nil {
			c.exited <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	c.server = cmd.Process
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := c.admin("postgres", `SELECT 1`)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			out, _ := os.ReadFile(logPath) // best effort beside err
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
}

// Stop ends the server by its own process id and removes its directory.
func (c *Cluster) Stop() error {
	var errs []error
	if c.server != nil {
		// SIGQUIT is PostgreSQL's immediate shutdown, with a non-zero exit code; nothing of it is needed any more.
		errs = append(errs, c.server.Signal(syscall.SIGQUIT))
		<-c.exited
	}
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}
