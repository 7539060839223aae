package trial

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

var update = flag.Bool("update", false, "write the vectors anew")

// trace is one golden story: what happens to a device, and where it stands after each step. Other languages run the
// same file.
type trace struct {
	Name     string             `json:"name"`
	Rule     string             `json:"rule"` // the sentence that it pins
	Rules    traceRules         `json:"rules"`
	Releases map[string]Release `json:"releases"` // by the names that the steps use
	Embedded map[string]string  `json:"embedded"` // package → release, or "" for one without a manifest
	Steps    []traceStep        `json:"steps"`
}

type traceRules struct {
	MaxCrashes        int `json:"maxCrashes,omitempty"`
	Retries           int `json:"retries,omitempty"`
	RetryAfterSeconds int `json:"retryAfterSeconds,omitempty"`
}

// traceStep is one event. Text is its arguments in words, the expectation the text of [position].
type traceStep struct {
	Do     string   `json:"do"`
	Expect string   `json:"expect"`
	Events []string `json:"events,omitempty"`
	Error  string   `json:"error,omitempty"`
}

// player runs a trace.
type player struct {
	trace trace
	state State
	env   Env
	shell string
	names map[slipstream.Digest]string
}

func newPlayer(tr trace) *player {
	p := &player{trace: tr, shell: "1.0.0", names: map[slipstream.Digest]string{}}
	for name, r := range tr.Releases {
		p.names[r.Digest] = name
	}
	p.env = Env{Now: time.Unix(1_800_000_000, 0), Process: "p1", Embedded: map[string]Release{},
		Rules: Rules{MaxCrashes: tr.Rules.MaxCrashes, Retries: tr.Rules.Retries, RetryAfter: time.Duration(tr.Rules.RetryAfterSeconds) * time.Second}}
	p.env.Fits = func(r slipstream.Runtime) bool { return r.Range == "*" || r.Range == p.shell }
	p.env.Runtime = p.shell
	for pkg, name := range tr.Embedded {
		e := tr.Releases[name]
		e.Embedded = true
		p.env.Embedded[pkg] = e
	}
	p.state = New("production", p.shell)
	return p
}

// play carries out one step: a verb and its arguments.
func (p *player) play(do string) (events []slipstream.Event, err error) {
	words := strings.Fields(do)
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch words[0] {
	case "stage": // stage pkg=release …
		p.state, events, err = Stage(p.state, p.env, p.set(words[1:]))
	case "start": // start token [package …]: a cold start of the app, or of one page
		o := Opening{Token: arg(1)}
		if len(words) > 2 {
			o.Key, o.Packages = words[2], words[2:]
		}
		p.state, _, events = ColdStart(p.state, p.env, o)
	case "confirm":
		p.state, events, err = Confirm(p.state, p.env, arg(1))
	case "end": // end token crash|hang|unknown
		p.state, events, err = End(p.state, p.env, arg(1), Evidence(arg(2)), "")
	case "kill": // the process dies without a word, and another runs
		p.env.Process += "'"
	case "wait": // wait duration
		d, perr := time.ParseDuration(arg(1))
		p.env.Now, err = p.env.Now.Add(d), perr
	case "shell": // shell version: an update of the native shell
		p.shell, p.env.Runtime = arg(1), arg(1)
	case "embed": // embed pkg=release: the new shell ships another release
		for pkg, r := range p.set(words[1:]) {
			r.Embedded = true
			p.env.Embedded[pkg] = r
		}
	case "withdraw": // withdraw pkg release: it waits, is tried, or is in history
		d := p.trace.Releases[arg(2)].Digest
		p.state, events = Leave(p.state, p.env, arg(1), func(r Release) bool { return r.Digest == d }, slipstream.ReasonWithdrawn)
	case "rollback": // rollback pkg [release]: to what is held, or the embedded release
		p.state, events, err = RollBack(p.state, p.env, arg(1), p.trace.Releases[arg(2)].Digest, slipstream.ReasonWithdrawn)
	case "unstage":
		p.state = Unstage(p.state, p.env, arg(1))
	case "offer":
		p.state, _ = Offered(p.state, p.env, p.set(words[1:]))
	case "raise": // raise release: its rollout's retry number rises
		r := p.trace.Releases[arg(1)]
		r.Retry++
		p.trace.Releases = maps.Clone(p.trace.Releases)
		p.trace.Releases[arg(1)] = r
	case "channel":
		p.state, events = ChangeChannel(p.state, p.env, arg(1))
	case "adopt":
		p.state = Adopt(p.state, p.env, arg(1))
	case "enroll": // enroll pkg rollout arm
		p.state, events = Enroll(p.state, p.env, arg(1), arg(2), arg(3), "")
	case "lose": // lose release: its tree is gone from the disk
		d := p.trace.Releases[arg(1)].Digest
		p.state, events = Lose(p.state, p.env, func(x slipstream.Digest) bool { return x == d })
	default:
		err = fmt.Errorf("unknown step %q", do)
	}
	return events, err
}

func (p *player) set(words []string) map[string]Release {
	out := map[string]Release{}
	for _, w := range words {
		pkg, name, _ := strings.Cut(w, "=")
		out[pkg] = p.trace.Releases[name]
	}
	return out
}

