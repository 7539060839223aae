package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/pgcluster"
)

// postgresAway stops a real PostgreSQL under the real server for a minute.
func postgresAway(ctx context.Context, t *trials) (err error) {
	if why := NeedProcesses().Missing(t.env); why != "" {
		return fmt.Errorf("%w: %s", errNotHere, why)
	}
	if pgcluster.Missing() {
		return fmt.Errorf("%w: %w", errNotHere, pgcluster.ErrMissing)
	}
	if t.env.Quick {
		return fmt.Errorf("%w: takes a minute, only in the full run", errNotHere)
	}
	cluster, err := pgcluster.Start()
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	url, _, err := cluster.Database() // goes with its cluster
	if err != nil {
		return err
	}
	a, err := serve(ctx, t.env, filepath.Join("outage", "server"), "--database", url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	o := &pgOutage{trials: t, service: a.service, author: a}
	for round, away := range []time.Duration{3 * time.Second, time.Minute} {
		if err := o.endure(ctx, cluster, away); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return a.service.terminate(drainLimit)
}

type pgOutage struct {
	*trials
	service *service
	author  *author
	told    int
}

func (o *pgOutage) device(ctx context.Context, dir string) (*client.Client, error) {
	return client.Open(ctx, client.Config{Dir: dir, App: serviceApp, Servers: []string{o.service.url}, Root: o.author.root,
		Transport: &http.Transport{DisableKeepAlives: true}, Limits: client.Limits{Rounds: 1}})
}

// runs says what is wrong when a device does not take and confirm a release.
func (o *pgOutage) takes(ctx context.Context, c *client.Client, e *edition) string {
	if _, err := c.Update(ctx); err != nil {
		return fmt.Sprintf("update: %v", err)
	}
	l, err := c.Start(ctx)
	if err != nil {
		return fmt.Sprintf("start: %v", err)
	}
	tree := l.Packages[mainPkg]
	if tree.Release != e.digest {
		return fmt.Sprintf("it runs %q instead of %s", tree.Version, e.manifest.Version)
	}
	if err := l.Confirm(ctx); err != nil {
		return fmt.Sprintf("confirm: %v", err)
	}
	return e.mixed(tree.Dir)
}

func (o *pgOutage) endure(ctx context.Context, cluster *pgcluster.Cluster, away time.Duration) error {
	e, err := o.author.release(ctx, slipstream.DefaultChannel, loadFiles)
	if err != nil {
		return err
	}
	c, err := o.device(ctx, filepath.Join(o.dir, "device"))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // a directory that goes with the case
	o.expect("a device before", o.takes(ctx, c, e))
	if err := cluster.Away(); err != nil {
		return err
	}
	for until := time.Now().Add(away); time.Now().Before(until); {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		o.whileAway(ctx, c, e)
		if err := sleepFor(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	waiting := len(c.Pending())
	if err := cluster.Back(); err != nil {
		return err
	}
	begun := time.Now()
	next, err := o.author.release(ctx, slipstream.DefaultChannel, loadFiles)
	for err != nil && time.Since(begun) < 15*time.Second && ctx.Err() == nil {
		next, err = o.author.release(ctx, slipstream.DefaultChannel, loadFiles)
	}
	if err != nil {
		o.expect("a publish afterwards", err.Error())
		return nil
	}
	o.expect("a device afterwards", o.takes(ctx, c, next))
	err = c.Report(ctx)
	o.expectf(err == nil && len(c.Pending()) == 0, "the outbox afterwards", "%d of %d wait: %v", len(c.Pending()), waiting, err)
	return nil
}

// whileAway asks for everything once.
func (o *pgOutage) whileAway(ctx context.Context, c *client.Client, e *edition) {
	for path, want := range map[string]int{
		stateOf(slipstream.DefaultChannel): http.StatusOK, "/v1/apps/" + serviceApp + "/roots/1": http.StatusOK, "/healthz": http.StatusOK, "/readyz": http.StatusOK,
		"/v1/blobs/" + string(e.manifest.Files[0].SHA256): http.StatusOK, "/v1/manifests/" + string(e.digest): http.StatusOK, "/v1/admin/status": http.StatusServiceUnavailable,
		"/v1/manifests/" + string(e.manifest.Files[0].SHA256): http.StatusServiceUnavailable,
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.service.url+path, nil)
		if err != nil {
			o.expect(path, err.Error())
			continue
		}
		req.Header.Set("Authorization", "Bearer "+o.service.token)
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			o.expect(path, err.Error())
			continue
		}
		_ = res.Body.Close() // its status is enough
		o.expectf(res.StatusCode == want && (want == http.StatusOK || res.Header.Get("Retry-After") != ""), path, "status %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	_, err := c.Check(ctx)
	o.expectf(err == nil, "a check", "%v", err)
	o.told++
	if err := c.Metric("outage", json.Number(fmt.Sprint(o.told))); err != nil {
		o.expect("a metric", err.Error())
	}
	waiting := len(c.Pending())
	err = c.Report(ctx)
	o.expectf(err != nil && client.RetryAfter(err) > 0 && len(c.Pending()) == waiting, "the outbox", "%d of %d wait: %v", len(c.Pending()), waiting, err)
}
