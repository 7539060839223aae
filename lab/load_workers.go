package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/sign"
)

// loadWorkers ask at the same time, each one request after the other.
const loadWorkers = 8

// bear puts the load on for some time.
func (l *strain) bear(ctx context.Context, lasting time.Duration, seed uint64) {
	ctx, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	var all sync.WaitGroup
	jobs := []func(context.Context, *rand.Rand) error{
		l.checkStates, l.checkStates, l.checkDecisions, l.download, l.tell, l.tell, l.operate, l.live,
	}
	for who, job := range jobs[:loadWorkers] {
		random := rand.New(rand.NewPCG(seed, uint64(who)))
		all.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				if err := job(ctx, random); err != nil && ctx.Err() == nil {
					l.wrongf("%v", err)
				}
				_ = sleepFor(ctx, l.pace-time.Since(begun)) // the end of ctx ends the loop
			}
		})
	}
	all.Go(func() {
		for sleepFor(ctx, 500*time.Millisecond) == nil {
			if v, err := l.measure(ctx); err == nil && ctx.Err() == nil {
				l.vitals = append(l.vitals, v)
			}
		}
	})
	all.Wait()
}

// ask sends one request and gives its answer, which must have one of the statuses.
func (l *strain) ask(ctx context.Context, method, path string, body []byte, statuses []int, header ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, l.service.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := l.http.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	raw, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for _, s := range statuses {
		if res.StatusCode == s {
			return res, raw, nil
		}
	}
	return nil, nil, fmt.Errorf("%s %s answers %d: %.200s", method, path, res.StatusCode, raw)
}

func stateOf(channel string) string {
	return "/v1/apps/" + serviceApp + "/channels/" + channel + "/state/" + slipstream.PlatformAny
}

// checkStates is a device that asks for the state, mostly one that has it already, and sometimes for what is not there.
func (l *strain) checkStates(ctx context.Context, random *rand.Rand) error {
	channel := []string{slipstream.DefaultChannel, countedChannel, beta}[random.IntN(3)]
	res, raw, err := l.ask(ctx, http.MethodGet, stateOf(channel), nil, []int{http.StatusOK})
	if err != nil {
		return err
	}
	if _, err := l.author.trust.State(raw); err != nil {
		return fmt.Errorf("state of %s: %w", channel, err)
	}
	l.note("states")
	for range 3 {
		if _, _, err := l.ask(ctx, http.MethodGet, stateOf(channel), nil, []int{http.StatusNotModified, http.StatusOK}, "If-None-Match", res.Header.Get("ETag")); err != nil {
			return err
		}
		l.note("states by ETag")
	}
	missing := []string{"/v1/apps/" + serviceApp + "/roots/2", "/v1/apps/nobody/channels/production/state/any", "/v1/manifests/" + fmt.Sprintf("%064x", random.Uint64())}[random.IntN(3)]
	_, _, err = l.ask(ctx, http.MethodGet, missing, nil, []int{http.StatusNotFound})
	if err == nil {
		l.note("404s")
	}
	return err
}

// checkDecisions is a device that asks for a signed decision.
func (l *strain) checkDecisions(ctx context.Context, random *rand.Rand) error {
	nonce := make([]byte, 32)
	for i := range nonce {
		nonce[i] = byte(random.Uint32())
	}
	req := slipstream.CheckRequest{App: serviceApp, Channel: slipstream.DefaultChannel, Nonce: base64.StdEncoding.EncodeToString(nonce),
		Device:   slipstream.DeviceFacts{ID: fmt.Sprintf("%064x", random.Uint64()), Platform: slipstream.PlatformAny, Runtime: "3.2.0"},
		Packages: map[string]slipstream.PackageOnBoard{mainPkg: {Digest: l.counted[random.IntN(len(l.counted))].digest, Seq: 1}}}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	_, raw, err := l.ask(ctx, http.MethodPost, "/v1/check", body, []int{http.StatusOK}, "Content-Type", "application/json")
	if err != nil {
		return err
	}
	_, err = l.author.trust.AcceptDecision(raw, sign.ExpectDecision{App: serviceApp, Channel: req.Channel, Device: req.Device.ID, Nonce: req.Nonce, Now: time.Now()})
	if err != nil {
		return fmt.Errorf("decision: %w", err)
	}
	l.note("decisions")
	return nil
}

