package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/client/trial"
	"github.com/slipstream-ota/slipstream/internal/child"
	"github.com/slipstream-ota/slipstream/sign"
)

const (
	quickClientKills = 40
	fullClientKills  = 1000
	settleEvery      = 20 // kills; then one update runs undisturbed to its end
	devicePatience   = 20 * time.Second
)

// killClient kills the real client at random instants of whole updates.
func killClient() Proof {
	return Proof{
		Name: "kill -9 of the client", Claim: "after any kill the device runs exactly one whole signed release, nothing falls back, and it reaches the newest",
		Quick: time.Minute, Full: 30 * time.Minute, Long: 26 * time.Second,
		Needs: []Need{NeedProcesses(), NeedProgram("sh")},
		Run:   runKillClient,
	}
}

func runKillClient(ctx context.Context, env Env) (_ Result, err error) {
	a, err := serve(ctx, env, "kill-client")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	kills := fullClientKills
	if env.Quick {
		kills = quickClientKills
	}
	t, p := &tally{}, a.service.program
	group, gctx := errgroup.WithContext(ctx)
	launcher := &victim{tally: t, author: a, program: p, dir: filepath.Join(p.dir, "launcher"), random: rand.New(rand.NewPCG(env.Seed, 1))}
	script := &victim{tally: t, author: a, program: p, dir: filepath.Join(p.dir, "script"), random: rand.New(rand.NewPCG(env.Seed, 2))}
	group.Go(func() error { return launcher.suffer(gctx, kills/2, launcher.killLauncher, launcher.settleLauncher) })
	group.Go(func() error { return script.suffer(gctx, kills-kills/2, script.killScript, script.settleScript) })
	err = group.Wait()
	return t.result("kills: %d of `run` over %s an update, %d of fetch and confirm over %s; %d releases, %d updates confirmed in between",
		launcher.kills, launcher.span.Round(time.Millisecond), script.kills, script.span.Round(time.Millisecond), len(a.editions),
		launcher.settled+script.settled), err
}

// clientFiles are a small release: the program, and files that must be of the same version.
func clientFiles(version string) map[string]string {
	return map[string]string{
		entryFile: `# the program of ` + version + `
cd "$SLIPSTREAM_DIR" && read a <data/a.txt && read b <data/deep/b.txt
echo "runs ` + version + ` $a $b $SLIPSTREAM_VERSION"
exec sleep 20
`,
		"data/a.txt":      version + "\n",
		"data/deep/b.txt": version + "\n",
		"data/large.txt":  strings.Repeat("all of "+version+"\n", 4000),
		"data/same.txt":   "the same in every release\n",
	}
}

// victim is one device whose client is killed again and again.
type victim struct {
	tally   *tally
	author  *author
	program *program
	dir     string
	random  *rand.Rand

	span    time.Duration // of one update from the start of the command to its confirm
	kills   int
	settled int
	token   string            // of the launch that the last whole fetch --start began
	starts  slipstream.Digest // what that launch runs

	epoch, anchor, root int64
	installed           bool // something was confirmed: the device must always have something to run
}

