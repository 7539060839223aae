package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	defaultDevices = 100
	maxHistory     = 1000 // events of one device in an answer
)

// DeviceRow is what one device runs of one package, by its own word.
type DeviceRow struct {
	Device    string            `json:"device" doc:"SHA-256 of app and install id, in hex"`
	Package   string            `json:"package"`
	Channel   string            `json:"channel,omitempty"`
	Platform  string            `json:"platform,omitempty"`
	Runtime   string            `json:"runtime,omitempty"`
	Release   slipstream.Digest `json:"release,omitempty" doc:"None: what came with the app"`
	Version   string            `json:"version,omitempty"`
	FirstSeen time.Time         `json:"firstSeen"`
	LastSeen  time.Time         `json:"lastSeen" doc:"To the hour"`
}

// DeviceList is a page of device rows. Next, when not "", asks for the following one.
type DeviceList struct {
	Devices []DeviceRow `json:"devices"`
	Next    string      `json:"next,omitempty"`
}

// DeviceTrial is an enrolment of a device in a rollout.
type DeviceTrial struct {
	Rollout  string             `json:"rollout"`
	Channel  string             `json:"channel,omitempty"`
	Package  string             `json:"package,omitempty"`
	Arm      string             `json:"arm"`
	Release  slipstream.Digest  `json:"release,omitempty" doc:"On trial, or what a control device runs"`
	Version  string             `json:"version,omitempty"`
	Network  string             `json:"network,omitempty" doc:"Hash of the network that it enrolled from"`
	Enrolled time.Time          `json:"enrolled"`
	Ended    *time.Time         `json:"ended,omitempty"`
	Outcome  string             `json:"outcome" enum:"open,confirmed,failed,left"`
	Reason   slipstream.Reason  `json:"reason,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty" doc:"Mean of what it measured, by name"`
}

// DeviceEvent is a report with when the server took it in.
type DeviceEvent struct {
	slipstream.Event
	Received time.Time `json:"received"`
}

// DeviceHistory is all that is kept of a device.
type DeviceHistory struct {
	Device   string        `json:"device"`
	Packages []DeviceRow   `json:"packages"`
	Trials   []DeviceTrial `json:"trials" doc:"Newest first"`
	Events   []DeviceEvent `json:"events" doc:"Newest first, at most 1000"`
}

// Forgotten says what was deleted of a device.
type Forgotten struct {
	Events int64 `json:"events"`
}

// SpreadGroup counts the devices that look alike.
type SpreadGroup struct {
	Channel  string            `json:"channel,omitempty"`
	Package  string            `json:"package"`
	Platform string            `json:"platform,omitempty"`
	Runtime  string            `json:"runtime,omitempty"`
	Release  slipstream.Digest `json:"release,omitempty" doc:"None: what came with the app"`
	Version  string            `json:"version,omitempty"`
	Devices  int64             `json:"devices"`
}

// Spread is the fragmentation of an app, the largest groups first.
type Spread struct {
	Groups []SpreadGroup `json:"groups"`
}

// SeriesPoint is how many devices reported each kind for the first time in a step.
type SeriesPoint struct {
	At      time.Time                 `json:"at"`
	Kinds   map[slipstream.Kind]int64 `json:"kinds"`
	Success *float64                  `json:"success,omitempty" doc:"confirmed / (confirmed + rolled_back)"`
	Crash   *float64                  `json:"crash,omitempty" doc:"(crashed + hung) / (confirmed + crashed + hung)"`
}

// Series is a series without the steps in which nothing was reported.
type Series struct {
	Step   store.Step    `json:"step"`
	Points []SeriesPoint `json:"points"`
}

// ReasonCount is how many devices told a reason.
type ReasonCount struct {
	Channel string            `json:"channel,omitempty"`
	Package string            `json:"package,omitempty"`
	Release slipstream.Digest `json:"release,omitempty"`
	Version string            `json:"version,omitempty"`
	Kind    slipstream.Kind   `json:"kind"`
	Stage   string            `json:"stage,omitempty"`
	Reason  slipstream.Reason `json:"reason,omitempty"`
	Devices int64             `json:"devices"`
	Last    time.Time         `json:"last"`
}

// ReasonList ranks reasons, the most devices first.
type ReasonList struct {
	Reasons []ReasonCount `json:"reasons"`
}

// OfFleet restricts questions about the fleet; empty fields do not.
type OfFleet struct {
	Channel string `query:"channel" json:"channel,omitempty"`
	Package string `query:"package" json:"package,omitempty"`
	Release string `query:"release" json:"release,omitempty" doc:"Version, package@version or digest"`
}

