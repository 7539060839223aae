//go:build !device

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/config"
	"github.com/slipstream-ota/slipstream/sign"
)

// testTool is a tool of a user of its own.
func testTool(t *testing.T) *tool {
	t.Helper()
	home := t.TempDir()
	environ := []string{"HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, "config")}
	env, err := config.Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	return &tool{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, env: env, environ: environ}
}

func startTestServer(t *testing.T, tool *tool, f serveFlags) *runningServer {
	t.Helper()
	if f.listen == "" {
		f.listen = "127.0.0.1:0"
	}
	cfg, err := tool.serveConfig(f)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tool.startServer(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestASecondServerOnTheDataFolderIsRefused(t *testing.T) {
	tool := testTool(t)
	data := t.TempDir()
	s := startTestServer(t, tool, serveFlags{data: data})
	saved, err := os.ReadFile(tool.env.Folder().ServerFile())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := tool.serveConfig(serveFlags{data: data, listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tool.startServer(t.Context(), cfg); !errors.Is(err, client.ErrLocked) || !strings.Contains(slipstream.HintOf(err), "--data") {
		t.Errorf("%v, hint %q", err, slipstream.HintOf(err))
	}
	if now, err := os.ReadFile(tool.env.Folder().ServerFile()); err != nil || !bytes.Equal(now, saved) {
		t.Errorf("the first one's token was replaced: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	startTestServer(t, tool, serveFlags{data: data})
}

func TestASecondServerOnThePortIsToldWhatToDo(t *testing.T) {
	tool := testTool(t)
	data := t.TempDir()
	s := startTestServer(t, tool, serveFlags{data: data})
	saved, err := os.ReadFile(tool.env.Folder().ServerFile())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := tool.serveConfig(serveFlags{data: data, listen: strings.TrimPrefix(s.URL(), "http://")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tool.startServer(t.Context(), cfg); err == nil || !strings.Contains(slipstream.HintOf(err), "--listen") {
		t.Errorf("%v, hint %q", err, slipstream.HintOf(err))
	}
	now, err := os.ReadFile(tool.env.Folder().ServerFile())
	if err != nil || !bytes.Equal(now, saved) {
		t.Errorf("the first one's token was replaced: %v", err)
	}
	if c, err := tool.client(); err != nil {
		t.Error(err)
	} else if me, err := c.WhoAmI(t.Context()); err != nil || me.Role != "owner" {
		t.Errorf("%+v, %v", me, err)
	}
}

func TestServeLeavesAPrivateFreshTokenAtEachStart(t *testing.T) {
	tool := testTool(t)
	data := t.TempDir()
	first := startTestServer(t, tool, serveFlags{data: data})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := startTestServer(t, tool, serveFlags{data: data})
	if first.Token() == second.Token() {
		t.Error("the token is the same as before")
	}
	info, err := os.Stat(tool.env.Folder().ServerFile())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(data, secretFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secret: %v, %v", info.Mode(), err)
	}
	c, err := tool.client()
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := c.Tokens(t.Context())
	if err != nil || len(tokens) != 1 {
		t.Errorf("tokens %+v, %v", tokens, err)
	}
}

// A request that is under way when the server stops is answered; a new connection is not taken.
func TestStoppingLetsRequestsFinish(t *testing.T) {
	tool := testTool(t)
	s := startTestServer(t, tool, serveFlags{data: t.TempDir()})
	c, err := tool.client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tool.createApp(t.Context(), newAppNamed("shop"), time.Now().AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("slow "), 4<<20) // more than sockets hold
	digest := sign.DigestOf(content)
	reader, writer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, c.URL()+"/v1/admin/apps/shop/blobs/"+string(digest), reader)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(content))
	req.Header.Set("Authorization", "Bearer "+s.Token())
	status := make(chan int, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		defer res.Body.Close()
		status <- res.StatusCode
	}()
	if _, err := writer.Write(content[:16<<20]); err != nil { // taken by the server: the request runs
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	address := strings.TrimPrefix(s.URL(), "http://")
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break // the listener is gone
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("still takes connections")
		}
	}
	select {
	case err := <-closed:
		t.Fatalf("stopped while a request ran: %v", err)
	default:
	}
	if _, err := writer.Write(content[16<<20:]); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-status; got != http.StatusCreated {
		t.Errorf("answered %d", got)
	}
	if err := <-closed; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestServeEndsWhenItsContextDoes(t *testing.T) {
	tool := testTool(t)
	var out bytes.Buffer
	tool.stdout = &out
	cfg, err := tool.serveConfig(serveFlags{data: t.TempDir(), listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tool.serve(ctx, cfg) }()
	for {
		if saved, err := tool.env.Folder().LoadServer(); err == nil && saved.URL != "" {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		// A stop before the first snapshot is an error, afterwards it is the ordinary end.
		if out.Len() > 0 {
			t.Errorf("ended with %v", err)
		}
	}
}

func TestAdviceThatCannotBeHadIsLeftOut(t *testing.T) {
	tool := testTool(t)
	cfg, err := tool.serveConfig(serveFlags{data: t.TempDir(), listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	s := startTestServer(t, tool, serveFlags{data: t.TempDir()})
	if said := firstSteps(t.Context(), s, cfg); !strings.Contains(said, "slipstream app create") {
		t.Errorf("a server without apps says %q", said)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if said := firstSteps(stopped, s, cfg); said != "" {
		t.Errorf("a server that was asked to stop says %q", said)
	}
}

func TestTheSurfacesShareOneServer(t *testing.T) {
	tool := testTool(t)
	s := startTestServer(t, tool, serveFlags{data: t.TempDir()})
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/metrics": 200, "/v1/openapi.json": 200, "/v1/admin/apps": 401, "/v1/manifests/x": 404, "/nothing": 404,
		"/console": 200, "/console/": 200, "/console/apps/shop": 200, "/console/assets/x": 404, "/": 404,
	} {
		res, err := http.Get(s.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

func TestTheSenderBehindTrustedProxies(t *testing.T) {
	cfg, err := testTool(t).serveConfig(serveFlags{proxies: "10.0.0.0/8, ::1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ peer, forwarded, want string }{
		{"192.0.2.1:5", "203.0.113.9", "192.0.2.1"},
		{"10.0.0.1:5", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:5", "1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"},
		{"[::1]:5", "", "::1"},
		{"10.0.0.1:5", "10.0.0.7", "10.0.0.7"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := cfg.sender()(r); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func newAppNamed(name string) api.NewApp { return api.NewApp{Name: name} }

// What OPERATIONS promises: a flag of serve is a setting of environment and file too.
func TestEveryFlagOfServeIsASetting(t *testing.T) {
	newServeCommand(testTool(t)).Flags().VisitAll(func(f *pflag.Flag) {
		if !config.Known(f.Name) {
			t.Errorf("--%s is no setting that environment and file may give", f.Name)
		}
	})
}

func TestServeSaysWhereThingsAreAndNoPassword(t *testing.T) {
	tool := testTool(t)
	for _, c := range []struct {
		flags serveFlags
		want  string
	}{
		{serveFlags{data: "d"}, "everything is kept in d"},
		{serveFlags{data: "d", database: "postgres://slip:hush@db:5432/slip?sslmode=require", blobs: "s3://bucket/prod?secret_key=hush"},
			"postgres://db:5432/slip|s3://bucket/prod|" + filepath.Join("d", "secret")},
		{serveFlags{data: "d", secret: "/etc/secret"}, filepath.Join("d", "slipstream.db") + "|" + filepath.Join("d", "blobs") + "|/etc/secret"},
	} {
		cfg, err := tool.serveConfig(c.flags)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(cfg.kept(), "\n")
		for want := range strings.SplitSeq(c.want, "|") {
			if !strings.Contains(got, want) {
				t.Errorf("%q is missing in %q", want, got)
			}
		}
		if strings.Contains(got, "hush") {
			t.Errorf("a password is shown: %q", got)
		}
	}
}
