package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// place asks one server for a device's place in a rollout with a cap. One that is too busy, or was killed, is asked again.
func (g *steering) place(ctx context.Context, channel, id string, i, node int) (bool, error) {
	body, err := json.Marshal(slipstream.GrantRequest{App: serviceApp, Channel: channel, Rollout: id, Device: fmt.Sprintf("%064x", i+1)})
	if err != nil {
		return false, err
	}
	for tries := 1; ; tries++ {
		code, raw, err := g.send(ctx, g.nodes[node], "/v1/grants", body, i)
		if err != nil && (ctx.Err() != nil || tries > 400) {
			return false, err
		}
		if err != nil || code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
			if err := sleepFor(ctx, 50*time.Millisecond); err != nil {
				return false, err
			}
			continue
		}
		var answer struct {
			Granted bool `json:"granted"`
		}
		if err := json.Unmarshal(raw, &answer); err != nil || code != http.StatusOK {
			return false, errors.Join(fmt.Errorf("a place is answered with %d: %.200s", code, raw), err)
		}
		return answer.Granted, nil
	}
}

// killWhile kills the first server and starts it again, at random times, until done is closed. It says how often.
func (g *steering) killWhile(ctx context.Context, done <-chan struct{}, random *rand.Rand) (int, error) {
	for kills := 0; ; kills++ {
		select {
		case <-done:
			return kills, nil
		case <-time.After(time.Duration(10+random.IntN(150)) * time.Millisecond):
		}
		if err := g.nodes[0].kill(); err != nil {
			return kills, err
		}
		if _, err := g.nodes[0].start(ctx); err != nil {
			return kills, err
		}
	}
}

// answerOf sends a request over a connection of its own and gives status and body.
func answerOf(req *http.Request) (int, []byte, error) {
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	raw, err := io.ReadAll(res.Body)
	return res.StatusCode, raw, errors.Join(err, res.Body.Close())
}
