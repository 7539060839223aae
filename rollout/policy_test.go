package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/sign"
)

func digest(seq int64) slipstream.Digest {
	return slipstream.Digest(fmt.Sprintf("%064x", seq))
}

// entry is a rollout of release seq to everybody.
func entry(seq int64, change ...func(*Entry)) Entry {
	e := Entry{Platform: slipstream.PlatformAny, Rollout: slipstream.Rollout{ID: fmt.Sprintf("r%d", seq), Manifest: digest(seq), Seq: seq,
		Version: fmt.Sprintf("1.%d.0", seq), Size: 10, Runtime: slipstream.AnyRuntime(), To: slipstream.FullShare}}
	for _, c := range change {
		c(&e)
	}
	return e
}

func share(from, to int) func(*Entry) { return func(e *Entry) { e.From, e.To = from, to } }
func salt(s string) func(*Entry)      { return func(e *Entry) { e.Salt = s } }
func hold(s string) func(*Entry)      { return func(e *Entry) { e.Hold = s } }
func on(platform string) func(*Entry) { return func(e *Entry) { e.Platform = platform } }
func fitting(r string) func(*Entry) {
	return func(e *Entry) { e.Runtime = slipstream.Runtime{Range: r} }
}
func when(c ...string) func(*Entry) { return func(e *Entry) { e.When = conditions(c...) } }
func named(id string) func(*Entry)  { return func(e *Entry) { e.ID = id } }
func private(e *Entry)              { e.Private = true }
func capped(e *Entry)               { e.Grant = true }
func withdrawal(seq int64) Withdrawal {
	return Withdrawal{Digest: digest(seq), Platform: "any", Seq: seq, Runtime: slipstream.AnyRuntime()}
}
func anyFloor(seq int64) Floor {
	return Floor{Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: seq}
}
func policy(pp *PackagePolicy) *Policy {
	return &Policy{Packages: map[string]*PackagePolicy{"main": pp}}
}
func list(e ...Entry) *PackagePolicy { return &PackagePolicy{Rollouts: e} }
func seqsOf(rollouts []Entry) (s []int64) {
	for _, e := range rollouts {
		s = append(s, e.Seq)
	}
	return s
}

// conditions are triples attr, op, JSON.
func conditions(c ...string) (out []slipstream.Condition) {
	for i := 0; i < len(c); i += 3 {
		out = append(out, slipstream.Condition{Attr: c[i], Op: c[i+1], Value: json.RawMessage(c[i+2])})
	}
	return out
}

func TestWhatStandsInAState(t *testing.T) {
	withdrew := func(pp *PackagePolicy, w ...Withdrawal) *PackagePolicy { pp.Withdrawn = w; return pp }
	floored := func(pp *PackagePolicy, f ...Floor) *PackagePolicy { pp.Floors = f; return pp }
	for _, c := range []struct {
		name     string
		pp       *PackagePolicy
		platform string
		private  bool
		want     []int64
	}{
		{"a rollout to everybody covers the older ones below it", list(entry(3), entry(2), entry(1)), "any", false, []int64{3}},
		{"a partial one does not", list(entry(3, share(0, 1000)), entry(2), entry(1)), "any", false, []int64{3, 2}},
		{"nor does a paused one", list(entry(3, hold("paused")), entry(2)), "any", false, []int64{3, 2}},
		{"nor a halted one", list(entry(3, hold("halted")), entry(2)), "any", false, []int64{3, 2}},
		{"nor one with conditions", list(entry(3, when("country", "in", `["cn"]`)), entry(2)), "any", false, []int64{3, 2}},
		{"nor one with a cap", list(entry(3, capped), entry(2)), "any", false, []int64{3, 2}},
		{"nor one whose release is withdrawn", withdrew(list(entry(3), entry(2), entry(1)), withdrawal(3)), "any", false, []int64{3, 2}},
		{"nor one below a floor", floored(list(entry(2), entry(1)), anyFloor(3)), "any", false, []int64{2, 1}},
		{"a newer one below an older one stays: devices may not go back", list(entry(2), entry(3)), "any", false, []int64{2, 3}},
		{"unless it is withdrawn", withdrew(list(entry(2), entry(3)), withdrawal(3)), "any", false, []int64{2}},
		{"another runtime is not covered", list(entry(3, fitting(">=2")), entry(2, fitting("1.x"))), "any", false, []int64{3, 2}},
		{"every runtime covers a narrower one", list(entry(3), entry(2, fitting("1.x"))), "any", false, []int64{3}},
		{"a narrower one does not cover every runtime", list(entry(3, fitting("1.x")), entry(2)), "any", false, []int64{3, 2}},
		{"a release for any platform stands everywhere", list(entry(3), entry(2, on("ios"))), "android", false, []int64{3}},
		{"a release for one platform stands there only", list(entry(3, on("ios")), entry(2)), "android", false, []int64{2}},
		{"and covers there only", list(entry(3, on("ios")), entry(2)), "ios", false, []int64{3}},
		{"a private one is in no public state", list(entry(3, private), entry(2)), "any", false, []int64{2}},
		{"but in the private one, where it covers", list(entry(3, private), entry(2)), "any", true, []int64{3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := seqsOf(c.pp.Standing(c.platform, c.private)); !slices.Equal(got, c.want) {
				t.Errorf("standing %v, want %v", got, c.want)
			}
		})
	}
}

