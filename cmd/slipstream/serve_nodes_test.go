//go:build unix && !device

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/pgtest"
	"github.com/slipstream-ota/slipstream/internal/s3test"
	"github.com/slipstream-ota/slipstream/sign"
)

// runFunc lets a cluster live as long as a function.
type runFunc func()

func (f runFunc) Run() int {
	f()
	return 0
}

// Two servers above one PostgreSQL and one bucket are one server to devices and publishers.
func TestTwoNodesAreOneServer(t *testing.T) {
	cluster := pgtest.New()
	code := cluster.Run(runFunc(func() {
		t.Run("nodes", func(t *testing.T) { twoNodes(t, cluster.Database(t), s3test.Fake(t)) })
	}))
	if code != 0 {
		t.Error("the cluster did not stop")
	}
}

func twoNodes(t *testing.T, database, blobs string) {
	folder := t.TempDir()
	f := serveFlags{database: database, blobs: blobs, secret: filepath.Join(folder, "secret")}
	ann, bob := testTool(t), testTool(t)
	f.data = filepath.Join(folder, "a")
	a := startTestServer(t, ann, f)
	f.data = filepath.Join(folder, "b")
	b := startTestServer(t, bob, f)

	if _, err := ann.createApp(t.Context(), newAppNamed("shop"), time.Now().AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	web := filepath.Join(folder, "web")
	if err := os.MkdirAll(web, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(web, "index.html"), []byte("<p>hello</p>"), 0o600); err != nil {
		t.Fatal(err)
	}
	publish := newRootCommand(ann)
	publish.SetArgs([]string{"publish", web, "--app", "shop", "--version", "1.0.0"})
	publish.SetOut(io.Discard)
	publish.SetErr(io.Discard)
	if err := publish.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}

	raw, err := os.ReadFile(ann.env.Folder().RootFile("shop"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := sign.OpenRoot(raw)
	if err != nil {
		t.Fatal(err)
	}
	offered := func(s *slipstream.State) bool { return len(s.Packages["main"].Rollouts) == 1 }
	eventually(t, trust, a.URL(), offered)
	eventually(t, trust, b.URL(), offered)

	// A change on the second node reaches the first one's devices.
	client, err := bob.client()
	if err != nil {
		t.Fatal(err)
	}
	e, err := pick(t.Context(), client, at{app: "shop", channel: "production", pkg: "main"}, "")
	if err != nil {
		t.Fatal(err)
	}
	pause := newRootCommand(bob)
	pause.SetArgs([]string{"rollout", "pause", e.ID, "--app", "shop"})
	if err := pause.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, trust, a.URL(), func(s *slipstream.State) bool {
		return offered(s) && s.Packages["main"].Rollouts[0].Hold == slipstream.HoldPaused
	})

	// Each node left its user a token of its own, and both are good on both.
	tokens, err := client.Tokens(t.Context())
	if err != nil || len(tokens) != 2 {
		b, _ := json.Marshal(tokens)
		t.Errorf("tokens %s, %v", b, err)
	}
}

// eventually waits until the state that a node serves says so. Nodes tell each other within a second.
func eventually(t *testing.T, trust *sign.Trust, server string, says func(*slipstream.State) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		res, err := http.Get(server + "/v1/apps/shop/channels/production/state/any")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == http.StatusOK {
			s, err := trust.State(raw)
			if err != nil {
				t.Fatal(err)
			}
			if says(s) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never said so: %d %.200s", server, res.StatusCode, raw)
		}
	}
}
