package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Identity is who an identity provider says that somebody is.
type Identity struct {
	Issuer, Subject string
	Email           string
	Verified        bool // the provider knows that the address is theirs
	Name            string
	Groups          []string
}

// Admission says which people that are no members yet become one when an identity provider knows them. With neither
// domains nor groups nobody does; with both, one must be of a domain and of a group.
type Admission struct {
	Domains []string        // of verified addresses, in lower case
	Groups  map[string]Role // the role of who is in a group; the highest counts
	Role    Role            // of who is admitted by the domain alone
}

// Reasons that an identity provider's word is not enough. All are ErrUnauthorized.
const (
	ErrUnverified = denied("the identity provider does not vouch for the e-mail address")
	ErrNoMember   = denied("nobody with this e-mail address is a member here")
)

// admits gives the role that somebody becomes a member with.
func (a Admission) admits(id Identity) (Role, bool) {
	if len(a.Domains) == 0 && len(a.Groups) == 0 {
		return "", false
	}
	role := a.Role
	if len(a.Domains) > 0 {
		_, domain, _ := strings.Cut(id.Email, "@")
		if !slices.Contains(a.Domains, domain) {
			return "", false
		}
	}
	if len(a.Groups) == 0 {
		return role, true
	}
	role = ""
	for _, g := range id.Groups {
		if r, ok := a.Groups[g]; ok && (role == "" || role.Lesser(r) == role) {
			role = r
		}
	}
	return role, role != ""
}

// SignInBy is the member that an identity provider's account belongs to. The first time an account is known by its verified
// address; from then on it is tied to the member, and the address plays no part: who gets an address later does not get the
// member with it.
func (m *Members) SignInBy(ctx context.Context, id Identity, a Admission) (who Principal, err error) {
	email, err := parseEmail(id.Email)
	if err != nil {
		email = "" // an address that cannot be one is none
	}
	id.Email = email
	subject := id.Issuer + " " + id.Subject
	err = m.store.Update(ctx, func(tx store.Tx) error {
		x, err := m.identified(ctx, tx, id, subject, a)
		if err != nil {
			return err
		}
		if x.Disabled {
			return ErrNoMember
		}
		x.Subject, x.Seen = subject, m.now()
		if who, err = PrincipalOf(x); err != nil {
			return err
		}
		return tx.People().Members().Save(ctx, x)
	})
	return who, err
}

// identified finds the member, or makes one that is admitted.
func (m *Members) identified(ctx context.Context, tx store.Tx, id Identity, subject string, a Admission) (store.Member, error) {
	members := tx.People().Members()
	x, err := members.BySubject(ctx, subject)
	if !errors.Is(err, slipstream.ErrNotFound) {
		return x, err
	}
	if id.Email == "" || !id.Verified {
		return x, ErrUnverified
	}
	x, err = members.ByEmail(ctx, id.Email)
	switch {
	case err == nil && x.Subject != "":
		return x, slipstream.Hint(fmt.Errorf("the member is tied to another account of the identity provider: %w", ErrNoMember), "`slipstream member reset %s` unties it", x.Name)
	case err == nil:
		return x, note(ctx, tx, m.now(), x.Name, "member.tie", x.Name, map[string]any{"issuer": id.Issuer})
	case !errors.Is(err, slipstream.ErrNotFound):
		return x, err
	}
	role, ok := a.admits(id)
	if !ok {
		return x, ErrNoMember
	}
	name, err := freeName(ctx, tx, id.Email)
	if err != nil {
		return x, err
	}
	x = store.Member{Name: name, Display: clip(id.Name, maxDisplay), Email: id.Email, Role: string(role), Created: m.now()}
	return x, errors.Join(members.Create(ctx, x), note(ctx, tx, m.now(), nameSystem, "member.create", name, map[string]any{"role": role, "issuer": id.Issuer}))
}

// freeName makes a name of an address that nobody has.
func freeName(ctx context.Context, tx store.Tx, email string) (string, error) {
	local, _, _ := strings.Cut(email, "@")
	base := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, local)
	base = strings.Trim(base[:min(len(base), 50)], ".-_")
	if base == "" || base == nameSystem || base == nameLocal {
		base = "member"
	}
	for n := 1; ; n++ {
		name := base
		if n > 1 {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		err := free(ctx, tx, name)
		if err == nil || !errors.Is(err, slipstream.ErrConflict) {
			return name, err
		}
	}
}
