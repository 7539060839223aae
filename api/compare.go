package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/halt/compare"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// MetricWorks is the metric that needs no reports of the app's own: whether the trial of a device was confirmed or failed.
const MetricWorks = "works"

// ComparedArm is one side of a test: the devices of a rollout, or the control group of the only one.
type ComparedArm struct {
	Name      string            `json:"name" doc:"The version; with the rollout's id behind it where two arms have one version; or control"`
	Rollout   string            `json:"rollout"`
	Arm       string            `json:"arm" enum:"treatment,control"`
	Release   slipstream.Digest `json:"release,omitempty"`
	Version   string            `json:"version,omitempty"`
	Share     int               `json:"share" doc:"Positions of 10000 that fall into this arm"`
	Enrolled  int64             `json:"enrolled"`
	Confirmed int64             `json:"confirmed"`
	Failed    int64             `json:"failed"`
}

// Comparison is what an A/B test came to so far. Every interval may be looked at as often as one likes.
type Comparison struct {
	Channel string        `json:"channel"`
	Package string        `json:"package"`
	Salt    string        `json:"salt"`
	Arms    []ComparedArm `json:"arms"`
	// Since is from when on the sizes of the arms were held against their shares: nothing was changed later.
	Since   *time.Time       `json:"since,omitempty"`
	Doubt   string           `json:"doubt,omitempty" doc:"Why the arms cannot be compared"`
	Results []compare.Result `json:"results" doc:"By metric; works comes first"`
}

// CompareQuery says what to compare. Zero fields take the defaults.
type CompareQuery struct {
	Package  string
	Rollouts []string // ids or versions; none: those of the newest test with two arms, else the topmost rollout and its control
	Metric   string   // only this one
	Better   compare.Direction
	Alpha    float64
}

const (
	joinsRead = 10_000  // lines of the log at a time
	joinsMost = 100_000 // per arm, for the test of the sizes
	auditRead = 1_000
)

func (s *Server) routeCompare() {
	route(s, http.MethodGet, "/apps/{app}/channels/{channel}/compare", "Compare the arms of an A/B test", auth.Read, s.compare)
}

// Compare tells which arm of a test is better.
func (c *Client) Compare(ctx context.Context, app, channel string, q CompareQuery) (Comparison, error) {
	v := url.Values{}
	for _, id := range q.Rollouts {
		v.Add("rollout", id)
	}
	for name, value := range map[string]string{"package": q.Package, "metric": q.Metric, "better": string(q.Better)} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Alpha != 0 {
		v.Set("alpha", strconv.FormatFloat(q.Alpha, 'g', -1, 64))
	}
	return get[Comparison](ctx, c, appPath(app, "channels", channel, "compare"), v)
}

func (s *Server) compare(ctx context.Context, in *struct {
	InChannel
	Package string   `query:"package" maxLength:"64" doc:"Default main"`
	Rollout []string `query:"rollout,explode" maxItems:"16" doc:"Id or version of a rollout, repeatable. None: the newest test with two arms, else the topmost rollout and its control group"`
	Metric  string   `query:"metric" maxLength:"128" doc:"Only this metric; works is whether trials were confirmed"`
	Better  string   `query:"better" enum:"higher,lower" default:"higher" doc:"Which values are better"`
	Alpha   float64  `query:"alpha" minimum:"0" maximum:"0.5" doc:"Chance of ever being wrong; default 0.05"`
}) (*body[Comparison], error) {
	out := Comparison{Channel: in.Channel, Package: first(in.Package, slipstream.DefaultPackage), Results: []compare.Result{}}
	var entries []rollout.Entry
	var changed map[string]time.Time
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		c, err := tx.Channels().Get(ctx, in.App, in.Channel)
		if err != nil {
			return err
		}
		policy, err := rollout.PolicyOf(c)
		if err != nil {
			return err
		}
		if entries, err = armsOf(policy.Packages[out.Package], in.Rollout); err != nil {
			return err
		}
		changed, err = lastChanges(ctx, tx, in.App, entries)
		return err
	})
	if err != nil {
		return nil, err
	}
	test := compare.Test{Metric: in.Metric, Better: compare.Direction(in.Better), Alpha: in.Alpha}
	err = s.compareArms(ctx, &out, entries, changed, test)
	return answer(out, err)
}

