package client

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/slipstream-ota/slipstream"
)

const (
	maxGrants      = 4  // rollouts with a cap that one check asks for each package, of those that stand one below the other
	maxPlaces      = 64 // that a request for a decision may name
	maxGrantAnswer = 4 << 10
)

// places are the rollouts with a cap that admitted the device, and those that had no place for it in this epoch: only a
// later one can have made room. mu is held.
func (c *Client) places() (granted, full []string) {
	granted = slices.Sorted(maps.Keys(c.body.Grants))
	epoch := c.body.Channels[c.channel].Epoch
	for _, rollout := range slices.Sorted(maps.Keys(c.body.Ungranted)) {
		if c.body.Ungranted[rollout] >= epoch {
			full = append(full, rollout)
		}
	}
	return granted, full
}

// grants asks for admission to the rollouts with a cap that packages wait for. It keeps the answers, a yes for good, a no
// until the state changes, and says whether there was one. Leaving a bad release does not wait for it.
func (c *Client) grants(ctx context.Context, rulings map[string]ruling) (bool, error) {
	answered := false
	for _, pkg := range slices.Sorted(maps.Keys(rulings)) {
		r := rulings[pkg]
		if r.grant == "" || r.leave || r.offer != nil && r.offer.Leaving {
			continue
		}
		kept, err := c.grant(ctx, r.grant)
		if err != nil {
			return false, err
		}
		answered = answered || kept
	}
	return answered, nil
}

// grant asks once. A server that does not answer is asked again by the next check: until then the device goes without.
func (c *Client) grant(ctx context.Context, rollout string) (kept bool, err error) {
	c.mu.Lock()
	epoch := c.body.Channels[c.channel].Epoch
	q := slipstream.GrantRequest{App: c.cfg.App, Channel: c.channel, Rollout: rollout, Device: c.deviceID()}
	c.mu.Unlock()
	body, err := json.Marshal(q)
	if err != nil {
		return false, fmt.Errorf("encode question for a grant: %w", err)
	}
	var answer struct {
		Granted *bool `json:"granted"`
		Epoch   int64 `json:"epoch"`
	}
	err = c.net.do(ctx, call{method: http.MethodPost, path: "/v1/grants", body: body, once: true}, func(r *http.Response) error {
		raw, err := readCapped(r.Body, maxGrantAnswer, "grant")
		if err != nil {
			return err
		}
		if err := decodeAnswer(raw, &answer, "grant"); err != nil {
			return err
		}
		if answer.Granted == nil {
			return slipstream.Refuse(slipstream.ReasonMalformed, "grant", "the answer does not say whether")
		}
		return nil
	})
	if err != nil {
		c.log.Warn("no answer about a grant", "rollout", rollout, "error", err)
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.body
	switch {
	case *answer.Granted:
		next.Grants = cloneWith(next.Grants, rollout, true)
	case answer.Epoch != 0 && answer.Epoch < epoch:
		return false, nil // from a node that does not know yet what this device knows
	default:
		// The device's own epoch: nobody signed the answer's, and a false one would keep it from asking for ever.
		next.Ungranted = cloneWith(next.Ungranted, rollout, epoch)
	}
	return true, c.commit(next)
}
