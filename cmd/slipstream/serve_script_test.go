//go:build !device

package main

import (
	"context"
	"io"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipstream-ota/slipstream/internal/config"
)

// runningKey keeps a script's server.
type runningKey struct{}

// serveInScript is a command for scripts: "serve [-data DIR]" starts a server of this process on a free port, which
// leaves its address and token where the script's commands find them; "serve stop" stops it. The script's end does too.
func serveInScript(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 1 && args[0] == "stop" {
		if s, ok := ts.Value(runningKey{}).(*scriptServer); ok && s.running != nil {
			ts.Check(s.running.Close())
			s.running = nil
		}
		return
	}
	environ := []string{"HOME=" + ts.Getenv("HOME"), "XDG_CONFIG_HOME=" + ts.Getenv("XDG_CONFIG_HOME")}
	env, err := config.Load(environ)
	ts.Check(err)
	t := &tool{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, env: env, environ: environ}
	f := serveFlags{listen: "127.0.0.1:0", data: ts.MkAbs("data"), log: "error"}
	if len(args) == 2 && args[0] == "-data" {
		f.data = ts.MkAbs(args[1])
	}
	cfg, err := t.serveConfig(f)
	ts.Check(err)
	s, ok := ts.Value(runningKey{}).(*scriptServer)
	if !ok {
		ts.Fatalf("this script has no place for a server")
	}
	s.running, err = t.startServer(context.Background(), cfg)
	if neg {
		if err == nil {
			ts.Fatalf("the server started")
		}
		ts.Logf("%v", err)
		return
	}
	ts.Check(err)
	ts.Setenv("SERVER", s.running.URL())
	ts.Defer(func() {
		if s.running != nil {
			ts.Check(s.running.Close())
			s.running = nil
		}
	})
}

// scriptServer holds the server of a script while it runs.
type scriptServer struct{ running *runningServer }
