package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

// Ways to confirm, besides `slipstream confirm`, which always works.
const (
	confirmAlive   = "alive"   // stays alive for a while, or exits 0
	confirmExit    = "exit0"   // exits 0
	confirmCommand = "command" // runs `slipstream confirm`
	confirmFD      = "fd:"     // writes the line "confirm" to this file descriptor
)

// What to do with the program when something newer is staged.
const (
	onUpdateRestart = "restart" // stop it gracefully and start the new release
	onUpdateNext    = "next"    // wait until it ends by itself
	onUpdateAsk     = "ask-child"
)

// When to start the program again after it ended.
const (
	restartAlways    = "always"
	restartOnFailure = "on-failure"
	restartNever     = "never"
)

const (
	maxRestartWait = 2 * time.Second
	steadyAfter    = 30 * time.Second // a program that ran this long begins a new row of waits
)

// launcher keeps one program running from the release that is in force, under trial.
type launcher struct {
	client   *client.Client
	pkg      string
	command  []string // with {dir} and {entry}
	environ  []string
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	lines    lines
	maxTries int

	confirm      string
	confirmAfter time.Duration
	hangAfter    time.Duration // 0 = no watchdog
	grace        time.Duration
	onUpdate     string
	restart      string

	signals <-chan os.Signal
	events  <-chan slipstream.Event
	changed <-chan struct{} // something was staged or left
	control *control
}

// run starts the program again and again until it ends for good or ctx does. Its exit code comes back as an exitCode.
func (l *launcher) run(ctx context.Context) error {
	for failures := 0; ; {
		launch, err := l.start(ctx)
		if err != nil || launch == nil {
			return err
		}
		began := time.Now()
		end, err := l.supervise(ctx, launch)
		if err != nil {
			return err
		}
		l.drain()
		switch {
		case end.stopped:
			return end.exit()
		case end.update:
			failures = 0
			continue
		case l.restart == restartNever, l.restart == restartOnFailure && !end.bad:
			return end.exit()
		}
		if time.Since(began) >= steadyAfter || end.rolledBack {
			failures = 0
		}
		if end.rolledBack {
			continue
		}
		failures++
		if !l.pause(ctx, min(100*time.Millisecond<<min(failures, 10), maxRestartWait)) {
			return end.exit()
		}
	}
}

// start begins a launch, and waits for the first release when the device has none.
func (l *launcher) start(ctx context.Context) (*client.Launch, error) {
	for told := false; ; {
		launch, err := l.client.Start(ctx)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", l.pkg, err)
		}
		l.drain()
		tree := launch.Packages[l.pkg]
		if tree.Dir != "" {
			l.announce(launch, tree)
			return launch, nil
		}
		if !told {
			l.lines.say("waiting", fmt.Sprintf("waiting for the first release of %s", l.pkg), nil)
			told = true
		}
		if err := launch.Close(ctx); err != nil {
			return nil, err
		}
		if !l.await(ctx) {
			return nil, nil
		}
	}
}

// await waits for a change; false means that it is time to end.
func (l *launcher) await(ctx context.Context) bool {
	ok := l.idle(ctx, l.changed, nil)
	if ok {
		l.drain()
	}
	return ok
}

// pause waits before another start after a failure.
func (l *launcher) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	return l.idle(ctx, nil, timer.C)
}

// idle waits for one of two channels while no program runs; false means that it is time to end.
func (l *launcher) idle(ctx context.Context, changed <-chan struct{}, late <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case s := <-l.signals:
			if stops(s) {
				return false
			}
		case e := <-l.events:
			l.tell(e)
		case r := <-l.control.requests:
			r.answer <- slipstream.Refuse(slipstream.ReasonStaleToken, "confirm", "no program runs")
		case <-changed:
			return true
		case <-late:
			return true
		}
	}
}

