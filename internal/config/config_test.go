package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func TestEnvironmentBeatsTheFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(file, []byte(`{"listen": ":1", "base-url": "http://file", "report-rate": 250}`), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := Load([]string{"HOME=/nowhere", "SLIPSTREAM_CONFIG=" + file, "SLIPSTREAM_LISTEN=:2"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"listen": ":2", "base-url": "http://file", "report-rate": "250", "data": "default"} {
		if got := e.Get(name, "default"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestUnknownKeysAndWrongFilesAreErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"lissten": ":1"}`: `unknown key "lissten"`, `listen = :1`: "not a JSON object", `{"trusted-proxies": ["::1"]}`: `"trusted-proxies"`,
		`{"data": null}`: `"data"`, `{"log": true}`: `"log"`,
	} {
		file := filepath.Join(t.TempDir(), "settings.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load([]string{"SLIPSTREAM_CONFIG=" + file})
		if err == nil || !strings.Contains(err.Error(), want) || slipstream.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q; want %s and a hint", text, err, slipstream.HintOf(err), want)
		}
	}
	if _, err := Load([]string{"SLIPSTREAM_CONFIG=/nowhere/settings.json"}); err == nil {
		t.Error("a settings file that was named and is missing: no error")
	}
}

func TestStartedProgramsDoNotSeeSecrets(t *testing.T) {
	t.Parallel()
	e, err := Load([]string{"HOME=/nowhere", "PATH=/bin", "SLIPSTREAM_URL=http://here", "SLIPSTREAM_PASSPHRASE=abc", "SLIPSTREAM_RELEASE_KEY=pem", "SLIPSTREAM_TOKEN=slp"})
	if err != nil {
		t.Fatal(err)
	}
	got := e.Environ("EXTRA=1")
	for _, want := range []string{"PATH=/bin", "SLIPSTREAM_URL=http://here", "EXTRA=1"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %v", want, got)
		}
	}
	if all := strings.Join(got, " "); strings.Contains(all, "abc") || strings.Contains(all, "pem") || strings.Contains(all, "slp") {
		t.Errorf("a secret is in %v", got)
	}
}
