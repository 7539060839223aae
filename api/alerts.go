package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

// Alert is one thing that people should know.
type Alert struct {
	ID       int64            `json:"id"`
	Kind     string           `json:"kind"`
	Severity string           `json:"severity"`
	State    store.AlertState `json:"state"`
	App      string           `json:"app,omitempty"`
	Channel  string           `json:"channel,omitempty"`
	Package  string           `json:"package,omitempty"`
	Subject  string           `json:"subject,omitempty" doc:"What it is about, such as the id of a rollout"`
	Title    string           `json:"title"`
	Detail   json.RawMessage  `json:"detail,omitempty"`
	Count    int64            `json:"count" doc:"How often it happened"`
	First    time.Time        `json:"first"`
	Last     time.Time        `json:"last"`
	Actor    string           `json:"actor,omitempty" doc:"Who acknowledged or resolved it"`
	Note     string           `json:"note,omitempty"`
	Changed  *time.Time       `json:"changed,omitempty"`
}

// AlertList is a list of alerts, newest first.
type AlertList struct {
	Alerts []Alert `json:"alerts"`
}

// AlertQuery selects alerts.
type AlertQuery struct {
	App    string `query:"app"`
	Kind   string `query:"kind"`
	Active bool   `query:"active" doc:"Only those that are open or acknowledged"`
	Before int64  `query:"before" doc:"Only alerts with a lower id"`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000"`
}

// AlertNote is said with an acknowledgement or a resolution.
type AlertNote struct {
	Note string `json:"note,omitempty" maxLength:"1000"`
}

// AlertTarget is who is told of alerts. Its address is shown without what is secret.
type AlertTarget struct {
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	App      string    `json:"app,omitempty"`
	Kinds    []string  `json:"kinds"`
	Severity string    `json:"severity,omitempty"`
	Address  string    `json:"address"`
	Public   string    `json:"public,omitempty" doc:"Key to check its messages with"`
	Created  time.Time `json:"created"`
	Secret   string    `json:"secret,omitempty" doc:"What its messages are signed with; shown once"`
}

// AlertTargetList is a list of targets by name.
type AlertTargetList struct {
	Targets []AlertTarget `json:"targets"`
}

// NewAlertTarget asks for a target.
type NewAlertTarget struct {
	Name     string   `json:"name" maxLength:"64"`
	Type     string   `json:"type" enum:"webhook,shoutrrr,dingtalk"`
	URL      string   `json:"url" maxLength:"2000"`
	Secret   string   `json:"secret,omitempty" maxLength:"500" doc:"Of a webhook whsec_… or whsk_…, or \"ed25519\" for a fresh private key; made when absent. Of a DingTalk robot its own"`
	App      string   `json:"app,omitempty" doc:"Only alerts of this app"`
	Kinds    []string `json:"kinds,omitempty" maxItems:"16" doc:"Only these kinds; all but \"change\" when absent"`
	Severity string   `json:"severity,omitempty" enum:"info,warning,critical" doc:"The least that is told"`
}

// AlertTested is how a test message went.
type AlertTested struct {
	Sent   bool   `json:"sent"`
	Status int    `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Delivery is one message to one target.
type Delivery struct {
	ID       int64               `json:"id"`
	Target   string              `json:"target"`
	Alert    int64               `json:"alert,omitempty"`
	Event    string              `json:"event"`
	State    store.DeliveryState `json:"state"`
	Attempts int                 `json:"attempts"`
	Due      *time.Time          `json:"due,omitempty"`
	Status   int                 `json:"status,omitempty"`
	Error    string              `json:"error,omitempty"`
	Millis   int64               `json:"millis,omitempty" doc:"Of the last attempt"`
	Created  time.Time           `json:"created"`
	Updated  time.Time           `json:"updated"`
	Body     json.RawMessage     `json:"body"`
}

// DeliveryList is a list of messages, newest first.
type DeliveryList struct {
	Deliveries []Delivery `json:"deliveries"`
}

// DeliveryQuery selects messages.
type DeliveryQuery struct {
	Target string `query:"target" maxLength:"64"`
	State  string `query:"state" enum:"queued,sent,dead"`
	Alert  int64  `query:"alert"`
	Before int64  `query:"before" doc:"Only messages with a lower id"`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000"`
}

