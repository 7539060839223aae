package lab

import (
	"log/slog"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestRealCommand runs the proofs that need the command in processes of its own, in their quick form.
func TestRealCommand(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the command and kills it many times")
	}
	path := filepath.Join(t.TempDir(), "slipstream")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/slipstream-ota/slipstream/cmd/slipstream").CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	for _, p := range []Proof{killClient(), killServer(), killServerPostgres(), badReleases(), shutdown(), twoServers()} {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			row := runOne(t.Context(), p, Env{Quick: true, Seed: 1, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Program: path})
			if row.NotRun != "" {
				t.Skip(row.NotRun)
			}
			t.Logf("%d %s", row.Tried, row.Detail)
			if row.Wrong > 0 || row.Tried == 0 {
				t.Errorf("%d wrong", row.Wrong)
				for _, note := range row.Notes {
					t.Error(note)
				}
			}
		})
	}
}
