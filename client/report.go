package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

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

// Metric puts a measurement into the outbox: a number or a boolean.
func (c *Client) Metric(name string, value any) error {
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
	return c.commit(c.body, slipstream.Event{Kind: slipstream.KindMetric, Metric: name, Value: raw})
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