// suffer measures whole updates, then kills n times and lets an update through now and then.
func (v *victim) suffer(ctx context.Context, n int, kill func(ctx context.Context, after time.Duration) error, settle func(ctx context.Context) (time.Duration, error)) error {
	for range 3 {
		took, err := v.settleOnce(ctx, settle)
		if err != nil {
			return err
		}
		if v.span == 0 || took < v.span {
			v.span = took
		}
	}
	for v.kills < n {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		after := time.Duration(v.random.Float64() * 1.2 * float64(v.span))
		if err := kill(ctx, after); err != nil {
			return err
		}
		v.kills++
		v.tally.try(1)
		if err := v.inspect(ctx, fmt.Sprintf("kill %d of %s, %s after the start", v.kills, filepath.Base(v.dir), after.Round(time.Microsecond))); err != nil {
			return err
		}
		if v.kills%settleEvery == 0 || v.kills == n {
			if _, err := v.settleOnce(ctx, settle); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleOnce publishes a release and lets the device take it undisturbed. Then the directory must verify.
func (v *victim) settleOnce(ctx context.Context, settle func(ctx context.Context) (time.Duration, error)) (time.Duration, error) {
	if err := v.publish(ctx); err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, devicePatience, fmt.Errorf("not done within %s", devicePatience))
	defer cancel()
	took, err := settle(limited)
	if err != nil && ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		v.tally.wrongf("after %d kills %s does not reach the newest release: %v", v.kills, filepath.Base(v.dir), err)
	}
	v.settled++
	v.installed = true
	if _, err := v.program.run(ctx, "verify", v.dir, "--root", v.author.rootFile()); err != nil {
		v.tally.wrongf("after %d kills %s does not verify: %v", v.kills, filepath.Base(v.dir), err)
	}
	return took, v.inspect(ctx, "the update after it")
}

func (v *victim) publish(ctx context.Context) error {
	_, err := v.author.release(ctx, slipstream.DefaultChannel, clientFiles)
	return err
}

func (v *victim) flags(args ...string) []string {
	return append(args, "--server", v.author.service.url, "--app", serviceApp, "--dir", v.dir, "--root", v.author.rootFile(), "--json")
}

// launched is one life of `slipstream run`.
type launched struct {
	process *child.Process
	events  chan runEvent
	wrong   func(format string, args ...any) // gets what neither launcher nor program should write; nil: anything goes
}

// runEvent is one line of what `run --json` tells.
type runEvent struct {
	Event   string            `json:"event"`
	Text    string            `json:"text"`
	Release slipstream.Digest `json:"release"`
	Reason  slipstream.Reason `json:"reason"`
	Version string            `json:"version"`
	Dir     string            `json:"dir"`
	Trial   bool              `json:"trial"`
	Attempt int               `json:"attempt"`
}

// launch starts `slipstream run` and judges every line that the program and the launcher write.
func (v *victim) launch() (*launched, error) {
	l := &launched{events: make(chan runEvent, 1024), wrong: v.tally.wrongf}
	args := append(v.flags("run"), "--confirm-after", "30ms", "--poll", "20ms", "--grace", "10s", "--", "sh", "{dir}/"+entryFile)
	var err error
	l.process, err = v.program.start(l.judgeProgram, l.hear, args...)
	return l, err
}

// end asks the launcher to end, which ends its program; their exit code says so.
func (l *launched) end(ctx context.Context) error {
	if err := l.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-l.process.Done():
	case <-ctx.Done():
		return fmt.Errorf("the launcher does not end: %w\n%s", context.Cause(ctx), l.process.Tail())
	}
	var exit *exec.ExitError
	if err := l.process.Err(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGTERM)) {
		return fmt.Errorf("end the launcher: %w\n%s", err, l.process.Tail())
	}
	return nil
}

// judgeProgram: the program says of each of its files which version it is of.
func (l *launched) judgeProgram(line string) {
	words := strings.Fields(line)
	if len(words) != 5 || words[0] != "runs" || slices.ContainsFunc(words[2:], func(w string) bool { return w != words[1] }) {
		l.wrong("a mixed release ran: %q", line)
	}
}

func (l *launched) hear(line string) {
	var e runEvent
	if json.Unmarshal([]byte(line), &e) != nil {
		if l.wrong != nil && !strings.Contains(line, "Terminated") {
			l.wrong("the launcher wrote %q", line)
		}
		return
	}
	select {
	case l.events <- e:
	default:
	}
}

// killLauncher starts `run`, publishes while it runs, and kills it.
func (v *victim) killLauncher(ctx context.Context, after time.Duration) error {
	publishAt := time.Duration(v.random.Float64() * float64(after))
	l, err := v.launch()
	if err != nil {
		return err
	}
	begun := time.Now()
	if v.random.IntN(3) > 0 {
		time.Sleep(publishAt)
		if err := v.publish(ctx); err != nil {
			return errors.Join(err, l.process.Close())
		}
	}
	time.Sleep(after - time.Since(begun))
	if err := l.process.Kill(); err != nil {
		return errors.Join(err, l.process.Close())
	}
	err = l.process.Close()
	close(l.events)
	for e := range l.events {
		v.judgeEvent(e)
	}
	return err
}

