package api

import (
	"errors"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func TestUploadsTogetherStayWithinTheirRoom(t *testing.T) {
	s, err := OpenSpool(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.limit = 100
	one, err := s.claim(upload{"shop", "a", 60})
	if err != nil {
		t.Fatal(err)
	}
	for name, take := range map[string]func() (func(), error){
		"a second upload in parts": func() (func(), error) { return s.claim(upload{"shop", "b", 60}) },
		"a whole one":              func() (func(), error) { return s.pass(upload{"shop", "c", 60}) },
		"a second writer":          func() (func(), error) { return s.claim(upload{"shop", "a", 60}) },
	} {
		if _, err := take(); !errors.Is(err, slipstream.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	one()
	for range 2 {
		release, err := s.pass(upload{"shop", "b", 60})
		if err != nil {
			t.Fatalf("after the end of the first: %v", err)
		}
		release()
	}
}