func (l *launcher) announce(launch *client.Launch, t client.Tree) {
	name := t.Version
	if t.Embedded {
		name = strings.TrimSpace("the embedded release " + t.Version)
	}
	text := "running " + name
	if launch.Trial && t.Trial {
		text += fmt.Sprintf(" on trial, attempt %d of %d", launch.Attempt, l.maxTries)
	}
	if launch.Reason != "" {
		text += fmt.Sprintf(" (nothing can be changed here: %s)", launch.Reason)
	}
	l.lines.say("running", text, map[string]any{"version": t.Version, "release": t.Release, "dir": t.Dir, "trial": t.Trial, "attempt": launch.Attempt})
}

// ending is how one run of the program ended.
type ending struct {
	code       int
	bad        bool // a crash or a hang
	stopped    bool // because we were told to stop
	update     bool // for something newer
	rolledBack bool // the release that ran is left
}

func (e ending) exit() error {
	if e.code == 0 {
		return nil
	}
	return exitCode(e.code)
}

// supervise runs the program once.
func (l *launcher) supervise(ctx context.Context, launch *client.Launch) (ending, error) {
	// The parent-death signal of a child is bound to the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c, err := l.spawn(launch)
	var bad *unstartable
	if errors.As(err, &bad) {
		return l.neverStarted(ctx, launch, bad)
	}
	if err != nil {
		return ending{}, errors.Join(err, launch.Close(ctx))
	}
	var alive, watch <-chan time.Time
	if l.confirm == confirmAlive {
		timer := time.NewTimer(l.confirmAfter)
		defer timer.Stop()
		alive = timer.C
	}
	if l.hangAfter > 0 {
		ticker := time.NewTicker(max(l.hangAfter/4, time.Millisecond))
		defer ticker.Stop()
		watch = ticker.C
	}
	stopping := ctx.Done()
	for {
		select {
		case err := <-c.done:
			return l.ended(ctx, launch, c, err)
		case <-stopping:
			stopping = nil
			l.stop(c, signalStop, func(e *ending) { e.stopped = true })
		case s := <-l.signals:
			if stops(s) {
				l.stop(c, s, func(e *ending) { e.stopped = true })
			} else if err := signalChild(c.cmd.Process, s); err != nil {
				l.lines.say("warning", "signal not forwarded: "+err.Error(), nil)
			}
		case <-c.kill:
			l.signal(c, os.Kill)
		case <-alive:
			l.confirmed(ctx, launch, c)
		case line, open := <-c.lines:
			if !open {
				c.lines = nil
			} else if strings.TrimSpace(line) == "confirm" {
				l.confirmed(ctx, launch, c)
			}
		case r := <-l.control.requests:
			r.answer <- l.answer(ctx, launch, c, r)
		case <-watch:
			if l.hangs(c) {
				watch = nil
				c.ending.bad = true
				l.signal(c, os.Kill)
			}
		case e := <-l.events:
			l.tell(e)
		case <-l.changed:
			l.newer(launch, c)
		}
	}
}

// neverStarted is the end of a run that did not begin, which is as bad as a crash at the start.
func (l *launcher) neverStarted(ctx context.Context, launch *client.Launch, cause error) (ending, error) {
	before := launch.Packages[l.pkg].Release
	if err := launch.Crash(ctx, "not started: "+cause.Error()); err != nil {
		l.lines.say("warning", "the end of the program is not noted: "+err.Error(), nil)
	}
	l.drain()
	return ending{code: exitError, bad: true, rolledBack: l.client.Holds(l.pkg).Running.Digest != before}, nil
}

// hangs judges the watchdog: until the confirm a program must give some sign of life in time; afterwards only one that
// chose to send them.
func (l *launcher) hangs(c *child) bool {
	if c.confirmed && !c.beats || c.ending.stopped || c.ending.update {
		return false
	}
	return time.Since(time.Unix(0, c.sign.Load())) > l.hangAfter
}

