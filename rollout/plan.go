package rollout

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Limits of a plan.
const (
	maxStages  = 20
	maxWindows = 14
	maxSoak    = 90 * 24 * 3600 // seconds
)

// DefaultMinDevices is how many devices must have been heard of before a plan leaves a stage that names no number. It
// makes a release that fails for every fifth device almost surely known.
const DefaultMinDevices = 20

// DefaultPlan is what --plan means without a value.
const DefaultPlan = "1%:1h,5%:2h,20%:4h,50%:8h,100%"

// Stage is one step of a plan.
type Stage struct {
	Share      int   `json:"share"`                // positions, counted from the rollout's own beginning
	Soak       int   `json:"soak,omitempty"`       // least seconds in it; the last stage has none
	MinDevices int64 `json:"minDevices,omitempty"` // least devices heard of before the next
}

// Plan advances a rollout by itself: stage by stage, when the time of one is over, the guard has enough evidence and
// nothing speaks against the release.
type Plan struct {
	Stages []Stage `json:"stages"`
	// At is the stage in force; -1 before the start.
	At int `json:"at"`
	// Began is when each stage that was reached began.
	Began   []slipstream.Time `json:"began,omitempty"`
	Start   *slipstream.Time  `json:"start,omitempty"` // not before
	Windows []Window          `json:"windows,omitempty"`
	Frozen  bool              `json:"frozen,omitempty"` // stays where it is, until people take that back
}

// Window is a time of the week in which a plan may take a step. Without any, every time is good.
type Window struct {
	Days []string `json:"days,omitempty"` // mon … sun; none = all
	From string   `json:"from"`           // 09:00
	To   string   `json:"to"`             // 17:00, not in it; at or before From: of the next day
	Zone string   `json:"zone,omitempty"` // IANA name; "" = UTC
}

// Freeze keeps every plan of a channel where it is. Guard and people still act.
type Freeze struct {
	Until  *slipstream.Time `json:"until,omitempty"` // nil = until taken back
	Reason string           `json:"reason,omitempty"`
	By     string           `json:"by,omitempty"`
	At     slipstream.Time  `json:"at"`
}

// ParsePlan reads "1%:30m,10%:2h:50,50%:6h,100%": shares, each with the least time in it and, if wanted, the least number
// of devices. Every stage but the last needs a time. An error names the stage.
func ParsePlan(text string) ([]Stage, error) {
	if strings.TrimSpace(text) == "" {
		text = DefaultPlan
	}
	var out []Stage
	for i, part := range strings.Split(text, ",") {
		fields := strings.Split(strings.TrimSpace(part), ":")
		where := fmt.Sprintf("stage %d (%s)", i+1, strings.TrimSpace(part))
		share, err := parsePercent(fields[0])
		if err != nil {
			return nil, slipstream.Invalidf("%s: %v", where, err)
		}
		s := Stage{Share: share, MinDevices: DefaultMinDevices}
		if len(fields) > 3 {
			return nil, slipstream.Invalidf("%s: a stage is SHARE:TIME:DEVICES", where)
		}
		if len(fields) > 1 {
			soak, err := parseSoak(fields[1])
			if err != nil {
				return nil, slipstream.Invalidf("%s: %v", where, err)
			}
			s.Soak = int(soak / time.Second)
		}
		if len(fields) > 2 {
			if s.MinDevices, err = strconv.ParseInt(fields[2], 10, 64); err != nil || s.MinDevices < 0 {
				return nil, slipstream.Invalidf("%s: %q is no number of devices", where, fields[2])
			}
		}
		out = append(out, s)
	}
	if last := &out[len(out)-1]; last.Soak == 0 {
		last.MinDevices = 0
	}
	return out, checkStages(out)
}

// parsePercent reads "12.5%" as positions.
func parsePercent(s string) (int, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(s), "%")
	whole, part, _ := strings.Cut(number, ".")
	if !ok || len(part) > 2 || whole == "" || len(whole) > 3 {
		return 0, fmt.Errorf("%q is no share: it looks like 10%% or 0.5%%", s)
	}
	n, err := strconv.Atoi(whole + (part + "00")[:2])
	if err != nil || n < 0 || whole[0] == '+' || whole[0] == '-' {
		return 0, fmt.Errorf("%q is no share: it looks like 10%% or 0.5%%", s)
	}
	if n > slipstream.FullShare {
		return 0, fmt.Errorf("a share over 100%%")
	}
	return n, nil
}

