package auth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/internal/seal"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	password = "vier Wörter ohne Sinn"
	another  = "correct horse battery"
)

// house is a server's people, with a clock that the test moves and passwords that cost little.
type house struct {
	*testing.T
	ctx      context.Context
	store    store.Store
	clock    *clock
	members  *auth.Members
	sessions *auth.Sessions
	tokens   *auth.Tokens
	root     auth.Principal
}

func newHouse(t *testing.T, requireOTP bool) *house {
	t.Helper()
	st, tokens, c := open(t)
	sealer, err := seal.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	from := auth.Config{Store: st, Clock: c.read, RequireOTP: requireOTP}
	h := &house{T: t, ctx: t.Context(), store: st, clock: c, tokens: tokens, sessions: auth.NewSessions(from), root: auth.Principal{Token: "t0", Name: "root", Role: auth.Owner},
		members: auth.NewMembers(auth.MembersConfig{Config: from, Sealer: sealer, Limiter: auth.NewLimiter(c.read), Cost: auth.Cost{Memory: 64, Time: 1, Threads: 1}})}
	h.must(st.Update(h.ctx, func(tx store.Tx) error {
		return errors.Join(tx.Apps().Create(h.ctx, store.App{Name: "shop"}), tx.Apps().Create(h.ctx, store.App{Name: "cart"}))
	}))
	return h
}

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) want(err, kind error, what string) {
	h.Helper()
	if !errors.Is(err, kind) {
		h.Errorf("%s: %v, want %v", what, err, kind)
	}
}

// invite makes a member and gives the code of their invitation.
func (h *house) invite(s auth.MemberSpec) string {
	h.Helper()
	_, inv, err := h.members.Create(h.ctx, h.root, s)
	h.must(err)
	return inv.Code
}

// member makes one who has accepted, without a second factor.
func (h *house) member(name string, role auth.Role, apps ...string) {
	h.Helper()
	code := h.invite(auth.MemberSpec{Name: name, Email: name + "@Example.org", Role: role, Apps: apps})
	_, _, err := h.members.Accept(h.ctx, auth.Acceptance{Code: code, Password: password})
	h.must(err)
}

// in is the member, signed in by a browser.
func (h *house) in(name, code string) auth.Principal {
	h.Helper()
	who, err := h.members.SignIn(h.ctx, name, password, code)
	h.must(err)
	return h.start(who)
}

func (h *house) start(who auth.Principal) auth.Principal {
	h.Helper()
	secret, _, err := h.sessions.Start(h.ctx, who, auth.ViaPassword, "")
	h.must(err)
	now, err := h.sessions.Who(h.ctx, secret)
	h.must(err)
	return now.Principal
}

// code is what an authenticator app shows.
func (h *house) code(secret string) string {
	h.Helper()
	code, err := totp.GenerateCode(secret, h.clock.now)
	h.must(err)
	return code
}

// factor gives the member a second factor, and its secret and recovery codes.
func (h *house) factor(name string) (secret string, recovery []string) {
	h.Helper()
	who := h.in(name, "")
	setup, err := h.members.NewFactor(h.ctx, who)
	h.must(err)
	recovery, err = h.members.SetFactor(h.ctx, who, password, "", setup.Secret, h.code(setup.Secret))
	h.must(err)
	h.clock.now = h.clock.now.Add(time.Minute)
	return setup.Secret, recovery
}