func (l *launcher) confirmed(ctx context.Context, launch *client.Launch, c *child) {
	if err := l.confirmLaunch(ctx, launch, c); err != nil {
		l.lines.say("warning", "not confirmed: "+err.Error(), nil)
	}
}

func (l *launcher) confirmLaunch(ctx context.Context, launch *client.Launch, c *child) error {
	if c.confirmed {
		return nil
	}
	if launch.Token == "" {
		c.confirmed = true // there is nothing to keep, and nothing more to wait for
		return nil
	}
	if err := launch.Confirm(ctx); err != nil {
		return err
	}
	c.confirmed = true
	return nil
}

// answer handles what a child tells over the control socket.
func (l *launcher) answer(ctx context.Context, launch *client.Launch, c *child, r controlRequest) error {
	if r.token != launch.Token || r.token == "" {
		return slipstream.Refuse(slipstream.ReasonStaleToken, r.verb, "the program that runs has another token")
	}
	c.sign.Store(time.Now().UnixNano())
	switch r.verb {
	case "confirm":
		return l.confirmLaunch(ctx, launch, c)
	case "alive":
		c.beats = true
		return nil
	}
	return slipstream.Refuse(slipstream.ReasonMalformed, "request", "unknown verb %q", r.verb)
}

// newer reacts when something else should run than does.
func (l *launcher) newer(launch *client.Launch, c *child) {
	l.drain()
	if c.ending.stopped || c.ending.update || !launch.Outdated() {
		return
	}
	switch l.onUpdate {
	case onUpdateRestart:
		l.lines.say("restarting", "restarting into the update", nil)
		l.stop(c, signalStop, func(e *ending) { e.update = true })
	case onUpdateAsk:
		if !c.asked {
			c.asked = true
			l.lines.say("asking", "an update is ready: the program was asked to end when it can", nil)
			l.signal(c, signalAsk)
		}
	}
}

// ended draws the conclusions from the end of the program and tells the client.
func (l *launcher) ended(ctx context.Context, launch *client.Launch, c *child, werr error) (ending, error) {
	e := c.ending
	text := ""
	e.code, text = exitOf(c.cmd, werr)
	if c.pipe != nil {
		l.lastLines(ctx, launch, c)
	}
	ctx = context.WithoutCancel(ctx)
	byUs := e.stopped || e.update
	if c.asked && e.code == 0 {
		e.update, byUs = true, true
	}
	before := launch.Packages[l.pkg].Release
	var err error
	switch {
	case e.bad:
		err = launch.Hang(ctx, fmt.Sprintf("no sign of life for %s", l.hangAfter))
	case byUs:
		err = launch.Close(ctx)
	case e.code != 0:
		e.bad = true
		err = launch.Crash(ctx, text)
	default:
		if l.confirm == confirmAlive || l.confirm == confirmExit {
			l.confirmed(ctx, launch, c)
		}
		l.lines.say("ended", "the program ended", map[string]any{"code": 0})
		err = launch.Close(ctx)
	}
	if err != nil {
		l.lines.say("warning", "the end of the program is not noted: "+err.Error(), nil)
	}
	if e.bad && launch.Token == "" {
		l.lines.say("crashed", "the program ended: "+text, map[string]any{"code": e.code})
	}
	l.drain()
	e.rolledBack = e.bad && l.client.Holds(l.pkg).Running.Digest != before
	return e, nil
}

// lastLines takes what the child wrote to its descriptor just before it ended.
func (l *launcher) lastLines(ctx context.Context, launch *client.Launch, c *child) {
	if c.lines != nil {
		deadline := time.After(time.Second)
		for open := true; open; {
			select {
			case line, more := <-c.lines:
				if open = more; strings.TrimSpace(line) == "confirm" {
					l.confirmed(ctx, launch, c)
				}
			case <-deadline: // a grandchild still holds it
				open = false
			}
		}
	}
	if err := c.pipe.Close(); err != nil {
		l.lines.say("warning", "close descriptor: "+err.Error(), nil)
	}
}
