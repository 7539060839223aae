package decide

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// want is a decision as the vectors write it down.
type want struct {
	Verdict    slipstream.Verdict `json:"verdict"`
	Reason     slipstream.Reason  `json:"reason"`
	Release    slipstream.Digest  `json:"release,omitempty"`
	Fallback   slipstream.Digest  `json:"fallback,omitempty"`
	ToEmbedded bool               `json:"toEmbedded,omitempty"`
	MustLeave  bool               `json:"mustLeave,omitempty"`
	Rollout    string             `json:"rollout,omitempty"`
	Control    bool               `json:"control,omitempty"`
	Retry      int                `json:"retry,omitempty"`
	Grant      string             `json:"grant,omitempty"`
}

func wanted(d Decision) want {
	w := want{Verdict: d.Verdict, Reason: d.Reason, ToEmbedded: d.ToEmbedded, MustLeave: d.MustLeave, Rollout: d.Rollout, Control: d.Control, Retry: d.Retry, Grant: d.Grant}
	if d.Target != nil {
		w.Release = d.Target.Manifest
	}
	if d.Fallback != nil {
		w.Fallback = d.Fallback.Digest
	}
	return w
}

type decisionCase struct {
	Name    string                 `json:"name"`
	State   *slipstream.State      `json:"state"`
	Package string                 `json:"package"`
	Device  slipstream.DeviceFacts `json:"device"`
	Local   Local                  `json:"local"`
	Now     slipstream.Time        `json:"now"`
	Want    want                   `json:"want"`
}

// rel is the release with this seq; its digest and version follow from it.
func rel(seq int64) slipstream.Digest { return digest(fmt.Sprintf("release %d", seq)) }

// offer is a rollout of release seq to everybody with any shell; edits change it.
func offer(seq int64, edits ...func(*slipstream.Rollout)) slipstream.Rollout {
	r := slipstream.Rollout{
		ID: fmt.Sprintf("ro_%d", seq), Manifest: rel(seq), Seq: seq, Version: fmt.Sprintf("1.%d.0", seq), Size: 1000 * seq,
		Runtime: slipstream.AnyRuntime(), To: slipstream.FullShare, Control: slipstream.DefaultControl,
	}
	for _, e := range edits {
		e(&r)
	}
	return r
}

func share(from, to int) func(*slipstream.Rollout) {
	return func(r *slipstream.Rollout) { r.From, r.To = from, to }
}
func hold(h string) func(*slipstream.Rollout) { return func(r *slipstream.Rollout) { r.Hold = h } }
func shells(rng string) func(*slipstream.Rollout) {
	return func(r *slipstream.Rollout) { r.Runtime.Range = rng }
}
func retry(n int) func(*slipstream.Rollout) { return func(r *slipstream.Rollout) { r.Retry = n } }
func capped(r *slipstream.Rollout)          { r.Grant = true }
func when(attr, op, value string) func(*slipstream.Rollout) {
	return func(r *slipstream.Rollout) {
		r.When = append(r.When, slipstream.Condition{Attr: attr, Op: op, Value: json.RawMessage(value)})
	}
}

func withdraw(seqs ...int64) func(*slipstream.PackageState) {
	return func(p *slipstream.PackageState) {
		for _, s := range seqs {
			p.Withdrawn = append(p.Withdrawn, rel(s))
		}
	}
}

func floorAt(seq int64, rng string) func(*slipstream.PackageState) {
	return func(p *slipstream.PackageState) {
		p.Floors = append(p.Floors, slipstream.Floor{Runtime: slipstream.Runtime{Range: rng}, Seq: seq})
	}
}

func offers(rs ...slipstream.Rollout) func(*slipstream.PackageState) {
	return func(p *slipstream.PackageState) { p.Rollouts = append(p.Rollouts, rs...) }
}

func stateOf(parts ...func(*slipstream.PackageState)) *slipstream.State {
	var p slipstream.PackageState
	for _, part := range parts {
		part(&p)
	}
	return &slipstream.State{
		App: "shop", Channel: "production", Platform: slipstream.PlatformAny, Epoch: 1, Issued: slipstream.At(noon.Add(-time.Hour)),
		Expires: slipstream.At(midnight), RootVersion: 1, CheckAfter: 900, Jitter: 60, Packages: map[string]slipstream.PackageState{"main": p},
	}
}

// running is a device that has confirmed release seq and fell back to nothing yet; older ones are held as good.
func running(seq int64, older ...int64) Local {
	l := Local{Running: held(seq), Anchor: held(seq)}
	for _, s := range older {
		l.Held = append(l.Held, held(s))
	}
	return l
}

