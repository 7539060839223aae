package protocoltest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// unreachable are the words of npm for a registry that cannot be had: no name, no way, no answer, or one of the server's
// own faults. Anything else that goes wrong is ours.
var unreachable = regexp.MustCompile(`\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ECONNABORTED|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT|EPIPE|E50[0-9]|E429|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT_LOCALLY)\b`)

// NPM installs the lock file of the folder from, with the other files in it that are named, into a folder of the test, and
// gives that one. Without node or npm, or without a registry, the test is skipped and says what is missing; an
// installation that fails for another reason fails the test.
func NPM(t *testing.T, what, from string, files ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("installs packages of npm")
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("MISSING: %s: %s cannot be run", program, what)
		}
	}
	dir := t.TempDir()
	for _, name := range append([]string{"package.json", "package-lock.json"}, files...) {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1", "--fetch-timeout=60000")
	c.Dir = dir
	c.WaitDelay = 5 * time.Second
	out, err := c.CombinedOutput()
	switch {
	case err == nil:
	case ctx.Err() != nil || unreachable.Match(out):
		t.Skipf("MISSING: the npm registry cannot be reached: %s cannot be run: %v", what, err)
	default:
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}
