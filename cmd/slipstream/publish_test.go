//go:build !device

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/config"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/sign"
)

// newTestTool is a tool with its own home.
func newTestTool(t *testing.T, environ ...string) (*tool, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	environ = append([]string{"HOME=" + t.TempDir()}, environ...)
	env, err := config.Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	return &tool{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, env: env, environ: environ}, &stdout, &stderr
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// parsePublish runs the flags of `publish dist …` through settings and parsing, without a server.
func parsePublish(t *testing.T, files map[string]string, args ...string) (publish.Request, error) {
	t.Helper()
	tool, _, _ := newTestTool(t)
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"dist/index.html": ""})
	writeFiles(t, dir, files)
	var f publishFlags
	c := &cobra.Command{Use: "publish"}
	f.define(c)
	if err := c.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "dist")
	if err := readSettings(c, folder); err != nil {
		return publish.Request{}, err
	}
	return tool.request(&f, folder)
}

func TestPublishTakesWhatIsNotSaidFromTheProject(t *testing.T) {
	r, err := parsePublish(t, map[string]string{
		"package.json":    `{"version": "1.4.0"}`,
		"slipstream.json": `{"app": "shop", "package": "cart", "requires": ["base>=3"], "runtime": ">=3.0.0", "mode": "prompt"}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.App != "shop" || r.Package != "cart" || r.Version != "1.4.0" || r.Channel != "production" || r.Platform != "any" || r.Runtime.Range != ">=3.0.0" {
		t.Errorf("got %+v", r.Target)
	}
	if r.Requires["base"].MinSeq != 3 || r.Rollout.To != slipstream.FullShare || r.Rollout.Control != nil || r.Rollout.Apply.Mode != "prompt" {
		t.Errorf("got %+v, %+v", r.Requires, r.Rollout)
	}
	t.Run("flags win", func(t *testing.T) {
		r, err := parsePublish(t, map[string]string{"slipstream.json": `{"app": "shop", "runtime": "1.x"}`}, "--app", "other", "--version", "2", "--fingerprint", "abc", "--runtime", "*")
		if err != nil || r.App != "other" || r.Version != "2" || r.Runtime.Fingerprint != "abc" || r.Runtime.Range != "" {
			t.Errorf("got %+v, %v", r.Target, err)
		}
	})
	t.Run("the nearer file wins", func(t *testing.T) {
		r, err := parsePublish(t, map[string]string{"slipstream.json": `{"app": "far"}`, "dist/slipstream.json": `{"app": "near"}`}, "--version", "2")
		if err != nil || r.App != "near" {
			t.Errorf("got %+v, %v", r.Target, err)
		}
	})
}

func TestPublishFlags(t *testing.T) {
	r, err := parsePublish(t, nil, "--app", "shop", "--version", "1", "--share", "12.5%", "--control", "0%", "--when", "country in cn", "--when", "seq gte 3",
		"--mandatory", "--priority", "critical", "--message", "new!", "--timeout", "5", "--private", "--salt", "s", "--meta", "theme=dark", "--meta", "n=3",
		"--data-reads", "v1,v2", "--data-writes", "v2", "--notes", "why")
	if err != nil {
		t.Fatal(err)
	}
	o := r.Rollout
	if o.From != 0 || o.To != 1250 || *o.Control != 0 || len(o.When) != 2 || !o.Apply.Mandatory || o.Apply.Priority != "critical" || o.Apply.Timeout != 5 || !o.Private || o.Salt != "s" {
		t.Errorf("got %+v", o)
	}
	if string(r.Meta["theme"]) != `"dark"` || string(r.Meta["n"]) != "3" || len(r.Data.Reads) != 2 || r.Data.Writes != "v2" || r.Notes != "why" {
		t.Errorf("got %+v", r)
	}
	for _, flag := range []string{"--embedded", "--no-rollout"} {
		if r, err := parsePublish(t, nil, "--app", "shop", "--version", "1", flag); err != nil || r.Rollout != nil || r.Channel != "" {
			t.Errorf("%s: got %+v, %v", flag, r, err)
		}
	}
}

func TestPublishRefusesWrongFlags(t *testing.T) {
	ok := []string{"--app", "shop", "--version", "1"}
	for name, c := range map[string]struct {
		files map[string]string
		args  []string
		want  string
	}{
		"no app":              {nil, []string{"--version", "1"}, "which app?"},
		"no version":          {nil, []string{"--app", "shop"}, "which version?"},
		"no version in json":  {map[string]string{"package.json": "{}"}, []string{"--app", "shop"}, "says no version"},
		"bad package.json":    {map[string]string{"package.json": "{"}, []string{"--app", "shop"}, "parse"},
		"bad app":             {nil, []string{"--app", "Shop", "--version", "1"}, "must match"},
		"bad channel":         {nil, append([]string{"--channel", "a b"}, ok...), "must match"},
		"bad share":           {nil, append([]string{"--share", "10"}, ok...), "percentage"},
		"bad control":         {nil, append([]string{"--control", "x"}, ok...), "percentage"},
		"bad condition":       {nil, append([]string{"--when", "country"}, ok...), "condition"},
		"bad requirement":     {nil, append([]string{"--requires", "base"}, ok...), "requirement"},
		"bad runtime":         {nil, append([]string{"--runtime", ">>1"}, ok...), ""},
		"two runtimes":        {nil, append([]string{"--runtime", "1.x", "--fingerprint", "a"}, ok...), "exclude"},
		"bad kind":            {nil, append([]string{"--kind", "cobol"}, ok...), "kind"},
		"bad mode":            {nil, append([]string{"--mode", "later"}, ok...), "mode"},
		"bad priority":        {nil, append([]string{"--priority", "urgent"}, ok...), "priority"},
		"bad meta":            {nil, append([]string{"--meta", "x"}, ok...), "meta"},
		"unknown setting":     {map[string]string{"slipstream.json": `{"colour": "red"}`}, ok, "unknown key"},
		"setting of no text":  {map[string]string{"slipstream.json": `{"package": 3}`}, ok, "must be text"},
		"settings not JSON":   {map[string]string{"slipstream.json": `app=shop`}, ok, "parse"},
		"secrets in settings": {map[string]string{"slipstream.json": `{"key": "x"}`}, ok, "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parsePublish(t, c.files, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDefaultAppIsTheOnlyOneKnownHere(t *testing.T) {
	tool, _, _ := newTestTool(t)
	if _, err := tool.defaultApp(""); err == nil || !strings.Contains(slipstream.HintOf(err), "app create") {
		t.Errorf("none: %v", err)
	}
	folder := tool.env.Folder()
	writeFiles(t, folder.Path, map[string]string{"apps/shop/root.json": "{}", "apps/stray": ""})
	if app, err := tool.defaultApp(""); app != "shop" || err != nil {
		t.Errorf("one: %q, %v", app, err)
	}
	writeFiles(t, folder.Path, map[string]string{"apps/blog/root.json": "{}"})
	if _, err := tool.defaultApp(""); err == nil || !strings.Contains(slipstream.HintOf(err), "blog, shop") {
		t.Errorf("two: %v", err)
	}
}

func newKeyPEM(t *testing.T, passphrase string) (string, sign.Signer) {
	t.Helper()
	priv, err := sign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := sign.MarshalKey(priv, []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	return string(pem), sign.NewSigner(priv)
}

func TestReleaseKeysComeFromFlagThenEnvironmentThenFolder(t *testing.T) {
	pem, signer := newKeyPEM(t, "")
	locked, lockedSigner := newKeyPEM(t, "secret")
	file := filepath.Join(t.TempDir(), "k.pem")
	writeFiles(t, filepath.Dir(file), map[string]string{"k.pem": pem})
	check := func(name string, want sign.Signer, environ []string, files ...string) {
		t.Helper()
		tool, _, _ := newTestTool(t, environ...)
		writeFiles(t, tool.env.Folder().Path, map[string]string{"apps/shop/release.key": pem})
		got, err := tool.releaseSigners("shop", files)
		if want == nil {
			if err == nil {
				t.Errorf("%s: accepted", name)
			}
			return
		}
		if err != nil || len(got) != 1 || sign.KeyID(got[0].Public()) != sign.KeyID(want.Public()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("folder", signer, nil)
	check("flag", signer, []string{"SLIPSTREAM_RELEASE_KEY=/nonexistent"}, file)
	check("path in the environment", signer, []string{"SLIPSTREAM_RELEASE_KEY=" + file})
	check("key in the environment", signer, []string{"SLIPSTREAM_RELEASE_KEY=" + pem})
	check("locked key in the environment", lockedSigner, []string{"SLIPSTREAM_RELEASE_KEY=" + locked, "SLIPSTREAM_PASSPHRASE=secret"})
	check("locked key without its passphrase", nil, []string{"SLIPSTREAM_RELEASE_KEY=" + locked})
	check("no such file", nil, nil, "/nonexistent")
}

func TestReleaseSignAddsASignature(t *testing.T) {
	pemA, a := newKeyPEM(t, "")
	pemB, b := newKeyPEM(t, "")
	dir := t.TempDir()
	m := slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: 1, Version: "1.0.0",
		Created: slipstream.At(time.Unix(1e9, 0)), Files: []slipstream.File{{Path: "a", Size: 1, SHA256: slipstream.Digest(strings.Repeat("ab", 32))}}}
	e, err := sign.Seal(sign.TypeManifest, m, a)
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"a.key": pemA, "b.key": pemB, "m.json": string(e.Encode()) + "\n"})
	file := filepath.Join(dir, "m.json")
	runTool := func(args ...string) (string, int) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, []string{"HOME=" + dir}, strings.NewReader(""), &stdout, &stderr)
		return stdout.String() + stderr.String(), code
	}
	for range 2 { // the same key again changes nothing
		out, code := runTool("release", "sign", file, "--key", filepath.Join(dir, "b.key"), "--json")
		if code != exitOK {
			t.Fatal(out)
		}
		var got struct {
			Digest     slipstream.Digest
			Signed     []string
			Signatures int
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || got.Signatures != 2 || got.Digest != sign.DigestOf(e.Payload) || got.Signed[0] != sign.KeyID(b.Public()) {
			t.Fatalf("got %s, %v", out, err)
		}
	}
	signed, err := readEnvelope(file)
	if err != nil || !bytes.Equal(signed.Payload, e.Payload) || len(signed.Signatures) != 2 {
		t.Errorf("got %+v, %v", signed, err)
	}
	if out, code := runTool("release", "sign", filepath.Join(dir, "nothing"), "--key", filepath.Join(dir, "a.key")); code != exitNotFound {
		t.Errorf("code %d: %s", code, out)
	}
	if out, code := runTool("release", "sign", filepath.Join(dir, "a.key"), "--key", filepath.Join(dir, "a.key")); code != exitRefused {
		t.Errorf("code %d: %s", code, out)
	}
	if out, code := runTool("publish"); code != exitUsage {
		t.Errorf("code %d: %s", code, out)
	}
	if out, code := runTool("publish", dir, "--app", "shop", "--version", "1", "--key", filepath.Join(dir, "a.key")); code != exitError || !strings.Contains(out, "no server is known") {
		t.Errorf("code %d: %s", code, out)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1234: "1.2 kB", 9949: "9.9 kB", 9960: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB", 34_000_000: "34 MB", 1 << 62: "4.6 EB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestProgressBarsEnd: finished, unfinished and empty steps all let the command go on.
func TestProgressBarsEnd(t *testing.T) {
	var out bytes.Buffer
	b := &bars{container: mpb.New(mpb.WithOutput(&out), mpb.WithAutoRefresh())}
	b.Add(5) // before any step
	b.Phase("Reading", 10)
	b.Add(10)
	b.Phase("Uploading", 10)
	b.Add(3) // and then an error
	b.Phase("Nothing", 0)
	b.close()
	b.close()
	if !strings.Contains(out.String(), "Reading") || !strings.Contains(out.String(), "Uploading") {
		t.Errorf("got %q", out.String())
	}
}

func TestProgressWithoutATerminalIsOneLinePerStep(t *testing.T) {
	tool, _, stderr := newTestTool(t)
	p, done := tool.progress()
	p.Phase("Reading", 1500)
	p.Add(700)
	p.Phase("Uploading", 0)
	done()
	if stderr.String() != "Reading 1.5 kB\n" {
		t.Errorf("got %q", stderr.String())
	}
	tool.json = true
	if p, _ := tool.progress(); p != nil {
		t.Error("--json is not silent")
	}
}

func TestTheHighestSignedSeqIsKeptBesideTheKeys(t *testing.T) {
	tool, _, _ := newTestTool(t)
	if tool.seqs("shop") != nil {
		t.Error("kept where the app has no folder")
	}
	writeFiles(t, tool.env.Folder().Path, map[string]string{"apps/shop/root.json": "{}", "apps/shop/seq-broken.json": `{"seq": -1}`})
	seqs := tool.seqs("shop")
	for _, c := range []struct{ sign, want int64 }{{0, 0}, {7, 7}, {3, 7}, {8, 8}} {
		if err := seqs.Remember("shop", "main", c.sign); err != nil {
			t.Fatal(err)
		}
		if got, err := seqs.Highest("shop", "main"); got != c.want || err != nil {
			t.Errorf("after %d: %d, %v", c.sign, got, err)
		}
	}
	if got, err := seqs.Highest("shop", "cart"); got != 0 || err != nil {
		t.Errorf("another package: %d, %v", got, err)
	}
	if _, err := seqs.Highest("shop", "broken"); err == nil || slipstream.HintOf(err) == "" {
		t.Errorf("a broken file: %v", err)
	}
}

func TestAServerMayNotGiveAnotherReleaseThanTheOneNamed(t *testing.T) {
	m := &slipstream.Manifest{Package: "main", Version: "1.0.0"}
	digest := slipstream.Digest(strings.Repeat("ab", 32))
	for ref, ok := range map[string]bool{"1.0.0": true, "main@1.0.0": true, string(digest): true, "abababab": true,
		"1.1.0": false, "cart@1.0.0": false, "ab": false, strings.Repeat("cd", 32): false, "": false} {
		if err := isNamed(ref, "main", digest, m); (err == nil) != ok {
			t.Errorf("%q: %v", ref, err)
		}
	}
}
