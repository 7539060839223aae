//go:build !device

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
)

func TestHowPeopleSignInIsSaidByFlags(t *testing.T) {
	tool := testTool(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of the client\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := signInFlags{requireOTP: "true", issuer: "https://id.example.org", clientID: "slip", secretFile: secret, name: "Staff", domains: "Example.org, @example.com", groups: "dev=publisher, a=b=owner"}
	got, err := f.settings(tool, "https://updates.example.org/below")
	if err != nil {
		t.Fatal(err)
	}
	want := auth.Admission{Domains: []string{"example.org", "example.com"}, Groups: map[string]auth.Role{"dev": auth.Publisher, "a=b": auth.Owner}, Role: auth.Viewer}
	if !got.requireOTP || !reflect.DeepEqual(got.admission, want) || got.provider.ClientSecret != "of the client" || got.provider.Redirect != "https://updates.example.org/v1/session/oidc/callback" {
		t.Errorf("%+v", got)
	}
	const base = "https://updates.example.org"
	for name, k := range map[string]struct {
		f    signInFlags
		base string
	}{
		"no yes or no":         {signInFlags{requireOTP: "maybe"}, base},
		"no issuer":            {signInFlags{clientID: "slip"}, base},
		"no base URL":          {signInFlags{issuer: "https://id.example.org", clientID: "slip"}, ""},
		"no client":            {signInFlags{issuer: "https://id.example.org"}, base},
		"plain http":           {signInFlags{issuer: "http://id.example.org", clientID: "slip"}, base},
		"no secret file":       {signInFlags{issuer: "https://id.example.org", clientID: "slip", secretFile: secret + "x"}, base},
		"an address":           {signInFlags{issuer: "https://id.example.org", clientID: "slip", domains: "ann@example.org"}, base},
		"a pattern":            {signInFlags{issuer: "https://id.example.org", clientID: "slip", domains: "*.example.org"}, base},
		"a group without role": {signInFlags{issuer: "https://id.example.org", clientID: "slip", groups: "dev"}, base},
		"no such role":         {signInFlags{issuer: "https://id.example.org", clientID: "slip", admissionRole: "god"}, base},
	} {
		if got, err := k.f.settings(tool, k.base); err == nil || slipstream.HintOf(err) == "" && name != "no such role" {
			t.Errorf("%s: %+v, %v, hint %q", name, got, err, slipstream.HintOf(err))
		}
	}
}
