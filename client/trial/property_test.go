package trial

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// world drives the machine by bytes and watches what must never happen.
type world struct {
	t         *testing.T
	state     State
	env       Env
	shell     int
	tokens    int
	confirmed map[string]bool
	pool      []Release // by package: see pkgOf
}

const poolSize = 12

func pkgOf(i int) string { return []string{"base", "cart", "main"}[i%3] }

func newWorld(t *testing.T, retries int) *world {
	w := &world{t: t, confirmed: map[string]bool{}}
	w.env = Env{Now: time.Unix(1_800_000_000, 0), Process: "p0", Runtime: "1", Embedded: map[string]Release{"base": {}, "cart": {}, "main": {}},
		Rules: Rules{Retries: retries}.WithDefaults()}
	w.env.Fits = func(r slipstream.Runtime) bool { return r.Range == "*" || r.Range == w.env.Runtime }
	for i := range poolSize {
		r := Release{Digest: digestFor(fmt.Sprint("r", i)), Seq: int64(1 + i), Version: fmt.Sprint(i), Runtime: slipstream.AnyRuntime()}
		if i%4 == 3 {
			r.Runtime.Range = "1"
		}
		if i%3 == 1 && i > 3 { // a cart that needs the base of its time
			r.Requires = map[string]slipstream.Requirement{"base": {MinSeq: int64(i - 3)}}
		}
		w.pool = append(w.pool, r)
	}
	w.state = New("production", "1")
	return w
}

// do takes two bytes: what happens, and to what.
func (w *world) do(verb, arg byte) {
	i := int(arg) % poolSize
	before := w.state
	switch verb % 12 {
	case 0, 1:
		sets, _ := Group(w.state, w.env, w.targets(arg))
		for _, set := range sets {
			if s, _, err := Stage(w.state, w.env, set); err == nil {
				w.state = s
			}
		}
	case 2, 3, 4:
		w.start(arg)
	case 5:
		w.confirm(arg)
	case 6, 7:
		w.end(arg)
	case 8:
		w.env.Now = w.env.Now.Add(time.Duration(arg) * 4 * time.Minute)
	case 9:
		d := w.pool[i].Digest
		w.state, _ = Leave(w.state, w.env, pkgOf(i), func(r Release) bool { return r.Digest == d }, slipstream.ReasonWithdrawn)
	case 10:
		to := slipstream.Digest("")
		if h := w.state.Packages[pkgOf(i)].History; len(h) > 0 && arg%2 == 0 {
			to = h[0].Digest
		}
		if s, _, err := RollBack(w.state, w.env, pkgOf(i), to, slipstream.ReasonWithdrawn); err == nil {
			w.state = s
		}
	case 11:
		w.rare(arg)
	}
	w.check(before, verb%12)
}

func (w *world) rare(arg byte) {
	switch arg % 4 {
	case 0:
		w.env.Process += "'"
	case 1:
		w.shell++
		w.env.Runtime = fmt.Sprint(1 + w.shell%2)
	case 2:
		w.state = Unstage(w.state, w.env, pkgOf(int(arg/4)))
	case 3:
		w.state, _ = Offered(w.state, w.env, w.targets(arg))
	}
}

func (w *world) targets(arg byte) map[string]Release {
	out := map[string]Release{}
	for k := range 1 + int(arg)%3 {
		i := (int(arg) + k*5) % poolSize
		if r := w.pool[i]; w.env.Fits(r.Runtime) {
			out[pkgOf(i)] = r
		}
	}
	return out
}

func (w *world) start(arg byte) {
	w.tokens++
	o := Opening{Token: fmt.Sprint("t", w.tokens)}
	if arg%5 == 0 {
		o.Key, o.Packages = "cart", []string{"cart", "base"}
	}
	before := w.state
	var l Launch
	w.state, l, _ = ColdStart(w.state, w.env, o)
	for pkg, r := range l.Runs {
		if !w.env.Fits(r.Runtime) && !r.Embedded {
			w.t.Fatalf("%s runs a release for runtime %s on shell %s", pkg, r.Runtime, w.env.Runtime)
		}
		for _, f := range w.state.Blocked(w.env.Now, pkg) {
			if f.Digest == r.Digest {
				w.t.Fatalf("%s runs the refused release %s", pkg, r.Version)
			}
		}
	}
	if b, a := before.Trial, w.state.Trial; a != nil && b != nil && a.ID == b.ID && (a.Attempt < b.Attempt || a.Points < b.Points) {
		w.t.Fatalf("attempts of a trial fell: %+v to %+v", b, a)
	}
	if len(l.Runs) == 0 {
		w.t.Fatal("nothing runs")
	}
}