func (v *victim) judgeEvent(e runEvent) {
	switch e.Event {
	case "waiting":
		if v.installed {
			v.tally.wrongf("after kill %d the device has nothing to run", v.kills)
		}
	case "running":
		known := v.author.edition(e.Release)
		if known == nil {
			v.tally.wrongf("after kill %d a release runs that nobody signed: %s", v.kills, e.Release)
		}
	case string(slipstream.KindRolledBack):
		if e.Reason == slipstream.ReasonStorageCorrupted {
			v.tally.wrongf("after kill %d a release was lost: %s", v.kills, e.Text)
		}
	}
}

// settleLauncher lets `run` take the newest release, confirm it, and end.
func (v *victim) settleLauncher(ctx context.Context) (took time.Duration, err error) {
	want := v.newest()
	begun := time.Now()
	l, err := v.launch()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.process.Close()) }()
	for {
		select {
		case e := <-l.events:
			v.judgeEvent(e)
			r := v.author.edition(e.Release)
			if e.Event != string(slipstream.KindConfirmed) || r == nil || r.manifest.Seq < want {
				continue
			}
			took = time.Since(begun)
			return took, l.end(ctx)
		case <-l.process.Done():
			return 0, fmt.Errorf("the launcher ended: %w\n%s", l.process.Err(), l.process.Tail())
		case <-ctx.Done():
			return 0, fmt.Errorf("%w\n%s", context.Cause(ctx), l.process.Tail())
		}
	}
}

// newest is the highest seq that was acknowledged.
func (v *victim) newest() int64 {
	v.author.mu.Lock()
	defer v.author.mu.Unlock()
	return v.author.editions[v.author.newest[0]].manifest.Seq
}

// killScript kills one of the steps that a script takes by itself.
func (v *victim) killScript(ctx context.Context, after time.Duration) error {
	if v.random.IntN(3) > 0 {
		if err := v.publish(ctx); err != nil {
			return err
		}
	}
	args := v.flags("fetch", "--start")
	switch n := v.random.IntN(6); {
	case n == 0:
		args = v.flags("fetch")
	case n < 3 && v.token != "":
		args = v.flags("confirm", "--launch", v.token)
	}
	var out strings.Builder
	c, err := v.program.start(func(line string) { out.WriteString(line + "\n") }, nil, args...)
	if err != nil {
		return err
	}
	time.Sleep(after)
	ended := false
	select {
	case <-c.Done(): // it was faster
		ended = true
	default:
	}
	err = errors.Join(c.Kill(), c.Finish(nil))
	if !ended {
		return nil
	}
	return v.noteStep(args[0], out.String(), err)
}

// noteStep remembers what a step that was not killed acknowledged.
func (v *victim) noteStep(step, out string, err error) error {
	var started struct {
		Release slipstream.Digest `json:"release"`
		Token   string            `json:"token"`
		Dir     string            `json:"dir"`
	}
	switch {
	case step == "confirm" && err == nil:
		if r := v.author.edition(v.starts); r != nil {
			v.anchor = max(v.anchor, r.manifest.Seq) // from now on it must not be lower
		}
		v.installed = v.installed || v.starts != ""
		v.token = ""
	case step == "confirm":
		v.token = "" // stale: another start came in between
	case err != nil:
		v.tally.wrongf("after kill %d %s fails: %v", v.kills, step, err)
	default:
		if err := json.Unmarshal([]byte(out), &started); err != nil {
			return fmt.Errorf("read what fetch printed: %w", err)
		}
		if started.Token != "" {
			v.token, v.starts = started.Token, started.Release
		}
		if r := v.author.edition(started.Release); started.Dir != "" && r == nil {
			v.tally.wrongf("after kill %d a release is started that nobody signed: %q", v.kills, started.Release)
		} else if r != nil {
			if mixed := r.mixed(started.Dir); mixed != "" {
				v.tally.wrongf("after kill %d a mixed release is started: %s", v.kills, mixed)
			}
		}
	}
	return nil
}