// parseSoak reads a duration of Go, and days: 90s, 30m, 2h, 3d.
func parseSoak(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err == nil && n > 0 && n <= maxSoak/(24*3600) {
			return time.Duration(n * 24 * float64(time.Hour)), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second || d > maxSoak*time.Second {
		return 0, fmt.Errorf("%q is no time: it looks like 30m, 2h or 3d", s)
	}
	return d, nil
}

func checkStages(stages []Stage) error {
	if len(stages) == 0 || len(stages) > maxStages {
		return slipstream.Invalidf("a plan has between 1 and %d stages", maxStages)
	}
	for i, s := range stages {
		where := fmt.Sprintf("stage %d (%s)", i+1, Percent(s.Share))
		switch {
		case s.Share <= 0 || s.Share > slipstream.FullShare:
			return slipstream.Invalidf("%s: the share must be above 0%% and at most 100%%", where)
		case i > 0 && s.Share <= stages[i-1].Share:
			return slipstream.Invalidf("%s: a plan never shrinks, and the stage before has %s", where, Percent(stages[i-1].Share))
		case i < len(stages)-1 && s.Soak <= 0:
			return slipstream.Invalidf("%s: says no time, like 30m or 2h; only the last stage may do without", where)
		case s.Soak < 0 || s.Soak > maxSoak || s.MinDevices < 0:
			return slipstream.Invalidf("%s: time or number of devices is out of range", where)
		}
	}
	return nil
}

// Check refuses a plan that cannot be meant.
func (p *Plan) Check() error {
	if err := checkStages(p.Stages); err != nil {
		return err
	}
	if len(p.Windows) > maxWindows {
		return slipstream.Invalidf("a plan has at most %d windows", maxWindows)
	}
	for _, w := range p.Windows {
		if err := w.check(); err != nil {
			return err
		}
	}
	return nil
}

var weekdays = map[string]time.Weekday{"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday,
	"thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday}

// ParseWindow reads "mon-fri 09:00-17:00 Europe/Berlin"; days and zone may be left out.
func ParseWindow(text string) (Window, error) {
	var w Window
	for _, word := range strings.Fields(text) {
		from, to, ranged := strings.Cut(word, "-")
		switch {
		case strings.Contains(word, ":") && ranged:
			w.From, w.To = from, to
		case weekdayList(word) != nil:
			w.Days = weekdayList(word)
		default:
			w.Zone = word
		}
	}
	return w, w.check()
}

// weekdayList reads "mon-fri" and "sat,sun"; nil for anything else.
func weekdayList(word string) []string {
	order := []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	var out []string
	for part := range strings.SplitSeq(strings.ToLower(word), ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		i, j := slices.Index(order, from), slices.Index(order, to)
		if i < 0 || j < 0 {
			return nil
		}
		for k := i; ; k = (k + 1) % len(order) {
			out = append(out, order[k])
			if k == j {
				break
			}
		}
	}
	return out
}

func (w *Window) check() error {
	for _, d := range w.Days {
		if _, ok := weekdays[d]; !ok {
			return slipstream.Invalidf("window: %q is no day of the week: mon … sun", d)
		}
	}
	for _, clock := range []string{w.From, w.To} {
		if _, err := minuteOf(clock); err != nil {
			return slipstream.Invalidf("window: %q is no time of day: 09:00-17:00", clock)
		}
	}
	if _, err := time.LoadLocation(w.Zone); err != nil {
		return slipstream.Invalidf("window: time zone %q is not known: it looks like Europe/Berlin", w.Zone)
	}
	return nil
}

func minuteOf(clock string) (int, error) {
	if clock == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", clock)
	return t.Hour()*60 + t.Minute(), err
}

// holds reports whether now lies in the window.
func (w *Window) holds(now time.Time) bool {
	zone, err := time.LoadLocation(w.Zone)
	if err != nil {
		return false
	}
	local := now.In(zone)
	from, _ := minuteOf(w.From)
	to, _ := minuteOf(w.To)
	minute := local.Hour()*60 + local.Minute()
	on := func(d time.Weekday) bool {
		return len(w.Days) == 0 || slices.ContainsFunc(w.Days, func(s string) bool { return weekdays[s] == d })
	}
	today, yesterday := local.Weekday(), local.AddDate(0, 0, -1).Weekday()
	if from < to {
		return on(today) && minute >= from && minute < to
	}
	return on(today) && minute >= from || on(yesterday) && minute < to
}

// open reports whether some window holds.
func (p *Plan) open(now time.Time) bool {
	return len(p.Windows) == 0 || slices.ContainsFunc(p.Windows, func(w Window) bool { return w.holds(now) })
}

// Last reports whether there is no stage after the one in force.
func (p *Plan) Last() bool { return p.At >= len(p.Stages)-1 }

// Stage is the stage in force; ok is false before the start.
func (p *Plan) Stage() (s Stage, began time.Time, ok bool) {
	if p.At < 0 || p.At >= len(p.Stages) || len(p.Began) == 0 {
		return Stage{}, time.Time{}, false
	}
	return p.Stages[p.At], p.Began[len(p.Began)-1].Time, true
}

// StageAt is the stage that was in force at an instant, as the guard counts them; 0 before any began.
func (p *Plan) StageAt(t time.Time) int {
	n := 0
	for i, b := range p.Began {
		if !t.Before(b.Time) {
			n = i
		}
	}
	return n
}

// Waits says why the clock keeps a plan where it is: "" when it may take its next step as far as time is concerned. The
// guard has its own say.
func (p *Policy) Waits(e *Entry, now time.Time) string {
	plan := e.Plan
	switch {
	case plan == nil:
		return "it has no plan"
	case e.Hold != "":
		return "it is " + e.Hold
	case plan.Last():
		return "it is at its last stage"
	case plan.Frozen:
		return "it is frozen"
	case p.frozen(now):
		return "the channel is frozen" + because(p.Freeze.Reason)
	case plan.Start != nil && now.Before(plan.Start.Time):
		return "it starts at " + plan.Start.Format(slipstream.TimeLayout)
	case !plan.open(now):
		return "now is outside of its windows"
	}
	if s, began, ok := plan.Stage(); ok {
		if left := began.Add(time.Duration(s.Soak) * time.Second).Sub(now); left > 0 {
			return "the stage has " + left.Round(time.Second).String() + " to go"
		}
	}
	return ""
}

// frozen reports whether the channel's plans stay where they are.
func (p *Policy) frozen(now time.Time) bool {
	return p.Freeze != nil && (p.Freeze.Until == nil || now.Before(p.Freeze.Until.Time))
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// Advance puts the next stage of a rollout's plan in force. Who calls it has looked at the clock and the evidence.
func (p *Policy) Advance(id string, now time.Time) error {
	pkg, e, err := p.Find(id)
	if err != nil {
		return err
	}
	switch {
	case e.Plan == nil:
		return slipstream.Hint(fmt.Errorf("rollout %s has no plan: %w", id, slipstream.ErrConflict), "`slipstream rollout share` moves it by hand, `slipstream rollout stage` gives it a plan")
	case e.Plan.Last():
		return fmt.Errorf("rollout %s is at its last stage: %w", id, slipstream.ErrConflict)
	case e.Hold != "":
		return slipstream.Hint(fmt.Errorf("rollout %s is %s: %w", id, e.Hold, slipstream.ErrConflict), "look at `slipstream rollout show %s`, then `slipstream rollout resume %s`", id, id)
	case p.pkg(pkg).WithdrawnOn(e.Manifest, e.Platform):
		return fmt.Errorf("release %s is withdrawn: %w", e.Version, slipstream.ErrConflict)
	}
	plan := *e.Plan
	plan.At++
	plan.Began = append(slices.Clone(plan.Began), slipstream.At(now))
	plan.Frozen = false
	e.Plan = &plan
	// People may have given more by hand: a step never takes anything back.
	e.To = max(e.To, min(e.From+plan.Stages[plan.At].Share, slipstream.FullShare))
	return p.pkg(pkg).checkOverlap(e)
}

// SetPlan gives a running rollout a plan, or another one (nil takes it away). The stage in force becomes the last one
// that is not above the present share.
func (p *Policy) SetPlan(id string, plan *Plan, now time.Time) error {
	_, e, err := p.Find(id)
	if err != nil {
		return err
	}
	if plan == nil {
		e.Plan = nil
		return nil
	}
	next := *plan
	if err := next.Check(); err != nil {
		return err
	}
	next.At, next.Began = -1, nil
	for i, s := range next.Stages {
		if s.Share <= e.To-e.From {
			next.At = i
			next.Began = append(next.Began, slipstream.At(now))
		}
	}
	if last := next.Stages[len(next.Stages)-1]; last.Share < e.To-e.From {
		return slipstream.Invalidf("stage %d (%s): the rollout is at %s already, and a plan never shrinks", len(next.Stages), Percent(last.Share), Percent(e.To-e.From))
	}
	if next.At < 0 && e.To > e.From {
		return slipstream.Hint(slipstream.Invalidf("stage 1 (%s): the rollout is at %s only, and a new plan takes no step by itself", Percent(next.Stages[0].Share), Percent(e.To-e.From)),
			"begin the plan with the share that the rollout has, or set its share to that of the first stage")
	}
	e.Plan = &next
	return nil
}

// begin puts a new rollout with a plan at its first stage, or before it when it starts later.
func (e *Entry) begin(now time.Time, frozen bool) error {
	if e.Plan == nil {
		return nil
	}
	if err := e.Plan.Check(); err != nil {
		return err
	}
	plan := *e.Plan
	plan.At, plan.Began, e.To = -1, nil, e.From
	if plan.Start == nil || !now.Before(plan.Start.Time) {
		if plan.open(now) && !frozen && !plan.Frozen {
			plan.At, plan.Began = 0, []slipstream.Time{slipstream.At(now)}
			e.To = min(e.From+plan.Stages[0].Share, slipstream.FullShare)
		}
	}
	e.Plan = &plan
	return nil
}