func TestAnInvitationSetsAPasswordOnceWithinThreeDays(t *testing.T) {
	h := newHouse(t, false)
	code := h.invite(auth.MemberSpec{Name: "ann", Display: "Ann", Role: auth.Operator, Apps: []string{"shop", "cart", "shop"}})
	_, err := h.members.SignIn(h.ctx, "ann", password, "")
	h.want(err, auth.ErrUnauthorized, "before the invitation is used")
	in, err := h.members.Invited(h.ctx, code)
	h.must(err)
	if in.Member.Name != "ann" || in.Setup.Secret == "" || !strings.HasPrefix(in.Setup.URL, "otpauth://totp/Slipstream:ann?") || len(in.Setup.QR) == 0 {
		t.Errorf("%+v", in)
	}
	for name, weak := range map[string]string{"short": "a1b2c3d4e", "one letter": strings.Repeat("aaab", 10), "the name": "ann", "long": strings.Repeat("abcdefgh", 40), "no text": "abcdefghij\xff"} {
		_, _, err := h.members.Accept(h.ctx, auth.Acceptance{Code: code, Password: weak})
		h.want(err, slipstream.ErrInvalid, name)
	}
	who, recovery, err := h.members.Accept(h.ctx, auth.Acceptance{Code: code, Password: password})
	h.must(err)
	if who != (auth.Principal{Member: "ann", Name: "ann", Role: auth.Operator, Apps: "cart,shop"}) || recovery != nil {
		t.Errorf("%+v %v", who, recovery)
	}
	_, _, err = h.members.Accept(h.ctx, auth.Acceptance{Code: code, Password: another})
	h.want(err, auth.ErrUnauthorized, "a second time")
	first, err := h.members.Invite(h.ctx, h.root, "ann", false)
	h.must(err)
	second, err := h.members.Invite(h.ctx, h.root, "ann", false)
	h.must(err)
	_, err = h.members.Invited(h.ctx, first.Code)
	h.want(err, auth.ErrUnauthorized, "one that another replaced")
	h.in("ann", "") // what was stays in force until the link is used
	h.clock.now = h.clock.now.Add(auth.InvitationLife)
	_, err = h.members.Invited(h.ctx, second.Code)
	h.want(err, auth.ErrUnauthorized, "after three days")
}

