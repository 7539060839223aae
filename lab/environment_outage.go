package lab

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/lab/outage"
	"github.com/slipstream-ota/slipstream/store"
)

// databaseAway takes the database from a server with a fleet, and brings it back.
func databaseAway(ctx context.Context, n *tended, hangs bool) error {
	first, err := n.published(ctx)
	if err != nil {
		return err
	}
	old, _, err := n.newDevice(ctx, realTime{n.clock})
	if err != nil {
		return err
	}
	if _, err = old.Update(ctx); err != nil {
		return err
	}
	n.expect("a device before", runs(ctx, old, first))
	away := time.Minute
	if n.env.Quick {
		away = 2 * time.Second
	}
	// A device may come for the first time while the database is away.
	fresh, _, err := n.newDevice(ctx, realTime{n.clock})
	if err != nil {
		return err
	}
	waiting := len(old.Pending())
	n.Store.Away(hangs)
	defer n.Store.Back()
	began := time.Now()
	reporting := n.reportAllTheTime(ctx)
	defer reporting.end()

	n.expect("reads", n.readsFromMemory(ctx, first))
	if _, err := fresh.Update(ctx); err != nil {
		n.expect("a new device", err.Error())
	}
	n.expect("a new device", runs(ctx, fresh, first))
	_, err = old.Update(ctx)
	n.expectf(err == nil, "a check", "%v", err)
	err = old.Report(ctx)
	n.expectf(err != nil && len(old.Pending()) >= waiting && (hangs || client.RetryAfter(err) > 0), "the outbox", "%d reports wait, %d before: %v", len(old.Pending()), waiting, err)
	if err := n.adminAway(ctx, hangs); err != nil {
		return err
	}
	if err := sleepFor(ctx, away-time.Since(began)); err != nil { // a slow machine has not asked for everything any earlier
		return err
	}
	n.Store.Back()
	reporting.end()
	return n.afterOutage(ctx, []*client.Client{old, fresh}, reporting, first)
}

// databaseAwayForDays: devices are served from memory until the last state that was signed expires. Then they are told
// so, by a decision, and run what they run.
func databaseAwayForDays(ctx context.Context, n *tended) error {
	first, err := n.published(ctx)
	if err != nil {
		return err
	}
	c, _, err := n.newDevice(ctx, realTime{n.clock})
	if err != nil {
		return err
	}
	_, err = c.Update(ctx)
	n.expectf(err == nil, "an update before", "%v", err)
	n.expect("the app before", runs(ctx, c, first))
	n.Store.Away(false)
	for _, step := range []struct {
		after  time.Duration
		reason slipstream.Reason
	}{{time.Minute, slipstream.ReasonUpToDate}, {stateLife - time.Hour, slipstream.ReasonUpToDate}, {2 * time.Hour, slipstream.ReasonExpiredState}, {30 * 24 * time.Hour, slipstream.ReasonExpiredState}} {
		n.clock.advance(step.after)
		u, err := c.Update(ctx)
		if err != nil {
			n.expect(fmt.Sprintf("a check %s later", step.after), err.Error())
			continue
		}
		reason := u.Answers[slipstream.DefaultPackage].Reason
		n.expectf(reason == step.reason && len(u.Staged) == 0, fmt.Sprintf("a check %s later", step.after), "it gives reason %s", reason)
		n.expect(fmt.Sprintf("the app %s later", step.after), runs(ctx, c, first))
	}
	n.Store.Back()
	next, err := n.published(ctx)
	if err != nil {
		return err
	}
	n.expectf(n.offers(ctx, c), "the next release", "it is not offered 10 s after its publish")
	n.expect("the next release", runs(ctx, c, next))
	return c.Close()
}

