package simfleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// Lies is what the liars told of every rollout that they found in the public state.
type Lies struct {
	Senders   int   `json:"senders"`
	Unasked   int64 `json:"unasked"`  // failures of devices that never enrolled, each from another network
	Flooded   int64 `json:"flooded"`  // enrolments, each with its failure, all from one network
	Accepted  int64 `json:"accepted"` // of these reports
	Refused   int64 `json:"refused"`
	Unsettled int64 `json:"unsettled,omitempty"` // that got no answer
}

// liars look for new rollouts once a second. Of every one, half of them tell a failure without an enrolment and the others
// enrol and fail, spread over the time that a device takes between two checks.
type liars struct {
	fleet *Fleet
	http  *http.Client
	trust *sign.Trust
	known map[string]bool

	mu   sync.Mutex
	lies Lies
	of   map[mark]int64 // senders whose lie was taken, by release and kind
}

// crowd is the network that the flood comes from: a /24 that is kept for examples (RFC 5737).
const crowd = "192.0.2."

func newLiars(f *Fleet) *liars {
	return &liars{fleet: f, http: &http.Client{Transport: f.meter, Timeout: 30 * time.Second}, known: map[string]bool{}, lies: Lies{Senders: f.cfg.Liars}, of: map[mark]int64{}}
}

func (l *liars) told() Lies {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lies
}

func (l *liars) total() (*Lies, map[mark]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lies := l.lies
	return &lies, maps.Clone(l.of)
}

// idle reports whether every sender has lied of a rollout.
func (l *liars) idle() bool {
	told := l.told()
	return told.Unasked+told.Flooded >= int64(told.Senders)
}

func (l *liars) run(ctx context.Context) {
	var err error
	if l.trust, err = sign.OpenRoot(l.fleet.cfg.Root); err != nil {
		l.fleet.wrong("lie", err)
		return
	}
	var all sync.WaitGroup
	defer all.Wait()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		state, err := l.state(ctx)
		if err != nil && ctx.Err() == nil {
			l.fleet.wrong("lie", err)
		}
		if state != nil {
			for _, r := range state.Packages[l.fleet.cfg.Package].Rollouts {
				if !l.known[r.ID] {
					l.known[r.ID] = true
					all.Go(func() { l.slander(ctx, r) })
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l *liars) state(ctx context.Context) (*slipstream.State, error) {
	cfg := &l.fleet.cfg
	url := fmt.Sprintf("%s/v1/apps/%s/channels/%s/state/%s", cfg.Servers[0], cfg.App, cfg.Channel, cfg.Platform)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := l.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, slipstream.MaxStateBytes))
	if err != nil || res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("state: status %d", res.StatusCode), err)
	}
	return l.trust.State(raw)
}

// slander tells lies of one rollout, one sender after the other.
func (l *liars) slander(ctx context.Context, r slipstream.Rollout) {
	pause := l.fleet.cfg.Poll / time.Duration(l.fleet.cfg.Liars)
	for i := range l.fleet.cfg.Liars {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		random := func() string { return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()) }
		e := slipstream.Event{App: l.fleet.cfg.App, Channel: l.fleet.cfg.Channel, Package: l.fleet.cfg.Package, Device: random() + random(),
			Release: r.Manifest, Rollout: r.ID, Arm: slipstream.ArmTreatment, Platform: l.fleet.cfg.Platform}
		var lies []slipstream.Event
		from := sender(rand.IntN(mostNetworks), i)
		if i%2 == 1 {
			from = []string{crowd + fmt.Sprint(1+i/2%254)}
			e.Kind, e.ID = slipstream.KindEnrolled, random()
			lies = append(lies, e)
		}
		e.Kind, e.ID, e.Reason = slipstream.KindRolledBack, random(), slipstream.ReasonCrashed
		lies = append(lies, e)
		l.send(context.WithoutCancel(ctx), from, lies)
	}
}

func (l *liars) send(ctx context.Context, from []string, lies []slipstream.Event) {
	answer, err := l.post(ctx, from, lies)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(lies) == 1 {
		l.lies.Unasked++
	} else {
		l.lies.Flooded++
	}
	if err != nil {
		l.lies.Unsettled += int64(len(lies))
		return
	}
	for _, r := range answer {
		if r.Status == slipstream.EventRefused {
			l.lies.Refused++
		} else {
			l.lies.Accepted++
			if r.Index >= 0 && r.Index < len(lies) {
				l.of[mark{release: lies[r.Index].Release, kind: lies[r.Index].Kind}]++
			}
		}
	}
}

func (l *liars) post(ctx context.Context, from []string, lies []slipstream.Event) ([]slipstream.EventResult, error) {
	body, err := json.Marshal(lies)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.fleet.cfg.Servers[0]+"/v1/reports", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header["X-Forwarded-For"] = from
	req.Header.Set("Content-Type", "application/json")
	res, err := l.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var answer struct {
		Results []slipstream.EventResult `json:"results"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("reports: status %d", res.StatusCode), err)
	}
	return answer.Results, nil
}
