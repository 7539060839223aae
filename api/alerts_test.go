package api_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/alert/webhook"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/internal/seal"
	"github.com/slipstream-ota/slipstream/store"
)

// alerting is a management API that reaches webhooks.
func alerting(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	sealer, err := seal.New(make([]byte, 32))
	w.must(err)
	service := alert.New(alert.Config{Store: w.store, Sealer: sealer, Senders: map[string]alert.Sender{"webhook": webhook.NewSender(webhook.Guard{})}})
	s := api.New(api.Config{Store: w.store, Tokens: w.tokens, Alerts: service})
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	w.must(w.store.Update(w.ctx, func(tx store.Tx) error {
		for _, app := range []string{"shop", "game"} {
			w.must(tx.Apps().Create(w.ctx, store.App{Name: app, Platforms: []string{"any"}, Created: w.now}))
			w.must(alert.Raise(w.ctx, tx, alert.Alert{Kind: alert.KindHalt, App: app, Channel: "production", Severity: alert.Critical, Title: app + " halted", Key: app}))
		}
		return nil
	}))
	return w
}

func TestAlertsAreSeenAndSettledByRole(t *testing.T) {
	w := alerting(t)
	list, err := w.client("viewer").Alerts(w.ctx, api.AlertQuery{Active: true})
	w.must(err)
	if len(list) != 2 || list[0].Title != "game halted" || list[0].State != store.AlertOpen || list[0].Count != 1 {
		t.Fatalf("alerts %+v", list)
	}
	var p *api.ProblemError
	if _, err := w.client("viewer").AcknowledgeAlert(w.ctx, list[0].ID, ""); !errors.As(err, &p) || p.Status != http.StatusForbidden {
		t.Errorf("a viewer acknowledges: %v", err)
	}
	a, err := w.client("operator").AcknowledgeAlert(w.ctx, list[0].ID, "looking")
	w.must(err)
	if a.State != store.AlertAcknowledged || a.Actor != "operator" || a.Note != "looking" || a.Changed == nil {
		t.Errorf("acknowledged: %+v", a)
	}
	if a, err = w.client("operator").ResolveAlert(w.ctx, a.ID, ""); err != nil || a.State != store.AlertResolved {
		t.Errorf("resolved: %+v, %v", a, err)
	}
	if _, err := w.client("operator").ResolveAlert(w.ctx, a.ID, ""); !errors.Is(err, slipstream.ErrConflict) || slipstream.HintOf(err) == "" {
		t.Errorf("resolved twice: %v", err)
	}
	if _, err := w.client("operator").ResolveAlert(w.ctx, 99, ""); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("an unknown one: %v", err)
	}
}

func TestATokenForOneAppSeesThatAppsAlertsOnly(t *testing.T) {
	w := alerting(t)
	w.token("shopkeeper", auth.Owner, "shop")
	c := w.client("shopkeeper")
	list, err := c.Alerts(w.ctx, api.AlertQuery{})
	w.must(err)
	if len(list) != 1 || list[0].App != "shop" {
		t.Errorf("alerts %+v", list)
	}
	if _, err := c.ResolveAlert(w.ctx, list[0].ID+1, ""); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("another app's alert: %v", err)
	}
	forbidden := func(what string, err error) {
		t.Helper()
		var p *api.ProblemError
		if !errors.As(err, &p) || p.Status != http.StatusForbidden {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = c.Alerts(w.ctx, api.AlertQuery{App: "game"})
	forbidden("another app's alerts", err)
	_, err = c.AddAlertTarget(w.ctx, api.NewAlertTarget{Name: "all", Type: "webhook", URL: "http://127.0.0.1:1/"})
	forbidden("a target for all apps", err)
	_, err = c.SetAlertRules(w.ctx, alert.DefaultRules())
	forbidden("rules for all apps", err)
	_, err = c.RetryAlertDeliveries(w.ctx, api.RetryDeliveries{})
	forbidden("messages of all apps", err)
	_, err = w.client("owner").AddAlertTarget(w.ctx, api.NewAlertTarget{Name: "ops", Type: "webhook", URL: "http://127.0.0.1:1/hook?token=hush"})
	w.must(err)
	if err := c.RemoveAlertTarget(w.ctx, "ops"); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("another's target is removed: %v", err)
	}
	if _, err := c.TestAlertTarget(w.ctx, "ops"); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("another's target is tested: %v", err)
	}
	mine, err := c.AddAlertTarget(w.ctx, api.NewAlertTarget{Name: "mine", Type: "webhook", URL: "http://127.0.0.1:1/", App: "shop"})
	w.must(err)
	if !strings.HasPrefix(mine.Secret, "whsec_") {
		t.Errorf("secret %q", mine.Secret)
	}
	targets, err := c.AlertTargets(w.ctx)
	w.must(err)
	if len(targets) != 1 || targets[0].Name != "mine" || targets[0].Secret != "" {
		t.Errorf("targets %+v", targets)
	}
	w.must(w.store.Update(w.ctx, func(tx store.Tx) error {
		return alert.Raise(w.ctx, tx, alert.Alert{Kind: alert.KindNoData, App: "shop", Severity: alert.Warning, Title: "silence", Key: "n"})
	}))
	messages, err := c.AlertDeliveries(w.ctx, api.DeliveryQuery{})
	w.must(err)
	if len(messages) != 1 || messages[0].Target != "mine" {
		t.Errorf("messages %+v", messages)
	}
	all, err := w.client("owner").AlertDeliveries(w.ctx, api.DeliveryQuery{State: "queued"})
	w.must(err)
	if len(all) != 2 {
		t.Errorf("%d messages in all", len(all))
	}
}

func TestATestMessageSaysWhatTheReceiverSaid(t *testing.T) {
	w := alerting(t)
	c := w.client("owner")
	teapot := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusTeapot) }))
	defer teapot.Close()
	target, err := c.AddAlertTarget(w.ctx, api.NewAlertTarget{Name: "pot", Type: "webhook", URL: teapot.URL, Secret: webhook.Ed25519, Kinds: []string{alert.KindHalt}})
	w.must(err)
	if target.Secret != "" || !strings.HasPrefix(target.Public, "whpk_") {
		t.Errorf("target %+v", target)
	}
	out, err := c.TestAlertTarget(w.ctx, "pot")
	w.must(err)
	if out.Sent || out.Status != http.StatusTeapot || !strings.Contains(out.Error, "418") {
		t.Errorf("tested %+v", out)
	}
	for _, url := range []string{"http://169.254.169.254/", "gopher://x"} {
		var p *api.ProblemError
		if _, err := c.AddAlertTarget(w.ctx, api.NewAlertTarget{Name: "bad", Type: "webhook", URL: url}); !errors.As(err, &p) || p.Status < 400 || p.Status > 499 {
			t.Errorf("%s: %v", url, err)
		}
	}
}