// armsOf finds the rollouts of one test, in the order of their ranges.
func armsOf(pp *rollout.PackagePolicy, named []string) ([]rollout.Entry, error) {
	var out []rollout.Entry
	switch {
	case pp == nil || len(pp.Rollouts) == 0:
		return nil, fmt.Errorf("a rollout to compare: %w", slipstream.ErrNotFound)
	case len(named) > 0:
		for _, ref := range named {
			i := slices.IndexFunc(pp.Rollouts, func(e rollout.Entry) bool { return e.ID == ref || e.Version == ref })
			if i < 0 {
				return nil, fmt.Errorf("rollout %s: %w", ref, slipstream.ErrNotFound)
			}
			out = append(out, pp.Rollouts[i])
		}
	default:
		for i := range pp.Rollouts {
			salt := pp.Rollouts[i].PositionSalt()
			arms := slices.DeleteFunc(slices.Clone(pp.Rollouts), func(e rollout.Entry) bool { return e.PositionSalt() != salt })
			if len(arms) > 1 {
				out = arms
				break
			}
		}
		if out == nil {
			out = pp.Rollouts[:1:1]
		}
	}
	for _, e := range out[1:] {
		if e.PositionSalt() != out[0].PositionSalt() {
			return nil, slipstream.Hint(slipstream.Invalidf("rollouts %s (version %s) and %s (version %s) have different salts: devices of one may be in the other too",
				out[0].ID, out[0].Version, e.ID, e.Version), "give the arms of a test one salt and adjoining ranges when they are started: --salt NAME --from 0%% --share 50%%")
		}
	}
	slices.SortStableFunc(out, func(a, b rollout.Entry) int { return a.From - b.From })
	return out, nil
}

// lastChanges says when each rollout was started or changed last.
func lastChanges(ctx context.Context, tx store.Tx, app string, entries []rollout.Entry) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	for _, e := range entries {
		out[e.ID] = e.Created.Time
	}
	list, err := tx.Log().Audit().List(ctx, store.AuditQuery{App: app, Limit: auditRead})
	for _, a := range list {
		if at, ours := out[a.Target]; ours && strings.HasPrefix(a.Action, "rollout.") && a.At.After(at) {
			out[a.Target] = a.At
		}
	}
	return out, err
}

// compareArms reads what devices told and compares it. Metrics are read before enrolments: who measures has enrolled.
func (s *Server) compareArms(ctx context.Context, out *Comparison, entries []rollout.Entry, changed map[string]time.Time, test compare.Test) error {
	trials := s.cfg.Store.Reports().Trials()
	out.Salt = entries[0].PositionSalt()
	metrics := map[string][]store.MetricRow{}
	for _, e := range entries {
		rows, err := trials.Metrics(ctx, e.ID)
		if err != nil {
			return fmt.Errorf("read metrics: %w", err)
		}
		metrics[e.ID] = rows
	}
	for _, e := range entries {
		tally, err := trials.Tally(ctx, e.ID)
		if err != nil {
			return fmt.Errorf("count devices: %w", err)
		}
		arm := ComparedArm{Name: e.Version, Rollout: e.ID, Arm: slipstream.ArmTreatment, Release: e.Manifest, Version: e.Version, Share: e.To - e.From}
		out.Arms = append(out.Arms, arm.count(tally))
		if len(entries) == 1 {
			control := ComparedArm{Name: slipstream.ArmControl, Rollout: e.ID, Arm: slipstream.ArmControl, Share: min(e.Control, slipstream.FullShare-arm.Share)}
			out.Arms = append(out.Arms, control.count(tally))
		}
	}
	tellApart(out.Arms)
	if err := s.doubtSizes(ctx, out, entries, changed); err != nil {
		return err
	}
	for _, name := range metricNames(metrics, test.Metric) {
		t := test
		t.Metric = name
		r, err := comparison{t}.metric(out.Arms, metrics)
		if err != nil {
			return err
		}
		if out.Doubt != "" {
			r.Winner, r.Doubt, r.Text = "", out.Doubt, out.Doubt
		}
		out.Results = append(out.Results, r)
	}
	return nil
}
