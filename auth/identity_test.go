package auth_test

import (
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

func TestAnIdentityProvidersAccountIsTiedToItsMember(t *testing.T) {
	h := newHouse(t, true)
	h.invite(auth.MemberSpec{Name: "ann", Email: "ann@example.org", Role: auth.Publisher})
	ann := auth.Identity{Issuer: "https://id.example.org", Subject: "1", Email: "Ann@example.org", Verified: true}
	in := func(id auth.Identity) (auth.Principal, error) {
		return h.members.SignInBy(h.ctx, id, auth.Admission{})
	}
	unverified := ann
	unverified.Verified = false
	_, err := in(unverified)
	h.want(err, auth.ErrUnverified, "an address that nobody vouches for")
	_, err = in(auth.Identity{Issuer: ann.Issuer, Subject: "1", Verified: true})
	h.want(err, auth.ErrUnverified, "no address")
	who, err := in(ann)
	h.must(err)
	if who.Member != "ann" || who.Role != auth.Publisher {
		t.Errorf("%+v", who)
	}
	secret, _, err := h.sessions.Start(h.ctx, who, auth.ViaSSO, "")
	h.must(err)
	if now, err := h.sessions.Who(h.ctx, secret); err != nil || now.Lacks || !now.May(auth.Publish, "shop") {
		t.Errorf("the second factor is the provider's matter: %+v, %v", now, err)
	}
	mine := h.start(who)
	h.must(h.members.SetPassword(h.ctx, mine, "", "", password))
	_, err = h.members.Invite(h.ctx, h.root, "ann", true)
	h.must(err)
	who, err = in(ann)
	h.must(err)
	mine = h.start(who)
	h.clock.now = h.clock.now.Add(15 * time.Minute)
	h.want(h.members.SetPassword(h.ctx, mine, "", "", password), auth.ErrForbidden, "a password for one who signed in long ago and has none")
	moved := ann
	moved.Email, moved.Verified = "ann@elsewhere.example", false
	if who, err := in(moved); err != nil || who.Member != "ann" {
		t.Errorf("with another address later: %+v, %v", who, err)
	}
	heir := ann
	heir.Subject = "2"
	_, err = in(heir)
	h.want(err, auth.ErrNoMember, "another account that was given the address")
	twin := ann
	twin.Issuer = "https://other.example.org"
	_, err = in(twin)
	h.want(err, auth.ErrNoMember, "the same number at another provider")
	_, err = h.members.Change(h.ctx, h.root, "ann", func(s *auth.MemberSpec) { s.Disabled = true })
	h.must(err)
	_, err = in(ann)
	h.want(err, auth.ErrNoMember, "one who is disabled")
}

func TestWhoIsAdmittedBecomesAMember(t *testing.T) {
	domain := auth.Admission{Domains: []string{"example.org"}, Role: auth.Viewer}
	groups := auth.Admission{Groups: map[string]auth.Role{"dev": auth.Publisher, "ops": auth.Operator, "boss": auth.Owner}, Role: auth.Viewer}
	both := auth.Admission{Domains: domain.Domains, Groups: groups.Groups, Role: auth.Viewer}
	for _, k := range []struct {
		name, email string
		groups      []string
		by          auth.Admission
		role        auth.Role // "" = nobody
	}{
		{"nobody is, unless something is said", "bob@example.org", []string{"dev"}, auth.Admission{Role: auth.Owner}, ""},
		{"the domain", "bob@example.org", nil, domain, auth.Viewer},
		{"another domain", "bob@evil.example", nil, domain, ""},
		{"a domain below", "bob@sub.example.org", nil, domain, ""},
		{"a domain that ends alike", "bob@notexample.org", nil, domain, ""},
		{"a domain in the name", `"x@example.org"@evil.example`, nil, domain, ""},
		{"a group", "bob@evil.example", []string{"x", "dev"}, groups, auth.Publisher},
		{"the highest of groups", "bob@example.org", []string{"ops", "boss", "dev"}, groups, auth.Owner},
		{"no group", "bob@example.org", []string{"x"}, groups, ""},
		{"domain and group", "bob@example.org", []string{"ops"}, both, auth.Operator},
		{"the domain alone, where a group is needed too", "bob@example.org", nil, both, ""},
		{"a group alone, where the domain is needed too", "bob@evil.example", []string{"ops"}, both, ""},
	} {
		t.Run(k.name, func(t *testing.T) {
			h := newHouse(t, false)
			who, err := h.members.SignInBy(h.ctx, auth.Identity{Issuer: "i", Subject: "1", Email: k.email, Verified: true, Groups: k.groups, Name: "Bob"}, k.by)
			if k.role == "" {
				h.want(err, auth.ErrUnauthorized, "sign-in")
				return
			}
			h.must(err)
			if who.Role != k.role || who.Member != "bob" || !who.Apps.All() {
				t.Errorf("%+v", who)
			}
		})
	}
}

func TestNamesOfMembersThatComeByTheProvider(t *testing.T) {
	h := newHouse(t, false)
	h.invite(auth.MemberSpec{Name: "bob", Role: auth.Viewer})
	_, _, err := h.tokens.Create(h.ctx, "root", auth.Spec{Name: "bob-2", Role: auth.Viewer})
	h.must(err)
	for i, k := range [][2]string{{"bob@example.org", "bob-3"}, {"bob.b+x@example.org", "bob.b-x"}, {"system@example.org", "member"}, {"..@example.org", ""}, {"örs@example.org", "rs"}} {
		who, err := h.members.SignInBy(h.ctx, auth.Identity{Issuer: "i", Subject: string(rune('a' + i)), Email: k[0], Verified: true}, auth.Admission{Domains: []string{"example.org"}, Role: auth.Viewer})
		if k[1] == "" && err != nil {
			continue // no address
		}
		h.must(err)
		if who.Name != k[1] {
			t.Errorf("%s is %q, want %q", k[0], who.Name, k[1])
		}
	}
	h.must(h.store.View(h.ctx, func(tx store.Tx) error {
		log, err := tx.Log().Audit().List(h.ctx, store.AuditQuery{Action: "member.create", Limit: 1})
		if log[0].Actor != "system" {
			t.Errorf("%+v", log[0])
		}
		return err
	}))
}

// Letters of other alphabets that become Latin ones in lower case make no address another person's.
func TestALetterThatLooksLikeAnotherIsAnother(t *testing.T) {
	h := newHouse(t, false)
	h.invite(auth.MemberSpec{Name: "mike", Email: "Mike@Example.org", Role: auth.Owner})
	admitted := auth.Admission{Domains: []string{"example.org", "book.example"}, Role: auth.Viewer}
	for i, email := range []string{"mi\u212ae@example.org", "M\u0130ke@example.org", "eve@boo\u212a.example", `"mike@example.org"@evil.example`, "mike@example.org@evil.example",
		"eve@sub.example.org", "eve@example.org.evil.example", "Mike <mike@example.org>"} {
		id := auth.Identity{Issuer: "https://id.example.org", Subject: string(rune('a' + i)), Email: email, Verified: true}
		if who, err := h.members.SignInBy(h.ctx, id, admitted); err == nil && (who.Member == "mike" || i > 1) {
			t.Errorf("%q came in as %s", email, who.Member)
		}
	}
	who, err := h.members.SignInBy(h.ctx, auth.Identity{Issuer: "https://id.example.org", Subject: "1", Email: "MIKE@example.ORG", Verified: true}, admitted)
	if err != nil || who.Member != "mike" {
		t.Errorf("%+v, %v", who, err)
	}
}