func held(seq int64) Held {
	return Held{Digest: rel(seq), Seq: seq, Runtime: slipstream.AnyRuntime()}
}

func embedded() Local { return Local{RunningEmbedded: true} }

func (l Local) with(edit func(*Local)) Local { edit(&l); return l }

func (l Local) refusing(seq int64, retry int) Local {
	l.Refused = append(l.Refused, Refusal{Digest: rel(seq), Retry: retry})
	return l
}

func phone(edits ...func(*slipstream.DeviceFacts)) slipstream.DeviceFacts {
	f := slipstream.DeviceFacts{ID: device(1), Platform: "android", Runtime: "3.2.0"}
	for _, e := range edits {
		e(&f)
	}
	return f
}

func at(salt string, from, to int) slipstream.DeviceFacts {
	return phone(func(f *slipstream.DeviceFacts) { f.ID = deviceAt(salt, from, to) })
}

// The short hands for the four common outcomes.
func keep(reason slipstream.Reason, rollout string) want {
	return want{Verdict: slipstream.VerdictNone, Reason: reason, Rollout: rollout}
}

func takes(seq int64) want {
	return want{Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease, Release: rel(seq), Rollout: fmt.Sprintf("ro_%d", seq)}
}

func leaves(reason slipstream.Reason, w want) want {
	w.Reason, w.MustLeave = reason, true
	if w.Verdict == "" {
		w.Verdict = slipstream.VerdictRollback
	}
	return w
}

func back(seq int64) want { return want{Fallback: rel(seq)} }

func TestDecisionVectors(t *testing.T) {
	var cases []decisionCase
	seen := map[string]bool{}
	for _, group := range [][]decisionCase{walkCases(), shareCases(), barredCases(), leavingCases(), anchorCases(), shellCases()} {
		for _, c := range group {
			if c.Package == "" {
				c.Package = "main"
			}
			if c.Now.IsZero() {
				c.Now = slipstream.At(noon)
			}
			if seen[c.Name] {
				t.Errorf("two cases are called %q", c.Name)
			}
			seen[c.Name] = true
			cases = append(cases, c)
		}
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			plan, err := Compile(c.State)
			if err != nil {
				t.Fatal(err)
			}
			dev := NewDevice(c.Device)
			got := plan.Decide(c.Package, dev, &c.Local, c.Now.Time)
			if w := wanted(got); w != c.Want {
				t.Errorf("decided %+v\n   want %+v", w, c.Want)
			}
			explained, steps := plan.Explain(c.Package, dev, &c.Local, c.Now.Time)
			if !reflect.DeepEqual(explained, got) {
				t.Errorf("explained %+v, decided %+v", explained, got)
			}
			if len(steps) == 0 || steps[len(steps)-1].Reason != got.Reason {
				t.Errorf("the explanation does not end with the reason %s: %+v", got.Reason, steps)
			}
		})
	}
	golden(t, "decisions.json", cases)
}

