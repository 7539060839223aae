package auth_test

import (
	"errors"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
)

// door is a house's way in for browsers, from one network.
func (h *house) door() func(c auth.Credentials) error {
	l := auth.Login{Tokens: h.tokens, Limiter: auth.NewLimiter(h.clock.read), Sessions: h.sessions, Members: h.members}
	return func(c auth.Credentials) error {
		_, _, err := l.SignIn(h.ctx, httptest.NewRequest("POST", "/v1/session", nil), c)
		return err
	}
}

// Who may in by their own right must not wash off guesses at somebody else's password.
func TestASignInOfOnesOwnWashesNoGuessesOff(t *testing.T) {
	h := newHouse(t, false)
	h.member("boss", auth.Owner)
	h.member("eve", auth.Viewer)
	_, token, err := h.tokens.Create(h.ctx, "root", auth.Spec{Name: "ci", Role: auth.Viewer})
	h.must(err)
	enter := h.door()
	for n := range 10 {
		h.want(enter(auth.Credentials{Member: "boss", Password: another}), auth.ErrUnauthorized, "a guess")
		if n < 9 {
			h.must(enter(auth.Credentials{Member: "eve", Password: password}))
		}
		h.must(enter(auth.Credentials{Token: token}))
	}
	var slowed *auth.Slowed
	if err := enter(auth.Credentials{Member: "boss", Password: password}); !errors.As(err, &slowed) || slowed.Wait > 5*time.Minute {
		t.Errorf("after ten guesses: %v", err)
	}
	h.must(enter(auth.Credentials{Token: token}))
	h.clock.now = h.clock.now.Add(5 * time.Minute)
	h.must(enter(auth.Credentials{Member: "boss", Password: password}))
}

// Guesses that come all at once are no more than those that come one after another.
func TestGuessesAtTheSameTimeAreCountedBeforeTheyEnd(t *testing.T) {
	h := newHouse(t, false)
	h.member("boss", auth.Owner)
	enter := h.door()
	var looked atomic.Int64
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() {
			if errors.Is(enter(auth.Credentials{Member: "boss", Password: another}), auth.ErrUnauthorized) {
				looked.Add(1)
			}
		})
	}
	all.Wait()
	if n := looked.Load(); n < 1 || n > 10 {
		t.Errorf("%d of 60 guesses at once were looked at, at most 10 may be", n)
	}
}
