package auth

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzKeptHashes(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$2a$10$x")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s)
		if err == nil && (h.cost.Memory > 1<<20 || h.cost.Time > 64 || h.cost.Threads > 64 || h.cost.Threads == 0 || len(h.key) < 16) {
			t.Errorf("%q costs %+v", s, h.cost)
		}
	})
}

func FuzzWhatPeopleType(f *testing.F) {
	f.Add("slp_00", "123 456", "Ann@example.org", "vier Worte ohne Sinn", "AAAA")
	f.Fuzz(func(t *testing.T, secret, code, email, password, factor string) {
		if h, ok := hashOf(secret); ok && len(secret) != 64 || !ok && h != [32]byte{} {
			t.Errorf("%q is a secret", secret)
		}
		if step, ok := stepOf("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", code, time.Unix(1_700_000_000, 0), 1_700_000_000/30); ok && step <= 1_700_000_000/30 {
			t.Errorf("%q was taken again", code)
		}
		if a, err := parseEmail(email); err == nil && a != "" && (strings.Count(a, "@") != 1 || a != strings.ToLower(a) || !utf8.ValidString(a)) {
			if !strings.HasPrefix(a, `"`) { // a quoted name may hold anything
				t.Errorf("%q is kept as %q", email, a)
			}
		}
		if checkPassword(password, "ann", "") == nil && (len(password) > maxPassword || len(password) < minPassword) {
			t.Errorf("%q is a password", password)
		}
		if parseSecret(factor) == nil && len(factor) != 32 {
			t.Errorf("%q is a secret of a second factor", factor)
		}
		if left, ok := useRecovery([]string{recoveryHash("aaaa")}, code); ok && len(left) != 0 {
			t.Errorf("%q left %v", code, left)
		}
	})
}
