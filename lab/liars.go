package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// liars report to the real server what is not so.
func liars() Proof {
	return Proof{
		Name:  "lying devices",
		Claim: "a device counts once for each release and kind however often and whatever it tells, and what names nothing that exists counts nowhere",
		Quick: time.Minute, Full: 5 * time.Minute,
		Needs: []Need{NeedProcesses()},
		Run:   runLiars,
	}
}

const (
	honestDevices = 40
	liarName      = "liar-liar" // in every text that a liar may choose
)

// lie is one batch of reports that must not change a count.
type lie struct {
	name   string
	status int // of the answer
	body   func(l *lying) []byte
}

// lying is a release that honest devices have told of, and everything that is told of it then.
type lying struct {
	*tally
	author  *author
	release *edition
	rounds  int
	told    int // lies with an id of their own
}

func runLiars(ctx context.Context, env Env) (_ Result, err error) {
	a, err := serve(ctx, env, "liars")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	l := &lying{tally: &tally{}, author: a, rounds: 40}
	if env.Quick {
		l.rounds = 4
	}
	if l.release, err = a.release(ctx, slipstream.DefaultChannel, serverFiles); err != nil {
		return Result{}, err
	}
	var honest []slipstream.Event
	for i := range honestDevices {
		honest = append(honest, l.event(fmt.Sprintf("honest-%04d", i), device(i), slipstream.KindConfirmed))
	}
	// One device is honest and its release crashed there: liars tell the same again and again.
	honest = append(honest, l.event("honest-crash", device(0), slipstream.KindCrashed))
	if _, err := l.send(ctx, "honest reports", http.StatusOK, encoded(honest...)); err != nil {
		return Result{}, err
	}
	before, err := l.shown(ctx)
	if err != nil {
		return Result{}, err
	}
	for round := range l.rounds {
		for _, x := range lies() {
			if err := ctx.Err(); err != nil {
				return l.result("stopped"), context.Cause(ctx)
			}
			what := fmt.Sprintf("%s, round %d", x.name, round)
			if _, err := l.send(ctx, what, x.status, x.body(l)); err != nil {
				return l.result("stopped"), err
			}
			if err := l.unchanged(ctx, what, before); err != nil {
				return l.result("stopped"), err
			}
		}
	}
	return l.result("batches of %d kinds of lies about one release; %d honest devices are counted as before", len(lies()), honestDevices), a.service.terminate(drainLimit)
}

func device(i int) string { return fmt.Sprintf("%064x", i+1) }

func (l *lying) event(id, device string, kind slipstream.Kind) slipstream.Event {
	return slipstream.Event{ID: id, Kind: kind, App: serviceApp, Channel: slipstream.DefaultChannel, Package: mainPkg, Device: device, Release: l.release.digest}
}

// fresh is a lie of the first device, with an id of its own.
func (l *lying) fresh(kind slipstream.Kind, change func(e *slipstream.Event)) slipstream.Event {
	l.told++
	e := l.event(fmt.Sprintf("%s-%08d", liarName, l.told), device(0), kind)
	if change != nil {
		change(&e)
	}
	return e
}

func encoded(events ...slipstream.Event) []byte {
	raw, err := json.Marshal(events)
	if err != nil {
		return []byte(err.Error()) // it is refused
	}
	return raw
}