func (w *world) confirm(arg byte) {
	if w.tokens == 0 {
		return
	}
	token := fmt.Sprint("t", 1+int(arg)%w.tokens)
	s, _, err := Confirm(w.state, w.env, token)
	if err != nil {
		return
	}
	if w.confirmed[token] {
		w.t.Fatalf("token %s confirmed twice", token)
	}
	w.confirmed[token] = true
	w.state = s
}

func (w *world) end(arg byte) {
	if len(w.state.Starts) == 0 {
		return
	}
	st := w.state.Starts[int(arg)%len(w.state.Starts)]
	s, _, err := End(w.state, w.env, st.Token, []Evidence{Crash, Hang, Unknown}[int(arg)%3], "")
	if err != nil {
		w.t.Fatalf("end of an open start: %v", err)
	}
	w.state = s
}

func (w *world) check(before State, verb byte) {
	s := w.state
	if s.Trial != nil && s.Trial.Points >= PointsCrash*w.env.Rules.MaxCrashes {
		w.t.Fatalf("a trial goes on at %d points", s.Trial.Points)
	}
	members := map[string]bool{}
	for _, set := range s.Staged {
		for pkg := range set.Members {
			if members[pkg] {
				w.t.Fatalf("two releases of %s wait", pkg)
			}
			members[pkg] = true
		}
	}
	for pkg, p := range s.Packages {
		if len(p.History) > w.env.Rules.History {
			w.t.Fatalf("history of %s has %d releases", pkg, len(p.History))
		}
		if p.Crashes > w.env.Rules.MaxCrashes {
			w.t.Fatalf("%s stays with %d bad starts in a row", pkg, p.Crashes)
		}
		if p.Official != nil && slices.ContainsFunc(p.History, func(h Release) bool { return h.Digest == p.Official.Digest }) {
			w.t.Fatalf("the official release of %s is in its history", pkg)
		}
		old := before.Packages[pkg].Anchor
		if old != nil && w.env.Fits(old.Runtime) && (p.Anchor == nil || p.Anchor.Seq < old.Seq) {
			w.t.Fatalf("the anchor of %s fell from %d (verb %d)", pkg, old.Seq, verb)
		}
		// A set that was left with reason keeps what is official consistent.
		if o := p.Official; o != nil && broken(pkg, *o, func(dep string) Release { return s.Official(w.env, dep) }) != nil {
			w.t.Fatalf("official %s %s runs without what it needs (verb %d)", pkg, o.Version, verb)
		}
	}
	if len(s.Refusals) > maxRefusals {
		w.t.Fatalf("%d refusals are kept", len(s.Refusals))
	}
	if len(s.Starts) > 2 {
		w.t.Fatalf("%d starts are open", len(s.Starts))
	}
}

// TestWhateverHappensTheRulesHold plays random stories.
func TestWhateverHappensTheRulesHold(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, int(seed%3)-1)
		for range 300 {
			w.do(byte(rng.Uint32()), byte(rng.Uint32()))
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestTransitionsDoNotChangeTheirInput keeps states usable as generations.
func TestTransitionsDoNotChangeTheirInput(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	w := newWorld(t, 1)
	for range 500 {
		before := w.state
		text := fmt.Sprintf("%+v", flatten(before))
		w.do(byte(rng.Uint32()), byte(rng.Uint32()))
		if after := fmt.Sprintf("%+v", flatten(before)); after != text {
			t.Fatalf("a transition changed its input:\n%s\n%s", text, after)
		}
	}
}

func flatten(s State) any {
	type pointed struct {
		State
		T Trial
		P []any
	}
	out := pointed{State: s}
	if s.Trial != nil {
		out.T = *s.Trial
	}
	out.State.Trial, out.State.Packages = nil, nil
	for _, pkg := range []string{"base", "cart", "main"} {
		p := s.Packages[pkg]
		for _, r := range []*Release{p.Official, p.Anchor} {
			if r != nil {
				out.P = append(out.P, *r)
			}
		}
		out.P = append(out.P, p.History, p.Crashes, p.Foreign)
	}
	return out
}

func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 1, 2, 0, 5, 0, 0, 4, 2, 0, 6, 0, 2, 0, 6, 0})
	f.Add([]byte{0, 2, 2, 5, 11, 1, 2, 1, 6, 1, 11, 0, 2, 0})
	f.Fuzz(func(t *testing.T, story []byte) {
		w := newWorld(t, 1)
		for i := 0; i+1 < len(story) && i < 400; i += 2 {
			w.do(story[i], story[i+1])
		}
	})
}
