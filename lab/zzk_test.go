package lab

import (
	"log/slog"
	"os"
	"testing"
	"time"
)

func TestK(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("K_TIME"))
	if err != nil {
		t.Skip()
	}
	env := Env{Quick: true, Seed: 1, Dir: t.TempDir(), Program: os.Getenv("J_PROGRAM"), Log: slog.New(slog.NewTextHandler(os.Stdout, nil))}
	r, err := loadOn(t.Context(), env, "sqlite", d)
	t.Log(r.Tried, r.Wrong, r.Detail, err)
	for i, n := range r.Notes {
		if i < 15 {
			t.Log(n)
		}
	}
}