// settleScript does the steps undisturbed until the newest release is confirmed.
func (v *victim) settleScript(ctx context.Context) (time.Duration, error) {
	want := v.newest()
	begun := time.Now()
	for range 3 { // another device's publish may come in between
		out, err := v.program.run(ctx, v.flags("fetch", "--start")...)
		if err == nil {
			err = v.noteStep("fetch", out, nil)
		}
		if err == nil {
			_, err = v.program.run(ctx, v.flags("confirm", "--launch", v.token)...)
		}
		if err != nil {
			return 0, err
		}
		if err := v.noteStep("confirm", "", nil); err != nil {
			return 0, err
		}
		if v.anchor >= want {
			return time.Since(begun) / 2, nil // two commands
		}
	}
	return 0, fmt.Errorf("seq %d is confirmed and not %d", v.anchor, want)
}

// inspect looks at the directory as the kill left it: first from outside, then through the library.
func (v *victim) inspect(ctx context.Context, when string) error {
	if err := v.awaitEnd(); err != nil {
		return err
	}
	if err := v.inspectFiles(when); err != nil {
		return err
	}
	if v.random.IntN(2) == 0 {
		return nil // the command itself opens the directory next
	}
	c, err := client.Open(ctx, client.Config{Dir: v.dir, App: serviceApp, Servers: []string{v.author.service.url}, Root: v.author.root, Transport: http.NewFileTransport(http.Dir(v.dir))})
	if err != nil {
		return fmt.Errorf("open %s: %w", v.dir, err)
	}
	held := c.Holds(mainPkg)
	if held.Anchor.Seq < v.anchor {
		v.tally.wrongf("%s: the anchor fell from %d to %d", when, v.anchor, held.Anchor.Seq)
	}
	v.anchor = max(v.anchor, held.Anchor.Seq)
	if v.installed && held.Official.Digest == "" {
		v.tally.wrongf("%s: nothing is official any more", when)
	}
	named := append([]trial.Release{held.Official, held.Running}, held.History...)
	for _, r := range []*trial.Release{held.Staged, held.Trial} {
		if r != nil {
			named = append(named, *r)
		}
	}
	for _, r := range named {
		if r.Digest == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(v.dir, "releases", string(r.Digest))); err != nil {
			v.tally.wrongf("%s: release %s is named, but its tree is not here", when, r.Version)
		}
	}
	return c.Close()
}

// awaitEnd waits until nobody holds the directory: a launcher that was killed while it started its program leaves, for a
// moment, a copy of itself.
func (v *victim) awaitEnd() error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		lock, err := client.Disk{}.TryLock(filepath.Join(v.dir, "lock"))
		if err == nil {
			return lock.Close()
		}
		if !errors.Is(err, client.ErrLocked) || time.Now().After(deadline) {
			return fmt.Errorf("wait for the end of a killed client: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// inspectFiles: every visible tree is whole, no number falls.
func (v *victim) inspectFiles(when string) error {
	entries, err := os.ReadDir(filepath.Join(v.dir, "releases"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !slipstream.Digest(e.Name()).Valid() {
			continue
		}
		r := v.author.edition(slipstream.Digest(e.Name()))
		if r == nil {
			v.tally.wrongf("%s: tree %s is of no signed release", when, e.Name())
			continue
		}
		if mixed := r.mixed(filepath.Join(v.dir, "releases", e.Name())); mixed != "" {
			v.tally.wrongf("%s: the tree of %s is mixed: %s", when, r.manifest.Version, mixed)
		}
	}
	if raw, err := os.ReadFile(filepath.Join(v.dir, "trust", "state-"+production+".json")); err == nil {
		st, err := v.author.trust.State(raw)
		switch {
		case err != nil:
			v.tally.wrongf("%s: the kept state is not usable: %v", when, err)
		case st.Epoch < v.epoch:
			v.tally.wrongf("%s: the epoch fell from %d to %d", when, v.epoch, st.Epoch)
		default:
			v.epoch = st.Epoch
		}
	} else if v.epoch > 0 {
		v.tally.wrongf("%s: the kept state is gone: %v", when, err)
	}
	if raw, err := os.ReadFile(filepath.Join(v.dir, "trust", "root.json")); err == nil {
		if trust, err := sign.OpenRoot(raw); err != nil || trust.Root().Version < v.root {
			v.tally.wrongf("%s: the kept root is not usable or older than %d: %v", when, v.root, err)
		} else {
			v.root = trust.Root().Version
		}
	}
	return nil
}
