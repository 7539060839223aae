package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/lab/outage"
	"github.com/slipstream-ota/slipstream/store"
)

// serverHardships are what happens to a server's blob store, and to its database.
func serverHardships() (blobs, databases []hardship) {
	blobs = []hardship{
		{"blob store that fails under a publish", onNode(300*time.Millisecond, publishOverBadBlobs)},
		{"blob store that fails under downloads", onNode(300*time.Millisecond, downloadsOverBadBlobs)},
		{"blob store that fails under devices", onNode(300*time.Millisecond, devicesOverBadBlobs)},
		{"blob store that fails under the making of containers", onNode(300*time.Millisecond, containersOverBadBlobs)},
		{"blob store that fails under a collection of garbage", onNode(300*time.Millisecond, garbageOverBadBlobs)},
	}
	databases = []hardship{
		{"database away", onNode(2*time.Second, func(ctx context.Context, n *tended) error { return databaseAway(ctx, n, false) })},
		{"database that hangs", onNode(500*time.Millisecond, func(ctx context.Context, n *tended) error { return databaseAway(ctx, n, true) })},
		{"database away for longer than a state lives", onNode(300*time.Millisecond, databaseAwayForDays)},
		{"real PostgreSQL away", postgresAway},
	}
	return blobs, databases
}

// tended is a server with failing parts, and what is tried on it.
type tended struct {
	*outage.Node
	*trials
	clock   *clock
	devices int
}

func onNode(patience time.Duration, try func(ctx context.Context, n *tended) error) func(context.Context, *trials) error {
	return func(ctx context.Context, t *trials) error {
		now := newClock()
		node, err := outage.Start(ctx, filepath.Join(t.dir, "server"), now.Now, patience)
		if err != nil {
			return err
		}
		return errors.Join(try(ctx, &tended{Node: node, trials: t, clock: now}), node.Close())
	}
}

// published makes a release with its containers while nothing fails.
func (n *tended) published(ctx context.Context) (*outage.Release, error) {
	r, err := n.Sign(n.clock.Now())
	if err != nil {
		return nil, err
	}
	if _, err := n.Publish(ctx, r); err != nil {
		return nil, fmt.Errorf("publish while nothing fails: %w", err)
	}
	return r, n.Containers.Settle(ctx)
}

// answer is what came for one request. broken says that the body did not come whole.
type answer struct {
	status int
	header http.Header
	body   []byte
	broken error
}

func (n *tended) ask(ctx context.Context, method, path string, body []byte, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, n.URL+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{broken: err}, nil
	}
	raw, err := io.ReadAll(res.Body)
	_ = res.Body.Close() // read to its end
	return answer{status: res.StatusCode, header: res.Header, body: raw, broken: err}, nil
}

// unclear says what is wrong with an answer that is no success: it must be a problem document with a code, and one that
// asks to come again must say when.
func (a answer) unclear() string {
	if a.broken != nil {
		return ""
	}
	var p struct {
		Code   string `json:"code"`
		Status int    `json:"status"`
	}
	switch err := json.Unmarshal(a.body, &p); {
	case err != nil || p.Code == "" || p.Status != a.status || a.header.Get("Content-Type") != "application/problem+json":
		return fmt.Sprintf("status %d with %.200q is no problem document", a.status, a.body)
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "":
		return "503 without Retry-After"
	}
	return ""
}

// patience is how long a client of the server waits: not at all long for what never comes.
func (n *tended) patience(ctx context.Context, fault outage.Fault) (context.Context, context.CancelFunc) {
	if fault == outage.Stalls {
		return context.WithTimeout(ctx, 2*n.Patience)
	}
	return context.WithTimeout(ctx, 20*time.Second)
}

