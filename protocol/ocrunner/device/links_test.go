package device

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

func TestALinkThatIsOverIsAskedForAgain(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.publish("1.1.1", "the patch")
	asked, over := 0, 1
	s.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/download/") {
			asked++
			return false
		}
		if over--; over < 0 {
			return false
		}
		http.Error(w, "Link expired", http.StatusForbidden)
		return true
	}
	u, err := s.device().Fetch(t.Context())
	if err != nil || u == nil || string(u.Plain) != "the patch" || asked != 2 {
		t.Fatalf("asked %d times: %+v, %v", asked, u, err)
	}
	over = 1000
	if _, err := s.device().Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "link is over") {
		t.Fatalf("links that are always over: %v", err)
	}
}

func TestTheSamePatchIsEncryptedToTheSameFile(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{7}, KeySize)
	one, err1 := Encrypt(key, []byte("a patch"))
	again, err2 := Encrypt(key, []byte("a patch"))
	other, err3 := Encrypt(key, []byte("b patch"))
	if err1 != nil || err2 != nil || err3 != nil || !bytes.Equal(one, again) || bytes.Equal(one[:12], other[:12]) {
		t.Fatalf("%x, %x, %x", one, again, other)
	}
}
