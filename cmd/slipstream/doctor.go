//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/sign"
)

// What doctor finds.
const (
	healthGood = "ok"
	healthNote = "note"
	healthBad  = "WRONG"
)

const (
	maxClockGap    = 2 * time.Minute     // signed documents live for minutes, so clocks must not be further apart
	rootEndsSoon   = 90 * 24 * time.Hour // time enough to reach every holder of a root key
	doctorPatience = 20 * time.Second    // for each question to a server
)

// symptom is one line of what doctor found.
type symptom struct {
	Health string `json:"health"`
	What   string `json:"what"`
	Detail string `json:"detail"`
	Try    string `json:"try,omitempty"`
}

// doctor collects what it finds.
type doctor struct {
	t     *tool
	now   time.Time
	found []symptom
}

func newDoctorCommand(t *tool) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use: "doctor", Short: "Look at this setup and say what is wrong", Args: exactly(0, "no argument"),
		Long: `Doctor changes nothing. It looks at the settings and keys of this user, whether the server answers, knows the token and
has the right time, and for each app whether its root is the newest and not about to end, whether the release key may sign,
and whether a device would accept what the channels offer and find every byte of it. It ends with exit code 1 when
something is wrong.`,
		Example: "  slipstream doctor\n  slipstream doctor --app shop --json",
		RunE: func(c *cobra.Command, _ []string) error {
			d := &doctor{t: t, now: time.Now(), found: []symptom{}}
			d.look(c.Context(), app)
			return d.finish()
		},
	}
	c.Flags().StringVar(&app, "app", "", "only this app (default: all that the server has)")
	t.serverFlags(c)
	return c
}

func (d *doctor) good(what, format string, args ...any) {
	d.add(symptom{Health: healthGood, What: what, Detail: fmt.Sprintf(format, args...)})
}

func (d *doctor) note(what, try, format string, args ...any) {
	d.add(symptom{Health: healthNote, What: what, Detail: fmt.Sprintf(format, args...), Try: try})
}

func (d *doctor) bad(what, try, format string, args ...any) {
	d.add(symptom{Health: healthBad, What: what, Detail: fmt.Sprintf(format, args...), Try: try})
}

// failed adds an error with its own hint.
func (d *doctor) failed(what string, err error) { d.bad(what, slipstream.HintOf(err), "%v", err) }

func (d *doctor) add(s symptom) {
	d.found = append(d.found, s)
	if d.t.json {
		return
	}
	fmt.Fprintf(d.t.stdout, "%-6s %s: %s\n", s.Health, s.What, strings.ReplaceAll(s.Detail, "\n", "; "))
	if s.Try != "" {
		fmt.Fprintf(d.t.stdout, "       try: %s\n", s.Try)
	}
}

func (d *doctor) finish() error {
	wrong := 0
	for _, s := range d.found {
		if s.Health == healthBad {
			wrong++
		}
	}
	if d.t.json {
		if err := d.t.print(d.found, nil); err != nil {
			return err
		}
	}
	switch wrong {
	case 0:
		return nil
	case 1:
		return errors.New("one thing is wrong")
	}
	return fmt.Errorf("%d things are wrong", wrong)
}

// look goes from this machine outwards and stops where the next question would make no sense.
func (d *doctor) look(ctx context.Context, app string) {
	d.good("settings", "folder %s", d.t.env.Folder().Path)
	base, _, err := d.t.address()
	if err != nil {
		d.failed("server", err)
		return
	}
	if !d.server(ctx, base) {
		return
	}
	server, err := d.t.client()
	if err != nil {
		d.failed("server", err)
		return
	}
	me, err := server.WhoAmI(ctx)
	if err != nil {
		d.failed("token", err)
		return
	}
	d.good("token", "%s, role %s for %s", me.Name, me.Role, first(me.App, "all apps"))
	apps, err := server.Apps(ctx)
	if err != nil {
		d.failed("apps", err)
		return
	}
	if app != "" {
		apps = slices.DeleteFunc(apps, func(a api.App) bool { return a.Name != app })
	}
	if app != "" && len(apps) == 0 {
		d.bad("app "+app, "`slipstream app list` shows which there are", "the server has none of this name")
	} else if len(apps) == 0 {
		d.note("apps", "`slipstream app create shop` makes one", "the server has none yet")
	}
	for _, a := range apps {
		d.app(ctx, server, base, a, me.Role)
	}
	d.alerts(ctx, server, app)
	if me.App == "" {
		d.audit(ctx, server)
	}
}

