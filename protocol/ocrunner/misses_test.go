package ocrunner

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

func TestWhoGuessesLinksIsSlowedDown(t *testing.T) {
	t.Parallel()
	w := protocoltest.New(t, Protocol{})
	w.Enable("")
	s := serve(w)
	var last *httptest.ResponseRecorder
	for range 100 {
		r := httptest.NewRequest(http.MethodGet, "/ocrunner/shop/production/api/patch/download/0123456789abcdef", nil)
		r.RemoteAddr = "203.0.113.7:1000"
		last = httptest.NewRecorder()
		s.ServeHTTP(last, r)
	}
	if last.Code != http.StatusTooManyRequests || last.Header().Get("Retry-After") == "" || last.Body.String() != "Too many requests" {
		t.Fatalf("status %d, %q", last.Code, last.Body)
	}
}
