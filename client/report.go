package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
)

const (
	maxOutbox      = 500     // events kept while no server is reached; the oldest are dropped
	maxOutboxBytes = 1 << 20 // of their texts
	reportBatch    = 100
	maxReportReply = 256 << 10
)

// complete fills in what every event carries. mu is held.
func (c *Client) complete(e slipstream.Event) slipstream.Event {
	id, err := c.random(16)
	if err != nil {
		c.log.Error("an event has no id", "error", err)
	}
	at := slipstream.At(c.clock.Now())
	e.ID, e.At = id, &at
	e.App, e.Channel, e.Device = c.cfg.App, c.channel, c.deviceID()
	e.Platform, e.Runtime = c.cfg.Platform, c.cfg.Runtime
	e.Epoch = c.body.Channels[c.channel].Epoch
	e.Detail = slipstream.CutDetail(e.Detail)
	return e
}

// bounded drops the oldest events of an outbox that became too long.
func bounded(outbox []slipstream.Event) []slipstream.Event {
	if over := len(outbox) - maxOutbox; over > 0 {
		outbox = outbox[over:]
	}
	room := maxOutboxBytes
	for i, e := range slices.Backward(outbox) {
		if room -= len(e.Detail) + len(e.Value) + len(e.Metric) + len(e.Rollout) + len(e.Reason); room < 0 {
			return outbox[i+1:]
		}
	}
	return outbox
}

// Metric puts a measurement into the outbox: a number or a boolean. It counts for what the device runs; with several
// packages in the app, MetricOf says which of them it is about.
func (c *Client) Metric(name string, value any) error {
	pkg := ""
	if len(c.cfg.Packages) == 1 {
		pkg = c.cfg.Packages[0]
	}
	return c.MetricOf(pkg, name, value)
}

// MetricOf is Metric about one package; "" is the whole app.
func (c *Client) MetricOf(pkg, name string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode metric %s: %w", name, err)
	}
	if len(name)+len(raw) > slipstream.MaxEventDetail {
		return fmt.Errorf("metric %.40s: more than %d bytes", name, slipstream.MaxEventDetail)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.own(); err != nil {
		return err
	}
	e := slipstream.Event{Kind: slipstream.KindMetric, Package: pkg, Metric: name, Value: raw}
	if pkg != "" {
		e.Release = c.body.Trial.Running(c.env(), pkg).Digest
		e.Running = e.Release
	}
	return c.commit(c.body, e)
}

// failed reports a failure once, until the same thing works again or fails for another reason, and passes err on.
func (c *Client) failed(stage, pkg string, err error) error {
	return c.tellFailure(slipstream.Event{Stage: stage, Package: pkg}, err)
}

// failedOffer is failed about a release that is offered.
func (c *Client) failedOffer(stage string, o Offer, err error) error {
	return c.tellFailure(slipstream.Event{Stage: stage, Package: o.Package, Release: o.Release.Digest, Rollout: o.Rollout, Arm: treated(o.Rollout)}, err)
}

// treated is the arm of a device that takes what a rollout offers.
func treated(rollout string) string {
	if rollout == "" {
		return ""
	}
	return slipstream.ArmTreatment
}

