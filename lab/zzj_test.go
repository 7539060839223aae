package lab

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"fmt"
)

func TestJ(t *testing.T) {
	env := Env{Quick: os.Getenv("J_FULL") == "", Seed: 1, Dir: t.TempDir(), Program: os.Getenv("J_PROGRAM"), Source: "/work/main", Log: slog.New(slog.NewTextHandler(os.Stdout, nil))}
	for i, h := range append(deviceHardships(), serverHardships()...) {
		if !strings.Contains(h.name, os.Getenv("J_CASE")) {
			continue
		}
		tr := &trials{env: env, dir: fmt.Sprintf("%s/%d", env.Dir, i)}
		os.MkdirAll(tr.dir, 0o755)
		err := h.try(t.Context(), tr)
		t.Log(h.name, tr.tried, len(tr.wrong), err)
		for i, w := range tr.wrong {
			if i < 12 {
				t.Log("   ", w)
			}
		}
	}
}