func walkCases() []decisionCase {
	vip := when("custom.group", "in", fmt.Sprintf(`["%s"]`, HashValue("ro_9", "vip")))
	isVIP := func(f *slipstream.DeviceFacts) {
		f.Attributes = map[string]json.RawMessage{"custom.group": json.RawMessage(`"vip"`)}
	}
	expired := decisionCase{Name: "an expired state changes nothing", State: stateOf(offers(offer(5))), Device: phone(), Local: running(4),
		Now: slipstream.At(midnight), Want: keep(slipstream.ReasonExpiredState, "")}
	lastSecond := decisionCase{Name: "a state counts until the second before it expires", State: stateOf(offers(offer(5))), Device: phone(), Local: running(4),
		Now: slipstream.At(midnight.Add(-time.Second)), Want: takes(5)}
	expiredWithdrawal := decisionCase{Name: "an expired state withdraws nothing", State: stateOf(withdraw(4)), Device: phone(), Local: running(4),
		Now: slipstream.At(midnight), Want: keep(slipstream.ReasonExpiredState, "")}
	other := decisionCase{Name: "a package that the channel does not know has no release", State: stateOf(offers(offer(5))), Device: phone(), Local: running(4),
		Package: "cart", Want: keep(slipstream.ReasonNoRelease, "")}
	ios := stateOf(offers(offer(5)))
	ios.Platform = "ios"
	return []decisionCase{
		expired, lastSecond, expiredWithdrawal, other,
		{Name: "another platform's state is not obeyed", State: ios, Device: phone(), Local: running(4), Want: keep(slipstream.ReasonPlatformMismatch, "")},
		{Name: "a device without a platform may not use a platform's state", State: ios, Device: slipstream.DeviceFacts{}, Local: running(4), Want: keep(slipstream.ReasonPlatformMismatch, "")},
		{Name: "no rollouts, no release", State: stateOf(), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonNoRelease, "")},
		{Name: "a newer release for everybody is taken", State: stateOf(offers(offer(5))), Device: phone(), Local: running(4), Want: takes(5)},
		{Name: "the embedded release is left for an offered one", State: stateOf(offers(offer(5))), Device: phone(), Local: embedded(), Want: takes(5)},
		{Name: "the running release is up to date", State: stateOf(offers(offer(5))), Device: phone(), Local: running(5), Want: keep(slipstream.ReasonUpToDate, "ro_5")},
		{Name: "a newer running release is kept", State: stateOf(offers(offer(5))), Device: phone(), Local: running(6), Want: keep(slipstream.ReasonKeepNewer, "ro_5")},
		{Name: "another release with the running seq is not taken", State: stateOf(offers(offer(5))), Device: phone(),
			Local: running(4).with(func(l *Local) { l.Running = Held{Digest: rel(99), Seq: 5} }), Want: keep(slipstream.ReasonKeepNewer, "ro_5")},
		{Name: "the first fitting rollout wins though a later one is newer", State: stateOf(offers(offer(5), offer(6))), Device: phone(), Local: running(4), Want: takes(5)},
		{Name: "conditions are met", State: stateOf(offers(offer(9, vip), offer(5))), Device: phone(isVIP), Local: running(4), Want: takes(9)},
		{Name: "the walk goes on where conditions are not met", State: stateOf(offers(offer(9, vip), offer(5))), Device: phone(), Local: running(4), Want: takes(5)},
		{Name: "unmet conditions are the reason when nothing else fits", State: stateOf(offers(offer(9, vip))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonConditions, "")},
		{Name: "all conditions must be met", State: stateOf(offers(offer(9, when("platform", "in", `["android"]`), when("seq", "gte", `5`)))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonConditions, "")},
		{Name: "a condition on the running seq", State: stateOf(offers(offer(9, when("seq", "gte", `4`)))), Device: phone(), Local: running(4), Want: takes(9)},
		{Name: "a condition with an unknown operator fits nobody", State: stateOf(offers(offer(9, when("platform", "like", `"and"`)))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonConditions, "")},
	}
}

