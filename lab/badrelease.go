package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
)

// misdeed is one way in which a release can be bad, and what must become of a device that takes it.
type misdeed struct {
	name    string
	script  string   // of the bad release
	flags   []string // of run, beside those of all
	confirm string   // how the good release confirms: "", "fd" or "command"
	prefix  []string // before the program
	// starts is how often the bad release may be started before the device is back on the good one. 0 means that it is
	// not bad for the launcher: the device keeps it, without starting it in a tight loop.
	starts int
	// reported are the kinds and reasons that reach the server when the network is back.
	reported []string
	embedded bool // the good release that the device comes back to is the embedded one
	direct   bool // the program is run by the system, not by sh
}

// misdeeds are all of them. The bad programs know SLIPSTREAM_DIR only; those that want to be confirmed first outlive
// --confirm-after.
func misdeeds() []misdeed {
	crash := []string{"crashed crashed", "rolled_back crashed"}
	lost := []string{"rolled_back storage_corrupted"}
	const confirmed = "sleep 0.6\n"
	return []misdeed{
		{name: "crashes at the start", script: "exit 3\n", starts: 2, reported: crash},
		{name: "crashes after it was confirmed", script: confirmed + "exit 1\n", starts: 3, reported: crash},
		{name: "is ended by a signal", script: "kill -KILL $$\n", starts: 2, reported: crash},
		{name: "hangs before its first output", script: "exec sleep 60\n", confirm: "fd", flags: []string{"--confirm", "fd:3", "--hang-after", "600ms"}, starts: 2,
			reported: []string{"hung hung", "rolled_back hung"}},
		{name: "exits 0 at once, where living is the confirm", script: "exit 0\n", flags: []string{"--restart", "always"}},
		{name: "exits 0 at once and never confirms", script: "exit 0\n", confirm: "command", flags: []string{"--confirm", "command", "--restart", "always"}, starts: 3,
			reported: []string{"failed unknown_end", "rolled_back unknown_end"}},
		{name: "eats memory", script: "x=0123456789abcdef\nwhile :; do x=$x$x; done\n", confirm: "fd", flags: []string{"--confirm", "fd:3"}, prefix: []string{"sh", "-c", `ulimit -v 262144; exec "$0" "$@"`}, starts: 2, reported: crash},
		{name: "deletes its own tree and ends", script: "rm -rf \"${SLIPSTREAM_DIR:?}\"\nexit 1\n", starts: 1, reported: lost},
		{name: "deletes a file of its own after it was confirmed", script: confirmed + "rm \"${SLIPSTREAM_DIR:?}/data/a.txt\"\nexit 1\n", starts: 1, reported: lost},
		{name: "changes its own program after it was confirmed", script: confirmed + "echo 'echo never signed; exit 1' >\"${SLIPSTREAM_DIR:?}/main.sh\"\nexit 1\n", starts: 1, reported: lost},
		{name: "changes its own files at the start", script: "echo more >\"${SLIPSTREAM_DIR:?}/data/a.txt\"\nexit 1\n", starts: 1, reported: lost},
		{name: "puts a file into its own directory", script: "echo hidden >\"${SLIPSTREAM_DIR:?}/data/plugin.sh\"\nexit 1\n", starts: 2, reported: crash},
		{name: "cannot be executed", script: "\x7fELF of another machine\n", direct: true, starts: 2, reported: crash},
		{name: "puts a link to elsewhere into its own directory", script: "ln -s \"${LAB_COPIES:?}\" \"${SLIPSTREAM_DIR:?}/data/elsewhere\"\nexit 1\n", starts: 2, reported: crash},
		{name: "deletes everything that the device holds", script: confirmed + "cd \"${SLIPSTREAM_DIR:?}/../..\" && test -f state.json && rm -rf ./*\nexit 1\n", starts: 1, embedded: true},
	}
}

// badReleases gives devices releases that are bad in every way that we know of.
func badReleases() Proof {
	return Proof{
		Name: "bad releases", Claim: "every device is back on a good release without a network after the stated number of starts, and the reason is reported later",
		Quick: time.Minute, Full: 5 * time.Minute,
		Needs: []Need{NeedProcesses(), NeedProgram("sh")},
		Run:   runBadReleases,
	}
}

