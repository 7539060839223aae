//go:build !device

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/config"
	"github.com/slipstream-ota/slipstream/testdata/shop"
)

const demoPatience = 60 * time.Second // for any one thing that the demo waits for

func newDemoCommand(t *tool) *cobra.Command {
	d := demo{t: t}
	var rollouts bool
	devices := 10_000
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole way on this machine in about a minute",
		Long: `Demo starts a server on embedded storage in a temporary folder, makes an app with keys, publishes four releases of a
small web shop, and runs it on three kiosks that keep themselves up to date. The third release is broken: the kiosk that
takes it goes back by itself. Everything shown is done by the commands that are printed; nothing outside the folder is
touched.

With --rollout it shows the guard instead: 10,000 simulated devices get a good release by a plan, and a bad one, which is
stopped after a handful. The exit code is 0 only when it happened so.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !rollouts {
				return d.run(c.Context())
			}
			if devices < 4000 {
				return usageError{slipstream.Invalidf("devices %d: at least 4000, or the first stage has too few", devices)}
			}
			d.pace = 0
			return (&rolloutDemo{demo: d, devices: devices}).run(c.Context())
		},
	}
	c.Flags().BoolVar(&rollouts, "rollout", false, "show how a plan and the guard treat a good and a bad release")
	c.Flags().IntVar(&devices, "devices", devices, "how many simulated devices, with --rollout")
	c.Flags().BoolVar(&d.keep, "keep", false, "leave everything running at the end, until interrupted")
	c.Flags().DurationVar(&d.pace, "pace", 2500*time.Millisecond, "time between steps, for reading")
	return c
}

// demo is one run of the demonstration.
type demo struct {
	t    *tool
	keep bool
	pace time.Duration

	dir     string
	program string // this binary: the kiosks run its demo-program
	environ []string
	server  *runningServer
	kiosks  []*kiosk
	rows    []*demoRow
}

// demoRow is one line of the summary.
type demoRow struct {
	Version  string `json:"version"`
	Size     int64  `json:"size"`       // bytes of the whole release
	Download int64  `json:"downloaded"` // bytes that the first kiosk fetched
	Outcome  string `json:"outcome"`
}

func (d *demo) run(ctx context.Context) (err error) {
	if d.program, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if d.dir, err = os.MkdirTemp("", "slipstream-demo-"); err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	running, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		for _, k := range d.kiosks {
			<-k.done
		}
		if d.server != nil {
			err = errors.Join(err, d.server.Close())
		}
		err = errors.Join(err, os.RemoveAll(d.dir))
	}()
	// Nothing of this user's own settings takes part.
	d.environ = []string{"HOME=" + d.dir, "XDG_CONFIG_HOME=" + filepath.Join(d.dir, "config"), "TMPDIR=" + os.TempDir()}
	for _, step := range []func(context.Context) error{d.serve, d.create, d.first, d.second, d.broken, d.withdraw, d.fixed} {
		if err := step(running); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		if err := d.wait(ctx, d.pace); err != nil {
			return err
		}
	}
	return d.finish(ctx)
}

func (d *demo) serve(ctx context.Context) error {
	d.title("A server, on embedded storage in a temporary folder")
	env, err := config.Load(d.environ)
	if err != nil {
		return err
	}
	quiet := &tool{stdin: strings.NewReader(""), stdout: io.Discard, stderr: d.t.stderr, env: env, environ: d.environ}
	data := filepath.Join(d.dir, "data")
	cfg, err := quiet.serveConfig(serveFlags{listen: "127.0.0.1:0", data: data, log: "error"})
	if err != nil {
		return err
	}
	if d.server, err = quiet.startServer(ctx, cfg); err != nil {
		return err
	}
	d.say("$ slipstream serve --listen %s --data %s", strings.TrimPrefix(d.server.URL(), "http://"), data)
	return nil
}

func (d *demo) create(ctx context.Context) error {
	d.title("An app. Its root and release keys are made here and never leave this machine")
	_, err := d.command(ctx, "app", "create", "shop")
	return err
}

func (d *demo) first(ctx context.Context) error {
	d.title("Release 1.0.0: a web shop. A kiosk installs it and runs it, on trial until it has lived three seconds")
	row, err := d.publish(ctx, "1.0.0")
	if err != nil {
		return err
	}
	k := d.start(ctx, "kiosk 1")
	if err := d.confirmed(ctx, k, row); err != nil {
		return err
	}
	row.Outcome = "confirmed"
	return nil
}

func (d *demo) second(ctx context.Context) error {
	d.title("Release 1.1.0 corrects two prices: only what changed is downloaded, then tried, then confirmed")
	row, err := d.publish(ctx, "1.1.0")
	if err != nil {
		return err
	}
	if err := d.confirmed(ctx, d.kiosks[0], row); err != nil {
		return err
	}
	row.Outcome = "confirmed"
	return nil
}

func (d *demo) broken(ctx context.Context) error {
	d.title("Release 1.2.0 is broken: a promotion of 120 %%. Two crashes, and the kiosk goes back by itself, asking nobody")
	row, err := d.publish(ctx, "1.2.0")
	if err != nil {
		return err
	}
	k := d.kiosks[0]
	if err := d.fetched(ctx, k, row); err != nil {
		return err
	}
	if _, err := k.await(ctx, string(slipstream.KindRolledBack)); err != nil {
		return err
	}
	_, err = k.await(ctx, "running")
	row.Outcome = "crashed twice, rolled back by the device, withdrawn"
	return err
}

func (d *demo) withdraw(ctx context.Context) error {
	d.title("It is withdrawn: whoever has it leaves it, nobody else gets it")
	_, err := d.command(ctx, "withdraw", "1.2.0", "--app", "shop", "--reason", "promotion of 120 %")
	return err
}

func (d *demo) fixed(ctx context.Context) error {
	d.title("Release 1.2.1 is the fix. Two more kiosks are switched on; everybody gets it")
	row, err := d.publish(ctx, "1.2.1")
	if err != nil {
		return err
	}
	d.start(ctx, "kiosk 2")
	d.start(ctx, "kiosk 3")
	for i, k := range d.kiosks {
		if i > 0 {
			row = &demoRow{Version: row.Version}
		}
		if err := d.confirmed(ctx, k, row); err != nil {
			return err
		}
	}
	d.rows[len(d.rows)-1].Outcome = fmt.Sprintf("confirmed on all %d kiosks", len(d.kiosks))
	return nil
}

// publish writes a version's files and publishes them as a user would.
func (d *demo) publish(ctx context.Context, version string) (*demoRow, error) {
	tree := filepath.Join(d.dir, "shop-"+version)
	if err := shop.Write(tree, version); err != nil {
		return nil, err
	}
	if _, err := d.command(ctx, "publish", tree, "--app", "shop", "--version", version); err != nil {
		return nil, err
	}
	row := &demoRow{Version: version}
	err := filepath.Walk(tree, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			row.Size += info.Size()
		}
		return err
	})
	d.rows = append(d.rows, row)
	return row, err
}

func (d *demo) fetched(ctx context.Context, k *kiosk, row *demoRow) error {
	e, err := k.await(ctx, string(slipstream.KindFetched))
	row.Download = e.Bytes
	return err
}

// confirmed waits until a kiosk has fetched, tried and confirmed something new.
func (d *demo) confirmed(ctx context.Context, k *kiosk, row *demoRow) error {
	if err := d.fetched(ctx, k, row); err != nil {
		return err
	}
	_, err := k.await(ctx, string(slipstream.KindConfirmed))
	return err
}

func (d *demo) finish(ctx context.Context) error {
	d.title("What happened")
	if _, err := d.command(ctx, "status"); err != nil {
		return err
	}
	err := d.t.print(d.rows, func(w io.Writer) {
		fmt.Fprintln(w)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "  RELEASE\tSIZE\tDOWNLOADED\tOUTCOME")
		for _, r := range d.rows {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", r.Version, formatBytes(r.Size), formatBytes(r.Download), r.Outcome)
		}
		table.Flush()
	})
	if err != nil {
		return err
	}
	out := d.out()
	fmt.Fprintf(out, "\nGo on by hand")
	if !d.keep {
		fmt.Fprintf(out, " (run the demo again with --keep; it has stopped now)")
	}
	fmt.Fprintf(out, ":\n  server        %s\n  console       %s (slipstream console signs you in)\n  settings      export XDG_CONFIG_HOME=%s\n", d.server.URL(), consoleURL(d.server.URL()), filepath.Join(d.dir, "config"))
	for _, command := range []string{"status", "release list --app shop", "release diff 1.0.0 1.2.1 --app shop", "audit --app shop",
		"publish " + filepath.Join(d.dir, "shop-1.1.0") + " --app shop --version 1.3.0"} {
		fmt.Fprintf(out, "  slipstream %s\n", command)
	}
	if !d.keep {
		return nil
	}
	fmt.Fprintln(out, "\nEverything goes on until you press Ctrl-C.")
	<-ctx.Done()
	return nil
}

// out is where the story goes: with --json standard output is for the summary alone.
func (d *demo) out() io.Writer {
	if d.t.json {
		return d.t.stderr
	}
	return d.t.stdout
}

func (d *demo) title(format string, args ...any) {
	fmt.Fprintf(d.out(), "\n== "+format+" ==\n", args...)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out(), "  "+format+"\n", args...) }

func (d *demo) wait(ctx context.Context, pause time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// command runs one of our commands as a user would and shows it.
func (d *demo) command(ctx context.Context, args ...string) (string, error) {
	words := make([]string, len(args))
	for i, a := range args {
		if words[i] = a; strings.Contains(a, " ") {
			words[i] = "'" + a + "'"
		}
	}
	d.say("$ slipstream %s", strings.Join(words, " "))
	var stdout, stderr bytes.Buffer
	if code := run(ctx, args, d.environ, strings.NewReader(""), &stdout, &stderr); code != exitOK {
		return "", fmt.Errorf("slipstream %s: %s", args[0], strings.TrimSpace(stderr.String()))
	}
	shown, _, _ := strings.Cut(stdout.String(), "\nNext:")
	for line := range strings.Lines(strings.TrimRight(shown, "\n")) {
		d.say("    %s", strings.TrimRight(line, "\n"))
	}
	return stdout.String(), d.wait(ctx, d.pace)
}

// demoEvent is a line of `run --json`.
type demoEvent struct {
	Event string
	Text  string
	Bytes int64
}
