package ocrunner

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// FuzzRequest: whatever body a stranger sends ends in a refusal or in values within the limits.
func FuzzRequest(f *testing.F) {
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := parseRequest(body)
		if err != nil {
			return
		}
		if len(q.Version) > maxVersion || len(q.Attributes) > maxAttributes || q.Platform == "" {
			t.Fatalf("request %+v", q)
		}
	})
}

// FuzzToken: nobody makes a link that opens.
func FuzzToken(f *testing.F) {
	tokens := NewTokens(bytes.Repeat([]byte{3}, 32), nil, func() time.Time { return time.Unix(1_700_000_000, 0) }, nil)
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := tokens.open(t.Context(), "shop/production", token); !errors.Is(err, errInvalid) {
			t.Fatalf("a link that was never given out: %v", err)
		}
	})
}
