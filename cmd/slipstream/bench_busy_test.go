//go:build !device

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkCheckWhileBusy asks for signed decisions from 16 connections, first of a quiet server, then while a rollout
// advances from stage to stage, the guard looks, and 5,000 reports a second arrive. x_quiet is the second rate as a part
// of the first; the reports and the benchmark's own clients take processor time from the server, so the figure is a lower
// bound where cores are few.
func BenchmarkCheckWhileBusy(b *testing.B) {
	binary, url, environ := benchServer(b)
	tree := b.TempDir()
	for version, text := range map[string]string{"1.0.0": "one", "1.1.0": "two"} {
		if err := os.MkdirAll(filepath.Join(tree, version), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, version, "main.js"), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	slip(b, binary, environ, "publish", filepath.Join(tree, "1.0.0"), "--version", "1.0.0")
	quiet := checksPerSecond(b, url, b.N)

	slip(b, binary, environ, "publish", filepath.Join(tree, "1.1.0"), "--version", "1.1.0", "--plan=1%:1s:0,2%:1s:0,5%:1s:0,10%:1s:0,20%:1s:0,50%:1s:0,100%")
	over := make(chan struct{})
	var background sync.WaitGroup
	var reported atomic.Int64
	background.Go(func() {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				postEvents(b, client, url, events(250))
				reported.Add(250)
			}
		}
	})
	background.Go(func() {
		for range 6 {
			select {
			case <-over:
				return
			case <-time.After(300 * time.Millisecond):
				slip(b, binary, environ, "rollout", "skip")
			}
		}
	})
	began := time.Now()
	busy := checksPerSecond(b, url, b.N)
	took := time.Since(began)
	close(over)
	background.Wait()
	b.ReportMetric(busy/quiet, "x_quiet")
	b.ReportMetric(busy, "checks/s")
	b.ReportMetric(float64(reported.Load())/took.Seconds(), "reports/s")
}

// checksPerSecond sends n checks from 16 connections.
func checksPerSecond(b *testing.B, url string, n int) float64 {
	b.Helper()
	const clients = 16
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	n = max(n, 2000) // a rate of fewer says nothing
	var sent atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	for range clients {
		group.Go(func() {
			for i := sent.Add(1); i <= int64(n); i = sent.Add(1) {
				var nonce [32]byte
				_, _ = rand.Read(nonce[:])
				body := fmt.Appendf(nil, `{"app":"shop","channel":"production","nonce":%q,"device":{"id":"%064x","platform":"any","runtime":"3.2.0"},"packages":{"main":{"seq":0}}}`,
					base64.StdEncoding.EncodeToString(nonce[:]), i)
				res, err := client.Post(url+"/v1/check", "application/json", bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					b.Errorf("status %d, error %v", res.StatusCode, err)
					return
				}
			}
		})
	}
	group.Wait()
	return float64(n) / time.Since(began).Seconds()
}