func TestWithdrawalsBelowAFloorDropOut(t *testing.T) {
	pp := list(entry(9))
	pp.Withdrawn = []Withdrawal{withdrawal(2), withdrawal(5), {Digest: digest(3), Platform: "any", Seq: 3, Runtime: slipstream.Runtime{Range: ">=2"}}}
	pp.Floors = []Floor{anyFloor(3), {Platform: "any", Runtime: slipstream.Runtime{Range: "1.x"}, Seq: 9}, {Platform: "ios", Runtime: slipstream.AnyRuntime(), Seq: 8}}
	built, err := Build(policy(pp), Header{App: "shop", Channel: "production", Epoch: 1, RootVersion: 1, Now: time.Unix(1e9, 0)}, []string{"any", "ios"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := built[0].State.Packages["main"].Withdrawn, []slipstream.Digest{digest(5), digest(3)}; !slices.Equal(got, want) {
		t.Errorf("any: %v, want %v", got, want)
	}
	ios := built[1].State.Packages["main"]
	if len(ios.Withdrawn) != 0 || ios.Floors[0].Seq != 8 {
		t.Errorf("ios: withdrawn %v, floors %v", ios.Withdrawn, ios.Floors)
	}
	for _, b := range built {
		if err := sign.CheckState(b.State); err != nil {
			t.Error(err)
		}
		if b.Private != nil {
			t.Error("a private state without private rollouts")
		}
	}
}

func TestEpochsOnlyRiseAndNeverFallBehindTheClock(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	if got := NextEpoch(5, now); got != now.Unix() {
		t.Errorf("behind the clock: %d", got)
	}
	if got := NextEpoch(now.Unix()+10, now); got != now.Unix()+11 {
		t.Errorf("ahead of the clock: %d", got)
	}
}

// Devices decide the same from the reduced state as from the whole list, unless they gave a release up.
func TestReductionChangesNoDecision(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	runtimes := []string{"*", "1.x", ">=2", ">=1.5 <3"}
	now := time.Unix(1_800_000_000, 0)
	for round := range 600 {
		pp := &PackagePolicy{}
		for i := range 2 + rnd.IntN(8) {
			e := entry(int64(1+rnd.IntN(12)), named(fmt.Sprintf("r%d", i)), fitting(runtimes[rnd.IntN(len(runtimes))]))
			if rnd.IntN(3) == 0 {
				e.To = 1000 * rnd.IntN(11)
			}
			if rnd.IntN(5) == 0 {
				e.Hold = slipstream.HoldPaused
			}
			if rnd.IntN(5) == 0 {
				e.When = conditions("country", "in", `["cn"]`)
			}
			pp.Rollouts = append(pp.Rollouts, e)
		}
		for range rnd.IntN(3) {
			pp.Withdrawn = append(pp.Withdrawn, withdrawal(int64(1+rnd.IntN(12))))
		}
		if rnd.IntN(3) == 0 {
			pp.Floors = append(pp.Floors, Floor{Platform: "any", Runtime: slipstream.Runtime{Range: runtimes[rnd.IntN(len(runtimes))]}, Seq: int64(rnd.IntN(10))})
		}
		header := Header{App: "shop", Channel: "production", Epoch: 1, RootVersion: 1, Now: now}
		built, err := Build(policy(pp), header, []string{"any"})
		if err != nil {
			t.Fatal(err)
		}
		reduced, err := decide.Compile(built[0].State)
		if err != nil {
			t.Fatal(err)
		}
		full := *built[0].State
		ps := slipstream.PackageState{Floors: full.Packages["main"].Floors}
		for _, e := range pp.Rollouts {
			ps.Rollouts = append(ps.Rollouts, e.Rollout)
		}
		for _, w := range pp.Withdrawn {
			if !slices.Contains(ps.Withdrawn, w.Digest) {
				ps.Withdrawn = append(ps.Withdrawn, w.Digest)
			}
		}
		full.Packages = map[string]slipstream.PackageState{"main": ps}
		whole, err := decide.Compile(&full)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			f := slipstream.DeviceFacts{ID: fmt.Sprintf("%064x", rnd.Uint64()), Runtime: fmt.Sprintf("%d.%d.0", 1+rnd.IntN(3), rnd.IntN(9))}
			if rnd.IntN(2) == 0 {
				f.Attributes = map[string]json.RawMessage{"country": json.RawMessage(`"cn"`)}
			}
			seq := int64(rnd.IntN(13))
			local := &decide.Local{RunningEmbedded: seq == 0}
			if seq > 0 {
				local.Running = decide.Held{Digest: digest(seq), Seq: seq, Runtime: slipstream.AnyRuntime()}
				local.Anchor = local.Running
				local.AnchorFallback = []slipstream.Digest{digest(seq - 1), digest(seq - 2)}
			}
			a, b := reduced.Decide("main", decide.NewDevice(f), local, now), whole.Decide("main", decide.NewDevice(f), local, now)
			x, y := a.Wire(), b.Wire()
			if x.Verdict != y.Verdict || (x.Release == nil) != (y.Release == nil) || x.Release != nil && *x.Release != *y.Release || a.ToEmbedded != b.ToEmbedded {
				t.Fatalf("round %d: device %+v at seq %d: reduced %+v, whole %+v\npolicy %+v", round, f, seq, x, y, pp)
			}
		}
	}
}

func TestListsOfDevicesAndCustomValuesAreHashed(t *testing.T) {
	e := entry(1, when("custom.team", "in", `["qa", 7, true]`, "country", "in", `["cn"]`, "custom.level", "gte", `3`))
	built, err := Build(policy(list(e)), Header{App: "shop", Channel: "production", Epoch: 1, RootVersion: 1, Now: time.Unix(1e9, 0)}, []string{"any"})
	if err != nil {
		t.Fatal(err)
	}
	got := built[0].State.Packages["main"].Rollouts[0].When
	var values []string
	if err := json.Unmarshal(got[0].Value, &values); err != nil {
		t.Fatal(err)
	}
	want := []string{decide.HashValue("r1", "qa"), decide.HashValue("r1", "7"), decide.HashValue("r1", "true")}
	if !slices.Equal(values, want) {
		t.Errorf("hashed to %v, want %v", values, want)
	}
	if string(got[1].Value) != `["cn"]` || string(got[2].Value) != `3` {
		t.Errorf("other conditions changed: %s, %s", got[1].Value, got[2].Value)
	}
	if string(e.When[0].Value) != `["qa", 7, true]` {
		t.Error("the policy itself was changed")
	}
}

func TestLongListsBelongIntoPrivateRollouts(t *testing.T) {
	values := make([]string, slipstream.MaxHashedValues+1)
	for i := range values {
		values[i] = fmt.Sprint(i)
	}
	b, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	long := conditions("device", "in", string(b))
	if err := CheckWhen(long, false); !errors.Is(err, slipstream.ErrInvalid) || slipstream.HintOf(err) == "" {
		t.Errorf("public: %v", err)
	}
	if err := CheckWhen(long, true); err != nil {
		t.Errorf("private: %v", err)
	}
	for _, bad := range [][]slipstream.Condition{conditions("colour", "in", `["red"]`), conditions("os", "like", `"x"`), conditions("custom.a", "in", `"x"`), conditions("custom.a", "in", `[1.5]`)} {
		for _, private := range []bool{false, true} {
			if err := CheckWhen(bad, private); !errors.Is(err, slipstream.ErrInvalid) {
				t.Errorf("%v, private %v: %v", bad, private, err)
			}
		}
	}
}

func TestArmsOfOneTestMayNotOverlap(t *testing.T) {
	first := entry(1, salt("ab"), share(0, 5000))
	for _, c := range []struct {
		name   string
		second Entry
		fails  bool
	}{
		{"adjoining", entry(2, salt("ab"), share(5000, 10000)), false},
		{"overlapping", entry(2, salt("ab"), share(4999, 10000)), true},
		{"another salt", entry(2, salt("cd"), share(0, 5000)), false},
		{"its own salt", entry(2, share(0, 5000)), false},
		{"another runtime", entry(2, salt("ab"), share(0, 5000), fitting(">=2")), true},
		{"a platform among any", entry(2, salt("ab"), share(0, 5000), on("ios")), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := policy(list(first))
			err := p.Start("main", c.second, 0)
			if c.fails != errors.Is(err, slipstream.ErrConflict) || !c.fails && err != nil {
				t.Fatalf("got %v", err)
			}
			if c.fails && !strings.Contains(err.Error(), "[0, 5000) of rollout r1") {
				t.Errorf("the place is not said: %v", err)
			}
		})
	}
	p := policy(list(entry(2, salt("ab"), share(5000, 10000), fitting("2.x")), entry(1, salt("ab"), share(0, 5000), fitting("1.x"))))
	if _, err := p.Share("r1", 6000); err != nil {
		t.Errorf("arms on shells that never meet: %v", err)
	}
	p = policy(list(entry(2, salt("ab"), share(5000, 10000)), first))
	if _, err := p.Share("r1", 5001); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("raised into the other arm: %v", err)
	}
}