// server looks whether base answers, whether it is ready, and what time it has.
func (d *doctor) server(ctx context.Context, base string) bool {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		d.failed("server", err)
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.bad("server", "is `slipstream serve` running, and is this its address? `slipstream login URL` takes another", "%v", err)
		return false
	}
	if err := resp.Body.Close(); err != nil {
		d.failed("server", err)
		return false
	}
	if resp.StatusCode != http.StatusOK {
		d.bad("server", "look at what `slipstream serve` logged", "%s answers, but is not ready for devices: %s", base, resp.Status)
		return false
	}
	d.good("server", "%s answers", base)
	if u, err := url.Parse(base); err == nil && u.Scheme == "http" && !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname()) {
		d.note("server", "put a TLS proxy in front of it", "tokens travel unencrypted to %s", u.Host)
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		if gap := time.Since(at).Abs(); gap > maxClockGap {
			d.bad("clock", "set both clocks by NTP", "this machine and the server are %s apart: devices would find states expired or not yet valid", gap.Round(time.Second))
		} else {
			d.good("clock", "agrees with the server's")
		}
	}
	return true
}

// app looks at one app: the trust on this machine first, then what devices get.
func (d *doctor) app(ctx context.Context, server *api.Client, base string, a api.App, role auth.Role) {
	what := "app " + a.Name
	folder := d.t.env.Folder()
	trust, err := openRootFile(folder.RootFile(a.Name))
	switch {
	case a.RootVersion == 0:
		d.bad(what, "`slipstream app root register root.json --app "+a.Name+"`", "no root is registered: nothing can be published")
		return
	case errors.Is(err, os.ErrNotExist):
		d.note(what, "publish from the machine that has its root and release key, or `slipstream app root --help`", "its root is not on this machine, so what devices get is not looked at")
		return
	case err != nil:
		d.failed(what, err)
		return
	}
	d.root(what, a, trust)
	d.keys(what, a.Name, trust)
	manifests := d.offers(ctx, base, a, trust)
	if !role.May(auth.Publish) {
		d.note(what+", bytes", "look with a publisher's token", "a token with role %s may not ask which files are there", role)
		return
	}
	d.bytes(ctx, server, a.Name, manifests)
}

func (d *doctor) root(what string, a api.App, trust *sign.Trust) {
	r := trust.Root()
	switch {
	case r.Version < a.RootVersion:
		d.bad(what, "get the newest one from who rotated the root, then `slipstream app root register FILE`", "your root is version %d, the server's is %d", r.Version, a.RootVersion)
	case r.Version > a.RootVersion:
		d.bad(what, "`slipstream app root register "+d.t.env.Folder().RootFile(a.Name)+"`", "your root is version %d, the server knows %d only", r.Version, a.RootVersion)
	}
	left := r.Expires.Sub(d.now)
	rotate := "`slipstream key root rotate`, then `slipstream app root register`; devices take it by themselves"
	switch {
	case left <= 0:
		d.bad(what, rotate, "the root expired on %s: no device takes an update", r.Expires.Format(slipstream.TimeLayout))
	case left < rootEndsSoon:
		d.note(what, rotate, "the root ends in %d days", int(left.Hours()/24))
	default:
		d.good(what, "root version %d until %s", r.Version, r.Expires.Format("2006-01-02"))
	}
}

// keys looks at the private keys on this machine.
func (d *doctor) keys(what, app string, trust *sign.Trust) {
	folder := d.t.env.Folder()
	if d.t.env.Get("release-key", "") != "" {
		d.note(what, "", "the release key comes from SLIPSTREAM_RELEASE_KEY and is not looked at")
	} else {
		d.key(what+", release key", folder.ReleaseKeyFile(app), trust.Root().Roles.Release.Keys)
	}
	if _, err := os.Stat(folder.RootKeyFile(app)); err == nil {
		d.key(what+", root key", folder.RootKeyFile(app), trust.Root().Roles.Root.Keys)
	}
}

