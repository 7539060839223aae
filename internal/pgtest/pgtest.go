//go:build unix

// Package pgtest starts a private PostgreSQL for tests, from the programs found on this machine. A test binary has one
// cluster, started when the first test asks for a database, and stops it at its end:
//
//	var cluster = pgtest.New()
//
//	func TestMain(m *testing.M) { os.Exit(cluster.Run(m)) }
//
// Where PostgreSQL is not installed, tests that ask are skipped with a message that begins with "MISSING: postgres".
package pgtest

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
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cluster is a private PostgreSQL: its own data directory, a random loopback port, a random password, fsync on.
type Cluster struct {
	start    sync.Once
	startErr error

	dir      string
	port     int
	password string
	server   *os.Process
	exited   chan error // gets the end of the server

	mu        sync.Mutex
	databases int      // made so far
	free      []string // of them, empty and unused
}

var errMissing = errors.New("MISSING: postgres (install the PostgreSQL server, or put initdb and postgres on the PATH)")

// New gives a cluster that is not yet started.
func New() *Cluster { return &Cluster{password: rand.Text()} }

// Run runs the tests and stops the cluster. It gives m's exit code.
func (c *Cluster) Run(m interface{ Run() int }) int {
	code := m.Run()
	if err := c.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
		return max(code, 1)
	}
	return code
}

// Database gives t the URL of an empty database. It is emptied and used again when t has ended.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	c.start.Do(func() { c.startErr = c.launch() })
	if errors.Is(c.startErr, errMissing) {
		t.Skip(c.startErr)
	}
	if c.startErr != nil {
		t.Fatalf("start PostgreSQL: %v", c.startErr)
	}
	name, err := c.take()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.giveBack(name); err != nil {
			t.Error(err)
		}
	})
	return c.url(name)
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
		return "", errMissing
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
	if c.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
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

// stop ends the server by its own process id and removes its directory.
func (c *Cluster) stop() error {
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
