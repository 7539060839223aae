package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzSettings feeds the settings file and server.json: both are read, or refused with an error that names the file.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"base-url":"https://updates.example.org","LISTEN":":80"}`))
	f.Add([]byte(`{"url":"http://127.0.0.1:8080","token":"slp_x"}`))
	f.Add([]byte(`{"unknown":"x"}`))
	f.Add([]byte(`[1,null]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "server.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := Load([]string{"SLIPSTREAM_CONFIG=" + path, "HOME=" + dir})
		if err != nil && !strings.Contains(err.Error(), path) && !strings.Contains(err.Error(), "settings") {
			t.Fatalf("the error does not name the file: %v", err)
		}
		if err == nil && e.Get("no-such-setting", "default") != "default" {
			t.Fatal("an unknown setting has a value")
		}
		if _, err := (Folder{Path: dir}).LoadServer(); err != nil && !strings.Contains(err.Error(), path) {
			t.Fatalf("the error does not name the file: %v", err)
		}
	})
}