// position is where the device stands, in one line: for each package what runs and the roles behind it, then the trial.
func (p *player) position() string {
	name := func(r Release) string {
		if r.Embedded {
			return "embedded"
		}
		return p.names[r.Digest]
	}
	var parts []string
	for _, pkg := range slices.Sorted(maps.Keys(p.env.Embedded)) {
		s := pkg + ": runs " + name(p.state.Running(p.env, pkg))
		if r, ok := p.state.StagedFor(pkg); ok {
			s += ", staged " + name(r)
		}
		held := p.state.Packages[pkg]
		if len(held.History) > 0 {
			s += ", history"
			for _, h := range held.History {
				s += " " + name(h)
			}
		}
		s += ", anchor " + name(p.state.Anchor(p.env, pkg))
		if held.Crashes > 0 {
			s += fmt.Sprintf(", %d bad starts", held.Crashes)
		}
		for _, f := range p.state.Refusals {
			if f.Package != pkg {
				continue
			}
			word := "rests"
			if f.blocks(p.env.ms()) {
				word = "refused"
			} else if f.RetryAt != 0 {
				word = "may retry"
			}
			s += fmt.Sprintf(", %s %s after %d (%s)", word, p.names[f.Digest], f.Tries, f.Reason)
		}
		parts = append(parts, s)
	}
	if t := p.state.Trial; t != nil {
		parts = append(parts, fmt.Sprintf("trial of %s: attempt %d, points %d", strings.Join(slices.Sorted(maps.Keys(t.Members)), "+"), t.Attempt, t.Points))
	}
	return strings.Join(parts, "; ")
}

func (p *player) tell(events []slipstream.Event) []string {
	var out []string
	for _, e := range events {
		s := fmt.Sprintf("%s %s %s", e.Kind, e.Package, orEmbedded(p.names[e.Release]))
		if e.Kind == slipstream.KindRolledBack {
			s += " → " + orEmbedded(p.names[e.Running])
		}
		if e.Arm != "" {
			s += " (" + e.Arm + ")"
		}
		if e.Reason != "" {
			s += ": " + string(e.Reason)
		}
		out = append(out, s)
	}
	return out
}

func orEmbedded(s string) string {
	if s == "" {
		return "embedded"
	}
	return s
}

func digestFor(name string) slipstream.Digest {
	return slipstream.Digest(fmt.Sprintf("%064x", name))
}

func rel(name string, seq int64) Release {
	return Release{Digest: digestFor(name), Seq: seq, Version: name, Runtime: slipstream.AnyRuntime()}
}

func releases(list ...Release) map[string]Release {
	out := map[string]Release{}
	for _, r := range list {
		out[r.Version] = r
	}
	return out
}

func needing(r Release, pkg string, seq int64) Release {
	r.Requires = map[string]slipstream.Requirement{pkg: {MinSeq: seq}}
	return r
}

func forShell(r Release, version string) Release {
	r.Runtime = slipstream.Runtime{Range: version}
	return r
}

// storyStep is a step of a story with what its author says must be part of the position afterwards ("…" separates
// several), of the events ("+"), or of the error ("!").
type storyStep struct{ do, want string }

// TestTraces plays every story, checks what its author expects, and compares with the golden file.
func TestTraces(t *testing.T) {
	t.Parallel()
	var golden []trace
	for _, st := range stories() {
		tr := st.trace
		p := newPlayer(tr)
		t.Run(tr.Name, func(t *testing.T) {
			for _, step := range st.steps {
				events, err := p.play(step.do)
				got := traceStep{Do: step.do, Expect: p.position(), Events: p.tell(events)}
				var refusal *slipstream.Refusal
				switch {
				case errors.As(err, &refusal):
					got.Error = string(refusal.Reason)
				case errors.Is(err, slipstream.ErrNotFound):
					got.Error = "not_found"
				case err != nil:
					t.Fatal(err)
				}
				for want := range strings.SplitSeq(step.want, " … ") {
					have := got.Expect
					if rest, ok := strings.CutPrefix(want, "+"); ok {
						want, have = rest, strings.Join(got.Events, "\n")
					} else if rest, ok := strings.CutPrefix(want, "!"); ok {
						want, have = rest, got.Error
					}
					if not, ok := strings.CutPrefix(want, "no "); ok {
						if strings.Contains(have, not) {
							t.Errorf("after %q: %q must not be in %q", step.do, not, have)
						}
					} else if !strings.Contains(have, want) {
						t.Errorf("after %q: want %q in %q (events %q, error %q)", step.do, want, got.Expect, got.Events, got.Error)
					}
				}
				if err != nil && !strings.Contains(step.want, "!") {
					t.Errorf("%q: %v", step.do, err)
				}
				tr.Steps = append(tr.Steps, got)
			}
		})
		golden = append(golden, tr)
	}
	compareGolden(t, filepath.Join("..", "..", "testdata", "vectors", "trial.json"), golden)
}

func compareGolden(t *testing.T, path string, v any) {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read vectors: %v (write them with -update)", err)
	}
	if !bytes.Equal(have, buf.Bytes()) {
		t.Errorf("%s is not what the machine does now: look at the difference after running this test with -update", path)
	}
}