func lies() []lie {
	one := func(name string, status int, kind slipstream.Kind, change func(e *slipstream.Event)) lie {
		return lie{name, status, func(l *lying) []byte { return encoded(l.fresh(kind, change)) }}
	}
	text := func(name, body string, status int) lie {
		return lie{name, status, func(*lying) []byte { return []byte(body) }}
	}
	const taken, refused = http.StatusOK, http.StatusBadRequest
	return []lie{
		{"a hundred crashes of one device", taken, func(l *lying) []byte {
			var all []slipstream.Event
			for range 100 {
				all = append(all, l.fresh(slipstream.KindCrashed, nil))
			}
			return encoded(all...)
		}},
		{"reports that were taken already, told again by their ids as something else", taken, func(l *lying) []byte {
			var all []slipstream.Event
			for i := range honestDevices {
				all = append(all, l.event(fmt.Sprintf("honest-%04d", i), device(i), slipstream.KindHung))
			}
			return encoded(all...)
		}},
		one("a crash of a release that nobody published", taken, slipstream.KindCrashed, func(e *slipstream.Event) { e.Release = slipstream.Digest(device(77)) }),
		one("a crash on a channel that is not there", taken, slipstream.KindCrashed, func(e *slipstream.Event) { e.Channel, e.Device = liarName, device(501) }),
		one("a crash of a package that is not there", taken, slipstream.KindCrashed, func(e *slipstream.Event) { e.Package, e.Device = liarName, device(502) }),
		one("a kind that nobody knows", taken, liarName, func(e *slipstream.Event) { e.Device = device(503) }),
		one("a crash of another app", taken, slipstream.KindCrashed, func(e *slipstream.Event) { e.App, e.Device = liarName, device(504) }),
		one("a device that is no digest", taken, slipstream.KindCrashed, func(e *slipstream.Event) { e.Device = liarName }),
		one("a device in capitals", taken, slipstream.KindCrashed, func(e *slipstream.Event) { e.Device = strings.Repeat("AB", 32) }),
		one("numbers below zero", taken, slipstream.KindCrashed, func(e *slipstream.Event) { e.Device, e.Epoch, e.Bytes = device(505), -1, -5 }),
		one("an arm that is none", taken, slipstream.KindConfirmed, func(e *slipstream.Event) { e.Device, e.Arm = device(506), liarName }),
		one("texts without end", taken, slipstream.KindCrashed, func(e *slipstream.Event) {
			e.Device, e.Reason = device(507), slipstream.Reason(strings.Repeat(liarName, 1000))
		}),
		text("no JSON", `[{"id":"`, refused), text("null", `null`, taken), text("a thousand levels", strings.Repeat("[", 1000)+strings.Repeat("]", 1000), taken),
		text("a number in place of an event", `[7]`, taken), text("a name twice", `[{"id":"aaaaaaaa","id":"bbbbbbbb","kind":"crashed"}]`, taken),
		text("more events than one request may hold", "["+strings.Repeat("{},", 1000)+"{}]", http.StatusRequestEntityTooLarge),
		{"more bytes than one request may hold", http.StatusRequestEntityTooLarge, func(*lying) []byte { return bytes.Repeat([]byte(" "), 2<<20) }},
	}
}

// send tells the server something; it must answer with this status, whatever it makes of it.
func (l *lying) send(ctx context.Context, what string, status int, body []byte) ([]byte, error) {
	l.try(1)
	got, answer, err := l.author.service.post(ctx, http.DefaultClient, "/v1/reports", body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if got != status {
		l.wrongf("%s: status %d instead of %d: %.200s", what, got, status, answer)
	}
	return answer, nil
}

// shown is what the console shows of the release: devices by kind.
func (l *lying) shown(ctx context.Context) (map[slipstream.Kind]int64, error) {
	status, err := l.author.server.Status(ctx, serviceApp)
	if err != nil {
		return nil, err
	}
	for _, c := range status.Apps[0].Channels {
		for _, p := range c.Packages {
			for _, r := range p.Rollouts {
				if r.Manifest == l.release.digest {
					return r.Devices, nil
				}
			}
		}
	}
	return nil, errors.New("the release stands in no rollout")
}

// unchanged compares what is shown with what it was, and looks for what liars chose in what the server measures.
func (l *lying) unchanged(ctx context.Context, what string, before map[slipstream.Kind]int64) error {
	now, err := l.shown(ctx)
	if err != nil {
		return err
	}
	for kind, n := range now {
		if n != before[kind] {
			l.wrongf("%s: %d devices told %s, %d did", what, n, kind, before[kind])
		}
	}
	if before[slipstream.KindConfirmed] != honestDevices || before[slipstream.KindCrashed] != 1 || now[slipstream.KindConfirmed] != honestDevices {
		l.wrongf("%s: honest reports are lost: %v", what, now)
	}
	code, metrics, err := l.author.service.get(ctx, "/metrics")
	if err != nil || code != http.StatusOK {
		return errors.Join(err, fmt.Errorf("metrics answer with %d", code))
	}
	if bytes.Contains(metrics, []byte(liarName)) || bytes.Contains(metrics, []byte(device(0))) {
		l.wrongf("%s: what a device chose stands in the metrics", what)
	}
	return nil
}
