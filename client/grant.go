package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/slipstream-ota/slipstream"
)

// maxGrants is how many rollouts with a cap one check asks, of those that stand one below the other.
const maxGrants = 4

// places are the rollouts with a cap that admitted the device, and those that had no place for it in this epoch: only a
// later one can have made room. mu is held.
func (c *Client) places() (granted, full []string) {
	for rollout := range c.body.Grants {
		granted = append(granted, rollout)
	}
	for rollout, epoch := range c.body.Ungranted {
		if epoch >= c.body.Channels[c.channel].Epoch {
			full = append(full, rollout)
		}
	}
	return granted, full
}

// grants asks for admission to the rollouts with a cap that packages wait for. It keeps the answers, a yes for good, a no
// until the state changes, and says whether there was one.
func (c *Client) grants(ctx context.Context, rulings map[string]ruling) (bool, error) {
	answered := false
	for _, r := range rulings {
		if r.grant == "" || r.offer != nil {
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

func (c *Client) grant(ctx context.Context, rollout string) (kept bool, err error) {
	c.mu.Lock()
	epoch := c.body.Channels[c.channel].Epoch
	q := slipstream.GrantRequest{App: c.cfg.App, Channel: c.channel, Rollout: rollout, Device: c.deviceID()}
	c.mu.Unlock()
	body, err := json.Marshal(q)
	if err != nil {
		return false, fmt.Errorf("encode question for a grant: %w", err)
	}
	var answer slipstream.GrantAnswer
	err = c.net.document(ctx, http.MethodPost, "/v1/grants", body, 4<<10, func(raw []byte) error {
		return decodeAnswer(raw, &answer, "grant")
	})
	if err != nil {
		c.log.Warn("no answer about a grant", "rollout", rollout, "error", err)
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.body
	switch {
	case answer.Granted:
		next.Grants = cloneWith(next.Grants, rollout, true)
	case answer.Epoch != 0 && answer.Epoch < epoch:
		return false, nil // from a node that does not know yet what this device knows
	default:
		// The device's own epoch: nobody signed the answer's, and a false one would keep it from asking for ever.
		next.Ungranted = cloneWith(next.Ungranted, rollout, epoch)
	}
	return true, c.commit(next)
}