// settled waits until nothing of the server hangs in the blob store any more.
func (n *tended) settled(ctx context.Context) string {
	for deadline := time.Now().Add(10 * time.Second); n.Blobs.Stuck() > 0; {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Sprintf("%d calls still hang after their client has gone", n.Blobs.Stuck())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return ""
}

// blobAnswers says what is wrong with the bytes of a release as they are served now, when nothing fails.
func (n *tended) blobAnswers(ctx context.Context, r *outage.Release) string {
	for _, f := range r.Manifest.Files {
		a, err := n.ask(ctx, http.MethodGet, "/v1/blobs/"+string(f.SHA256), nil)
		if err != nil || a.broken != nil || a.status != http.StatusOK || string(a.body) != r.Files[f.Path] {
			return fmt.Sprintf("%s is answered with status %d and %d bytes: %v", f.Path, a.status, len(a.body), errors.Join(err, a.broken))
		}
	}
	return ""
}

func publishOverBadBlobs(ctx context.Context, n *tended) error {
	for _, call := range []outage.Call{outage.Put, outage.Stat, outage.Open, outage.Read, outage.List} {
		for _, fault := range []outage.Fault{outage.Errs, outage.Stalls, outage.Lies, outage.Short, outage.Gone} {
			r, err := n.Sign(n.clock.Now())
			if err != nil {
				return err
			}
			what := fmt.Sprintf("%s %s", call, fault)
			n.Blobs.Fail(call, fault)
			waiting, cancel := n.patience(ctx, fault)
			_, err = n.Publish(waiting, r)
			cancel()
			hits := n.Blobs.Hits()
			n.Blobs.Fail("", "")
			n.expect(what+", calls that hang", n.settled(ctx))
			a, aerr := n.ask(ctx, http.MethodGet, "/v1/manifests/"+string(r.Digest), nil)
			if aerr != nil {
				return aerr
			}
			var problem *api.ProblemError
			switch {
			case err == nil:
				n.expect(what+", acknowledged", n.blobAnswers(ctx, r))
			case a.status == http.StatusOK && !errors.Is(err, context.DeadlineExceeded):
				n.expect(what, fmt.Sprintf("the release is there although it was refused: %v", err))
			case errors.As(err, &problem):
				n.expectf(problem.Code != "" && hits > 0, what, "refused without a cause: %v", err)
			default:
				n.expectf(errors.Is(err, context.DeadlineExceeded) && fault == outage.Stalls, what, "no clear problem: %v", err)
			}
			_, err = n.Publish(ctx, r)
			n.expectf(err == nil, what+", once more when healed", "%v", err)
			n.expect(what+", once more when healed", n.blobAnswers(ctx, r))
		}
	}
	return nil
}

func downloadsOverBadBlobs(ctx context.Context, n *tended) error {
	if _, err := n.published(ctx); err != nil {
		return err
	}
	r, err := n.published(ctx)
	if err != nil {
		return err
	}
	list, err := n.ask(ctx, http.MethodGet, "/v1/releases/"+string(r.Digest)+"/containers", nil)
	var containers []slipstream.Container
	if err = errors.Join(err, json.Unmarshal(list.body, &containers)); err != nil {
		return err
	}
	big := r.Manifest.Files[0]
	paths := map[string]slipstream.Digest{"/v1/blobs/" + string(big.SHA256): big.SHA256}
	for _, c := range containers {
		paths["/v1/containers/"+string(c.SHA256)] = c.SHA256
	}
	for _, call := range []outage.Call{outage.Open, outage.Read, outage.Seek, outage.Stat} {
		for _, fault := range []outage.Fault{outage.Errs, outage.Stalls, outage.Lies, outage.Short, outage.Gone} {
			for path, digest := range paths {
				for _, header := range [][]string{nil, {"Range", "bytes=10-"}} {
					if fault == outage.Stalls && n.env.Quick && (header != nil || !strings.Contains(path, "blobs")) {
						continue // each waits
					}
					what := fmt.Sprintf("%s %s, %s %v", call, fault, path[:20], header)
					n.Blobs.Fail(call, fault)
					waiting, cancel := n.patience(ctx, fault)
					a, err := n.ask(waiting, http.MethodGet, path, nil, header...)
					cancel()
					n.Blobs.Fail("", "")
					if err != nil {
						return err
					}
					n.expect(what, a.dishonest(digest, header != nil, fault))
					n.expect(what+", calls that hang", n.settled(ctx))
				}
			}
		}
	}
	return nil
}

// dishonest says what is wrong with a download over a failing store. Wrong bytes can only come when the store lies:
// whoever asked for them by their hash notices.
func (a answer) dishonest(digest slipstream.Digest, part bool, fault outage.Fault) string {
	switch {
	case a.broken != nil:
		return ""
	case a.status == http.StatusPartialContent && part:
		return ""
	case a.status != http.StatusOK:
		return a.unclear()
	case slipstream.DigestOf(sha256.Sum256(a.body)) != digest && fault != outage.Lies:
		return fmt.Sprintf("%d wrong bytes are served as complete", len(a.body))
	}
	return ""
}

// device opens a client on a directory of its own, or the one of an earlier device.
func (n *tended) device(ctx context.Context, dir string, now client.Clock) (*client.Client, error) {
	return client.Open(ctx, client.Config{Dir: dir, App: outage.App, Servers: []string{n.URL}, Root: n.Root, Clock: now, Transport: &http.Transport{DisableKeepAlives: true},
		Limits: client.Limits{Rounds: 1, Document: 4 * n.Patience, Download: time.Second, Window: time.Second, MinRate: 1 << 20}})
}

func (n *tended) newDevice(ctx context.Context, now client.Clock) (*client.Client, string, error) {
	n.devices++
	dir := filepath.Join(n.dir, fmt.Sprintf("device%d", n.devices))
	c, err := n.device(ctx, dir, now)
	return c, dir, err
}

// runs says what is wrong when a device does not run a whole release, or not this one.
func runs(ctx context.Context, c *client.Client, r *outage.Release) string {
	l, err := c.Start(ctx)
	if err != nil {
		return fmt.Sprintf("nothing starts: %v", err)
	}
	t := l.Packages[slipstream.DefaultPackage]
	if r == nil {
		if !t.Embedded {
			return fmt.Sprintf("it runs %s", t.Version)
		}
		return ""
	}
	if t.Release != r.Digest {
		return fmt.Sprintf("it runs %q instead of %s", t.Version, r.Manifest.Version)
	}
	for path, want := range r.Files {
		if got, err := os.ReadFile(filepath.Join(t.Dir, filepath.FromSlash(path))); err != nil || string(got) != want {
			return fmt.Sprintf("%s is not as it was signed: %v", path, err)
		}
	}
	if err := l.Confirm(ctx); err != nil {
		return fmt.Sprintf("confirm: %v", err)
	}
	return ""
}

// realTime is the clock of the machine moved to where the server's stands, for what waits.
type realTime struct{ *clock }

func (realTime) After(d time.Duration) <-chan time.Time { return time.After(d) }

func devicesOverBadBlobs(ctx context.Context, n *tended) error {
	r, err := n.published(ctx)
	if err != nil {
		return err
	}
	for _, call := range []outage.Call{outage.Open, outage.Read} {
		for _, fault := range []outage.Fault{outage.Errs, outage.Stalls, outage.Lies, outage.Short, outage.Gone} {
			if fault == outage.Stalls && n.env.Quick && call == outage.Open {
				continue
			}
			what := fmt.Sprintf("%s %s", call, fault)
			c, _, err := n.newDevice(ctx, realTime{n.clock})
			if err != nil {
				return err
			}
			n.Blobs.Fail(call, fault)
			_, err = c.Update(ctx)
			n.Blobs.Fail("", "")
			staged := c.Holds(slipstream.DefaultPackage).Staged
			n.expectf((err != nil) == (staged == nil), what, "error %v, staged %v", err, staged != nil)
			if staged == nil {
				n.expect(what+", the app meanwhile", runs(ctx, c, nil))
			}
			_, err = c.Update(ctx)
			n.expectf(err == nil, what+", healed", "update: %v", err)
			n.expect(what+", healed", runs(ctx, c, r))
			if err := c.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func containersOverBadBlobs(ctx context.Context, n *tended) error {
	if _, err := n.published(ctx); err != nil {
		return err
	}
	for _, call := range []outage.Call{outage.Open, outage.Read, outage.Put, outage.Stat} {
		for _, fault := range []outage.Fault{outage.Errs, outage.Stalls, outage.Lies, outage.Short, outage.Gone} {
			r, err := n.Sign(n.clock.Now())
			if err == nil {
				_, err = n.Publish(ctx, r)
			}
			if err != nil {
				return err
			}
			what := fmt.Sprintf("%s %s", call, fault)
			n.Blobs.Fail(call, fault)
			waiting, cancel := n.patience(ctx, fault)
			failed := n.Containers.Settle(waiting)
			cancel()
			n.Blobs.Fail("", "")
			n.expect(what, n.badContainers(ctx, r, false))
			n.clock.advance(2 * time.Minute) // what failed is tried again after a while
			err = n.Containers.Settle(ctx)
			n.expectf(err == nil, what+", healed", "%v after %v", err, failed)
			n.expect(what+", healed", n.badContainers(ctx, r, true))
		}
	}
	return nil
}

// badContainers says what is wrong with the containers that are offered for a release.
func (n *tended) badContainers(ctx context.Context, r *outage.Release, complete bool) string {
	var list []slipstream.Container
	err := n.Store.View(ctx, func(tx store.Tx) (err error) {
		list, err = tx.Containers().List(ctx, r.Digest)
		return err
	})
	if err != nil {
		return err.Error()
	}
	for _, c := range list {
		a, err := n.ask(ctx, http.MethodGet, "/v1/containers/"+string(c.SHA256), nil)
		if err != nil || a.broken != nil || a.status != http.StatusOK || slipstream.DigestOf(sha256.Sum256(a.body)) != c.SHA256 {
			return fmt.Sprintf("container %s from %q is offered but answered with status %d, %d bytes", c.SHA256.Short(), c.From, a.status, len(a.body))
		}
	}
	if complete && !slices.ContainsFunc(list, func(c slipstream.Container) bool { return c.From == "" }) {
		return "there is no full container"
	}
	return ""
}

func garbageOverBadBlobs(ctx context.Context, n *tended) error {
	r, err := n.published(ctx)
	if err != nil {
		return err
	}
	for _, call := range []outage.Call{outage.List, outage.Stat, outage.Open} {
		for _, fault := range []outage.Fault{outage.Errs, outage.Stalls, outage.Gone} {
			what := fmt.Sprintf("%s %s", call, fault)
			n.Blobs.Fail(call, fault)
			waiting, cancel := n.patience(ctx, fault)
			_, err := n.Admin.Collect(waiting, api.Collect{Apply: true, Margin: 1, Keep: 1})
			cancel()
			hits := n.Blobs.Hits()
			n.Blobs.Fail("", "")
			n.expectf(err == nil || hits > 0, what, "it fails without a cause: %v", err)
			n.expect(what+", calls that hang", n.settled(ctx))
			n.expect(what+", what is in force", n.blobAnswers(ctx, r))
			n.expect(what+", its containers", n.badContainers(ctx, r, true))
		}
	}
	return nil
}

var pathParameter = regexp.MustCompile(`\{[^}]*\}`)

// adminOperations are all operations of the management API, from its own description.
func (n *tended) adminOperations(ctx context.Context) ([][2]string, error) {
	a, err := n.ask(ctx, http.MethodGet, "/v1/openapi.json", nil)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil {
		return nil, fmt.Errorf("read description of the management API: %w", err)
	}
	var out [][2]string
	for path, item := range doc.Paths {
		path = strings.ReplaceAll(path, "{digest}", strings.Repeat("a", 64))
		path = pathParameter.ReplaceAllString(path, outage.App)
		if strings.HasPrefix(path, api.SessionBase) {
			continue // a browser's way in: whoever comes without a cookie is answered without the database
		}
		for method := range item {
			if m := strings.ToUpper(method); slices.Contains([]string{"GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"}, m) {
				out = append(out, [2]string{m, path})
			}
		}
	}
	slices.SortFunc(out, func(a, b [2]string) int { return strings.Compare(a[1]+a[0], b[1]+b[0]) })
	return out, nil
}
