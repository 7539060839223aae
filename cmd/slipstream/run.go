package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

// runFlags are the flags of the launcher beside those of the device.
type runFlags struct {
	deviceFlags
	confirm, onUpdate, restart     string
	confirmAfter, hangAfter, grace time.Duration
	live                           bool
}

func newRunCommand(t *tool) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run --app APP [flags] -- COMMAND [ARGUMENT…]",
		Short: "Keep a package up to date and run a program from it, under trial",
		Long: `Keep a package up to date in the background and run a program from the release that is in force.

{dir} in an argument is the release's directory, {entry} its entry file, {dir:NAME} the directory of another package.
The program finds SLIPSTREAM_DIR, SLIPSTREAM_VERSION, SLIPSTREAM_RELEASE, SLIPSTREAM_TOKEN and SLIPSTREAM_CONTROL in its
environment. A new release is on trial until it is confirmed; one that crashes is left for the one before, without any
network.

--confirm says what confirms: alive (it lives for --confirm-after, or exits 0), exit0, fd:N (it writes the line "confirm"
to file descriptor N) or command. ` + "`slipstream confirm`" + `, run by the program, confirms in every mode.
--on-update says what happens when a release is staged: restart, next (at the next start), ask-child (the program gets
SIGHUP and exits when it is ready).
--hang-after is a watchdog: a program that neither writes nor confirms nor runs ` + "`slipstream confirm --alive`" + ` for this long
hangs.`,
		Example: "  slipstream run --app shop --dir ./device -- node {dir}/server.js",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return nil
			}
			return usageError{slipstream.Hint(errors.New("which program?"), "name it after --, such as: slipstream run --app shop --dir ./device -- node {dir}/server.js")}
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			signals := make(chan os.Signal, 16)
			signal.Notify(signals, forwarded()...)
			defer signal.Stop(signals)
			return t.runProgram(c.Context(), &f, args, signals)
		},
	}
	f.define(c, t)
	fl := c.Flags()
	fl.StringVar(&f.confirm, "confirm", confirmAlive, "what confirms a release: alive, exit0, fd:N or command")
	fl.DurationVar(&f.confirmAfter, "confirm-after", 10*time.Second, "how long the program must live to confirm by being alive")
	fl.DurationVar(&f.hangAfter, "hang-after", 0, "watchdog: time without a sign of life (0 = none)")
	fl.BoolVar(&f.live, "live", false, "let the server tell of changes as they happen; where it cannot, polling does")
	fl.DurationVar(&f.grace, "grace", 10*time.Second, "time between asking the program to stop and ending it")
	fl.StringVar(&f.onUpdate, "on-update", onUpdateRestart, "when a release is staged: restart, next or ask-child")
	fl.StringVar(&f.restart, "restart", restartOnFailure, "when the program ended: always, on-failure or never start it again")
	return c
}

func (f *runFlags) check() error {
	fd := strings.HasPrefix(f.confirm, confirmFD)
	switch {
	case !fd && !slices.Contains([]string{confirmAlive, confirmExit, confirmCommand}, f.confirm):
		return usageError{fmt.Errorf("--confirm %s is none of alive, exit0, fd:N, command", f.confirm)}
	case !slices.Contains([]string{onUpdateRestart, onUpdateNext, onUpdateAsk}, f.onUpdate):
		return usageError{fmt.Errorf("--on-update %s is none of restart, next, ask-child", f.onUpdate)}
	case !slices.Contains([]string{restartAlways, restartOnFailure, restartNever}, f.restart):
		return usageError{fmt.Errorf("--restart %s is none of always, on-failure, never", f.restart)}
	}
	return nil
}

// runProgram opens the device, keeps it up to date behind, and supervises the program.
func (t *tool) runProgram(ctx context.Context, f *runFlags, command []string, signals <-chan os.Signal) (err error) {
	if !strings.Contains(command[0], "{") { // a slip of the pen is no evidence against any release
		if _, err := exec.LookPath(command[0]); err != nil {
			return slipstream.Hint(fmt.Errorf("look for the program: %w", err), "check the command after --")
		}
	}
	cfg, err := f.config(t)
	if err != nil {
		return err
	}
	cfg.Live = f.live
	events, changed := watch(&cfg)
	c, err := client.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctl, err := newControl(ctx, cfg.Dir)
	if err != nil {
		return err
	}
	l := &launcher{client: c, pkg: cfg.Packages[0], command: command, environ: t.env.Environ(), stdin: t.stdin, stdout: t.stdout, stderr: t.stderr,
		lines: lines{w: t.stderr, json: t.json, now: time.Now}, maxTries: f.maxCrashes, confirm: f.confirm, confirmAfter: f.confirmAfter, hangAfter: f.hangAfter,
		grace: f.grace, onUpdate: f.onUpdate, restart: f.restart, signals: signals, events: events, changed: changed, control: ctl}
	// Updates go on while the program is asked to stop, but not longer than it.
	updates, endUpdates := context.WithCancel(context.WithoutCancel(ctx))
	var behind sync.WaitGroup
	behind.Go(func() { updateForever(updates, c, l.lines) })
	err = l.run(ctx)
	endUpdates()
	behind.Wait()
	cancel()
	l.drain()
	return errors.Join(err, ctl.close())
}

// watch gives the channels over which a client's hooks reach the supervisor. Hooks must not wait, so an event that nobody
// takes in time is dropped from the log; the reports keep it.
func watch(cfg *client.Config) (<-chan slipstream.Event, <-chan struct{}) {
	events, changed := make(chan slipstream.Event, 256), make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	cfg.Hooks.OnEvent = func(e slipstream.Event) {
		select {
		case events <- e:
		default:
		}
		if e.Kind == slipstream.KindStaged || e.Kind == slipstream.KindRolledBack || e.Kind == slipstream.KindConfirmed {
			poke()
		}
	}
	cfg.Hooks.Restart = func(context.Context, client.Change) { poke() }
	return events, changed
}

// updateForever keeps the device up to date. While another process holds the directory it waits for its turn.
func updateForever(ctx context.Context, c *client.Client, l lines) {
	if err := c.Run(ctx); err != nil && ctx.Err() == nil {
		l.say("warning", "updates stopped: "+err.Error(), nil)
	}
}