func shareCases() []decisionCase {
	nobody := phone(func(f *slipstream.DeviceFacts) { f.ID = "" })
	salted := func(salt string, from, to int) func(*slipstream.Rollout) {
		return func(r *slipstream.Rollout) { r.Salt, r.From, r.To = salt, from, to }
	}
	noControl := func(r *slipstream.Rollout) { r.Control = 0 }
	ab := stateOf(offers(offer(6, salted("test", 0, 5000)), offer(7, salted("test", 5000, 10000))))
	control := func(w want, id string) want { w.Rollout, w.Control = id, true; return w }
	return []decisionCase{
		{Name: "a position inside the share", State: stateOf(offers(offer(5, share(0, 1000)))), Device: at("ro_5", 999, 1000), Local: running(4), Want: takes(5)},
		{Name: "the end of the share is outside", State: stateOf(offers(offer(5, share(0, 1000)))), Device: at("ro_5", 1000, 1001), Local: running(4), Want: keep(slipstream.ReasonNotInRollout, "")},
		{Name: "the start of the share is inside", State: stateOf(offers(offer(5, share(1000, 2000)))), Device: at("ro_5", 1000, 1001), Local: running(4), Want: takes(5)},
		{Name: "an empty share holds nobody", State: stateOf(offers(offer(5, share(0, 0), noControl))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonNotInRollout, "")},
		{Name: "without an id only the full range holds the device", State: stateOf(offers(offer(6, share(0, 9999)), offer(5))), Device: nobody, Local: running(4), Want: takes(5)},
		{Name: "without an id a partial share does not", State: stateOf(offers(offer(6, share(0, 9999)))), Device: nobody, Local: running(4), Want: keep(slipstream.ReasonNotInRollout, "")},
		{Name: "the first arm of a test", State: ab, Device: at("test", 0, 5000), Local: running(4), Want: takes(6)},
		{Name: "the second arm of a test", State: ab, Device: at("test", 5000, 10000), Local: running(4), Want: takes(7)},
		{Name: "a device outside the share keeps a newer release that it got before", State: stateOf(offers(offer(5, share(0, 10)), offer(4))), Device: at("ro_5", 5000, 9000), Local: running(5), Want: keep(slipstream.ReasonKeepNewer, "ro_4")},
		{Name: "the control group keeps what it runs and says so", State: stateOf(offers(offer(5, share(0, 1000)), offer(4))), Device: at("ro_5", 9500, 10000), Local: running(4),
			Want: control(keep(slipstream.ReasonUpToDate, ""), "ro_5")},
		{Name: "the control group alone", State: stateOf(offers(offer(5, share(0, 1000)))), Device: at("ro_5", 9500, 9501), Local: running(4), Want: control(keep(slipstream.ReasonControlGroup, ""), "ro_5")},
		{Name: "just below the control group", State: stateOf(offers(offer(5, share(0, 1000)))), Device: at("ro_5", 9499, 9500), Local: running(4), Want: keep(slipstream.ReasonNotInRollout, "")},
		{Name: "no control group", State: stateOf(offers(offer(5, share(0, 1000), noControl))), Device: at("ro_5", 9999, 10000), Local: running(4), Want: keep(slipstream.ReasonNotInRollout, "")},
		{Name: "a share that reaches into the control group comes first", State: stateOf(offers(offer(5, share(0, 9800)))), Device: at("ro_5", 9500, 9800), Local: running(4), Want: takes(5)},
		{Name: "a device that gets something else is nobody's control", State: stateOf(offers(offer(6, share(0, 1000)), offer(5))), Device: at("ro_6", 9500, 10000), Local: running(4), Want: takes(5)},
		{Name: "a device that runs the release already is not its control", State: stateOf(offers(offer(5, share(0, 1000)))), Device: at("ro_5", 9500, 10000), Local: running(5), Want: keep(slipstream.ReasonNotInRollout, "")},
		{Name: "a held rollout has no new control devices", State: stateOf(offers(offer(5, share(0, 1000), hold(slipstream.HoldHalted)))), Device: at("ro_5", 9500, 10000), Local: running(4), Want: keep(slipstream.ReasonNotInRollout, "")},
		{Name: "the control group comes before an earlier rollout for others", State: stateOf(offers(offer(9, when("os", "in", `["x"]`)), offer(5, share(0, 1000)))), Device: at("ro_5", 9500, 10000), Local: running(4),
			Want: control(keep(slipstream.ReasonControlGroup, ""), "ro_5")},
	}
}

