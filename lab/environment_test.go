package lab

import (
	"context"
	"log/slog"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestSurroundings runs the proofs about what is around the device and the server, and about load, in their quick form.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the command and puts load on it")
	}
	path := filepath.Join(t.TempDir(), "slipstream")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/slipstream-ota/slipstream/cmd/slipstream").CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	source, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	short := load()
	short.Run = func(ctx context.Context, env Env) (Result, error) { return loadOn(ctx, env, "sqlite", 6*time.Second) }
	few := fuzzers() // the other packages run their own inputs in their own tests
	few.Run = func(ctx context.Context, env Env) (Result, error) {
		return fuzz(ctx, env, []string{"./decide", "./report"})
	}
	for _, p := range []Proof{environment(), short, few} {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			row := runOne(t.Context(), p, Env{Quick: true, Seed: 1, Dir: t.TempDir(), Program: path, Source: source, Log: slog.New(slog.DiscardHandler)})
			t.Logf("tried %d, wrong %d, %d ms: %s", row.Tried, row.Wrong, row.Millis, row.Detail)
			if row.NotRun != "" {
				t.Skip(row.NotRun)
			}
			for _, note := range row.Notes {
				t.Log(note)
			}
			if row.Wrong > 0 {
				t.Errorf("%d of %d wrong", row.Wrong, row.Tried)
			}
		})
	}
}

func TestFuzzTargetsAreFound(t *testing.T) {
	t.Parallel()
	targets, err := fuzzTargets("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"./sign", "./decide", "./publish", "./publish/delta", "./deliver", "./report", "./api", "./client", "./rollout"} {
		if len(targets[folder]) == 0 {
			t.Errorf("none in %s", folder)
		}
	}
}
