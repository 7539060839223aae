package httpx

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// listen serves h, whole requests getting limit; 0 leaves the server's own.
func listen(t *testing.T, h http.Handler, limit time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, slog.New(slog.DiscardHandler))
	if s.ReadTimeout <= 0 {
		t.Error("a request may take for ever")
	}
	if limit > 0 {
		s.ReadTimeout = limit
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = Serve(ctx, s, l, time.Second) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return l.Addr().String()
}

func TestABodyThatNobodyReadsIsNotWaitedFor(t *testing.T) {
	address := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			MethodNotAllowed(w, r, http.MethodGet)
		}
	}), 0)
	for _, method := range []string{"GET", "POST"} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(ReadTimeout / 3)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\nA", method)
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		r.Body.Close()
		if !r.Close {
			t.Errorf("%s: the connection stays open", method)
		}
	}
}

func TestALongAnswerOutlivesTheDeadlineOfItsRequest(t *testing.T) {
	address := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		Unhurried(w, r)
		select {
		case <-r.Context().Done():
			t.Error("the request was given up")
		case <-time.After(300 * time.Millisecond):
		}
	}), 100*time.Millisecond)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for range 2 { // on one connection
		r, err := client.Get("http://" + address + "/")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
}

func TestOnlyCleanPathsAreAnswered(t *testing.T) {
	for p, want := range map[string]bool{"/": true, "/v1/check": true, "/v1/a/": true, "/.well-known/x": true, "/a.b/..c": true, "/a/...": true,
		"": false, "v1": false, "*": false, "//": false, "/v1//check": false, "/v1/./check": false, "/v1/../check": false, "/v1/.": false, "/v1/..": false} {
		if CleanPath(p) != want {
			t.Errorf("%q: %v", p, !want)
		}
	}
}
