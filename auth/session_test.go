package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

func TestASessionEndsWhenItIsIdleOldOrItsTokenIsGone(t *testing.T) {
	st, tokens, c := open(t)
	ctx := t.Context()
	sessions := auth.NewSessions(auth.Config{Store: st, Clock: c.read})
	k, bearer, err := tokens.Create(ctx, "ann", auth.Spec{Name: "ci", Role: auth.Publisher})
	if err != nil {
		t.Fatal(err)
	}
	start := func() string {
		t.Helper()
		who, err := tokens.Authenticate(ctx, "Bearer "+bearer)
		if err != nil {
			t.Fatal(err)
		}
		secret, in, err := sessions.Start(ctx, who, auth.ViaToken, "A browser")
		if err != nil || len(secret) != 64 || in.Name != "ci" || in.Session == "" {
			t.Fatalf("%q, %+v, %v", secret, in, err)
		}
		return secret
	}
	out := func(what, secret string) {
		t.Helper()
		if in, err := sessions.Who(ctx, secret); !errors.Is(err, auth.ErrUnauthorized) {
			t.Errorf("%s: %+v, %v", what, in, err)
		}
	}
	idle := start()
	c.now = c.now.Add(auth.SessionIdle)
	out("idle", idle)

	used := start()
	for range 13 {
		c.now = c.now.Add(auth.SessionIdle - time.Minute)
		if in, err := sessions.Who(ctx, used); err != nil || in.Role != auth.Publisher || in.Token != k.ID {
			t.Fatalf("in use: %+v, %v", in, err)
		}
	}
	c.now = c.now.Add(auth.SessionIdle - time.Minute)
	if _, err := sessions.Who(ctx, used); err != nil {
		t.Fatalf("in use, almost a week old: %v", err)
	}
	c.now = c.now.Add(14 * time.Minute)
	out("older than a week, however much it was used", used)

	ended := start()
	if err := sessions.End(ctx, ended); err != nil {
		t.Fatal(err)
	}
	out("signed out", ended)
	if err := sessions.End(ctx, ended); err != nil {
		t.Errorf("signing out twice: %v", err)
	}

	last := start()
	for what, secret := range map[string]string{"nothing": "", "another": strings.Repeat("0", 64), "the token": bearer, "capital letters": strings.ToUpper(last), "a part": last[:63]} {
		out(what, secret)
	}
	if err := tokens.Revoke(ctx, "ann", k.ID, func(store.Token) error { return nil }); err != nil {
		t.Fatal(err)
	}
	out("its token is revoked", last)
}

func TestASignInLinkWorksOnceAndForAMinute(t *testing.T) {
	st, tokens, c := open(t)
	ctx := t.Context()
	sessions := auth.NewSessions(auth.Config{Store: st, Clock: c.read})
	_, bearer, err := tokens.Create(ctx, "ann", auth.Spec{Name: "ci", Role: auth.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	who, err := tokens.Authenticate(ctx, "Bearer "+bearer)
	if err != nil {
		t.Fatal(err)
	}
	code, expires, err := sessions.Link(ctx, who)
	if err != nil || !expires.Equal(c.now.Add(time.Minute)) {
		t.Fatalf("%v, %v", expires, err)
	}
	secret, in, err := sessions.Redeem(ctx, code, "")
	if err != nil || in.Name != "ci" || in.Via != auth.ViaLink {
		t.Fatalf("%+v, %v", in, err)
	}
	if _, _, err := sessions.Redeem(ctx, code, ""); !errors.Is(err, auth.ErrUnauthorized) {
		t.Errorf("a second time: %v", err)
	}
	now, err := sessions.Who(ctx, secret)
	if err != nil || now.Role != auth.Viewer {
		t.Fatalf("%+v, %v", now, err)
	}
	if _, _, err := sessions.Link(ctx, now.Principal); err == nil {
		t.Error("a browser that is signed in made a link for another one")
	}
	late, _, err := sessions.Link(ctx, who)
	if err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(time.Minute)
	if _, _, err := sessions.Redeem(ctx, late, ""); !errors.Is(err, auth.ErrUnauthorized) {
		t.Errorf("after a minute: %v", err)
	}
}

func TestTheOldestSessionMakesRoom(t *testing.T) {
	st, tokens, c := open(t)
	ctx := t.Context()
	sessions := auth.NewSessions(auth.Config{Store: st, Clock: c.read})
	k, _, err := tokens.Create(ctx, "ann", auth.Spec{Name: "ci", Role: auth.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for range 51 {
		c.now = c.now.Add(time.Second)
		secret, _, err := sessions.Start(ctx, auth.Principal{Token: k.ID, Name: "ci", Role: auth.Viewer}, auth.ViaToken, "")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, secret)
	}
	for i, secret := range all {
		if _, err := sessions.Who(ctx, secret); (err == nil) != (i > 0) {
			t.Errorf("session %d: %v", i, err)
		}
	}
}

func TestOnlyTheServersOwnPagesActForABrowser(t *testing.T) {
	const own = "https://updates.example.org"
	for _, k := range []struct {
		name, method, site, origin, base string
		ok                               bool
	}{
		{"a page of the server looks", "GET", "same-origin", "", "", true},
		{"a page of the server acts", "POST", "same-origin", "https://updates.example.org", "", true},
		{"its user typed the address", "GET", "none", "", "", true},
		{"nobody types a POST", "POST", "none", "", "", false},
		{"another site looks", "GET", "cross-site", "", "", false},
		{"another host of the domain looks", "GET", "same-site", "", "", false},
		{"another site acts", "POST", "cross-site", "https://evil.example", "", false},
		{"another site acts, though the browser says only its origin", "POST", "", "https://evil.example", "", false},
		{"another port acts", "DELETE", "", "https://updates.example.org:8443", "", false},
		{"a page without an origin acts", "POST", "", "null", "", false},
		{"a page of the server acts, the browser says only its origin", "POST", "", "https://updates.example.org", "", true},
		{"a word that no browser says", "GET", "same-origin ", "", "", false},
		{"a program that is no browser", "POST", "", "", "", true},
		{"behind a proxy that names the server otherwise", "POST", "", own, own, true},
	} {
		r := httptest.NewRequest(k.method, "https://updates.example.org/v1/session", nil)
		if k.base != "" {
			r.Host = "10.0.0.7:8080"
		}
		for name, value := range map[string]string{"Sec-Fetch-Site": k.site, "Origin": k.origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if err := auth.FromHere(r, k.base); (err == nil) != k.ok {
			t.Errorf("%s: %v", k.name, err)
		}
	}
}

func TestCookiesOfTwoServersOnOneMachineDoNotMeet(t *testing.T) {
	names := map[string]bool{}
	for _, host := range []string{"127.0.0.1:8080", "127.0.0.1:8081", "updates.example.org"} {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/", nil)
		k := auth.Cookie{}.Of(r, "s", time.Now())
		names[k.Name] = true
		if err := k.Valid(); err != nil || !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || k.Path != "/" || k.Domain != "" {
			t.Errorf("%v, %v", k.String(), err)
		}
	}
	if len(names) != 3 {
		t.Errorf("the names are %v", names)
	}
	k := auth.Cookie{Secure: true}.Of(httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080/", nil), "s", time.Now())
	if k.Name != "__Host-slipstream" || !k.Secure {
		t.Errorf("over https: %v", k.String())
	}
}
