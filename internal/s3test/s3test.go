// Package s3test gives tests an S3: gofakes3 inside the test binary, and versitygw, a real gateway over a directory, as a
// process of its own. A test binary has one gateway, started when the first test asks for a bucket:
//
//	var gateway = s3test.New()
//
//	func TestMain(m *testing.M) { os.Exit(gateway.Run(m)) }
//
// Where versitygw is not installed, tests that ask are skipped with a message that begins with "MISSING: versitygw".
package s3test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

const (
	accessKey = "testkey"
	secretKey = "testsecret"
)

var errMissing = errors.New("MISSING: versitygw (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0)")

// Fake gives the URL of an empty bucket of gofakes3, which keeps everything in the test's memory and checks no
// credentials.
func Fake(t testing.TB) string {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return bucketURL("bucket", server.URL)
}

func bucketURL(bucket, endpoint string) string {
	q := url.Values{"endpoint": {endpoint}, "region": {"us-east-1"}, "access_key": {accessKey}, "secret_key": {secretKey}}
	return "s3://" + bucket + "?" + q.Encode()
}

// Gateway is a versitygw over a temporary directory, on a random loopback port.
type Gateway struct {
	start    sync.Once
	startErr error

	dir      string
	endpoint string
	process  *exec.Cmd
	exited   chan error

	mu      sync.Mutex
	buckets int
}

// New gives a gateway that is not yet started.
func New() *Gateway { return &Gateway{} }

// Run runs the tests and stops the gateway. It gives m's exit code.
func (g *Gateway) Run(m interface{ Run() int }) int {
	code := m.Run()
	if err := g.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop versitygw:", err)
		return max(code, 1)
	}
	return code
}

// Bucket gives t the URL of an empty bucket: s3://name?endpoint=…&access_key=…
func (g *Gateway) Bucket(t testing.TB) string {
	t.Helper()
	g.start.Do(func() { g.startErr = g.launch() })
	if errors.Is(g.startErr, errMissing) {
		t.Skip(g.startErr)
	}
	if g.startErr != nil {
		t.Fatalf("start versitygw: %v", g.startErr)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buckets++
	name := "bucket" + strconv.Itoa(g.buckets)
	if err := os.Mkdir(filepath.Join(g.dir, "data", name), 0o755); err != nil { // a directory is a bucket
		t.Fatal(err)
	}
	return bucketURL(name, g.endpoint)
}

// find looks on the PATH and where go install puts programs.
func find() (string, error) {
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path, nil
	}
	out, err := exec.Command("go", "env", "GOBIN", "GOPATH").Output()
	if err != nil {
		return "", errMissing
	}
	bin, gopath, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "\n")
	dirs := []string{bin}
	for _, p := range filepath.SplitList(gopath) {
		dirs = append(dirs, filepath.Join(p, "bin"))
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, "versitygw")); err == nil {
			return path, nil
		}
	}
	return "", errMissing
}

func (g *Gateway) launch() error {
	program, err := find()
	if err != nil {
		return err
	}
	if g.dir, err = os.MkdirTemp("", "s3test-"); err != nil {
		return err
	}
	data := filepath.Join(g.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	g.endpoint = "http://" + address
	log, err := os.Create(filepath.Join(g.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	g.process = exec.Command(program, "--port", address, "--quiet", "posix", data)
	g.process.Env = []string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey}
	g.process.Dir, g.process.Stdout, g.process.Stderr = g.dir, log, log
	dieWithParent(g.process)
	started := make(chan error)
	g.exited = make(chan error, 1)
	go func() {
		runtime.LockOSThread() // dieWithParent is about this thread
		err := g.process.Start()
		started <- err
		if err == nil {
			g.exited <- g.process.Wait()
		}
	}()
	if err := <-started; err != nil {
		g.process = nil
		return err
	}
	return g.ready(log.Name())
}

func (g *Gateway) ready(logPath string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(g.endpoint)
		if err == nil {
			return resp.Body.Close()
		}
		if time.Now().After(deadline) {
			out, _ := os.ReadFile(logPath) // best effort beside err
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
}

// stop ends the gateway by its own process id and removes its directory.
func (g *Gateway) stop() error {
	var errs []error
	if g.process != nil {
		errs = append(errs, g.process.Process.Kill())
		<-g.exited
	}
	if g.dir != "" {
		errs = append(errs, os.RemoveAll(g.dir))
	}
	return errors.Join(errs...)
}