func runBadReleases(ctx context.Context, env Env) (_ Result, err error) {
	a, err := serve(ctx, env, "bad-releases")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	t := &tally{}
	rounds := 5
	if env.Quick {
		rounds = 1
	}
	for round := range rounds {
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(6)
		for i, m := range misdeeds() {
			group.Go(func() error {
				name := fmt.Sprintf("bad-%d-%d", round, i)
				o := &ordeal{misdeed: m, tally: t, author: a, channel: name, dir: filepath.Join(a.service.program.dir, name)}
				t.try(1)
				if err := o.run(gctx); err != nil {
					if gctx.Err() != nil {
						return err
					}
					t.wrongf("a release that %s: %v", m.name, err)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return t.result("stopped"), err
		}
	}
	return t.result("devices with %d kinds of bad releases, all offline", len(misdeeds())), nil
}

// ordeal is one device that meets a bad release.
type ordeal struct {
	misdeed
	tally   *tally
	author  *author
	program *program
	channel string
	dir     string
	gateway *gateway

	good, bad *edition
}

func (o *ordeal) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("the device is not where it should be after 30 s"))
	defer cancel()
	own := *o.author.service.program
	own.environ = append(slices.Clone(own.environ), "LAB_CONFIRM="+o.confirm, "LAB_PROGRAM="+own.path, "LAB_COPIES="+o.dir+"-copies")
	o.program = &own
	if err := errors.Join(os.MkdirAll(o.dir+"-copies", 0o700), os.WriteFile(o.dir+"-witness.sh", []byte(witness), 0o600)); err != nil {
		return err
	}
	if o.gateway, err = newGateway(o.author.service.url); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.gateway.down()) }()
	if _, err := o.author.server.CreateChannel(ctx, serviceApp, api.NewChannel{Name: o.channel}); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{o.takeGood, o.takeBad, o.suffer, o.comeBack, o.report} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// goodFiles are a release that confirms in the way that the device wants.
func goodFiles(version string) map[string]string {
	return map[string]string{
		entryFile: `#!/bin/sh
cd "$SLIPSTREAM_DIR" && read a <data/a.txt
echo "runs ` + version + ` $a"
case "$LAB_CONFIRM" in
fd) echo confirm >&3 ;;
command) "$LAB_PROGRAM" confirm ;;
esac
exec sleep 60
`,
		"data/a.txt": version + "\n",
	}
}

// takeGood: the device runs and confirms a good release. What is embedded is that release too.
func (o *ordeal) takeGood(ctx context.Context) (err error) {
	if o.good, err = o.author.release(ctx, o.channel, goodFiles); err != nil {
		return err
	}
	if o.embedded {
		for path, content := range o.good.files {
			full := filepath.Join(o.dir+"-embedded", filepath.FromSlash(path))
			if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(content), 0o644)); err != nil {
				return err
			}
		}
		if err := os.WriteFile(o.dir+"-embedded.manifest.json", o.good.envelope, 0o644); err != nil {
			return err
		}
	}
	l, err := o.launch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.process.Close()) }()
	if o.embedded {
		_, err = o.await(ctx, l, func(e runEvent) bool { return e.Event == "running" && e.Release == o.good.digest })
	} else {
		_, err = o.await(ctx, l, func(e runEvent) bool { return e.Event == "confirmed" && e.Release == o.good.digest })
	}
	return errors.Join(err, l.end(ctx))
}

// takeBad: the bad release is fetched and verified like any other, then the network goes away.
func (o *ordeal) takeBad(ctx context.Context) (err error) {
	files := func(version string) map[string]string {
		return map[string]string{entryFile: o.script, "data/a.txt": version + "\n"}
	}
	if o.bad, err = o.author.release(ctx, o.channel, files); err != nil {
		return err
	}
	out, err := o.program.run(ctx, o.flags("fetch")...)
	if err == nil && !strings.Contains(out, string(o.bad.digest)) {
		err = fmt.Errorf("the bad release is not staged: %s", out)
	}
	return errors.Join(err, o.gateway.down())
}

// suffer: offline, the bad release gets its starts, then the good one runs and goes on running.
func (o *ordeal) suffer(ctx context.Context) (err error) {
	l, err := o.launch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.process.Close()) }()
	starts, begun := 0, time.Now()
	for o.starts > 0 {
		e, err := o.await(ctx, l, func(e runEvent) bool { return e.Event == "running" })
		if err != nil {
			return fmt.Errorf("after %d starts of the bad release: %w", starts, err)
		}
		if e.Release == o.good.digest {
			break
		}
		starts++
	}
	// What runs now must be there to stay.
	watch := time.Second
	if o.starts == 0 {
		watch = 2500 * time.Millisecond
	}
	quiet, cancel := context.WithTimeout(ctx, watch)
	defer cancel()
	for {
		e, err := o.await(quiet, l, func(e runEvent) bool { return e.Event == "running" })
		if err != nil && quiet.Err() != nil && ctx.Err() == nil {
			break
		}
		if err != nil {
			return err
		}
		if o.starts > 0 {
			return fmt.Errorf("after the good release %s is started again", e.Version)
		}
		starts++
	}
	if o.starts > 0 && starts != o.starts {
		o.tally.wrongf("a release that %s was started %d times and not %d", o.name, starts, o.starts)
	}
	if limit := 2 + int(time.Since(begun)/(300*time.Millisecond)); o.starts == 0 && (starts > limit || starts < 2) {
		o.tally.wrongf("a release that %s was started %d times in %s", o.name, starts, time.Since(begun).Round(time.Millisecond))
	}
	return l.end(ctx)
}

