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
	// Sessions lets browsers in that are signed in; nil knows only tokens.
	Sessions *Sessions
	// Members may sign in by their passwords; nil knows none.
	Members *Members
	Cookie  Cookie
	Origin  string // under which browsers reach the server, see FromHere
}

// ErrCrossOrigin says that a page of another origin made a browser ask.
var ErrCrossOrigin = errors.New("a browser that is signed in may ask only from the server's own pages")

// Who is the sender of r. Without a valid token it is ErrUnauthorized, or *Slowed after many failures from the same address.
// Only failures are slowed down: a valid token works from an address that others share and misuse. A request that says
// by a header who it comes from is not judged by its cookie.
func (l *Login) Who(ctx context.Context, r *http.Request) (Principal, error) {
	header := r.Header.Get("Authorization")
	if header == "" && l.Sessions != nil && l.Cookie.Secret(r) != "" {
		in, err := l.Browser(ctx, r)
		return in.Principal, err
	}
	return l.bearer(ctx, r, header)
}

// Browser is who the browser that sends r is signed in as: ErrUnauthorized for nobody, ErrCrossOrigin for the page of
// another origin.
func (l *Login) Browser(ctx context.Context, r *http.Request) (SignedIn, error) {
	if err := FromHere(r, l.Origin); err != nil {
		return SignedIn{}, err
	}
	return l.Sessions.Who(ctx, l.Cookie.Secret(r))
}

// sender is the address that failures count for.
func (l *Login) sender(r *http.Request) string {
	if l.Sender != nil {
		return l.Sender(r)
	}
	return r.RemoteAddr
}

// bearer is who comes with an Authorization header.
func (l *Login) bearer(ctx context.Context, r *http.Request, header string) (Principal, error) {
	sender := l.sender(r)
	who, err := l.Tokens.Authenticate(ctx, header)
	return who, l.judge(sender, header != "", err)
}

// judge counts how a login went that cannot be guessed by trying often: err is its outcome, tried whether anything was shown.
func (l *Login) judge(sender string, tried bool, err error) error {
	switch {
	case err == nil:
		l.Limiter.Succeeded(sender)
		return nil
	case !errors.Is(err, ErrUnauthorized):
		return err
	}
	if wait := l.Limiter.Wait(sender); wait > 0 {
		return &Slowed{wait}
	}
	if tried {
		l.Limiter.Failed(sender)
	}
	return err
}

// Credentials are what somebody signs a browser in with: one of a token, a one-time code, or a member's name and password.
type Credentials struct {
	Token, Code           string
	Member, Password, OTP string
}

// SignIn starts a session for the browser that sends r, and gives the secret for its cookie.
func (l *Login) SignIn(ctx context.Context, r *http.Request, c Credentials) (secret string, in SignedIn, err error) {
	sender := l.sender(r)
	if c.Code != "" {
		secret, in, err = l.Sessions.Redeem(ctx, c.Code, r.UserAgent())
		return secret, in, l.judge(sender, true, err)
	}
	if c.Member != "" && l.Members != nil {
		who, err := l.guessed(sender, func() (Principal, error) { return l.Members.SignIn(ctx, c.Member, c.Password, c.OTP) })
		if err != nil {
			return "", SignedIn{}, err
		}
		return l.Sessions.Start(ctx, who, ViaPassword, r.UserAgent())
	}
	who, err := l.bearer(ctx, r, "Bearer "+c.Token)
	if err != nil {
		return "", SignedIn{}, err
	}
	return l.Sessions.Start(ctx, who, ViaToken, r.UserAgent())
}

// guessed asks for what can be guessed by trying often: while the sender must wait, even what is right is refused.
func (l *Login) guessed(sender string, try func() (Principal, error)) (Principal, error) {
	if wait := l.Limiter.Wait(sender); wait > 0 {
		return Principal{}, &Slowed{wait}
	}
	wait, done := l.Limiter.try(ofGuesser(sender))
	if wait > 0 {
		return Principal{}, &Slowed{wait}
	}
	who, err := try()
	failed := errors.Is(err, ErrUnauthorized)
	done(failed)
	if failed {
		l.Limiter.Failed(sender)
	}
	return who, err
}

// Accept takes an invitation up and signs the browser that sends r in. recovery are the codes of a new second factor.
func (l *Login) Accept(ctx context.Context, r *http.Request, a Acceptance) (secret string, in SignedIn, recovery []string, err error) {
	who, err := l.guessed(l.sender(r), func() (who Principal, err error) {
		who, recovery, err = l.Members.Accept(ctx, a)
		return who, err
	})
	if err != nil {
		return "", SignedIn{}, nil, err
	}
	secret, in, err = l.Sessions.Start(ctx, who, ViaPassword, r.UserAgent())
	return secret, in, recovery, err
}

// Identified signs the browser that sends r in as the member that an identity provider's account belongs to.
func (l *Login) Identified(ctx context.Context, r *http.Request, id Identity, a Admission) (secret string, in SignedIn, err error) {
	who, err := l.Members.SignInBy(ctx, id, a)
	if err != nil {
		return "", SignedIn{}, err
	}
	return l.Sessions.Start(ctx, who, ViaSSO, r.UserAgent())
}

// Invited looks an invitation up for the browser that sends r.
func (l *Login) Invited(ctx context.Context, r *http.Request, code string) (out Invited, err error) {
	_, err = l.guessed(l.sender(r), func() (_ Principal, err error) {
		out, err = l.Members.Invited(ctx, code)
		return Principal{}, err
	})
	return out, err
}
