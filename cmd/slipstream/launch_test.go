//go:build unix && !device

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/config"
	"github.com/slipstream-ota/slipstream/sign"
)

// launchServer signs releases of one file, run.sh, and offers the newest to everybody.
type launchServer struct {
	t                    *testing.T
	mu                   sync.Mutex
	release, root, state sign.Signer
	rollouts             []slipstream.Rollout
	objects              map[string][]byte // by path
	http                 *httptest.Server
}

func newLaunchServer(t *testing.T) *launchServer {
	key := func(seed byte) sign.Signer {
		return sign.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	}
	s := &launchServer{t: t, root: key(1), release: key(2), state: key(3), objects: map[string][]byte{}}
	role := func(k sign.Signer) sign.RoleKeys {
		return sign.RoleKeys{Keys: []ed25519.PublicKey{k.Public()}, Threshold: 1}
	}
	root, err := sign.NewRoot("shop", time.Now().Add(time.Hour), role(s.root), role(s.release), role(s.state))
	if err != nil {
		t.Fatal(err)
	}
	s.objects["/root.json"] = s.seal(sign.TypeRoot, root, s.root)
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

func (s *launchServer) seal(kind string, doc any, by sign.Signer) []byte {
	s.t.Helper()
	e, err := sign.Seal(kind, doc, by)
	if err != nil {
		s.t.Fatal(err)
	}
	return e.Encode()
}

// publish offers a release whose run.sh is script.
func (s *launchServer) publish(version, script string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := slipstream.DigestOf(sha256.Sum256([]byte(script)))
	m := &slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: int64(len(s.rollouts) + 1), Version: version,
		Entry: "run.sh", Created: slipstream.At(time.Now()), Files: []slipstream.File{{Path: "run.sh", Size: int64(len(script)), SHA256: sum, Exec: true}}}
	raw := s.seal(sign.TypeManifest, m, s.release)
	e, err := sign.ParseEnvelope(raw, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		s.t.Fatal(err)
	}
	digest := sign.DigestOf(e.Payload)
	s.objects["/v1/manifests/"+string(digest)] = raw
	s.objects["/v1/blobs/"+string(sum)] = []byte(script)
	s.rollouts = append([]slipstream.Rollout{{ID: version, Manifest: digest, Seq: m.Seq, Version: version, Size: m.Size(), Runtime: m.Runtime, To: slipstream.FullShare}}, s.rollouts...)
}