// comeBack: a new start of the launcher, still offline, stays with that.
func (o *ordeal) comeBack(ctx context.Context) (err error) {
	l, err := o.launch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.process.Close()) }()
	e, err := o.await(ctx, l, func(e runEvent) bool { return e.Event == "running" })
	if err != nil {
		return err
	}
	if want := o.good.digest; o.starts > 0 && e.Release != want {
		return fmt.Errorf("the next start, offline, runs %s", e.Version)
	}
	return l.end(ctx)
}

// report: the network is back, and the server hears why.
func (o *ordeal) report(ctx context.Context) error {
	if err := o.gateway.up(); err != nil {
		return err
	}
	if _, err := o.program.run(ctx, o.flags("check")...); err != nil {
		return err
	}
	heard := o.gateway.heard(o.bad.digest)
	for _, want := range o.reported {
		if !slices.Contains(heard, want) {
			return fmt.Errorf("the server did not hear %q, only %q", want, heard)
		}
	}
	return nil
}

func (o *ordeal) flags(args ...string) []string {
	args = append(args, "--server", o.gateway.url, "--app", serviceApp, "--channel", o.channel, "--dir", o.dir, "--root", o.author.rootFile(), "--json")
	if o.embedded {
		args = append(args, "--embedded", o.dir+"-embedded")
	}
	return args
}

// witness copies the tree before the program can touch it, and tells where.
const witness = `cp -R "${SLIPSTREAM_DIR:?}" "$LAB_COPIES/$SLIPSTREAM_TOKEN"
echo "tree $SLIPSTREAM_RELEASE $LAB_COPIES/$SLIPSTREAM_TOKEN"
exec sh "$@"
`

func (o *ordeal) launch() (*launched, error) {
	l := &launched{events: make(chan runEvent, 1024)}
	args := append(o.flags("run"), "--confirm-after", "300ms", "--poll", "1h", "--grace", "10s")
	args = append(append(append(args, o.misdeed.flags...), "--"), o.prefix...)
	if !o.direct {
		args = append(args, "sh", o.dir+"-witness.sh")
	}
	args = append(args, "{dir}/"+entryFile)
	var err error
	l.process, err = o.program.start(o.judge, l.hear, args...)
	return l, err
}

// judge reads what the witness tells: every start is of a whole release that was signed.
func (o *ordeal) judge(line string) {
	if strings.Contains(line, "never signed") {
		o.tally.wrongf("a release that %s: bytes ran that nobody signed", o.name)
	}
	words := strings.Fields(line)
	if len(words) != 3 || words[0] != "tree" {
		return
	}
	e := o.author.edition(slipstream.Digest(words[1]))
	if e == nil {
		o.tally.wrongf("a release that %s: then runs what nobody signed: %s", o.name, words[1])
	} else if mixed := e.mixed(words[2]); mixed != "" {
		o.tally.wrongf("a release that %s: then %s is started, but %s", o.name, e.manifest.Version, mixed)
	}
}

// await waits for an event that is meant.
func (o *ordeal) await(ctx context.Context, l *launched, is func(runEvent) bool) (runEvent, error) {
	for {
		select {
		case e := <-l.events:
			if is(e) {
				return e, nil
			}
		case <-l.process.Done():
			return runEvent{}, fmt.Errorf("the launcher ended: %w\n%s", l.process.Err(), l.process.Tail())
		case <-ctx.Done():
			return runEvent{}, fmt.Errorf("%w\n%s", context.Cause(ctx), l.process.Tail())
		}
	}
}

// gateway is the network between one device and the server. It can go away, and it remembers what was reported.
type gateway struct {
	address, url string
	proxy        *httputil.ReverseProxy
	server       *http.Server
	serving      chan error

	mu     sync.Mutex
	events []slipstream.Event
}

func newGateway(server string) (*gateway, error) {
	to, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	g := &gateway{address: address, url: "http://" + address, proxy: httputil.NewSingleHostReverseProxy(to)}
	g.proxy.ErrorLog = log.New(io.Discard, "", 0) // a network that goes away leaves requests behind
	return g, g.up()
}

func (g *gateway) up() error {
	l, err := net.Listen("tcp", g.address)
	if err != nil {
		return fmt.Errorf("open gateway: %w", err)
	}
	g.server, g.serving = &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second}, make(chan error, 1)
	go func() { g.serving <- g.server.Serve(l) }()
	return nil
}

func (g *gateway) down() error {
	if g.server == nil {
		return nil
	}
	err := g.server.Close()
	if served := <-g.serving; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	g.server = nil
	return err
}

// ServeHTTP hands everything on, and keeps the reports that the server took.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/reports" {
		g.proxy.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &statusWriter{ResponseWriter: w}
	g.proxy.ServeHTTP(answer, r)
	var events []slipstream.Event
	if answer.status == http.StatusOK && json.Unmarshal(body, &events) == nil {
		g.mu.Lock()
		g.events = append(g.events, events...)
		g.mu.Unlock()
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// heard gives kind and reason of what was reported about a release.
func (g *gateway) heard(release slipstream.Digest) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, e := range g.events {
		if e.Release == release {
			out = append(out, string(e.Kind)+" "+string(e.Reason))
		}
	}
	return out
}