func (d *doctor) key(what, path string, listed []string) {
	data, err := readSmall(path, maxKeyFile)
	if errors.Is(err, os.ErrNotExist) {
		d.note(what, "", "not on this machine: nothing can be published from here without --key")
		return
	}
	if err != nil {
		d.failed(what, err)
		return
	}
	if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		d.bad(what, "chmod 600 "+path, "others on this machine can read it")
	}
	_, err = sign.ParseKey(data, nil)
	if errors.Is(err, sign.ErrPassphraseNeeded) {
		d.good(what, "protected by a passphrase")
		return
	}
	signer, err := d.t.loadKey(path)
	if err != nil {
		d.failed(what, err)
		return
	}
	switch id := sign.KeyID(signer.Public()); {
	case !slices.Contains(listed, id):
		d.bad(what, "use a key that the root lists, or add this one by `slipstream key root rotate`", "%s may not sign: the root does not list it for this role", id)
	default:
		d.note(what, "make the next one with SLIPSTREAM_PASSPHRASE set, and keep a copy offline", "%s is fine but lies here unprotected", id)
	}
}

// offers looks at the channels as a device does and gives the manifests that it accepts.
func (d *doctor) offers(ctx context.Context, base string, a api.App, trust *sign.Trust) map[slipstream.Digest]*slipstream.Manifest {
	quiet := *d.t
	quiet.json = true // its findings are told in doctor's words
	v := &verifier{t: &quiet, app: a.Name, channels: a.Channels, platforms: a.Platforms, now: d.now, trust: trust,
		manifests: map[slipstream.Digest]*slipstream.Manifest{}}
	what := "app " + a.Name + ", as a device"
	if err := v.server(ctx, base); err != nil {
		d.failed(what, err)
		return nil
	}
	refused := 0
	for _, f := range v.out {
		if f.Outcome == foundRefused {
			refused++
			d.bad(what, "`slipstream verify "+base+" --app "+a.Name+"` tells more", "%s is refused: %s: %s", f.What, f.Reason, f.Detail)
		}
	}
	if refused == 0 {
		d.good(what, "what is offered on %s verifies", strings.Join(a.Channels, ", "))
	}
	return v.manifests
}

// bytes looks whether every file of the releases is in the blob store.
func (d *doctor) bytes(ctx context.Context, server *api.Client, app string, releases map[slipstream.Digest]*slipstream.Manifest) {
	whole := true
	for digest, m := range releases {
		need := make([]slipstream.Digest, 0, len(m.Files))
		for _, f := range m.Files {
			need = append(need, f.SHA256)
		}
		lost, err := server.Missing(ctx, app, need)
		if err != nil {
			d.failed("app "+app+", bytes", err)
			return
		}
		if len(lost) > 0 {
			whole = false
			d.bad(fmt.Sprintf("app %s, release %s %s", app, m.Package, m.Version), "bring the blobs back from their backup, or publish the same files again",
				"%d of %d files of %s are not in the blob store", len(lost), len(m.Files), digest.Short())
		}
	}
	if whole {
		d.good("app "+app+", bytes", "every file of %d releases is there", len(releases))
	}
}

func (d *doctor) alerts(ctx context.Context, server *api.Client, app string) {
	list, err := server.Alerts(ctx, api.AlertQuery{App: app, Active: true})
	if err != nil {
		d.failed("alerts", err)
		return
	}
	for _, a := range list {
		d.note("alert", fmt.Sprintf("look after it, then `slipstream alert resolve %d`", a.ID), "%s", a.Title)
	}
	if len(list) == 0 {
		d.good("alerts", "none stands")
	}
}

func (d *doctor) audit(ctx context.Context, server *api.Client) {
	r, err := server.VerifyAudit(ctx, "")
	switch {
	case err != nil:
		d.failed("audit log", err)
	case !r.OK():
		d.bad("audit log", "compare it with a backup", "it was tampered with: %s", r.Fault)
	default:
		d.good("audit log", "%d entries, the chain holds", r.Entries)
	}
}