func barredCases() []decisionCase {
	granting := want{Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonGrantNeeded, Grant: "ro_5"}
	again := takes(5)
	again.Retry = 1
	alongGrant := takes(4)
	alongGrant.Grant = "ro_5"
	return []decisionCase{
		{Name: "paused takes no new devices", State: stateOf(offers(offer(5, hold(slipstream.HoldPaused)))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonPaused, "")},
		{Name: "halted takes no new devices", State: stateOf(offers(offer(5, hold(slipstream.HoldHalted)))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonHalted, "")},
		{Name: "an unknown hold holds", State: stateOf(offers(offer(5, hold("frozen")))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonPaused, "")},
		{Name: "paused keeps the devices that run its release", State: stateOf(offers(offer(5, hold(slipstream.HoldPaused)), offer(4))), Device: phone(), Local: running(5), Want: keep(slipstream.ReasonUpToDate, "ro_5")},
		{Name: "the walk goes on past a held rollout", State: stateOf(offers(offer(6, hold(slipstream.HoldHalted)), offer(5))), Device: phone(), Local: running(4), Want: takes(5)},
		{Name: "a withdrawn release is passed over", State: stateOf(offers(offer(6), offer(5)), withdraw(6)), Device: phone(), Local: running(4), Want: takes(5)},
		{Name: "a withdrawn release alone", State: stateOf(offers(offer(6)), withdraw(6)), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonWithdrawn, "")},
		{Name: "a release below the floor is passed over", State: stateOf(offers(offer(5), offer(8)), floorAt(6, "*")), Device: phone(), Local: running(7), Want: takes(8)},
		{Name: "a floor for another shell does not count", State: stateOf(offers(offer(5)), floorAt(6, "4.x")), Device: phone(), Local: running(4), Want: takes(5)},
		{Name: "the highest fitting floor counts", State: stateOf(offers(offer(5)), floorAt(3, "*"), floorAt(6, "3.x"), floorAt(9, "4.x")), Device: phone(), Local: running(7), Want: keep(slipstream.ReasonBelowFloor, "")},
		{Name: "a release that crashed here is passed over", State: stateOf(offers(offer(6), offer(5))), Device: phone(), Local: running(4).refusing(6, 0), Want: takes(5)},
		{Name: "a release that crashed here alone", State: stateOf(offers(offer(6))), Device: phone(), Local: running(4).refusing(6, 0), Want: keep(slipstream.ReasonRefusedAfterCrash, "")},
		{Name: "a raised retry number opens a refused release again", State: stateOf(offers(offer(5, retry(1)))), Device: phone(), Local: running(4).refusing(5, 0), Want: again},
		{Name: "a release refused at this retry number stays refused", State: stateOf(offers(offer(5, retry(1)))), Device: phone(), Local: running(4).refusing(5, 1), Want: keep(slipstream.ReasonRefusedAfterCrash, "")},
		{Name: "a refused release that runs is up to date", State: stateOf(offers(offer(5))), Device: phone(), Local: running(5).refusing(5, 0), Want: keep(slipstream.ReasonUpToDate, "ro_5")},
		{Name: "a cap needs a grant", State: stateOf(offers(offer(5, capped))), Device: phone(), Local: running(4), Want: granting},
		{Name: "a granted device takes a capped release", State: stateOf(offers(offer(5, capped))), Device: phone(), Local: running(4).with(func(l *Local) { l.Granted = []string{"ro_1", "ro_5"} }), Want: takes(5)},
		{Name: "a capped release that runs needs no grant", State: stateOf(offers(offer(5, capped))), Device: phone(), Local: running(5), Want: keep(slipstream.ReasonUpToDate, "ro_5")},
		{Name: "a full one is not asked for a grant again, but the next one is", State: stateOf(offers(offer(6, capped), offer(5, capped))), Device: phone(), Local: running(4).with(func(l *Local) { l.Full = []string{"ro_6"} }), Want: granting},
		{Name: "a capped release that could not be taken needs no grant", State: stateOf(offers(offer(5, capped), offer(7))), Device: phone(), Local: running(6), Want: takes(7)},
		{Name: "without a grant the walk goes on and tells of it", State: stateOf(offers(offer(5, capped), offer(4))), Device: phone(), Local: running(3), Want: alongGrant},
		{Name: "the first skip is the reason", State: stateOf(offers(offer(8), offer(7, hold(slipstream.HoldPaused)), offer(6)), withdraw(6)), Device: phone(), Local: running(4).refusing(8, 0), Want: keep(slipstream.ReasonRefusedAfterCrash, "")},
		{Name: "a skip counts before an earlier rollout for others", State: stateOf(offers(offer(8, when("os", "in", `["x"]`)), offer(7, hold(slipstream.HoldPaused)))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonPaused, "")},
	}
}