// RetryDeliveries queues dead messages anew.
type RetryDeliveries struct {
	Target string  `json:"target,omitempty" maxLength:"64"`
	IDs    []int64 `json:"ids,omitempty" maxItems:"1000" doc:"All dead ones when absent"`
}

// Retried says how many messages were queued anew.
type Retried struct {
	Queued int64 `json:"queued"`
}

const defaultAlerts = 100

func (s *Server) routeAlerts() {
	type inAlert struct {
		ID   int64 `path:"alert" minimum:"1"`
		Body AlertNote
	}
	type inTarget struct {
		Target string `path:"target" maxLength:"64"`
	}
	route(s, http.MethodGet, "/alerts", "List alerts, newest first", auth.Read, s.listAlerts)
	route(s, http.MethodPost, "/alerts/{alert}/acknowledge", "Say that somebody looks after an alert", auth.Operate, func(ctx context.Context, in *inAlert) (*body[Alert], error) {
		a, err := s.cfg.Alerts.Acknowledge(ctx, by(ctx).Name, in.ID, in.Body.Note, mayAlert(by(ctx)))
		return answer(describeAlert(a), err)
	})
	route(s, http.MethodPost, "/alerts/{alert}/resolve", "Say that an alert is over", auth.Operate, func(ctx context.Context, in *inAlert) (*body[Alert], error) {
		a, err := s.cfg.Alerts.Resolve(ctx, by(ctx).Name, in.ID, in.Body.Note, mayAlert(by(ctx)))
		return answer(describeAlert(a), err)
	})
	route(s, http.MethodGet, "/alerts/rules", "Show what numbers are judged by", auth.Read, func(ctx context.Context, _ *struct{}) (*body[alert.Rules], error) {
		return answer(s.cfg.Alerts.Rules(ctx))
	})
	route(s, http.MethodPut, "/alerts/rules", "Set what numbers are judged by", auth.Server, func(ctx context.Context, in *struct{ Body alert.Rules }) (*body[alert.Rules], error) {
		if p := by(ctx); !p.Apps.All() {
			return nil, forbidden(p, auth.Server)
		}
		return answer(in.Body, s.cfg.Alerts.SetRules(ctx, by(ctx).Name, in.Body))
	})
	route(s, http.MethodGet, "/alerts/targets", "List who is told", auth.Admit, s.listTargets)
	route(s, http.MethodPost, "/alerts/targets", "Tell somebody more", auth.Admit, s.addTarget)
	route(s, http.MethodDelete, "/alerts/targets/{target}", "Tell somebody no more", auth.Admit, func(ctx context.Context, in *inTarget) (*struct{}, error) {
		return nil, s.cfg.Alerts.RemoveTarget(ctx, by(ctx).Name, in.Target, mayTarget(by(ctx)))
	})
	route(s, http.MethodPost, "/alerts/targets/{target}/test", "Send a test message", auth.Admit, s.testTarget)
	route(s, http.MethodGet, "/alerts/deliveries", "List messages, newest first", auth.Admit, s.listDeliveries)
	route(s, http.MethodPost, "/alerts/deliveries/retry", "Send dead messages again", auth.Admit, s.retryDeliveries)
}

// mayAlert keeps a token for one app to that app's alerts. What it may not see is not there for it.
func mayAlert(p auth.Principal) func(store.Alert) error {
	return func(a store.Alert) error {
		if !p.Apps.Has(a.App) {
			return fmt.Errorf("alert %d: %w", a.ID, slipstream.ErrNotFound)
		}
		return nil
	}
}

func mayTarget(p auth.Principal) func(store.AlertTarget) error {
	return func(t store.AlertTarget) error {
		if !p.Apps.Has(t.App) {
			return fmt.Errorf("target %q: %w", t.Name, slipstream.ErrNotFound)
		}
		return nil
	}
}

func describeAlert(a store.Alert) Alert {
	return Alert{ID: a.ID, Kind: a.Kind, Severity: a.Severity, State: a.State, App: a.App, Channel: a.Channel, Package: a.Package, Subject: a.Subject,
		Title: a.Title, Detail: a.Detail, Count: a.Count, First: a.First, Last: a.Last, Actor: a.Actor, Note: a.Note, Changed: pointer(a.Changed)}
}