func TestVerbsAreNeverMixed(t *testing.T) {
	p := policy(list(entry(2, share(0, 1000)), entry(1)))
	steps := []struct {
		name string
		do   func() error
		ok   bool
	}{
		{"pause", func() error { return p.Hold("r2", slipstream.HoldPaused) }, true},
		{"resume", func() error { return p.Resume("r2") }, true},
		{"halt", func() error { return p.Hold("r2", slipstream.HoldHalted) }, true},
		{"a pause does not soften a halt", func() error {
			err := p.Hold("r2", slipstream.HoldPaused)
			if _, e, _ := p.Find("r2"); e.Hold != slipstream.HoldHalted {
				t.Errorf("hold is %q", e.Hold)
			}
			return err
		}, true},
		{"raise while halted", func() error { _, err := p.Share("r2", 5000); return err }, false},
		{"resume the halt", func() error { return p.Resume("r2") }, true},
		{"withdraw", func() error { return p.Withdraw("main", withdrawal(2)) }, true},
		{"resume what is withdrawn", func() error { return p.Resume("r2") }, false},
		{"finish what is withdrawn", func() error { return p.Finish("r2") }, false},
		{"start what is withdrawn", func() error { return p.Start("main", entry(2, named("again")), 0) }, false},
		{"reinstate", func() error { return p.Reinstate("main", digest(2), "any") }, true},
		{"reinstate twice", func() error { return p.Reinstate("main", digest(2), "any") }, false},
		{"finish", func() error { return p.Finish("r2") }, true},
		{"an unknown rollout", func() error { return p.Resume("r9") }, false},
	}
	for _, s := range steps {
		if err := s.do(); (err == nil) != s.ok {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	_, e, err := p.Find("r2")
	if err != nil || e.To != slipstream.FullShare || e.Control != 0 || e.Hold != "" {
		t.Errorf("finished rollout: %+v, %v", e, err)
	}
}

func TestLoweringAShareIsWarnedOf(t *testing.T) {
	p := policy(list(entry(2, share(0, 5000))))
	if w, err := p.Share("r2", 10000); err != nil || len(w) != 0 {
		t.Errorf("raising: %v, %v", w, err)
	}
	if w, err := p.Share("r2", 1000); err != nil || len(w) != 1 {
		t.Errorf("lowering: %v, %v", w, err)
	}
	if _, err := p.Share("r2", 10001); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("beyond everybody: %v", err)
	}
}

func TestRollBack(t *testing.T) {
	edges := func(m map[int64][]int64) func(slipstream.Digest) ([]slipstream.Digest, error) {
		return func(d slipstream.Digest) (out []slipstream.Digest, err error) {
			for from, to := range m {
				if digest(from) == d {
					for _, n := range to {
						out = append(out, digest(n))
					}
				}
			}
			return out, nil
		}
	}
	all := edges(map[int64][]int64{4: {1, 2, 3}, 3: {1, 2}, 2: {1}})
	for _, c := range []struct {
		name      string
		pp        *PackagePolicy
		target    Past
		platform  string
		edges     func(slipstream.Digest) ([]slipstream.Digest, error)
		withdrawn []int64
		missing   bool
		conflict  bool
	}{
		{"to the one before", list(entry(3), entry(2), entry(1)), ptr(entry(2)).past(), "any", all, []int64{3}, false, false},
		{"over several", list(entry(4), entry(3), entry(2), entry(1)), ptr(entry(1)).past(), "any", all, []int64{4, 3, 2}, false, false},
		{"newer ones whose rollouts are gone count too", &PackagePolicy{Rollouts: []Entry{entry(2), entry(1)}, Past: []Past{ptr(entry(3)).past()}}, ptr(entry(1)).past(), "any", all, []int64{3, 2}, false, false},
		{"not those of a runtime that never meets", list(entry(3, fitting(">=2")), entry(2, fitting("1.x")), entry(1, fitting("1.x"))), ptr(entry(1, fitting("1.x"))).past(), "any", all, []int64{2}, false, false},
		{"not those of another platform", list(entry(3, on("ios")), entry(2, on("android")), entry(1, on("android"))), ptr(entry(1, on("android"))).past(), "android", all, []int64{2}, false, false},
		{"a newer one for any platform is withdrawn on this one", list(entry(2), entry(1, on("ios"))), ptr(entry(1, on("ios"))).past(), "ios", all, []int64{2}, false, false},
		{"without a signed edge nothing changes", list(entry(4), entry(3), entry(1)), ptr(entry(1)).past(), "any", edges(map[int64][]int64{4: {3}, 3: {1}}), nil, true, true},
		{"a withdrawn target", &PackagePolicy{Rollouts: []Entry{entry(2), entry(1)}, Withdrawn: []Withdrawal{withdrawal(1)}}, ptr(entry(1)).past(), "any", all, nil, false, true},
		{"a target below the floor", &PackagePolicy{Rollouts: []Entry{entry(2), entry(1)}, Floors: []Floor{anyFloor(2)}}, ptr(entry(1)).past(), "any", all, nil, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := policy(c.pp)
			before, _ := p.encode()
			got, err := p.RollBack("main", Back{Target: c.target, Platform: c.platform, ID: "back", At: time.Unix(1e9, 0), Fallback: c.edges})
			var missing *EdgeError
			if errors.As(err, &missing) != c.missing || errors.Is(err, slipstream.ErrConflict) != c.conflict {
				t.Fatalf("error %v", err)
			}
			if c.conflict {
				if after, _ := p.encode(); string(after) != string(before) {
					t.Errorf("changed although refused:\n%s\n%s", before, after)
				}
				return
			}
			var seqs []int64
			for _, w := range got {
				seqs = append(seqs, w.Seq)
				if w.Platform != c.platform {
					t.Errorf("withdrawn on %s", w.Platform)
				}
			}
			if !slices.Equal(seqs, c.withdrawn) {
				t.Errorf("withdrew %v, want %v", seqs, c.withdrawn)
			}
			standing := c.pp.Standing(c.platform, false)
			if standing[0].ID != "back" || standing[0].Manifest != c.target.Digest || !standing[0].unconditional() {
				t.Errorf("on top: %+v", standing[0])
			}
		})
	}
}