func leavingCases() []decisionCase {
	blocked := func(reason slipstream.Reason, to bool) want {
		return want{Verdict: slipstream.VerdictBlocked, Reason: reason, ToEmbedded: to, MustLeave: true}
	}
	toEmbedded := want{ToEmbedded: true}
	shipped := func(seq int64) func(*Local) { return func(l *Local) { l.Embedded = held(seq) } }
	allows := func(seqs ...int64) func(*Local) {
		return func(l *Local) {
			for _, s := range seqs {
				l.AnchorFallback = append(l.AnchorFallback, rel(s))
			}
		}
	}
	shell4 := Held{Digest: rel(4), Seq: 4, Runtime: slipstream.Runtime{Range: "4.x"}}
	to := func(v slipstream.Verdict, seq int64) want {
		return want{Verdict: v, Release: rel(seq), Rollout: fmt.Sprintf("ro_%d", seq)}
	}
	const gone, low = slipstream.ReasonWithdrawn, slipstream.ReasonBelowFloor
	return []decisionCase{
		{Name: "withdrawn: to a newer target", State: stateOf(offers(offer(6)), withdraw(5)), Device: phone(), Local: running(5, 4), Want: leaves(gone, to(slipstream.VerdictUpdate, 6))},
		{Name: "withdrawn: to an older target along a signed edge", State: stateOf(offers(offer(4)), withdraw(5)), Device: phone(), Local: running(5).with(allows(3, 4)), Want: leaves(gone, to(slipstream.VerdictRollback, 4))},
		{Name: "withdrawn: not to an older target without a signed edge", State: stateOf(offers(offer(3)), withdraw(5)), Device: phone(), Local: running(5, 4).with(allows(2)), Want: leaves(gone, back(4))},
		{Name: "withdrawn: to the newest held release", State: stateOf(withdraw(5)), Device: phone(), Local: running(5, 4, 3), Want: leaves(gone, back(4))},
		{Name: "withdrawn: past a held release that is withdrawn too", State: stateOf(withdraw(5, 4)), Device: phone(), Local: running(5, 4, 3), Want: leaves(gone, back(3))},
		{Name: "withdrawn: past a held release below the floor", State: stateOf(withdraw(5), floorAt(4, "*")), Device: phone(), Local: running(5, 3).with(shipped(1)),
			Want: blocked(low, true)},
		{Name: "withdrawn: past a held release that crashed here", State: stateOf(withdraw(5)), Device: phone(), Local: running(5, 4, 3).refusing(4, 0), Want: leaves(gone, back(3))},
		{Name: "withdrawn: past a held release for another shell", State: stateOf(withdraw(5)), Device: phone(), Local: running(5).with(func(l *Local) { l.Held = []Held{shell4, held(3)} }), Want: leaves(gone, back(3))},
		{Name: "withdrawn: past a held release below the embedded one", State: stateOf(withdraw(5)), Device: phone(), Local: running(5, 2).with(shipped(3)), Want: leaves(gone, toEmbedded)},
		{Name: "withdrawn: to the embedded release when nothing is held", State: stateOf(withdraw(5)), Device: phone(), Local: running(5), Want: leaves(gone, toEmbedded)},
		{Name: "withdrawn: the embedded release runs although it is withdrawn too", State: stateOf(withdraw(5, 1)), Device: phone(), Local: running(5).with(shipped(1)), Want: blocked(gone, true)},
		{Name: "the embedded release withdrawn while it runs is blocked", State: stateOf(withdraw(1)), Device: phone(),
			Local: Local{Running: held(1), RunningEmbedded: true, Embedded: held(1), Anchor: held(1)}, Want: blocked(gone, false)},
		{Name: "the embedded release below the floor is blocked", State: stateOf(floorAt(3, "*")), Device: phone(), Local: embedded(), Want: blocked(low, false)},
		{Name: "the embedded release below the floor goes to the target", State: stateOf(offers(offer(4)), floorAt(3, "*")), Device: phone(), Local: embedded(), Want: leaves(low, to(slipstream.VerdictUpdate, 4))},
		{Name: "below the floor: to the target", State: stateOf(offers(offer(9)), floorAt(8, "*")), Device: phone(), Local: running(5, 4), Want: leaves(low, to(slipstream.VerdictUpdate, 9))},
		{Name: "below the floor: held releases below it do not help", State: stateOf(floorAt(8, "*")), Device: phone(), Local: running(5, 4).with(shipped(8)), Want: leaves(low, toEmbedded)},
		{Name: "withdrawn counts before below the floor", State: stateOf(withdraw(5), floorAt(8, "*")), Device: phone(), Local: running(5), Want: blocked(low, true)},
		{Name: "withdrawn and outside every share: still left", State: stateOf(offers(offer(6, share(0, 10))), withdraw(5)), Device: at("ro_6", 9500, 10000), Local: running(5, 4), Want: leaves(gone, back(4))},
		{Name: "withdrawn and the target is paused: still left", State: stateOf(offers(offer(6, hold(slipstream.HoldPaused))), withdraw(5)), Device: phone(), Local: running(5, 4), Want: leaves(gone, back(4))},
		{Name: "withdrawing another release changes nothing", State: stateOf(offers(offer(5)), withdraw(6)), Device: phone(), Local: running(5), Want: keep(slipstream.ReasonUpToDate, "ro_5")},
		{Name: "a withdrawn trial goes back to the anchor", State: stateOf(offers(offer(5)), withdraw(6)), Device: phone(),
			Local: running(6, 5).with(func(l *Local) { l.Anchor = held(5) }), Want: leaves(gone, to(slipstream.VerdictRollback, 5))},
	}
}

