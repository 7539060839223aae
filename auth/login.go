package auth

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Slowed says that an address failed too often: its requests without a valid token are not looked at for a while.
type Slowed struct{ Wait time.Duration }

// Error implements error.
func (*Slowed) Error() string { return "too many failed logins from this address" }

// Login finds out who sends a request: the one rule of every surface that takes tokens.
type Login struct {
	Tokens  *Tokens
	Limiter *Limiter
	// Sender names the address that failed logins count for; nil takes the connection's.
	Sender func(*http.Request) string
}

// Who is the sender of r. Without a valid token it is ErrUnauthorized, or *Slowed after many failures from the same address.
// Only failures are slowed down: a valid token works from an address that others share and misuse.
func (l *Login) Who(ctx context.Context, r *http.Request) (Principal, error) {
	sender, header := r.RemoteAddr, r.Header.Get("Authorization")
	if l.Sender != nil {
		sender = l.Sender(r)
	}
	who, err := l.Tokens.Authenticate(ctx, header)
	switch {
	case err == nil:
		l.Limiter.Succeeded(sender)
		return who, nil
	case !errors.Is(err, ErrUnauthorized):
		return Principal{}, err
	}
	if wait := l.Limiter.Wait(sender); wait > 0 {
		return Principal{}, &Slowed{wait}
	}
	if header != "" {
		l.Limiter.Failed(sender)
	}
	return Principal{}, err
}