func TestARollbackOnOnePlatformLeavesTheOthersAlone(t *testing.T) {
	pp := list(entry(2), entry(1))
	edges := func(slipstream.Digest) ([]slipstream.Digest, error) { return []slipstream.Digest{digest(1)}, nil }
	if _, err := policy(pp).RollBack("main", Back{Target: ptr(entry(1)).past(), Platform: "ios", ID: "back", At: time.Unix(1e9, 0), Fallback: edges}); err != nil {
		t.Fatal(err)
	}
	if got := pp.Standing("ios", false); got[0].Seq != 1 || !pp.WithdrawnOn(digest(2), "ios") {
		t.Errorf("ios: %v", seqsOf(got))
	}
	if got := pp.Standing("android", false); got[0].Seq != 2 || pp.WithdrawnOn(digest(2), "android") {
		t.Errorf("android: %v", seqsOf(got))
	}
	if o := pp.Offered(); o[1].Platform != "any" {
		t.Errorf("the release was offered everywhere, not on %s", o[1].Platform)
	}
}

func ptr[T any](v T) *T { return &v }

func TestOverlapOfRuntimes(t *testing.T) {
	rng := func(s string) slipstream.Runtime { return slipstream.Runtime{Range: s} }
	print := func(s string) slipstream.Runtime { return slipstream.Runtime{Fingerprint: s} }
	for _, c := range []struct {
		a, b slipstream.Runtime
		want bool
	}{
		{rng("*"), rng("1.x"), true}, {rng("*"), print("abc"), true}, {print("abc"), print("abc"), true}, {print("abc"), print("abd"), false},
		{print("abc"), rng(">=1"), false}, {print("1.2.3"), rng(">=1"), true}, {rng("1.x"), rng("2.x"), false}, {rng("<2"), rng(">=2"), false},
		{rng("<=2.0.0"), rng(">=2.0.0"), true}, {rng(">=1 <3"), rng(">2 <4"), true}, {rng("~1.2.3"), rng("^1.2.9"), true}, {rng("~1.2"), rng("1.3.x"), false},
		{rng("1.x || 3.x"), rng("2.x || 3.1.0"), true}, {rng(">1.0.0 <1.0.2"), rng("1.0.1"), true}, {rng(">1.0.0 <1.0.1-0"), rng("<=1.0.0"), false},
	} {
		for _, pair := range [][2]slipstream.Runtime{{c.a, c.b}, {c.b, c.a}} {
			if got := overlap(pair[0], pair[1]); got != c.want {
				t.Errorf("overlap(%s, %s) = %v", pair[0], pair[1], got)
			}
		}
	}
}

