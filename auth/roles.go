package auth

import (
	"slices"

	"github.com/slipstream-ota/slipstream"
)

// Role is what a token is for.
type Role string

// The roles, from most to least.
const (
	Owner     Role = "owner"     // everything, tokens and roots among it
	Publisher Role = "publisher" // releases and their rollouts
	Operator  Role = "operator"  // rollouts, withdrawals, rollbacks; no new releases
	Viewer    Role = "viewer"    // looks only
)

// Action is a kind of thing to do; every operation of the API needs one.
type Action string

// The actions.
const (
	Read    Action = "look"                  // see apps, channels, releases, status, audit
	Publish Action = "publish releases"      // upload blobs, commit releases
	Operate Action = "change rollouts"       // change what channels offer
	Manage  Action = "manage apps"           // apps, roots, channels, deletion of releases
	Admit   Action = "manage tokens"         // tokens
	Server  Action = "look after the server" // what concerns all apps: garbage collection
)

// may is the table of what each role may do.
func may(r Role) []Action {
	switch r {
	case Owner:
		return []Action{Read, Publish, Operate, Manage, Admit, Server}
	case Publisher:
		return []Action{Read, Publish, Operate}
	case Operator:
		return []Action{Read, Operate}
	case Viewer:
		return []Action{Read}
	}
	return nil
}

// May reports whether the role allows the action.
func (r Role) May(a Action) bool { return slices.Contains(may(r), a) }

// Least is the smallest role that allows the action.
func Least(a Action) string {
	for _, r := range []Role{Viewer, Operator, Publisher} {
		if r.May(a) {
			return string(r)
		}
	}
	return string(Owner)
}

// ParseRole refuses words that are no role.
func ParseRole(s string) (Role, error) {
	if may(Role(s)) == nil {
		return "", slipstream.Invalidf("role %q: must be owner, publisher, operator or viewer", s)
	}
	return Role(s), nil
}

// Principal is who a request comes from.
type Principal struct {
	Token string // id of the token
	Name  string // of the token, for the audit log
	Role  Role
	App   string // "" = all apps
}

// May reports whether the principal may do a to app; app "" means what concerns all apps or none.
func (p Principal) May(a Action, app string) bool {
	if !p.Role.May(a) {
		return false
	}
	if p.App == "" {
		return true
	}
	return app == p.App && a != Server
}