func (s *Server) routeFleet() {
	const devices = "/apps/{app}/devices"
	route(s, http.MethodGet, devices, "List devices and what they run", auth.Read, s.listDevices)
	route(s, http.MethodGet, devices+"/{device}", "All that is kept of a device", auth.Read, s.showDevice)
	route(s, http.MethodDelete, devices+"/{device}", "Delete all that is kept of a device", auth.Operate, s.forgetDevice)
	route(s, http.MethodGet, "/apps/{app}/spread", "How many devices run what, by channel, platform and runtime", auth.Read, s.spread)
	route(s, http.MethodGet, "/apps/{app}/series", "What devices reported over time", auth.Read, s.series)
	route(s, http.MethodGet, "/apps/{app}/reasons", "What went wrong, ranked", auth.Read, s.reasons)
}

// inFleet finds the app, and the release that ref names when there is one.
func (s *Server) inFleet(ctx context.Context, app string, of OfFleet) (slipstream.Digest, error) {
	d := slipstream.Digest(of.Release)
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		if _, err := tx.Apps().Get(ctx, app); err != nil {
			return err
		}
		if of.Release == "" || d.Valid() {
			return nil
		}
		var err error
		d, err = resolveIn(ctx, tx, app, first(of.Package, slipstream.DefaultPackage), of.Release)
		return err
	})
	return d, err
}

// versions names the releases that are published here.
func (s *Server) versions(ctx context.Context, app string, digests []slipstream.Digest) (map[slipstream.Digest]string, error) {
	names := map[slipstream.Digest]string{"": ""}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		for _, d := range digests {
			if _, known := names[d]; known {
				continue
			}
			r, err := tx.Releases().Get(ctx, d)
			if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
				return err
			}
			if names[d] = ""; err == nil && r.Manifest.App == app {
				names[d] = r.Manifest.Version
			}
		}
		return nil
	})
	return names, err
}

func (s *Server) listDevices(ctx context.Context, in *struct {
	InApp
	OfFleet
	Platform string `query:"platform"`
	Runtime  string `query:"runtime"`
	Prefix   string `query:"prefix" doc:"First hex digits of the device id" pattern:"^[0-9a-f]{0,64}$"`
	After    string `query:"after" doc:"next of the page before"`
	Limit    int    `query:"limit" minimum:"0" maximum:"1000"`
}) (*body[DeviceList], error) {
	d, err := s.inFleet(ctx, in.App, in.OfFleet)
	if err != nil {
		return nil, err
	}
	q := store.DeviceQuery{App: in.App, Channel: in.Channel, Package: in.Package, Platform: in.Platform, Runtime: in.Runtime, Release: d, Prefix: in.Prefix, Limit: in.Limit}
	if q.Limit == 0 {
		q.Limit = defaultDevices
	}
	if in.After != "" {
		var ok bool
		if q.AfterDevice, q.AfterPackage, ok = strings.Cut(in.After, ":"); !ok || !slipstream.Digest(q.AfterDevice).Valid() {
			return nil, slipstream.Invalidf("after %.80q is not what a page gave as next", in.After)
		}
	}
	rows, err := s.cfg.Store.Reports().Fleet().Devices(ctx, q)
	if err != nil {
		return nil, err
	}
	out := DeviceList{}
	if out.Devices, err = s.describeRows(ctx, in.App, rows); err != nil {
		return nil, err
	}
	if len(rows) == q.Limit {
		last := rows[len(rows)-1]
		out.Next = last.Device + ":" + last.Package
	}
	return answer(out, nil)
}

func (s *Server) describeRows(ctx context.Context, app string, rows []store.DeviceRow) ([]DeviceRow, error) {
	var digests []slipstream.Digest
	for _, r := range rows {
		digests = append(digests, r.Release)
	}
	names, err := s.versions(ctx, app, digests)
	out := []DeviceRow{}
	for _, r := range rows {
		out = append(out, DeviceRow{Device: r.Device, Package: r.Package, Channel: r.Channel, Platform: r.Platform, Runtime: r.Runtime,
			Release: r.Release, Version: names[r.Release], FirstSeen: r.FirstSeen, LastSeen: r.LastSeen})
	}
	return out, err
}

// InDevice is the path of one device.
type InDevice struct {
	InApp
	Device string `path:"device" pattern:"^[0-9a-f]{64}$" patternDescription:"64 lower-case hex digits"`
}