func TestAPolicyDoesNotGrowForEver(t *testing.T) {
	p := &Policy{Packages: map[string]*PackagePolicy{}}
	for i := range int64(maxPast + 200) {
		if err := p.Start("main", entry(i+1), 0); err != nil {
			t.Fatal(err)
		}
		p.compact([]string{"any", "ios"})
	}
	pp := p.Packages["main"]
	if len(pp.Rollouts) != maxDormant+1 || len(pp.Past) != maxPast {
		t.Errorf("%d rollouts and %d in the past", len(pp.Rollouts), len(pp.Past))
	}
	if offered := pp.Offered(); offered[0].Seq != maxPast+200 || len(offered) != maxPast+maxDormant+1 {
		t.Errorf("offered %d, newest %d", len(offered), offered[0].Seq)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"packages":{"main":{"rollouts":[{"id":"r1","platform":"any","to":10000,"runtime":{"range":"*"}}]}}}`))
	f.Add([]byte(`{"timing":{"jitter":-1}}`))
	f.Add([]byte(`{"packages":{"main":null}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &Policy{}
		if json.Unmarshal(b, p) != nil {
			return
		}
		for name, pp := range p.Packages {
			if pp == nil {
				delete(p.Packages, name)
			}
		}
		p.compact([]string{"any", "ios"})
		_, _ = Build(p, Header{App: "a", Channel: "c", Epoch: 1, RootVersion: 1}, []string{"any", "ios"})
	})
}