func (c *Client) tellFailure(e slipstream.Event, err error) error {
	reason := classify(err)
	if errors.Is(err, context.Canceled) || reason == slipstream.ReasonLocked {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key, told := e.Stage+"/"+e.Package, reason
	if e.Release != "" {
		told += slipstream.Reason(" " + e.Release.Short()) // another release is another failure
	}
	if c.lock == nil || c.body.Failed[key] == told {
		return err
	}
	next := c.body
	next.Failed = cloneWith(next.Failed, key, told)
	e.Kind, e.Reason, e.Detail = slipstream.KindFailed, reason, err.Error()
	if e.Package != "" {
		e.Running = c.body.Trial.Running(c.env(), e.Package).Digest
	}
	if cerr := c.commit(next, e); cerr != nil {
		return errors.Join(err, cerr)
	}
	return err
}

// succeeded forgets a failure, so that the next one is reported again.
func (c *Client) succeeded(stage, pkg string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := stage + "/" + pkg
	if _, bad := c.body.Failed[key]; !bad {
		return
	}
	next := c.body
	next.Failed = cloneWith(next.Failed, key, "")
	delete(next.Failed, key)
	if err := c.commit(next); err != nil {
		c.log.Warn("a healed failure is not noted", "error", err)
	}
}

// aliveEvery is how long a device that has nothing to tell keeps quiet about what it runs: without a word the server
// would forget it.
const aliveEvery = 24 * time.Hour

// tellAlive reports what runs of the packages that nothing was told of for a day.
func (c *Client) tellAlive(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var events []slipstream.Event
	for _, pkg := range c.cfg.Packages {
		told := max(c.body.Told[pkg], c.device.FirstSeen.Unix())
		if age := now.Sub(time.Unix(told, 0)); age >= aliveEvery || age < -aliveEvery { // a clock far back was wrong then
			events = append(events, slipstream.Event{Kind: slipstream.KindAlive, Package: pkg, Running: c.body.Trial.Running(c.env(), pkg).Digest})
		}
	}
	if len(events) == 0 || c.lock == nil {
		return nil
	}
	return c.commit(c.body, events...)
}

// toldBy notes when it was told what runs. mu is held.
func (c *Client) toldBy(told map[string]int64, events []slipstream.Event) map[string]int64 {
	for _, e := range events {
		switch e.Kind {
		case slipstream.KindEnrolled, slipstream.KindConfirmed, slipstream.KindRolledBack, slipstream.KindAlive:
			if e.Package != "" {
				told = cloneWith(told, e.Package, e.At.Unix())
			}
		}
	}
	return told
}

// Pending are the reports that no server has taken yet, oldest first.
func (c *Client) Pending() []slipstream.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.body.Outbox)
}

// Report sends the outbox in order, in batches. What a server accepted, knew already or refused for good is dropped;
// the rest stays for the next time.
func (c *Client) Report(ctx context.Context) error {
	for size := reportBatch; ; {
		batch := c.Pending()
		if len(batch) == 0 {
			return nil
		}
		batch = batch[:min(len(batch), size)]
		body, err := json.Marshal(batch)
		if err != nil {
			return fmt.Errorf("encode reports: %w", err)
		}
		var answer struct {
			Results []slipstream.EventResult `json:"results"`
		}
		err = c.net.do(ctx, call{method: http.MethodPost, path: "/v1/reports", body: body, once: true}, func(r *http.Response) error {
			raw, err := readCapped(r.Body, maxReportReply, "reports")
			if err != nil {
				return err
			}
			return decodeAnswer(raw, &answer, "answer to reports")
		})
		done := map[string]bool{}
		switch {
		case err == nil:
		case !refusedWhole(err):
			return fmt.Errorf("send reports: %w", err)
		case len(batch) > 1: // one of them must not keep the others back
			size = len(batch) / 2
			continue
		default:
			c.log.Warn("a report that no server takes is dropped", "kind", batch[0].Kind, "error", err)
			done[batch[0].ID] = true
		}
		for _, r := range answer.Results {
			if r.Index >= 0 && r.Index < len(batch) {
				done[batch[r.Index].ID] = true
			}
			if r.Status == slipstream.EventRefused {
				c.log.Warn("a report was refused", "error", r.Error)
			}
		}
		size = reportBatch
		if len(done) == 0 {
			return slipstream.Refuse(slipstream.ReasonServerError, "reports", "the server took none of %d", len(batch))
		}
		if err := c.sent(done); err != nil {
			return err
		}
	}
}

func (c *Client) sent(done map[string]bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.own(); err != nil {
		return fmt.Errorf("note what was sent: %w", err)
	}
	next := c.body
	next.Outbox = slices.DeleteFunc(slices.Clone(next.Outbox), func(e slipstream.Event) bool { return done[e.ID] })
	return c.commit(next)
}