func anchorCases() []decisionCase {
	// fell is a device that confirmed 6, which failed later; it is back on 4.
	fell := func(edits ...func(*Local)) Local {
		l := running(4)
		l.Anchor = held(6)
		for _, e := range edits {
			e(&l)
		}
		return l
	}
	allows5 := func(l *Local) { l.AnchorFallback = []slipstream.Digest{rel(5)} }
	remote := func(anchor int64) Local {
		return LocalFromCheck(slipstream.PackageOnBoard{Digest: rel(4), Seq: 4, Anchor: anchor})
	}
	retried := takes(6)
	retried.Retry = 2
	return []decisionCase{
		{Name: "anchor: below a good anchor nothing is installed", State: stateOf(offers(offer(5))), Device: phone(), Local: fell(allows5), Want: keep(slipstream.ReasonDowngrade, "")},
		{Name: "anchor: the anchor itself", State: stateOf(offers(offer(6))), Device: phone(), Local: fell(), Want: takes(6)},
		{Name: "anchor: above the anchor", State: stateOf(offers(offer(7))), Device: phone(), Local: fell(), Want: takes(7)},
		{Name: "anchor: along its edge once it is withdrawn", State: stateOf(offers(offer(5)), withdraw(6)), Device: phone(), Local: fell(allows5), Want: takes(5)},
		{Name: "anchor: not off its edges even when withdrawn", State: stateOf(offers(offer(5)), withdraw(6)), Device: phone(), Local: fell(), Want: keep(slipstream.ReasonDowngrade, "")},
		{Name: "anchor: another release with the anchor's seq", State: stateOf(offers(offer(6, func(r *slipstream.Rollout) { r.Manifest = rel(99) }))), Device: phone(), Local: fell(), Want: keep(slipstream.ReasonDowngrade, "")},
		{Name: "anchor: the walk goes on past a downgrade", State: stateOf(offers(offer(5), offer(7))), Device: phone(), Local: fell(), Want: takes(7)},
		{Name: "anchor: an embedded release without a manifest allows everything", State: stateOf(offers(offer(1))), Device: phone(), Local: embedded(), Want: takes(1)},
		{Name: "check: below an unknown anchor nothing without withdrawals", State: stateOf(offers(offer(5))), Device: phone(), Local: remote(6), Want: keep(slipstream.ReasonDowngrade, "")},
		{Name: "check: below an unknown anchor that may be withdrawn", State: stateOf(offers(offer(5)), withdraw(6)), Device: phone(), Local: remote(6), Want: takes(5)},
		{Name: "check: below an unknown anchor above the floor", State: stateOf(offers(offer(5)), floorAt(3, "*")), Device: phone(), Local: remote(6), Want: keep(slipstream.ReasonDowngrade, "")},
		{Name: "check: a withdrawn running release goes along edges that only the device sees", State: stateOf(offers(offer(3)), withdraw(4)), Device: phone(), Local: remote(4),
			Want: leaves(slipstream.ReasonWithdrawn, want{Verdict: slipstream.VerdictRollback, Release: rel(3), Rollout: "ro_3"})},
		{Name: "check: a withdrawn running release goes to what the device holds", State: stateOf(withdraw(4)), Device: phone(), Local: remote(4), Want: leaves(slipstream.ReasonWithdrawn, want{ToEmbedded: true})},
		{Name: "check: a refusal counts at retry 0", State: stateOf(offers(offer(6))), Device: phone(),
			Local: LocalFromCheck(slipstream.PackageOnBoard{Digest: rel(4), Seq: 4, Anchor: 4, Refused: []slipstream.Digest{rel(6)}}), Want: keep(slipstream.ReasonRefusedAfterCrash, "")},
		{Name: "check: a raised retry number is left to the device", State: stateOf(offers(offer(6, retry(2)))), Device: phone(),
			Local: LocalFromCheck(slipstream.PackageOnBoard{Digest: rel(4), Seq: 4, Anchor: 4, Refused: []slipstream.Digest{rel(6)}}), Want: retried},
		{Name: "check: a device without a digest runs its embedded release", State: stateOf(floorAt(1, "*")), Device: phone(), Local: LocalFromCheck(slipstream.PackageOnBoard{}),
			Want: want{Verdict: slipstream.VerdictBlocked, Reason: slipstream.ReasonBelowFloor, MustLeave: true}},
	}
}

