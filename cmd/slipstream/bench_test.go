//go:build !device

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The benchmarks here run the command itself: a server in a child process and what devices and people do with it.

// benchServer starts `slipstream serve` in a child with an app and gives its URL and the environment for more commands.
func benchServer(b *testing.B) (binary, url string, environ []string) {
	b.Helper()
	dir := b.TempDir()
	binary = filepath.Join(dir, "slipstream")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	environ = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	server := exec.Command(binary, "serve", "--json", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--log", "error")
	server.Env = environ
	stdout, err := server.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	})
	head := make([]byte, 4096)
	n, err := stdout.Read(head)
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(head[:n]), `"url": "`)
	url, _, _ = strings.Cut(rest, `"`)
	slip(b, binary, environ, "app", "create", "shop")
	return binary, url, environ
}

func slip(b *testing.B, binary string, environ []string, args ...string) *os.ProcessState {
	b.Helper()
	c := exec.Command(binary, args...)
	c.Env = environ
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("slipstream %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return c.ProcessState
}

// BenchmarkReports posts events from 64 connections to a server on SQLite; every answer means that they are on disk. The
// baseline appends the same bytes to a file and fsyncs it after every request, one after the other.
func BenchmarkReports(b *testing.B) {
	_, url, _ := benchServer(b)
	for _, batch := range []int{1, 500} {
		b.Run(fmt.Sprintf("%d-per-request", batch), func(b *testing.B) {
			const clients = 64
			transport := &http.Transport{MaxIdleConnsPerHost: clients}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			var sent atomic.Int64
			requests := (b.N + batch - 1) / batch
			b.ResetTimer()
			began := time.Now()
			var group sync.WaitGroup
			for range clients {
				group.Go(func() {
					for sent.Add(1) <= int64(requests) {
						postEvents(b, client, url, events(batch))
					}
				})
			}
			group.Wait()
			rate := float64(requests*batch) / time.Since(began).Seconds()
			b.StopTimer()
			b.ReportMetric(rate, "events/s")
			b.ReportMetric(rate/fsyncRate(b, batch), "x_fsync_each")
		})
	}
}

func events(n int) []byte {
	var body bytes.Buffer
	body.WriteByte('[')
	for i := range n {
		var raw [20]byte
		_, _ = rand.Read(raw[:])
		if i > 0 {
			body.WriteByte(',')
		}
		device := hex.EncodeToString(append(raw[:], raw[:12]...))
		fmt.Fprintf(&body, `{"id":"%x","kind":"confirmed","app":"shop","channel":"production","package":"main","device":"%s","release":"%064d","platform":"android","runtime":"3.2.0"}`, raw[:], device, 7)
	}
	body.WriteByte(']')
	return body.Bytes()
}

func postEvents(b *testing.B, client *http.Client, url string, body []byte) {
	res, err := client.Post(url+"/v1/reports", "application/json", bytes.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	answer, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != http.StatusOK || bytes.Contains(answer, []byte("refused")) {
		b.Errorf("status %d, error %v: %.200s", res.StatusCode, err, answer)
	}
}

// fsyncRate is how many events a second a file takes that is fsynced after every request.
func fsyncRate(b *testing.B, batch int) float64 {
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const rounds = 100
	began := time.Now()
	for range rounds {
		if _, err := f.Write(events(batch)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(rounds*batch) / time.Since(began).Seconds()
}

// BenchmarkStage installs a release of 20 MB of real source files by `slipstream fetch`: download, verification and
// fsyncs included. The baseline is tar xf and sha256sum of the same files.
func BenchmarkStage(b *testing.B) {
	for _, tool := range []string{"tar", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skip("MISSING: " + tool)
		}
	}
	binary, _, environ := benchServer(b)
	tree := filepath.Join(b.TempDir(), "tree")
	files := realTree(b, tree, 20<<20)
	slip(b, binary, environ, "publish", tree, "--app", "shop", "--version", "1.0.0", "--kind", "files")
	time.Sleep(3 * time.Second) // until the full container is built
	archive := tree + ".tar"
	command(b, "tar", "cf", archive, "-C", tree, ".")
	var ours, theirs time.Duration
	var peak int64
	b.ResetTimer()
	for range b.N {
		began := time.Now()
		state := slip(b, binary, environ, "fetch", "--app", "shop", "--dir", filepath.Join(b.TempDir(), "device"))
		ours += time.Since(began)
		peak = max(peak, state.SysUsage().(*syscall.Rusage).Maxrss<<10)

		to := filepath.Join(b.TempDir(), "plain")
		began = time.Now()
		command(b, "sh", "-c", `mkdir "$1" && tar xf "$2" -C "$1" && find "$1" -type f -exec sha256sum {} + >/dev/null`, "sh", to, archive)
		theirs += time.Since(began)
	}
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x_tar+sha256sum")
	b.ReportMetric(float64(peak)/1e6, "peak-MB")
	b.ReportMetric(float64(files), "files")
}

// BenchmarkNoChange is a device that asks and finds nothing new, by `slipstream check`; the baseline is the same command
// printing its version.
func BenchmarkNoChange(b *testing.B) {
	binary, url, environ := benchServer(b)
	tree := filepath.Join(b.TempDir(), "tree")
	realTree(b, tree, 1<<20)
	slip(b, binary, environ, "publish", tree, "--app", "shop", "--version", "1.0.0", "--kind", "files")
	dir := filepath.Join(b.TempDir(), "device")
	slip(b, binary, environ, "fetch", "--app", "shop", "--dir", dir)
	var ours, theirs time.Duration
	b.ResetTimer()
	for range b.N {
		state := slip(b, binary, environ, "check", "--app", "shop", "--dir", dir)
		ours += state.UserTime() + state.SystemTime()
		state = slip(b, binary, environ, "version")
		theirs += state.UserTime() + state.SystemTime()
	}
	b.ReportMetric(float64((ours-theirs).Microseconds())/float64(b.N)/1e3, "cpu-ms/check")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x_start")
	b.ReportMetric(float64(notModified(b, url)), "wire-bytes")
}

// notModified is what a conditional request for an unchanged state takes on the wire, both ways.
func notModified(b *testing.B, url string) int {
	target := url + "/v1/apps/shop/channels/production/state/any"
	res, err := http.Get(target)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, target, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("If-None-Match", res.Header.Get("ETag"))
	var wire bytes.Buffer
	if err := req.Write(&wire); err != nil {
		b.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNotModified {
		b.Fatalf("status %d", answer.StatusCode)
	}
	if err := answer.Write(&wire); err != nil {
		b.Fatal(err)
	}
	return wire.Len()
}

// realTree copies source files of the Go installation until there are size bytes.
func realTree(b *testing.B, to string, size int64) (files int) {
	b.Helper()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatalf("find Go's own sources: %v", err)
	}
	root := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	full := fmt.Errorf("enough")
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "testdata") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		files++
		if size -= int64(len(data)); size < 0 {
			return full
		}
		return os.WriteFile(target, data, 0o644)
	})
	if err != full {
		b.Fatalf("copy %s: %v", root, err)
	}
	return files
}

func command(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", name, err, out)
	}
}