// download fetches what a release is made of: its manifest, its containers and files, whole and in parts.
func (l *strain) download(ctx context.Context, random *rand.Rand) error {
	e := l.counted[random.IntN(len(l.counted))]
	_, raw, err := l.ask(ctx, http.MethodGet, "/v1/manifests/"+string(e.digest), nil, []int{http.StatusOK})
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, e.envelope) {
		return fmt.Errorf("the manifest of %s is not what was signed", e.manifest.Version)
	}
	l.note("manifests")
	_, raw, err = l.ask(ctx, http.MethodGet, "/v1/releases/"+string(e.digest)+"/containers", nil, []int{http.StatusOK})
	if err != nil {
		return err
	}
	var list []slipstream.Container
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("list of containers: %w", err)
	}
	f := e.manifest.Files[random.IntN(len(e.manifest.Files))]
	path, sum, size := "/v1/blobs/"+string(f.SHA256), f.SHA256, f.Size
	if len(list) > 0 && random.IntN(2) == 0 {
		c := list[random.IntN(len(list))]
		path, sum, size = "/v1/containers/"+string(c.SHA256), c.SHA256, c.Size
	}
	cut := random.Int64N(size)
	_, first, err := l.ask(ctx, http.MethodGet, path, nil, []int{http.StatusPartialContent}, "Range", fmt.Sprintf("bytes=0-%d", cut))
	if err != nil {
		return err
	}
	rest := []byte(nil)
	if cut+1 < size {
		_, rest, err = l.ask(ctx, http.MethodGet, path, nil, []int{http.StatusPartialContent}, "Range", fmt.Sprintf("bytes=%d-", cut+1), "If-Range", `"`+string(sum)+`"`)
	}
	if err != nil {
		return err
	}
	_, whole, err := l.ask(ctx, http.MethodGet, path, nil, []int{http.StatusOK})
	if err != nil {
		return err
	}
	if slipstream.DigestOf(sha256.Sum256(whole)) != sum || !bytes.Equal(whole, append(first, rest...)) {
		return fmt.Errorf("%s gives wrong bytes", path)
	}
	l.note("downloads")
	return nil
}