// pointer is nil for the zero time.
func pointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (s *Server) listAlerts(ctx context.Context, in *AlertQuery) (*body[AlertList], error) {
	p := by(ctx)
	if in.App != "" && !p.Apps.Has(in.App) {
		return nil, forbidden(p, auth.Read)
	}
	q := store.AlertQuery{App: in.App, Apps: p.Apps.Names(), Kind: in.Kind, Active: in.Active, BeforeID: in.Before, Limit: in.Limit}
	if q.Limit == 0 {
		q.Limit = defaultAlerts
	}
	out := AlertList{}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		list, err := tx.Log().Alerts().List(ctx, q)
		out.Alerts = make([]Alert, len(list))
		for i, a := range list {
			out.Alerts[i] = describeAlert(a)
		}
		return err
	})
	return answer(out, err)
}

func describeTarget(t store.AlertTarget, secret string) AlertTarget {
	return AlertTarget{Name: t.Name, Type: t.Type, App: t.App, Kinds: append([]string{}, t.Kinds...), Severity: t.Severity, Address: t.Address, Public: t.Public, Created: t.Created, Secret: secret}
}

func (s *Server) listTargets(ctx context.Context, _ *struct{}) (*body[AlertTargetList], error) {
	out := AlertTargetList{}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out.Targets = []AlertTarget{}
		list, err := tx.Log().Alerts().Targets().List(ctx)
		for _, t := range list {
			if mayTarget(by(ctx))(t) == nil {
				out.Targets = append(out.Targets, describeTarget(t, ""))
			}
		}
		return err
	})
	return answer(out, err)
}

func (s *Server) addTarget(ctx context.Context, in *struct{ Body NewAlertTarget }) (*body[AlertTarget], error) {
	p, b := by(ctx), in.Body
	if !p.Apps.Has(b.App) {
		return nil, forbidden(p, auth.Admit)
	}
	t, secret, err := s.cfg.Alerts.AddTarget(ctx, p.Name, alert.TargetSpec{Name: b.Name, Type: b.Type, App: b.App, Kinds: b.Kinds, Severity: b.Severity,
		Address: alert.Address{URL: b.URL, Secret: b.Secret}})
	return answer(describeTarget(t, secret), err)
}

func (s *Server) testTarget(ctx context.Context, in *struct {
	Target string `path:"target" maxLength:"64"`
}) (*body[AlertTested], error) {
	found := false
	sent, err := s.cfg.Alerts.Test(ctx, by(ctx).Name, in.Target, func(t store.AlertTarget) error {
		err := mayTarget(by(ctx))(t)
		found = err == nil
		return err
	})
	if err != nil && !found {
		return nil, err
	}
	out := AlertTested{Sent: err == nil, Status: sent.Status}
	if err != nil { // what the receiver said is the answer, not our failure
		out.Error = err.Error()
	}
	return answer(out, nil)
}

func (s *Server) listDeliveries(ctx context.Context, in *DeliveryQuery) (*body[DeliveryList], error) {
	q := store.DeliveryQuery{Target: in.Target, State: store.DeliveryState(in.State), Alert: in.Alert, BeforeID: in.Before, Limit: in.Limit}
	if q.Limit == 0 {
		q.Limit = defaultAlerts
	}
	out := DeliveryList{}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out.Deliveries = []Delivery{}
		mine, err := s.targetsOf(ctx, tx)
		if err != nil {
			return err
		}
		list, err := tx.Log().Alerts().Deliveries().List(ctx, q)
		for _, d := range list {
			if mine[d.Target] {
				out.Deliveries = append(out.Deliveries, Delivery{ID: d.ID, Target: d.Target, Alert: d.Alert, Event: d.Event, State: d.State, Attempts: d.Attempts, Due: pointer(d.Due),
					Status: d.Status, Error: d.Error, Millis: d.Took.Milliseconds(), Created: d.Created, Updated: d.Updated, Body: d.Body})
			}
		}
		return err
	})
	return answer(out, err)
}

// targetsOf are the names of the targets that who asks may see.
func (s *Server) targetsOf(ctx context.Context, tx store.Tx) (map[string]bool, error) {
	list, err := tx.Log().Alerts().Targets().List(ctx)
	out := map[string]bool{}
	for _, t := range list {
		out[t.Name] = mayTarget(by(ctx))(t) == nil
	}
	return out, err
}