// offers waits until a device is offered, and takes, something new.
func (n *tended) offers(ctx context.Context, c *client.Client) bool {
	for begun := time.Now(); time.Since(begun) < 10*time.Second && ctx.Err() == nil; {
		u, err := c.Update(ctx)
		if err == nil && u.Answers[slipstream.DefaultPackage].Verdict == slipstream.VerdictUpdate {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

// readsFromMemory says which read of a device is not answered although the database is not needed for it.
func (n *tended) readsFromMemory(ctx context.Context, r *outage.Release) string {
	state := "/v1/apps/" + outage.App + "/channels/" + slipstream.DefaultChannel + "/state/" + slipstream.PlatformAny
	check, err := json.Marshal(slipstream.CheckRequest{App: outage.App, Channel: slipstream.DefaultChannel, Nonce: base64.StdEncoding.EncodeToString(make([]byte, 32)),
		Device: slipstream.DeviceFacts{ID: string(r.Digest), Platform: slipstream.PlatformAny}, Packages: map[string]slipstream.PackageOnBoard{slipstream.DefaultPackage: {}}})
	if err != nil {
		return err.Error()
	}
	etag := ""
	for _, ask := range []struct {
		method, path string
		body         []byte
		header       []string
		status       int
	}{
		{"GET", state, nil, nil, 200}, {"GET", state, nil, []string{"If-None-Match", "etag"}, 304}, {"GET", "/v1/apps/" + outage.App + "/roots/1", nil, nil, 200},
		{"GET", "/v1/apps/" + outage.App + "/roots/2", nil, nil, 404}, {"POST", "/v1/check", check, nil, 200}, {"GET", "/v1/manifests/" + string(r.Digest), nil, nil, 200},
		{"GET", "/v1/releases/" + string(r.Digest) + "/containers", nil, nil, 200}, {"GET", "/v1/blobs/" + string(r.Manifest.Files[0].SHA256), nil, nil, 200},
		{"GET", "/healthz", nil, nil, 200}, {"GET", "/readyz", nil, nil, 200}, {"GET", "/v1/manifests/" + string(r.Manifest.Files[0].SHA256), nil, nil, 503},
	} {
		if len(ask.header) > 0 {
			ask.header[1] = etag
		}
		a, err := n.ask(ctx, ask.method, ask.path, ask.body, ask.header...)
		if err != nil || a.broken != nil || a.status != ask.status {
			return fmt.Sprintf("%s %s gives %d instead of %d: %v", ask.method, ask.path, a.status, ask.status, a.broken)
		}
		if problem := a.unclear(); a.status >= 400 && problem != "" {
			return ask.path + ": " + problem
		}
		if ask.path == state && etag == "" {
			etag = a.header.Get("ETag")
		}
	}
	return ""
}

// adminAway asks for every operation of the management API.
func (n *tended) adminAway(ctx context.Context, hangs bool) error {
	operations, err := n.adminOperations(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, op := range operations {
		try := func() {
			a, err := n.ask(ctx, op[0], op[1], []byte("{}"), "Authorization", "Bearer "+n.Token, "Content-Type", "application/json")
			mu.Lock()
			defer mu.Unlock()
			problem := ""
			switch {
			case err != nil || a.broken != nil:
				problem = fmt.Sprintf("no answer: %v", a.broken)
			case op[0] == http.MethodHead:
				n.expectf(a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "", op[0]+" "+op[1], "status %d", a.status)
				return
			case a.status != http.StatusServiceUnavailable:
				problem = fmt.Sprintf("status %d", a.status)
			default:
				problem = a.unclear()
			}
			n.expect(op[0]+" "+op[1], problem)
		}
		if !hangs {
			try()
			continue
		}
		all.Go(try) // each waits
	}
	all.Wait()
	return nil
}

// reporting is many devices that tell one thing each, again and again until it is accepted.
type reporting struct {
	end      func() // the outage is over for them: nobody has told everything before
	sent     atomic.Int64
	refused  atomic.Int64 // with 503
	all      sync.WaitGroup
	mu       sync.Mutex
	problems []string
}

const reporters = 4

func (n *tended) reportAllTheTime(ctx context.Context) *reporting {
	outage, end := context.WithCancel(ctx)
	r := &reporting{end: end}
	for who := range reporters {
		r.all.Go(func() {
			for i := 0; outage.Err() == nil; i++ {
				n.reportUntilAccepted(ctx, r, who, i)
			}
		})
	}
	return r
}

func (n *tended) reportUntilAccepted(ctx context.Context, r *reporting, who, i int) {
	e := slipstream.Event{ID: fmt.Sprintf("outage-%d-%d", who, i), Kind: slipstream.KindMetric, App: outage.App, Metric: "m", Value: json.RawMessage("1"),
		Device: fmt.Sprintf("%064x", who+1)}
	body, err := json.Marshal(e)
	for err == nil && ctx.Err() == nil {
		var a answer
		a, err = n.ask(ctx, http.MethodPost, "/v1/reports", body)
		switch {
		case err != nil:
		case a.status == http.StatusOK && (bytes.Contains(a.body, []byte(slipstream.EventAccepted)) || bytes.Contains(a.body, []byte(slipstream.EventDuplicate))):
			r.sent.Add(1)
			time.Sleep(20 * time.Millisecond)
			return
		case a.status == http.StatusServiceUnavailable && a.unclear() == "":
			r.refused.Add(1)
			time.Sleep(100 * time.Millisecond)
		default:
			r.mu.Lock()
			r.problems = append(r.problems, fmt.Sprintf("a report is answered with %d %.200q (%v)", a.status, a.body, a.broken))
			r.mu.Unlock()
			return
		}
	}
}

// afterOutage sees everything go on, and nothing lost.
func (n *tended) afterOutage(ctx context.Context, devices []*client.Client, r *reporting, before *outage.Release) error {
	r.all.Wait()
	n.expectf(len(r.problems) == 0 && r.refused.Load() > 0, "reports during the outage", "%d refused with 503; %v", r.refused.Load(), r.problems)
	next, err := n.published(ctx)
	if err != nil {
		n.expect("a publish afterwards", err.Error())
		return nil
	}
	for _, d := range devices {
		reached := n.offers(ctx, d)
		n.expectf(reached, "the next release", "it is not offered 10 s after its publish")
		n.expect("the next release", runs(ctx, d, next))
		pending := d.Pending()
		err := d.Report(ctx)
		n.expectf(err == nil && len(d.Pending()) == 0, "the outbox afterwards", "%d of %d wait: %v", len(d.Pending()), len(pending), err)
		if err := d.Close(); err != nil {
			return err
		}
	}
	return n.countReports(ctx, r, len(devices), before)
}

// countReports compares what was acknowledged with what is stored.
func (n *tended) countReports(ctx context.Context, r *reporting, devices int, before *outage.Release) error {
	stored := 0
	for who := range reporters {
		events, err := n.Store.Reports().Events(ctx, store.EventQuery{App: outage.App, Device: fmt.Sprintf("%064x", who+1), Limit: 1 << 20})
		if err != nil {
			return err
		}
		stored += len(events)
	}
	n.expectf(int64(stored) == r.sent.Load(), "reports that were acknowledged", "%d of %d are stored", stored, r.sent.Load())
	counts, err := n.Store.Reports().Counts(ctx, outage.App)
	if err != nil {
		return err
	}
	confirmed := int64(0)
	for _, c := range counts {
		if c.Release == before.Digest && c.Kind == slipstream.KindConfirmed {
			confirmed = c.Devices
		}
	}
	n.expectf(confirmed == int64(devices), "devices that confirmed across the outage", "%d of %d are counted", confirmed, devices)
	return nil
}
