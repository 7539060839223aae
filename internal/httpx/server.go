package httpx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Limits of every connection. Bodies and answers have limits of their own, which their handlers set.
const (
	ReadHeaderTimeout = 10 * time.Second
	IdleTimeout       = 2 * time.Minute
	MaxHeaderBytes    = 16 << 10
)

// NewServer is an http.Server with limits on headers and idle connections. Its own complaints (broken TLS handshakes,
// panics) go to log.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: ReadHeaderTimeout,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Serve answers on l until ctx ends, then lets running requests finish for at most drain, and closes what is left.
func Serve(ctx context.Context, s *http.Server, l net.Listener, drain time.Duration) error {
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
		if err := s.Shutdown(stop); err != nil {
			return errors.Join(fmt.Errorf("drain: %w", err), s.Close())
		}
		return nil
	})
	return group.Wait()
}