func (s *Server) showDevice(ctx context.Context, in *InDevice) (*body[DeviceHistory], error) {
	if _, err := s.inFleet(ctx, in.App, OfFleet{}); err != nil {
		return nil, err
	}
	reports := s.cfg.Store.Reports()
	d, err := reports.Fleet().Device(ctx, in.App, in.Device)
	if err != nil {
		return nil, err
	}
	events, err := reports.Events(ctx, store.EventQuery{App: in.App, Device: in.Device, Limit: maxHistory})
	if err != nil {
		return nil, err
	}
	if len(events) == 0 && len(d.Rows) == 0 && len(d.Trials) == 0 {
		return nil, slipstream.Hint(fmt.Errorf("device %.8s…: nothing is kept of it: %w", in.Device, slipstream.ErrNotFound),
			"devices are known by the SHA-256 of app and install id; one that never reported is not known")
	}
	out := DeviceHistory{Device: in.Device, Trials: []DeviceTrial{}, Events: []DeviceEvent{}}
	if out.Packages, err = s.describeRows(ctx, in.App, d.Rows); err != nil {
		return nil, err
	}
	if out.Trials, err = s.describeTrials(ctx, in.App, d.Trials); err != nil {
		return nil, err
	}
	for _, e := range events {
		out.Events = append(out.Events, DeviceEvent{Event: e.Event, Received: e.Received})
	}
	return answer(out, nil)
}

func (s *Server) describeTrials(ctx context.Context, app string, trials []store.DeviceTrial) ([]DeviceTrial, error) {
	var digests []slipstream.Digest
	for _, t := range trials {
		digests = append(digests, t.Release)
	}
	names, err := s.versions(ctx, app, digests)
	out := []DeviceTrial{}
	for _, t := range trials {
		d := DeviceTrial{Rollout: t.Rollout, Channel: t.Channel, Package: t.Package, Arm: t.Arm, Release: t.Release, Version: names[t.Release],
			Network: t.Network, Enrolled: t.Enrolled, Reason: t.Reason}
		d.Outcome = [...]string{store.TrialGoesOn: "open", store.TrialConfirmed: "confirmed", store.TrialFailed: "failed", store.TrialLeft: "left"}[t.Ending]
		if !t.Ended.IsZero() {
			d.Ended = &t.Ended
		}
		for _, m := range t.Metrics {
			if d.Metrics == nil {
				d.Metrics = map[string]float64{}
			}
			d.Metrics[m.Metric] = m.Sum / float64(max(m.Count, 1))
		}
		out = append(out, d)
	}
	return out, err
}

// forgetDevice writes down that somebody had it done, but not of whom.
func (s *Server) forgetDevice(ctx context.Context, in *InDevice) (*body[Forgotten], error) {
	if _, err := s.inFleet(ctx, in.App, OfFleet{}); err != nil {
		return nil, err
	}
	n, err := s.cfg.Store.Reports().Forget(ctx, in.App, in.Device)
	if err != nil {
		return nil, err
	}
	detail, err := json.Marshal(Forgotten{n})
	if err != nil {
		return nil, fmt.Errorf("encode audit detail: %w", err)
	}
	err = s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Log().Audit().Append(ctx, store.AuditEntry{At: s.cfg.Clock().UTC().Truncate(time.Microsecond), Actor: by(ctx).Name,
			Action: "device.forget", App: in.App, Target: "a device", Detail: detail})
		return err
	})
	return answer(Forgotten{n}, err)
}

func (s *Server) spread(ctx context.Context, in *InApp) (*body[Spread], error) {
	if _, err := s.inFleet(ctx, in.App, OfFleet{}); err != nil {
		return nil, err
	}
	groups, err := s.cfg.Store.Reports().Fleet().Spread(ctx, in.App)
	if err != nil {
		return nil, err
	}
	var digests []slipstream.Digest
	for _, g := range groups {
		digests = append(digests, g.Release)
	}
	names, err := s.versions(ctx, in.App, digests)
	out := Spread{Groups: []SpreadGroup{}}
	for _, g := range groups {
		out.Groups = append(out.Groups, SpreadGroup{Channel: g.Channel, Package: g.Package, Platform: g.Platform, Runtime: g.Runtime,
			Release: g.Release, Version: names[g.Release], Devices: g.Devices})
	}
	return answer(out, err)
}

func (s *Server) series(ctx context.Context, in *struct {
	InApp
	OfFleet
	Kind string    `query:"kind" doc:"Of one kind of report only"`
	Step string    `query:"step" enum:"minute,hour,day" default:"hour"`
	From time.Time `query:"from" doc:"Default: 120 steps ago"`
	To   time.Time `query:"to" doc:"Default: now"`
}) (*body[Series], error) {
	d, err := s.inFleet(ctx, in.App, in.OfFleet)
	if err != nil {
		return nil, err
	}
	q := store.SeriesQuery{App: in.App, Channel: in.Channel, Package: in.Package, Release: d, Kind: slipstream.Kind(in.Kind), Step: store.Step(in.Step), From: in.From, To: in.To}
	if q.From.IsZero() {
		q.From = s.cfg.Clock().Add(-120 * q.Step.Length()).Truncate(q.Step.Length())
	}
	points, err := s.cfg.Store.Reports().Fleet().Series(ctx, q)
	out := Series{Step: q.Step, Points: []SeriesPoint{}}
	for _, p := range points {
		if n := len(out.Points); n == 0 || !out.Points[n-1].At.Equal(p.At) {
			out.Points = append(out.Points, SeriesPoint{At: p.At, Kinds: map[slipstream.Kind]int64{}})
		}
		out.Points[len(out.Points)-1].Kinds[p.Kind] = p.N
	}
	for i := range out.Points {
		out.Points[i].rate()
	}
	return answer(out, err)
}

