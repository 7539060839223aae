package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
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

// Word is the action's short name, for programs.
func (a Action) Word() string {
	return map[Action]string{Read: "read", Publish: "publish", Operate: "operate", Manage: "manage", Admit: "admit", Server: "server"}[a]
}

// Lesser is the one of two roles that may do less.
func (r Role) Lesser(other Role) Role {
	if len(may(other)) < len(may(r)) {
		return other
	}
	return r
}

// Scope is the apps that somebody may see: their names in order, by commas, which no name has. "" means all apps.
type Scope string

// ScopeOf makes a Scope of names of apps; none means all.
func ScopeOf(apps ...string) Scope {
	apps = slices.DeleteFunc(slices.Clone(apps), func(a string) bool { return a == "" })
	slices.Sort(apps)
	return Scope(strings.Join(slices.Compact(apps), ","))
}

// All reports whether the scope is all apps.
func (s Scope) All() bool { return s == "" }

// Has reports whether app is in the scope; app "" means what concerns all apps or none, which only the scope of all has.
func (s Scope) Has(app string) bool { return s.All() || app != "" && slices.Contains(s.Names(), app) }

// Names are the apps; nil for all.
func (s Scope) Names() []string {
	if s.All() {
		return nil
	}
	return strings.Split(string(s), ",")
}

// One is the scope's app when it is only one, else "".
func (s Scope) One() string {
	if names := s.Names(); len(names) == 1 {
		return names[0]
	}
	return ""
}

// String names the apps for people.
func (s Scope) String() string { return strings.ReplaceAll(string(s), ",", ", ") }

// and is what is in both scopes; ok is false when nothing is.
func (s Scope) and(other Scope) (both Scope, ok bool) {
	switch {
	case s.All():
		return other, true
	case other.All():
		return s, true
	}
	names := slices.DeleteFunc(s.Names(), func(a string) bool { return !other.Has(a) })
	return ScopeOf(names...), len(names) > 0
}

// Principal is who a request comes from.
type Principal struct {
	Token   string // id of the token, "" for a member who is signed in
	Member  string // name of the member whose token it is or who is signed in, else ""
	Session string // id of the browser's session, "" for a request with a token of its own
	Name    string // of the token or member, for the audit log
	Role    Role
	Apps    Scope
}

// May reports whether the principal may do a to app; app "" means what concerns all apps or none.
func (p Principal) May(a Action, app string) bool {
	if !p.Role.May(a) {
		return false
	}
	if p.Apps.All() {
		return true
	}
	return p.Apps.Has(app) && a != Server
}

// Actions are all that the principal may do to the apps of its scope.
func (p Principal) Actions() []Action {
	return slices.DeleteFunc(slices.Clone(may(p.Role)), func(a Action) bool { return a == Server && !p.Apps.All() })
}

// PrincipalOf is who signs in as a member.
func PrincipalOf(m store.Member) (Principal, error) {
	role, err := ParseRole(m.Role)
	if err != nil {
		return Principal{}, fmt.Errorf("member %s: %w", m.Name, err)
	}
	return Principal{Member: m.Name, Name: m.Name, Role: role, Apps: ScopeOf(m.Apps...)}, nil
}
