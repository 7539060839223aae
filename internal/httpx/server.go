package httpx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Limits of every connection. Bodies and answers have limits of their own, which their handlers set.
const (
	ReadHeaderTimeout = 10 * time.Second
	// ReadTimeout is for a whole request, body included, whether anybody reads it or not. Handlers of long uploads move
	// their own deadline on while bytes come; those whose answers take long take it off by Unhurried.
	ReadTimeout    = 30 * time.Second
	IdleTimeout    = 2 * time.Minute
	MaxHeaderBytes = 16 << 10
)

// NewServer is an http.Server with limits on requests and idle connections. Unclean paths do not reach h. Its own complaints (broken TLS handshakes,
// panics) go to log.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           guard(h),
		ReadHeaderTimeout: ReadHeaderTimeout,
		ReadTimeout:       ReadTimeout,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// farewell is how long clients that keep their connections are asked to close them before the server does: longer than
// the pause between two requests of a busy one, short for whoever waits for the end.
const farewell = 500 * time.Millisecond

// Serve answers on l until ctx ends. Then every answer says that its connection closes, because a connection that the
// server closes by itself may carry a request already, which nobody would answer (RFC 9112 §9.3.1). When those that were
// open are closed, at the latest after farewell, no new ones are taken, running requests may finish for at most drain,
// and what is left is closed.
func Serve(ctx context.Context, s *http.Server, l net.Listener, drain time.Duration) error {
	open := connections{open: map[net.Conn]bool{}}
	s.ConnState = open.note
	var leaving atomic.Bool
	handler := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-gctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		leaving.Store(true)
		open.awaitEnd(farewell)
		if err := s.Shutdown(stop); err != nil {
			return errors.Join(fmt.Errorf("drain: %w", err), s.Close())
		}
		return nil
	})
	return group.Wait()
}

// connections are those of a server that are open.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// awaitEnd waits until the connections that are open now are closed, at most for limit.
func (c *connections) awaitEnd(limit time.Duration) {
	c.mu.Lock()
	now := maps.Clone(c.open)
	c.mu.Unlock()
	for begun := time.Now(); len(now) > 0 && time.Since(begun) < limit; time.Sleep(2 * time.Millisecond) {
		c.mu.Lock()
		maps.DeleteFunc(now, func(conn net.Conn, _ bool) bool { return !c.open[conn] })
		c.mu.Unlock()
	}
}