// rate fills in the shares.
func (p *SeriesPoint) rate() {
	share := func(part, rest int64) *float64 {
		if part+rest == 0 {
			return nil
		}
		v := float64(part) / float64(part+rest)
		return &v
	}
	good := p.Kinds[slipstream.KindConfirmed]
	p.Success = share(good, p.Kinds[slipstream.KindRolledBack])
	p.Crash = share(p.Kinds[slipstream.KindCrashed]+p.Kinds[slipstream.KindHung], good)
}

func (s *Server) reasons(ctx context.Context, in *struct {
	InApp
	OfFleet
	Kind  string    `query:"kind" doc:"Of one kind of report only"`
	Since time.Time `query:"since" doc:"Only those told after it"`
	Limit int       `query:"limit" minimum:"0" maximum:"1000"`
}) (*body[ReasonList], error) {
	d, err := s.inFleet(ctx, in.App, in.OfFleet)
	if err != nil {
		return nil, err
	}
	rows, err := s.cfg.Store.Reports().Fleet().Reasons(ctx, store.ReasonQuery{App: in.App, Channel: in.Channel, Package: in.Package, Release: d,
		Kind: slipstream.Kind(in.Kind), Since: in.Since, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	var digests []slipstream.Digest
	for _, r := range rows {
		digests = append(digests, r.Release)
	}
	names, err := s.versions(ctx, in.App, digests)
	out := ReasonList{Reasons: []ReasonCount{}}
	for _, r := range rows {
		out.Reasons = append(out.Reasons, ReasonCount{Channel: r.Channel, Package: r.Package, Release: r.Release, Version: names[r.Release], Kind: r.Kind,
			Stage: r.Stage, Reason: r.Reason, Devices: r.Devices, Last: r.Last})
	}
	return answer(out, err)
}

// DeviceQuery selects devices; zero fields do not restrict.
type DeviceQuery struct {
	OfFleet
	Platform, Runtime, Prefix, After string
	Limit                            int
}

func (o OfFleet) query(more ...string) url.Values {
	return set(append([]string{"channel", o.Channel, "package", o.Package, "release", o.Release}, more...)...)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Devices lists devices; the answer's Next goes into q.After for the following page.
func (c *Client) Devices(ctx context.Context, app string, q DeviceQuery) (DeviceList, error) {
	return get[DeviceList](ctx, c, appPath(app, "devices"), q.query("platform", q.Platform, "runtime", q.Runtime, "prefix", q.Prefix, "after", q.After, "limit", number(int64(q.Limit))))
}

// Device tells all that is kept of a device, by its id on the wire.
func (c *Client) Device(ctx context.Context, app, device string) (DeviceHistory, error) {
	return get[DeviceHistory](ctx, c, appPath(app, "devices", device), nil)
}

// ForgetDevice deletes all that is kept of a device.
func (c *Client) ForgetDevice(ctx context.Context, app, device string) (Forgotten, error) {
	return send[Forgotten](ctx, c, http.MethodDelete, appPath(app, "devices", device), nil)
}

// Spread tells how many devices run what.
func (c *Client) Spread(ctx context.Context, app string) (Spread, error) {
	return get[Spread](ctx, c, appPath(app, "spread"), nil)
}

// SeriesQuery selects a series; zero fields do not restrict.
type SeriesQuery struct {
	OfFleet
	Kind     slipstream.Kind
	Step     store.Step
	From, To time.Time
}

// Series tells what devices reported over time.
func (c *Client) Series(ctx context.Context, app string, q SeriesQuery) (Series, error) {
	return get[Series](ctx, c, appPath(app, "series"), q.query("kind", string(q.Kind), "step", string(q.Step), "from", moment(q.From), "to", moment(q.To)))
}

// ReasonQuery selects reasons; zero fields do not restrict.
type ReasonQuery struct {
	OfFleet
	Kind  slipstream.Kind
	Since time.Time
	Limit int
}

// Reasons ranks what went wrong.
func (c *Client) Reasons(ctx context.Context, app string, q ReasonQuery) ([]ReasonCount, error) {
	l, err := get[ReasonList](ctx, c, appPath(app, "reasons"), q.query("kind", string(q.Kind), "since", moment(q.Since), "limit", number(int64(q.Limit))))
	return l.Reasons, err
}