func (s *launchServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Contains(r.URL.Path, "/state/") {
		now := time.Now()
		st := &slipstream.State{App: "shop", Channel: "production", Platform: "any", Epoch: int64(len(s.rollouts) + 1), Issued: slipstream.At(now),
			Expires: slipstream.At(now.Add(time.Hour)), RootVersion: 1, CheckAfter: 60, Packages: map[string]slipstream.PackageState{"main": {Rollouts: s.rollouts}}}
		s.write(w, s.seal(sign.TypeState, st, s.state))
		return
	}
	b, ok := s.objects[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	s.write(w, b)
}

func (s *launchServer) write(w io.Writer, b []byte) {
	if _, err := w.Write(b); err != nil {
		s.t.Logf("answer: %v", err)
	}
}

// output collects what a run prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// session is one `slipstream run`.
type session struct {
	t       *testing.T
	server  *launchServer
	flags   runFlags
	tool    *tool
	out     output
	signals chan os.Signal
	cancel  context.CancelFunc
	done    chan error
	ended   bool
}

func newSession(t *testing.T, change ...func(*runFlags)) *session {
	t.Helper()
	s := &session{t: t, server: newLaunchServer(t), signals: make(chan os.Signal, 4)}
	dir := t.TempDir()
	root := filepath.Join(dir, "root.json")
	if err := os.WriteFile(root, s.server.objects["/root.json"], 0o600); err != nil {
		t.Fatal(err)
	}
	env, err := config.Load([]string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	s.flags = runFlags{deviceFlags: deviceFlags{servers: []string{s.server.http.URL}, app: "shop", dir: filepath.Join(dir, "device"), root: root,
		packages: []string{"main"}, platform: "any", poll: 50 * time.Millisecond, maxCrashes: 2, retries: 1, retryAfter: time.Hour},
		confirm: confirmAlive, confirmAfter: 200 * time.Millisecond, grace: 5 * time.Second, onUpdate: onUpdateRestart, restart: restartOnFailure}
	for _, f := range change {
		f(&s.flags)
	}
	s.tool = &tool{stdout: &s.out, stderr: &s.out, env: env}
	return s
}

// start runs command in the background.
func (s *session) start(command ...string) {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.cancel, s.done, s.ended = cancel, make(chan error, 1), false
	go func() { s.done <- s.tool.runProgram(ctx, &s.flags, command, s.signals) }()
	s.t.Cleanup(func() {
		if cancel(); !s.ended {
			<-s.done
		}
	})
}

// script is the usual command.
func (s *session) script() { s.start("sh", "{dir}/run.sh") }

// sees waits until the output holds all texts, in order.
func (s *session) sees(texts ...string) {
	s.t.Helper()
	for range 1000 {
		if rest, ok := s.out.String(), true; ok {
			for _, text := range texts {
				_, after, found := strings.Cut(rest, text)
				if !found {
					ok = false
					break
				}
				rest = after
			}
			if ok {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("%q never came:\n%s", texts, s.out.String())
}

// ends waits for the end and gives the exit code.
func (s *session) ends() int {
	s.t.Helper()
	select {
	case err := <-s.done:
		s.ended = true
		var code exitCode
		switch {
		case err == nil:
			return 0
		case errors.As(err, &code):
			return int(code)
		}
		s.t.Fatalf("run: %v\n%s", err, s.out.String())
	case <-time.After(20 * time.Second):
		s.t.Fatalf("does not end:\n%s", s.out.String())
	}
	return -1
}

func TestRunTellsOfAReleaseThatIsOvertakenBeforeItIsConfirmed(t *testing.T) {
	t.Parallel()
	s := newSession(t, func(f *runFlags) { f.confirmAfter = time.Hour })
	s.script()
	s.server.publish("1.0.0", "echo hello $SLIPSTREAM_VERSION; exec sleep 60")
	s.sees("hello 1.0.0")
	s.server.publish("1.1.0", "echo hello $SLIPSTREAM_VERSION; exec sleep 60")
	s.sees("restarting into the update", "release 1.0.0 is left before it was confirmed: a newer one is ready", "hello 1.1.0")
	if strings.Contains(s.out.String(), "failed") || strings.Contains(s.out.String(), "embedded") {
		t.Errorf("it sounds as if something were wrong:\n%s", s.out.String())
	}
}

func TestRunFollowsTheReleases(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.script()
	s.sees("waiting for the first release of main")
	s.server.publish("1.0.0", "echo hello $SLIPSTREAM_VERSION; exec sleep 60")
	s.sees("release 1.0.0 staged", "trial of 1.0.0 started", "hello 1.0.0", "release 1.0.0 confirmed")
	s.server.publish("1.1.0", "echo hello $SLIPSTREAM_VERSION; exec sleep 60")
	s.sees("release 1.1.0 staged", "restarting into the update", "running 1.1.0 on trial, attempt 1 of 2", "hello 1.1.0", "release 1.1.0 confirmed")

	t.Run("a crashing one is left without a network", func(t *testing.T) {
		s.server.publish("1.2.0", "echo bad; exit 7")
		s.sees("trial of 1.2.0 started")
		s.server.http.Close()
		s.sees("release 1.2.0 crashed (exit 7), attempt 1 of 2", "release 1.2.0 crashed (exit 7), attempt 2 of 2", "back on 1.1.0 because crashed", "hello 1.1.0")
	})
	t.Run("SIGTERM goes on to the program", func(t *testing.T) {
		s.signals <- syscall.SIGTERM
		if code := s.ends(); code != 128+int(syscall.SIGTERM) {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestRunPassesTheExitCodeOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script, restart string
		code            int
	}{
		"never restarted":     {"exit 3", restartNever, 3},
		"a good end":          {"exit 0", restartOnFailure, 0},
		"ended by a signal":   {"kill -9 $$", restartNever, 128 + 9},
		"the arguments' dirs": {`test "$0" = "$SLIPSTREAM_DIR/run.sh" || exit 9; exit 4`, restartNever, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, func(f *runFlags) { f.restart = c.restart })
			s.server.publish("1.0.0", c.script)
			s.start("sh", "{entry}")
			if code := s.ends(); code != c.code {
				t.Errorf("exit code %d, expected %d\n%s", code, c.code, s.out.String())
			}
		})
	}
}

func TestRunIsConfirmed(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "slipstream")
	if err := os.Symlink(self, bin); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ confirm, script string }{
		"by staying alive":    {confirmAlive, "exec sleep 60"},
		"by exit 0":           {confirmExit, "exit 0"},
		"by a line on fd 3":   {"fd:3", "echo confirm >&3; exec sleep 60"},
		"by a line on fd 7":   {"fd:7", "echo starting >&7; echo confirm >&7; exec sleep 60"},
		"by a last line":      {"fd:3", "echo confirm >&3; exit 0"},
		"by the command":      {confirmCommand, bin + " confirm || exit 1; exec sleep 60"},
		"by the command also": {confirmExit, bin + " confirm || exit 1; exec sleep 60"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, func(f *runFlags) { f.confirm = c.confirm })
			s.server.publish("1.0.0", c.script)
			s.script()
			s.sees("release 1.0.0 confirmed")
		})
	}
	t.Run("not by staying alive when something else was asked for", func(t *testing.T) {
		t.Parallel()
		s := newSession(t, func(f *runFlags) { f.confirm = confirmCommand; f.restart = restartNever })
		s.server.publish("1.0.0", "sleep 0.5; exit 0")
		s.script()
		s.ends()
		if strings.Contains(s.out.String(), "release 1.0.0 confirmed") {
			t.Error(s.out.String())
		}
	})
	t.Run("not with another token", func(t *testing.T) {
		t.Parallel()
		s := newSession(t, func(f *runFlags) { f.confirm = confirmCommand })
		s.server.publish("1.0.0", "SLIPSTREAM_TOKEN=stale "+bin+" confirm; echo code $?; exec sleep 60")
		s.script()
		s.sees("refused: stale_token", "code 3")
	})
}

func TestRunEndsWhatHangs(t *testing.T) {
	t.Parallel()
	s := newSession(t, func(f *runFlags) {
		f.confirm, f.hangAfter = confirmCommand, 300*time.Millisecond
	})
	s.server.publish("1.0.0", "exec sleep 60")
	s.script()
	s.sees("release 1.0.0 hung (no sign of life for 300ms), attempt 1 of 2", "attempt 2 of 2", "release 1.0.0 hung", "back on the embedded release because hung")
}

func TestRunDoesNotTakeAProgramThatWritesForOneThatHangs(t *testing.T) {
	t.Parallel()
	s := newSession(t, func(f *runFlags) {
		f.confirm, f.hangAfter = confirmCommand, time.Second
	})
	s.server.publish("1.0.0", "for i in 1 2 3 4 5 6 7 8 9 10; do echo tick $i; sleep 0.2; done; echo done; exit 0")
	s.script()
	s.sees("tick 10", "done")
	if strings.Contains(s.out.String(), "hung") {
		t.Error(s.out.String())
	}
}

func TestRunEndsAProgramThatIgnoresSIGTERM(t *testing.T) {
	t.Parallel()
	s := newSession(t, func(f *runFlags) { f.grace = 200 * time.Millisecond })
	s.server.publish("1.0.0", "trap '' TERM; echo up; while true; do sleep 0.1; done")
	s.script()
	s.sees("up")
	s.cancel()
	if code := s.ends(); code != 128+9 {
		t.Errorf("exit code %d", code)
	}
}

func TestRunOnUpdate(t *testing.T) {
	t.Parallel()
	t.Run("next waits for the program", func(t *testing.T) {
		t.Parallel()
		s := newSession(t, func(f *runFlags) { f.onUpdate, f.restart = onUpdateNext, restartAlways })
		flag := filepath.Join(t.TempDir(), "go")
		s.server.publish("1.0.0", "echo one; while ! test -e "+flag+"; do sleep 0.05; done; exit 0")
		s.script()
		s.sees("release 1.0.0 confirmed")
		s.server.publish("1.1.0", "echo two; exec sleep 60")
		s.sees("release 1.1.0 staged")
		if strings.Contains(s.out.String(), "two") {
			t.Fatal("switched before the program ended")
		}
		if err := os.WriteFile(flag, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.sees("trial of 1.1.0 started", "two")
	})
	t.Run("ask-child lets it choose", func(t *testing.T) {
		t.Parallel()
		// As the command does: where SIGHUP is ignored, as below nohup, a program would not get it either.
		heard := make(chan os.Signal, 1)
		signal.Notify(heard, forwarded()...)
		t.Cleanup(func() { signal.Stop(heard) })
		s := newSession(t, func(f *runFlags) { f.onUpdate = onUpdateAsk })
		s.server.publish("1.0.0", "trap 'echo asked; sleep 0.2; exit 0' HUP; echo one; while true; do sleep 0.05; done")
		s.script()
		s.sees("release 1.0.0 confirmed")
		s.server.publish("1.1.0", "echo two; exec sleep 60")
		s.sees("the program was asked", "asked", "trial of 1.1.0 started", "two")
	})
}

func TestRunWritesJSONLines(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.tool.json = true
	s.server.publish("1.0.0", "exec sleep 60")
	s.script()
	s.sees(`"event":"confirmed"`)
	s.cancel()
	s.ends()
	for line := range strings.Lines(s.out.String()) {
		var v struct{ Event, Text string }
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.Event == "" || v.Text == "" {
			t.Errorf("line %q: %v", line, err)
		}
	}
}

func TestRunTrustsNobodyByDefault(t *testing.T) {
	t.Parallel()
	s := newSession(t, func(f *runFlags) { f.root = "" })
	err := s.tool.runProgram(t.Context(), &s.flags, []string{"true"}, s.signals)
	if err == nil || !strings.Contains(slipstream.HintOf(err), "never taken from the server") {
		t.Fatalf("%v (hint %q)", err, slipstream.HintOf(err))
	}
	t.Run("but the publisher's own machine its own root", func(t *testing.T) {
		path := s.tool.env.Folder().RootFile("shop")
		if err := s.tool.env.Folder().Write(path, s.server.objects["/root.json"], 0o600); err != nil {
			t.Fatal(err)
		}
		s.server.publish("1.0.0", "exit 0")
		s.script()
		if code := s.ends(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestASecondRunSaysThatItChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.server.publish("1.0.0", "echo up; exec sleep 60")
	s.script()
	s.sees("release 1.0.0 confirmed")
	second := newSession(t)
	second.server, second.flags = s.server, s.flags
	second.script()
	second.sees("nothing can be changed here: locked", "up")
}