// tell is a device that reports: one thing or many, and then some of it again.
func (l *strain) tell(ctx context.Context, random *rand.Rand) error {
	ctx = context.WithoutCancel(ctx) // what was sent must be counted
	e := l.counted[random.IntN(len(l.counted))]
	kinds := []slipstream.Kind{slipstream.KindFetched, slipstream.KindStaged, slipstream.KindConfirmed, slipstream.KindCrashed}
	var events []slipstream.Event
	for range []int{1, 1, 1, 20}[random.IntN(4)] {
		events = append(events, slipstream.Event{ID: fmt.Sprintf("load-%016x%08x", random.Uint64(), random.Uint32()), Kind: kinds[random.IntN(len(kinds))], App: serviceApp,
			Channel: countedChannel, Package: mainPkg, Device: fmt.Sprintf("%064x", random.Uint64()), Release: e.digest})
	}
	statuses := []string{slipstream.EventAccepted}
	if random.IntN(3) == 0 {
		statuses = append(statuses, slipstream.EventDuplicate)
	}
	for _, want := range statuses {
		var body []byte
		var err error
		if len(events) == 1 {
			body, err = json.Marshal(events[0])
		} else {
			body, err = json.Marshal(events)
		}
		if err != nil {
			return err
		}
		_, raw, err := l.ask(ctx, http.MethodPost, "/v1/reports", body, []int{http.StatusOK}, "Content-Type", "application/json")
		if err != nil {
			return err
		}
		var answer struct {
			Results []slipstream.EventResult `json:"results"`
		}
		if err := json.Unmarshal(raw, &answer); err != nil || len(answer.Results) != len(events) {
			return errors.Join(fmt.Errorf("%d results for %d reports", len(answer.Results), len(events)), err)
		}
		for _, r := range answer.Results {
			if r.Status != want {
				return fmt.Errorf("a report is %s instead of %s: %s", r.Status, want, r.Error)
			}
		}
		l.note("reports")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range events { // every device tells one thing
		l.told[e.digest][one.Kind]++
	}
	return nil
}

// operate is a team at work: it publishes, raises shares, pauses, resumes, finishes, withdraws.
func (l *strain) operate(ctx context.Context, random *rand.Rand) error {
	working := context.WithoutCancel(ctx) // what was asked for must be counted
	server := l.author.server
	e, err := l.author.release(working, slipstream.DefaultChannel, loadFiles)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	l.mu.Lock()
	l.releases++
	l.mu.Unlock()
	l.acknowledged("release.publish")
	l.acknowledged("rollout.start") // in the same transaction
	tenth, half, paused, none := 1000, 5000, "paused", "none"
	started, err := server.StartRollout(working, serviceApp, beta, api.StartRollout{Release: string(e.digest), To: &tenth})
	if err != nil {
		return fmt.Errorf("start rollout: %w", err)
	}
	l.acknowledged("rollout.start")
	for action, change := range map[string]api.RolloutChange{"rollout.share": {To: &half}, "rollout.pause": {Hold: &paused}} {
		if _, err := server.ChangeRollout(working, serviceApp, beta, started.Rollout.ID, change); err != nil {
			return fmt.Errorf("%s: %w", action, err)
		}
		l.acknowledged(action)
	}
	if random.IntN(2) == 0 {
		if _, err := server.Withdraw(working, serviceApp, beta, api.Withdraw{Release: string(e.digest), Reason: "load"}); err != nil {
			return fmt.Errorf("withdraw: %w", err)
		}
		l.acknowledged("release.withdraw")
	} else {
		if _, err := server.ChangeRollout(working, serviceApp, beta, started.Rollout.ID, api.RolloutChange{Hold: &none}); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		l.acknowledged("rollout.resume")
		if _, err := server.ChangeRollout(working, serviceApp, beta, started.Rollout.ID, api.RolloutChange{Finish: true}); err != nil {
			return fmt.Errorf("finish: %w", err)
		}
		l.acknowledged("rollout.finish")
	}
	if _, err := server.Status(working, serviceApp); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	l.note("status questions")
	_ = sleepFor(ctx, 2*time.Second) // the end of ctx ends the loop
	return nil
}

// live is the real client: it comes for the first time or again, takes what is offered, runs and confirms it.
func (l *strain) live(ctx context.Context, random *rand.Rand) error {
	dir := filepath.Join(l.service.program.dir, "devices", fmt.Sprint(random.IntN(4)))
	if random.IntN(8) == 0 {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	c, err := client.Open(ctx, client.Config{Dir: dir, App: serviceApp, Servers: []string{l.service.url}, Root: l.author.root, Transport: l.http.Transport, History: 1})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it says nothing that matters here
	if _, err := c.Update(ctx); err != nil {
		return fmt.Errorf("a device's update: %w", err)
	}
	launch, err := c.Start(ctx)
	if err != nil {
		return fmt.Errorf("a device's start: %w", err)
	}
	if t := launch.Packages[mainPkg]; !t.Embedded {
		e := l.author.edition(t.Release)
		if e == nil {
			return fmt.Errorf("a device runs %s, which nobody signed", t.Release)
		}
		if mixed := e.mixed(t.Dir); mixed != "" {
			return fmt.Errorf("a device runs %s, but %s", t.Version, mixed)
		}
	}
	if err := launch.Confirm(ctx); err != nil {
		return fmt.Errorf("a device's confirm: %w", err)
	}
	if err := c.Report(ctx); err != nil {
		return fmt.Errorf("a device's reports: %w", err)
	}
	l.note("lives of devices")
	_ = sleepFor(ctx, 300*time.Millisecond) // the end of ctx ends the loop
	return nil
}
