package store

import (
	"context"
	"time"
)

// People are those who use the management API, and what lets them in.
type People interface {
	Tokens() Tokens
	Members() Members
	Sessions() Sessions
	Tickets() Tickets
}

// Token is a bearer token of the management API. Only its hash is kept.
type Token struct {
	ID       string
	Hash     [32]byte // sha256 of the secret
	Name     string   // for people and the audit log
	Role     string   // owned by package auth
	App      string   // "" = all apps
	Member   string   // whose personal token it is, "" = nobody's; it goes with its member
	Created  time.Time
	Expires  time.Time // zero = never
	LastUsed time.Time // to the hour
}

// Tokens are the bearer tokens.
type Tokens interface {
	// Put keeps a token; the same ID replaces. ErrConflict when another token has that hash, ErrNotFound when its member
	// is unknown.
	Put(ctx context.Context, t Token) error
	Get(ctx context.Context, id string) (Token, error)
	ByHash(ctx context.Context, hash [32]byte) (Token, error)
	List(ctx context.Context) ([]Token, error)
	Delete(ctx context.Context, id string) error // with its sessions and tickets; ErrNotFound
}

// Member is a person with a name of their own.
type Member struct {
	Name     string // in the audit log
	Display  string
	Email    string   // lower case, "" = none; no two members share one
	Role     string   // owned by package auth
	Apps     []string // sorted; nil = all apps
	Password string   // hash with its parameters, owned by package auth; "" = none yet
	OTP      []byte   // secret of the second factor, sealed under the server secret; nil = none
	OTPStep  int64    // the time step of the last code that was taken, so that none is taken twice
	Recovery []string // hashes of the recovery codes that are left
	Subject  string   // issuer and subject of the identity provider's account, owned by package auth; "" = none yet
	Created  time.Time
	Seen     time.Time // last sign-in; zero = never
	Disabled bool
}

// Members are the people that the server knows by name.
type Members interface {
	Create(ctx context.Context, m Member) error // ErrConflict when the name, the e-mail or the subject is taken
	Get(ctx context.Context, name string) (Member, error)
	ByEmail(ctx context.Context, email string) (Member, error)     // "" is nobody's
	BySubject(ctx context.Context, subject string) (Member, error) // "" is nobody's
	List(ctx context.Context) ([]Member, error)                    // by name
	// Save replaces all but Created; ErrNotFound, ErrConflict when the e-mail or the subject is another's.
	Save(ctx context.Context, m Member) error
	Delete(ctx context.Context, name string) error // with its tokens, sessions and tickets; ErrNotFound
}

// Session is a browser that is signed in, as a member or as a token. Only the hash of its secret is kept.
type Session struct {
	Hash    [32]byte // sha256 of the secret
	ID      string   // for people
	Token   string   // id of the token that signed in, or ""
	Member  string   // name of the member that signed in, or ""
	Via     string   // how: owned by package auth
	Agent   string   // what the browser says it is
	Created time.Time
	Seen    time.Time
	Expires time.Time
}

// Sessions are the browsers that are signed in.
type Sessions interface {
	// Put keeps a session; the same hash replaces. ErrNotFound when its token or member is unknown.
	Put(ctx context.Context, s Session) error
	ByHash(ctx context.Context, hash [32]byte) (Session, error)
	// List gives the sessions of a token or of a member, newest first; both "" gives all.
	List(ctx context.Context, token, member string) ([]Session, error)
	Delete(ctx context.Context, hash [32]byte) error // ErrNotFound
	// Expire removes what expired at t or before, or was last seen at idle or before.
	Expire(ctx context.Context, t, idle time.Time) error
}

// Ticket is good for one use: a code that signs a browser in, or an invitation. Only its hash is kept.
type Ticket struct {
	Hash    [32]byte // sha256 of the code
	Kind    string   // owned by package auth
	Token   string   // id of the token that it signs in, or ""
	Member  string   // name of the member that it is for, or ""
	Created time.Time
	Expires time.Time
}

// Tickets are the codes that are good for one use.
type Tickets interface {
	// Put keeps a ticket. ErrConflict when its hash is taken, ErrNotFound when its token or member is unknown.
	Put(ctx context.Context, t Ticket) error
	ByHash(ctx context.Context, hash [32]byte) (Ticket, error)
	Delete(ctx context.Context, hash [32]byte) error         // ErrNotFound
	DeleteOf(ctx context.Context, member, kind string) error // all of a member and kind; none is no error
	Expire(ctx context.Context, t time.Time) error           // removes what expired at t or before
}