func (s *Server) retryDeliveries(ctx context.Context, in *struct{ Body RetryDeliveries }) (*body[Retried], error) {
	p, b := by(ctx), in.Body
	if !p.Apps.All() {
		if b.Target == "" {
			return nil, slipstream.Hint(forbidden(p, auth.Admit), "name one of your targets")
		}
		err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
			t, err := tx.Log().Alerts().Targets().Get(ctx, b.Target)
			if err != nil {
				return err
			}
			return mayTarget(p)(t)
		})
		if err != nil {
			return nil, err
		}
	}
	n, err := s.cfg.Alerts.Retry(ctx, b.Target, b.IDs...)
	return answer(Retried{n}, err)
}

// Alerts lists alerts, newest first.
func (c *Client) Alerts(ctx context.Context, q AlertQuery) ([]Alert, error) {
	v := url.Values{}
	for k, s := range map[string]string{"app": q.App, "kind": q.Kind, "before": number(q.Before), "limit": number(int64(q.Limit))} {
		if s != "" {
			v.Set(k, s)
		}
	}
	if q.Active {
		v.Set("active", "true")
	}
	l, err := get[AlertList](ctx, c, "/alerts", v)
	return l.Alerts, err
}

// AcknowledgeAlert says that somebody looks after an alert.
func (c *Client) AcknowledgeAlert(ctx context.Context, id int64, note string) (Alert, error) {
	return send[Alert](ctx, c, http.MethodPost, fmt.Sprintf("/alerts/%d/acknowledge", id), AlertNote{note})
}

// ResolveAlert says that an alert is over.
func (c *Client) ResolveAlert(ctx context.Context, id int64, note string) (Alert, error) {
	return send[Alert](ctx, c, http.MethodPost, fmt.Sprintf("/alerts/%d/resolve", id), AlertNote{note})
}

// AlertRules shows what numbers are judged by, SetAlertRules sets it.
func (c *Client) AlertRules(ctx context.Context) (alert.Rules, error) {
	return get[alert.Rules](ctx, c, "/alerts/rules", nil)
}

// SetAlertRules replaces the rules.
func (c *Client) SetAlertRules(ctx context.Context, r alert.Rules) (alert.Rules, error) {
	return send[alert.Rules](ctx, c, http.MethodPut, "/alerts/rules", r)
}

// AlertTargets lists who is told.
func (c *Client) AlertTargets(ctx context.Context) ([]AlertTarget, error) {
	l, err := get[AlertTargetList](ctx, c, "/alerts/targets", nil)
	return l.Targets, err
}

// AddAlertTarget tells somebody more.
func (c *Client) AddAlertTarget(ctx context.Context, n NewAlertTarget) (AlertTarget, error) {
	return send[AlertTarget](ctx, c, http.MethodPost, "/alerts/targets", n)
}

// RemoveAlertTarget tells somebody no more.
func (c *Client) RemoveAlertTarget(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/alerts/targets/" + url.PathEscape(name)})
}

// TestAlertTarget sends a test message.
func (c *Client) TestAlertTarget(ctx context.Context, name string) (AlertTested, error) {
	return send[AlertTested](ctx, c, http.MethodPost, "/alerts/targets/"+url.PathEscape(name)+"/test", nil)
}

// AlertDeliveries lists messages, newest first.
func (c *Client) AlertDeliveries(ctx context.Context, q DeliveryQuery) ([]Delivery, error) {
	v := url.Values{}
	for k, s := range map[string]string{"target": q.Target, "state": q.State, "alert": number(q.Alert), "before": number(q.Before), "limit": number(int64(q.Limit))} {
		if s != "" {
			v.Set(k, s)
		}
	}
	l, err := get[DeliveryList](ctx, c, "/alerts/deliveries", v)
	return l.Deliveries, err
}

// RetryAlertDeliveries sends dead messages again.
func (c *Client) RetryAlertDeliveries(ctx context.Context, r RetryDeliveries) (int64, error) {
	out, err := send[Retried](ctx, c, http.MethodPost, "/alerts/deliveries/retry", r)
	return out.Queued, err
}
