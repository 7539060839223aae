//go:build !device

package main

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipstream-ota/slipstream/sign"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"slipstream": func() {
			if device := os.Getenv(deviceBuildVariable); device != "" && inDeviceBuild(os.Args[1:]) {
				os.Exit(runAs(device))
			}
			os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
		},
		"sealdoc": sealdoc,
		"zipdir":  zipdir,
	})
}

// sealdoc is a command for scripts: sealdoc TYPE PAYLOAD OUT KEY… signs the bytes of a file, whatever they say.
func sealdoc() {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	payload, err := os.ReadFile(os.Args[2])
	fail(err)
	e := &sign.Envelope{PayloadType: "application/vnd.slipstream." + os.Args[1] + ".v1+json", Payload: payload}
	for _, path := range os.Args[4:] {
		file, err := os.ReadFile(path)
		fail(err)
		priv, err := sign.ParseKey(file, nil)
		fail(err)
		fail(e.Sign(sign.NewSigner(priv)))
	}
	fail(os.WriteFile(os.Args[3], e.Encode(), 0o644))
}

// zipdir is a command for scripts: zipdir DIR OUT packs a folder as upload tools do, with its own name as the root.
func zipdir() {
	dir, out := os.Args[1], os.Args[2]
	f, err := os.Create(out)
	if err == nil {
		z := zip.NewWriter(f)
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(filepath.Dir(dir), path)
			if err != nil {
				return err
			}
			w, err := z.Create(filepath.ToSlash(name))
			if err != nil {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			_, err = w.Write(text)
			return err
		})
		err = errors.Join(err, z.Close(), f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestScripts runs every file of testdata/script: each is a session of a user with the command.
func TestScripts(t *testing.T) {
	testscript.Run(t, scripts(testscript.Params{Dir: "testdata/script"}))
}

// scripts completes what scripts need.
func scripts(p testscript.Params, environ ...string) testscript.Params {
	p.RequireExplicitExec = true
	p.Cmds = map[string]func(*testscript.TestScript, bool, []string){"serve": serveInScript}
	p.Setup = func(env *testscript.Env) error {
		env.Values[runningKey{}] = &scriptServer{}
		env.Vars = append(env.Vars, environ...)
		env.Setenv("HOME", env.WorkDir)
		env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/config")
		return nil
	}
	return p
}