func TestWhoIsUnknownAndWhoIsWrongGetTheSameAnswer(t *testing.T) {
	h := newHouse(t, false)
	h.member("ann", auth.Viewer)
	h.member("bob", auth.Viewer)
	yes := func(s *auth.MemberSpec) { s.Disabled = true }
	_, err := h.members.Change(h.ctx, h.root, "bob", yes)
	h.must(err)
	answers := map[string]bool{}
	for what, try := range map[string][2]string{"wrong": {"ann", another}, "unknown": {"eve", password}, "disabled": {"bob", password}, "long": {"ann", strings.Repeat("x", 1<<20)},
		"empty": {"ann", ""}, "no name": {"", password}, "unknown address": {"eve@example.org", password}} {
		_, err := h.members.SignIn(h.ctx, try[0], try[1], "")
		h.want(err, auth.ErrUnauthorized, what)
		answers[fmt.Sprint(err)] = true
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
	for _, name := range []string{"ann", "ANN@example.ORG "} {
		if _, err := h.members.SignIn(h.ctx, name, password, "no second factor, not looked at"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The same letters, made of other characters by another keyboard.
	if _, err := h.members.SignIn(h.ctx, "ann", strings.ReplaceAll(password, "ö", "o\u0308"), ""); err != nil {
		t.Errorf("decomposed: %v", err)
	}
}

func TestACodeOfTheSecondFactorIsTakenOnceAndWithALittleSkew(t *testing.T) {
	h := newHouse(t, false)
	h.member("ann", auth.Owner)
	secret, recovery := h.factor("ann")
	try := func(code string) error {
		_, err := h.members.SignIn(h.ctx, "ann", password, code)
		return err
	}
	h.want(try(""), auth.ErrSecondFactor, "none")
	_, err := h.members.SignIn(h.ctx, "ann", another, "")
	h.want(err, auth.ErrUnauthorized, "the password is wrong: nothing is said of the code")
	at := func(d time.Duration) string {
		code, err := totp.GenerateCode(secret, h.clock.now.Add(d))
		h.must(err)
		return code
	}
	h.want(try(at(-time.Minute)), auth.ErrUnauthorized, "two steps behind")
	h.want(try(at(time.Minute)), auth.ErrUnauthorized, "two steps ahead")
	h.must(try(at(-30 * time.Second)))
	h.want(try(at(-30*time.Second)), auth.ErrUnauthorized, "the same code again")
	h.must(try(at(30 * time.Second)))
	h.want(try(at(0)), auth.ErrUnauthorized, "one before the last that was taken")
	if len(recovery) != 10 {
		t.Fatalf("recovery codes: %v", recovery)
	}
	h.must(try(strings.ToUpper(strings.ReplaceAll(recovery[3], "-", " "))))
	h.want(try(recovery[3]), auth.ErrUnauthorized, "a recovery code again")
	h.must(try(recovery[4]))
	x, _, err := h.members.Get(h.ctx, h.root, "ann")
	h.must(err)
	if len(x.Recovery) != 8 {
		t.Errorf("%d recovery codes are left", len(x.Recovery))
	}
	if kept := fmt.Sprintf("%s %+v", x.OTP, x); strings.Contains(kept, secret) || strings.Contains(kept, recovery[0]) || strings.Contains(kept, password) {
		t.Error("a secret is in the store")
	}
}

func TestGuessingAtASecondFactorIsSlowedDownWhereverFrom(t *testing.T) {
	h := newHouse(t, false)
	h.member("ann", auth.Owner)
	secret, _ := h.factor("ann")
	for range 10 {
		_, err := h.members.SignIn(h.ctx, "ann", password, "000000")
		h.want(err, auth.ErrUnauthorized, "a guess")
	}
	var slowed *auth.Slowed
	if _, err := h.members.SignIn(h.ctx, "ann", password, h.code(secret)); !errors.As(err, &slowed) {
		t.Errorf("after ten guesses: %v", err)
	}
	_, err := h.members.SignIn(h.ctx, "ann", another, "000000")
	h.want(err, auth.ErrUnauthorized, "who does not know the password learns nothing and holds nobody up")
	h.clock.now = h.clock.now.Add(5 * time.Minute)
	_, err = h.members.SignIn(h.ctx, "ann", password, h.code(secret))
	h.must(err)
}

func TestAServerThatWantsASecondFactorOfEverybody(t *testing.T) {
	h := newHouse(t, true)
	code := h.invite(auth.MemberSpec{Name: "ann", Role: auth.Owner})
	_, _, err := h.members.Accept(h.ctx, auth.Acceptance{Code: code, Password: password})
	h.want(err, auth.ErrSecondFactor, "an invitation without one")
	in, err := h.members.Invited(h.ctx, code)
	h.must(err)
	_, _, err = h.members.Accept(h.ctx, auth.Acceptance{Code: code, Password: password, Secret: in.Setup.Secret, OTP: "000000"})
	h.want(err, slipstream.ErrInvalid, "a wrong first code")
	_, _, err = h.members.Accept(h.ctx, auth.Acceptance{Code: code, Password: password, Secret: "AAAA", OTP: "000000"})
	h.want(err, slipstream.ErrInvalid, "a secret of one's own")
	who, recovery, err := h.members.Accept(h.ctx, auth.Acceptance{Code: code, Password: password, Secret: in.Setup.Secret, OTP: h.code(in.Setup.Secret)})
	h.must(err)
	if who.Role != auth.Owner || len(recovery) != 10 {
		t.Errorf("%+v, %v", who, recovery)
	}
	who = h.start(who)
	h.clock.now = h.clock.now.Add(time.Minute)
	h.want(h.members.RemoveFactor(h.ctx, who, password, h.code(in.Setup.Secret)), slipstream.ErrInvalid, "taking it away")

	// One who had none before the server wanted it is in their account and nowhere else until there is one.
	h.must(h.store.Update(h.ctx, func(tx store.Tx) error {
		x, err := tx.People().Members().Get(h.ctx, "ann")
		x.OTP, x.OTPStep = nil, 0
		return errors.Join(err, tx.People().Members().Save(h.ctx, x))
	}))
	lacking := h.in("ann", "")
	if lacking.May(auth.Read, "") || len(lacking.Actions()) != 0 {
		t.Errorf("%+v may do something", lacking)
	}
	_, err = h.members.PersonalToken(h.ctx, lacking, password, "", auth.Spec{Name: "x", Role: auth.Viewer})
	h.want(err, auth.ErrForbidden, "a token")
	setup, err := h.members.NewFactor(h.ctx, lacking)
	h.must(err)
	_, err = h.members.SetFactor(h.ctx, lacking, password, "", setup.Secret, h.code(setup.Secret))
	h.must(err)
	h.clock.now = h.clock.now.Add(time.Minute)
	if now := h.in("ann", h.code(setup.Secret)); !now.May(auth.Server, "") {
		t.Errorf("%+v may not do what owners may", now)
	}
}

func TestTheLastOwnerStays(t *testing.T) {
	h := newHouse(t, false)
	h.member("ann", auth.Owner)
	h.invite(auth.MemberSpec{Name: "bob", Role: auth.Owner}) // who has not signed in yet is not counted
	h.member("cid", auth.Owner, "shop")
	for what, err := range map[string]error{
		"removed": h.members.Remove(h.ctx, h.root, "ann"),
		"disabled": func() error {
			_, err := h.members.Change(h.ctx, h.root, "ann", func(s *auth.MemberSpec) { s.Disabled = true })
			return err
		}(),
		"demoted": func() error {
			_, err := h.members.Change(h.ctx, h.root, "ann", func(s *auth.MemberSpec) { s.Role = auth.Viewer })
			return err
		}(),
		"for one app": func() error {
			_, err := h.members.Change(h.ctx, h.root, "ann", func(s *auth.MemberSpec) { s.Apps = []string{"shop"} })
			return err
		}(),
		"reset": func() error { _, err := h.members.Invite(h.ctx, h.root, "ann", true); return err }(),
	} {
		h.want(err, slipstream.ErrConflict, what)
	}
	h.member("dan", auth.Owner)
	h.must(h.members.Remove(h.ctx, h.root, "ann"))
	h.must(h.members.Remove(h.ctx, h.root, "cid"))
	h.want(h.members.Remove(h.ctx, h.root, "dan"), slipstream.ErrConflict, "the one that is left")
}

func TestSessionsAndTokensOfAMemberEndWithThemAndWithTheirRights(t *testing.T) {
	h := newHouse(t, false)
	h.member("root", auth.Owner)
	h.member("ann", auth.Publisher, "shop", "cart")
	ann := h.in("ann", "")
	spec, err := h.members.PersonalToken(h.ctx, ann, password, "", auth.Spec{Name: "ann-ci", Role: auth.Publisher})
	h.must(err)
	_, err = h.members.PersonalToken(h.ctx, ann, another, "", auth.Spec{Name: "ann-ci", Role: auth.Publisher})
	h.want(err, slipstream.ErrInvalid, "without the password")
	_, secret, err := h.tokens.Create(h.ctx, "ann", spec)
	h.must(err)
	for what, s := range map[string]auth.Spec{"more than she may": {Name: "x", Role: auth.Owner}, "another's app": {Name: "x", Role: auth.Viewer, App: "bank"}} {
		_, err := h.members.PersonalToken(h.ctx, ann, password, "", s)
		h.want(err, auth.ErrForbidden, what)
	}
	bearer := func() (auth.Principal, error) { return h.tokens.Authenticate(h.ctx, "Bearer "+secret) }
	who, err := bearer()
	h.must(err)
	if who.Member != "ann" || who.Name != "ann-ci" || who.Role != auth.Publisher || who.Apps != "cart,shop" {
		t.Errorf("%+v", who)
	}
	_, err = h.members.PersonalToken(h.ctx, who, password, "", auth.Spec{Name: "x", Role: auth.Viewer})
	h.want(err, auth.ErrForbidden, "a token that makes tokens")
	_, err = h.members.Change(h.ctx, h.root, "ann", func(s *auth.MemberSpec) { s.Role, s.Apps = auth.Viewer, []string{"shop"} })
	h.must(err)
	if who, err = bearer(); err != nil || who.Role != auth.Viewer || who.Apps != "shop" {
		t.Errorf("after she was made a viewer of one app: %+v, %v", who, err)
	}
	browser, _, err := h.sessions.Start(h.ctx, auth.Principal{Member: "ann", Name: "ann"}, auth.ViaPassword, "")
	h.must(err)
	now, err := h.sessions.Who(h.ctx, browser)
	h.must(err)
	if now.Role != auth.Viewer || now.May(auth.Read, "cart") {
		t.Errorf("%+v", now)
	}
	_, err = h.members.Change(h.ctx, h.root, "ann", func(s *auth.MemberSpec) { s.Disabled = true })
	h.must(err)
	_, err = bearer()
	h.want(err, auth.ErrUnauthorized, "the token of one who is disabled")
	_, err = h.sessions.Who(h.ctx, browser)
	h.want(err, auth.ErrUnauthorized, "the browser of one who is disabled")
	h.must(h.members.Remove(h.ctx, h.root, "ann"))
	_, err = bearer()
	h.want(err, auth.ErrUnauthorized, "the token of one who is gone")
}

func TestTheOwnAccountAsksForThePasswordAgain(t *testing.T) {
	h := newHouse(t, false)
	h.member("ann", auth.Viewer)
	first := h.in("ann", "")
	h.in("ann", "") // another browser
	h.want(h.members.SetPassword(h.ctx, first, another, "", another), slipstream.ErrInvalid, "a wrong password")
	h.must(h.members.SetPassword(h.ctx, first, password, "", another))
	_, err := h.members.SignIn(h.ctx, "ann", password, "")
	h.want(err, auth.ErrUnauthorized, "the former password")
	_, sessions, err := h.members.Account(h.ctx, first)
	h.must(err)
	if len(sessions) != 1 || sessions[0].ID != first.Session {
		t.Errorf("sessions %+v, want the one that changed the password", sessions)
	}
	h.must(h.members.SetPassword(h.ctx, first, another, "", password))
	secret, _ := h.factor("ann")
	third := h.in("ann", h.code(secret))
	h.want(h.members.SetPassword(h.ctx, third, password, "", another), auth.ErrSecondFactor, "without a code")
	h.want(h.members.SetPassword(h.ctx, third, password, "000000", another), slipstream.ErrInvalid, "with a wrong code")
	h.clock.now = h.clock.now.Add(time.Minute)
	codes, err := h.members.RenewRecovery(h.ctx, third, password, h.code(secret))
	h.must(err)
	h.must(h.members.RemoveFactor(h.ctx, third, password, codes[0]))
	h.in("ann", "")
	h.must(h.members.EndSessions(h.ctx, third, ""))
	_, sessions, err = h.members.Account(h.ctx, third)
	h.must(err)
	if len(sessions) != 0 {
		t.Errorf("after signing out everywhere: %+v", sessions)
	}
	for what, who := range map[string]auth.Principal{"a token": {Token: "t1", Member: "ann", Name: "ann-ci", Role: auth.Owner}, "a browser that a token signed in": {Token: "t1", Member: "ann", Session: "s1"}, "nobody": {}} {
		h.want(h.members.SetPassword(h.ctx, who, password, "", another), auth.ErrForbidden, what)
	}
}

func TestAManagerOfSomeAppsManagesMembersOfThoseAlone(t *testing.T) {
	h := newHouse(t, false)
	h.member("ann", auth.Viewer)
	h.member("bob", auth.Viewer, "shop")
	h.member("cid", auth.Viewer, "shop", "cart")
	by := auth.Principal{Name: "shopkeeper", Role: auth.Owner, Apps: "shop"}
	list, err := h.members.List(h.ctx, by)
	h.must(err)
	if len(list) != 1 || list[0].Name != "bob" {
		t.Errorf("sees %+v", list)
	}
	for _, name := range []string{"ann", "cid"} {
		_, _, err := h.members.Get(h.ctx, by, name)
		h.want(err, slipstream.ErrNotFound, name)
		h.want(h.members.Remove(h.ctx, by, name), slipstream.ErrNotFound, name)
	}
	for what, apps := range map[string][]string{"all apps": nil, "another app": {"cart"}, "one app more": {"shop", "cart"}} {
		_, _, err := h.members.Create(h.ctx, by, auth.MemberSpec{Name: "eve", Role: auth.Viewer, Apps: apps})
		h.want(err, auth.ErrForbidden, what)
		_, err = h.members.Change(h.ctx, by, "bob", func(s *auth.MemberSpec) { s.Apps = apps })
		h.want(err, auth.ErrForbidden, what)
	}
	_, _, err = h.members.Create(h.ctx, by, auth.MemberSpec{Name: "eve", Role: auth.Owner, Apps: []string{"shop"}})
	h.must(err)
}

func TestMembersThatMakeNoSenseAreRefused(t *testing.T) {
	h := newHouse(t, false)
	h.member("ann", auth.Viewer)
	_, _, err := h.tokens.Create(h.ctx, "root", auth.Spec{Name: "ci", Role: auth.Viewer})
	h.must(err)
	for what, k := range map[string]struct {
		spec auth.MemberSpec
		want error
	}{
		"a bad name":          {auth.MemberSpec{Name: "A B", Role: auth.Viewer}, slipstream.ErrBadName},
		"the server's name":   {auth.MemberSpec{Name: "system", Role: auth.Viewer}, slipstream.ErrInvalid},
		"no such role":        {auth.MemberSpec{Name: "eve", Role: "god"}, slipstream.ErrInvalid},
		"no such app":         {auth.MemberSpec{Name: "eve", Role: auth.Viewer, Apps: []string{"bank"}}, slipstream.ErrNotFound},
		"no address":          {auth.MemberSpec{Name: "eve", Role: auth.Viewer, Email: "Eve <eve@example.org>"}, slipstream.ErrInvalid},
		"another's address":   {auth.MemberSpec{Name: "eve", Role: auth.Viewer, Email: "ANN@example.org"}, slipstream.ErrConflict},
		"another's name":      {auth.MemberSpec{Name: "ann", Role: auth.Viewer}, slipstream.ErrConflict},
		"the name of a token": {auth.MemberSpec{Name: "ci", Role: auth.Viewer}, slipstream.ErrConflict},
	} {
		_, _, err := h.members.Create(h.ctx, h.root, k.spec)
		h.want(err, k.want, what)
	}
	_, _, err = h.tokens.Create(h.ctx, "root", auth.Spec{Name: "ann", Role: auth.Viewer})
	h.want(err, slipstream.ErrConflict, "a token with a member's name")
}

func TestResetTakesEverythingAway(t *testing.T) {
	h := newHouse(t, false)
	h.member("root", auth.Owner)
	h.member("ann", auth.Viewer)
	secret, recovery := h.factor("ann")
	who := h.in("ann", h.code(secret))
	link, err := h.members.Invite(h.ctx, h.root, "ann", false)
	h.must(err)
	_, _, err = h.members.Accept(h.ctx, auth.Acceptance{Code: link.Code, Password: another})
	h.want(err, auth.ErrSecondFactor, "a link for a forgotten password still asks for the second factor")
	_, _, err = h.members.Accept(h.ctx, auth.Acceptance{Code: link.Code, Password: another, OTP: recovery[0]})
	h.must(err)
	reset, err := h.members.Invite(h.ctx, h.root, "ann", true)
	h.must(err)
	_, sessions, err := h.members.Account(h.ctx, who)
	h.must(err)
	if len(sessions) != 0 {
		t.Errorf("sessions after a reset: %+v", sessions)
	}
	_, err = h.members.SignIn(h.ctx, "ann", another, recovery[1])
	h.want(err, auth.ErrUnauthorized, "the password after a reset")
	_, _, err = h.members.Accept(h.ctx, auth.Acceptance{Code: reset.Code, Password: password})
	h.must(err)
	h.in("ann", "")
}
