package httpx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

func TestErrorsBecomeProblems(t *testing.T) {
	secret := errors.New("password=hunter2")
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   string
		retry  string
	}{
		{"missing", fmt.Errorf("app x: %w", slipstream.ErrNotFound), 404, "not_found", ""},
		{"taken", fmt.Errorf("app x: %w", slipstream.ErrConflict), 409, "conflict", ""},
		{"a bad name", slipstream.CheckName("app", "X"), 400, "bad_name", ""},
		{"away", fmt.Errorf("%w: %w", secret, slipstream.ErrUnavailable), 503, "unavailable", "5"},
		{"late", fmt.Errorf("%w: %w", secret, context.DeadlineExceeded), 503, "timeout", "5"},
		{"given up", context.Canceled, 503, "unavailable", ""},
		{"a refusal", slipstream.Refuse(slipstream.ReasonSignatureInvalid, "manifest", "no signature counts"), 422, "signature_invalid", ""},
		{"malformed", slipstream.Refuse(slipstream.ReasonMalformed, "check", "no"), 400, "malformed", ""},
		{"too large", &http.MaxBytesError{Limit: 5}, 413, "too_large", ""},
		{"a problem of its own", fmt.Errorf("wrapped: %w", NewProblem(418, "teapot", "short and stout")), 418, "teapot", ""},
		{"anything else", secret, 500, "internal", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("Etag", `"old"`)
			WriteProblem(w, httptest.NewRequest("GET", "/x", nil), slipstream.Hint(c.err, "do this"))
			var p Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if w.Code != c.status || p.Status != c.status || p.Code != c.code || p.Title == "" && c.status != 418 || p.Type != "about:blank" {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			h := w.Header()
			if h.Get("Content-Type") != "application/problem+json" || h.Get("Cache-Control") != "no-store" || h.Get("Etag") != "" || h.Get("Retry-After") != c.retry {
				t.Errorf("headers %v", h)
			}
			if strings.Contains(w.Body.String(), "hunter2") {
				t.Error("the server's own trouble is told to strangers")
			}
			if hinted := p.Hint == "do this"; hinted == (c.status == 500) {
				t.Errorf("hint %q", p.Hint)
			}
		})
	}
}

func TestHEADGetsNoBody(t *testing.T) {
	w := httptest.NewRecorder()
	NotFound(w, httptest.NewRequest("HEAD", "/x", nil))
	if w.Code != http.StatusNotFound || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("status %d, %d bytes", w.Code, w.Body.Len())
	}
}

func TestServeLetsRunningRequestsFinish(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-finish
		_, _ = io.WriteString(w, "whole")
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, NewServer(h, slog.New(slog.DiscardHandler)), l, 10*time.Second) }()
	answer := make(chan string, 1)
	go func() {
		r, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		answer <- string(b)
	}()
	<-began
	cancel()
	close(finish)
	if got := <-answer; got != "whole" {
		t.Errorf("the running request got %q", got)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestServeGivesUpOnWhatDoesNotFinish(t *testing.T) {
	began := make(chan struct{})
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(began); <-r.Context().Done() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, NewServer(h, slog.New(slog.DiscardHandler)), l, 10*time.Millisecond) }()
	go func() {
		if r, err := http.Get("http://" + l.Addr().String()); err == nil {
			r.Body.Close()
		}
	}()
	<-began
	cancel()
	if err := <-served; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("serve: %v", err)
	}
}
