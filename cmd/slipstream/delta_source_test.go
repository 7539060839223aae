//go:build !device

package main

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func TestATreeTooDeepForTheSystemIsRefusedInWords(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("its long paths have no such limit")
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("d", 250)
	for range 20 {
		if err := root.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		inner, err := root.OpenRoot(name)
		if err != nil {
			t.Fatal(err)
		}
		root.Close()
		root = inner
	}
	root.Close()
	_, err = openSource(t.Context(), dir, false, quietProgress{})
	if err == nil || !strings.Contains(err.Error(), "nested too deeply") || len(err.Error()) > 300 || slipstream.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
}