func shellCases() []decisionCase {
	upgrade := want{Verdict: slipstream.VerdictUpgradeRuntime, Reason: slipstream.ReasonRuntimeMismatch, Release: rel(9), Rollout: "ro_9"}
	old := shells("4.x")
	printed := func(r *slipstream.Rollout) { r.Runtime = slipstream.Runtime{Fingerprint: "f1"} }
	return []decisionCase{
		{Name: "shell: only the runtime is in the way", State: stateOf(offers(offer(9, old))), Device: phone(), Local: running(4), Want: upgrade},
		{Name: "shell: a fitting rollout comes before an upgrade", State: stateOf(offers(offer(9, old), offer(5))), Device: phone(), Local: running(4), Want: takes(5)},
		{Name: "shell: a fitting release that runs comes before an upgrade", State: stateOf(offers(offer(9, old), offer(5))), Device: phone(), Local: running(5), Want: keep(slipstream.ReasonUpToDate, "ro_5")},
		{Name: "shell: conditions are in the way too", State: stateOf(offers(offer(9, old, when("os", "in", `["x"]`)))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonRuntimeMismatch, "")},
		{Name: "shell: the share is in the way too", State: stateOf(offers(offer(9, old, share(0, 10)))), Device: at("ro_9", 5000, 9000), Local: running(4), Want: keep(slipstream.ReasonRuntimeMismatch, "")},
		{Name: "shell: a hold is in the way too", State: stateOf(offers(offer(9, old, hold(slipstream.HoldPaused)))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonRuntimeMismatch, "")},
		{Name: "shell: a withdrawal is in the way too", State: stateOf(offers(offer(9, old)), withdraw(9)), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonRuntimeMismatch, "")},
		{Name: "shell: a refusal is in the way too", State: stateOf(offers(offer(9, old))), Device: phone(), Local: running(4).refusing(9, 0), Want: keep(slipstream.ReasonRuntimeMismatch, "")},
		{Name: "shell: nothing newer behind it", State: stateOf(offers(offer(3, old))), Device: phone(), Local: running(4), Want: keep(slipstream.ReasonRuntimeMismatch, "")},
		{Name: "shell: the first that only needs another one is named", State: stateOf(offers(offer(10, old, hold(slipstream.HoldHalted)), offer(9, old), offer(8, old))), Device: phone(), Local: running(4), Want: upgrade},
		{Name: "shell: an upgrade beats a skip reason", State: stateOf(offers(offer(7), offer(9, old))), Device: phone(), Local: running(4).refusing(7, 0), Want: upgrade},
		{Name: "shell: a withdrawn running release is left, upgrade or not", State: stateOf(offers(offer(9, old)), withdraw(4)), Device: phone(), Local: running(4, 3), Want: leaves(slipstream.ReasonWithdrawn, back(3))},
		{Name: "shell: a fingerprint fits exactly", State: stateOf(offers(offer(9, printed))), Device: phone(func(f *slipstream.DeviceFacts) { f.Runtime = "f1" }), Local: running(4), Want: takes(9)},
		{Name: "shell: another fingerprint does not", State: stateOf(offers(offer(9, printed))), Device: phone(func(f *slipstream.DeviceFacts) { f.Runtime = "f2" }), Local: running(4), Want: upgrade},
		{Name: "shell: any range fits a shell that is no version", State: stateOf(offers(offer(9))), Device: phone(func(f *slipstream.DeviceFacts) { f.Runtime = "build-77" }), Local: running(4), Want: takes(9)},
		{Name: "shell: a range that does not parse fits nobody", State: stateOf(offers(offer(9, shells(">>1")))), Device: phone(), Local: running(4), Want: upgrade},
		{Name: "shell: no runtime told", State: stateOf(offers(offer(9, shells(">=1")))), Device: phone(func(f *slipstream.DeviceFacts) { f.Runtime = "" }), Local: running(4), Want: upgrade},
	}
}

// TestAnotherReadingOfRuntimes: protocols with rules of their own for ranges decide by them, in floors and rollouts alike.
func TestAnotherReadingOfRuntimes(t *testing.T) {
	plan, err := Compile(stateOf(offers(offer(2, shells(">=9.0.0")), offer(1, shells("1.x"))), floorAt(2, ">=9.0.0")))
	if err != nil {
		t.Fatal(err)
	}
	dev, local := NewDevice(phone(func(f *slipstream.DeviceFacts) { f.Runtime = "1.5.0" })), embedded()
	if d := plan.Decide("main", dev, &local, noon); d.Target == nil || d.Target.Seq != 1 {
		t.Errorf("our own reading: %+v", d)
	}
	nine := plan.WithRuntime(func(rt slipstream.Runtime) bool { return rt.Range == ">=9.0.0" })
	if d := nine.Decide("main", dev, &local, noon); d.Target == nil || d.Target.Seq != 2 {
		t.Errorf("another reading: %+v", d)
	}
	none := plan.WithRuntime(func(slipstream.Runtime) bool { return false })
	if d := none.Decide("main", dev, &local, noon); d.Verdict != slipstream.VerdictUpgradeRuntime {
		t.Errorf("nothing fits: %+v", d)
	}
	if d := plan.Decide("main", dev, &local, noon); d.Target == nil || d.Target.Seq != 1 {
		t.Errorf("the plan itself changed: %+v", d)
	}
}
