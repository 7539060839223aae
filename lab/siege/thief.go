package siege

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/lab/driver"
	"github.com/slipstream-ota/slipstream/sign"
)

// loot is what somebody stole: so many keys of each role, of which two must sign, and the network with them, because
// keys do harm to nobody who cannot be reached. Whoever holds the network or the CDN alone has none.
type loot struct{ root, release, state int }

const threshold = 2

func (l loot) String() string {
	var parts []string
	for _, p := range []struct {
		name string
		n    int
	}{{"root", l.root}, {"release", l.release}, {"state", l.state}} {
		switch {
		case p.n >= threshold:
			parts = append(parts, p.name+" keys")
		case p.n > 0:
			parts = append(parts, "one of two "+p.name+" keys")
		}
	}
	if len(parts) == 0 {
		return "the network alone"
	}
	return "the network, " + strings.Join(parts, ", ")
}

// Whether what was stolen is enough to sign as a role. Who signs roots gives himself every role.
func (l loot) owns() bool  { return l.root >= threshold }
func (l loot) codes() bool { return l.release >= threshold || l.owns() }
func (l loot) rules() bool { return l.state >= threshold || l.owns() }

// power is one harm that a thief may want to do. can is the table of docs/SECURITY.md; try does his best, and says
// whether the harm is done.
type power struct {
	name string
	can  func(l loot) bool
	try  func(t *theft) (done bool, err error)
}

// theft is a siege by somebody with loot.
type theft struct {
	*siege
	loot  loot
	keys  keyring  // what he signs with: stolen keys first, then his own
	code  *release // his own code, signed as well as he can
	taken bool     // the device trusts a root of his
}

func always(loot) bool { return true }
func never(loot) bool  { return false }

func powers() []power {
	return []power{
		{"withhold updates", always, (*theft).withhold},
		{"freeze the device, until the state expires", always, (*theft).freeze},
		{"freeze the device for longer, unnoticed", loot.rules, (*theft).freezeLonger},
		{"choose among the releases that were signed", loot.rules, (*theft).choose},
		{"withdraw a good release", loot.rules, (*theft).withdraw},
		{"use up the epochs", loot.rules, (*theft).exhaust},
		{"run own code", func(l loot) bool { return l.codes() && l.rules() }, (*theft).run},
		{"run own code without a state that names it", never, (*theft).runUnnamed},
		{"downgrade without a fallback that the publisher signed", never, (*theft).downgrade},
		{"replace the root", loot.owns, (*theft).replace},
	}
}

func newTheft(s *siege, l loot) (*theft, error) {
	t := &theft{siege: s, loot: l}
	owner := s.origin.keys
	take := func(from, own role, n int) role {
		return role{signers: append(slices.Clone(from.signers[:n]), own.signers...), threshold: threshold}
	}
	t.keys = keyring{root: take(owner.root, s.evil.root, l.root), release: take(owner.release, s.evil.release, l.release), state: take(owner.state, s.evil.state, l.state)}
	if l.owns() {
		root, err := s.origin.rootOf(2, s.evil)
		if err != nil {
			return nil, err
		}
		raw, err := seal(sign.TypeRoot, root, t.keys.root.signers...)
		if err != nil {
			return nil, err
		}
		s.serve(aboutRoots+"2", raw)
		t.taken = true
	}
	var err error
	t.code, err = s.origin.publish(spec{seq: 26, files: filesOf("thief"), signers: t.keys.release.signers, fallback: []slipstream.Digest{s.low.digest}})
	s.named["thief"] = t.code
	return t, err
}

// say gives the device a state of the thief's.
func (t *theft) say(edit func(st *slipstream.State)) (driver.Answer, error) {
	err := t.state(func(st *slipstream.State) {
		if t.taken {
			st.RootVersion = 2
		}
		edit(st)
	}, t.keys.state.signers...)
	if err != nil {
		return driver.Answer{}, err
	}
	return t.update()
}

// runsNow starts the device and says whether r runs; anything else must be old.
func (t *theft) runsNow(r *release) (bool, error) {
	if err := t.runs(r); err == nil {
		return true, nil
	}
	return false, t.runs(t.old)
}

func (t *theft) withhold() (bool, error) {
	t.origin.offer(t.next)
	t.also(func(x *exchange) { x.status, x.body = http.StatusNotFound, nil })
	a, err := t.update()
	if err != nil {
		return false, err
	}
	return !a.OK, t.runs(t.old)
}

func (t *theft) freeze() (bool, error) {
	if t.taken { // the owner's states are worth nothing under a root of the thief's
		a, err := t.say(func(st *slipstream.State) { offer(st, t.old) })
		return a.OK, err
	}
	raw, err := seal(sign.TypeState, t.origin.stated(nil), t.origin.keys.state.signers...)
	if err != nil {
		return false, err
	}
	t.origin.offer(t.next)
	t.serve(aboutState, raw)
	t.wait(stateLife - time.Hour)
	a, err := t.update()
	if err != nil {
		return false, err
	}
	return a.OK, t.runs(t.old)
}

func (t *theft) freezeLonger() (bool, error) {
	t.origin.offer(t.next)
	t.wait(2 * stateLife)
	a, err := t.say(func(st *slipstream.State) { offer(st, t.old) })
	if err != nil {
		return false, err
	}
	return a.OK, t.runs(t.old)
}

func (t *theft) choose() (bool, error) {
	r := t.next
	if t.taken { // release keys were his to replace too: what he chooses from he has to sign again
		again, err := t.origin.publish(spec{seq: t.next.manifest.Seq, files: t.next.files, signers: t.evil.release.signers})
		if err != nil {
			return false, err
		}
		r = again
		t.named["next"] = r
	}
	if _, err := t.say(func(st *slipstream.State) { offer(st, r) }); err != nil {
		return false, err
	}
	return t.runsNow(r)
}

func (t *theft) withdraw() (bool, error) {
	if _, err := t.say(func(st *slipstream.State) {
		st.Packages[pkg] = slipstream.PackageState{Withdrawn: []slipstream.Digest{t.old.digest}}
	}); err != nil {
		return false, err
	}
	return t.runsNow(nil)
}

func (t *theft) exhaust() (bool, error) {
	a, err := t.say(func(st *slipstream.State) { st.Epoch = slipstream.MaxSafeInteger })
	if err != nil {
		return false, err
	}
	t.origin.mu.Lock()
	tamper := t.origin.tamper
	t.origin.mu.Unlock()
	if !t.taken { // the owner is back at once, and comes too late
		t.origin.set(nil)
		t.origin.offer(t.old)
		b, err := t.update()
		t.origin.set(tamper)
		if err != nil {
			return false, err
		}
		return a.OK && b.Reason == slipstream.ReasonStaleState, t.runs(t.old)
	}
	return a.OK, t.runs(t.old)
}

func (t *theft) run() (bool, error) {
	if _, err := t.say(func(st *slipstream.State) { offer(st, t.code) }); err != nil {
		return false, err
	}
	return t.runsNow(t.code)
}

// runUnnamed puts the thief's code in the place of what an honest state names.
func (t *theft) runUnnamed() (bool, error) {
	t.origin.offer(t.next)
	if t.taken { // there is no honest state under a root of his; this is about the owner's
		t.origin.set(nil)
	}
	t.also(func(x *exchange) {
		switch {
		case x.about(aboutManifests):
			x.body = t.code.envelope
		case x.about(aboutList):
			t.origin.mu.Lock()
			defer t.origin.mu.Unlock()
			x.body = []byte("[]")
		case x.about(aboutBlobs):
			x.body = t.code.files["app/main.js"]
		}
	})
	if _, err := t.update(); err != nil {
		return false, err
	}
	return t.runsNow(t.code)
}

func (t *theft) downgrade() (bool, error) {
	for _, edit := range []func(st *slipstream.State){
		func(st *slipstream.State) { offer(st, t.low) },
		func(st *slipstream.State) { st.Epoch++; withdraw(st, t.old, t.low) },
	} {
		if _, err := t.say(edit); err != nil {
			return false, err
		}
		if t.runs(t.low) == nil {
			return true, nil
		}
	}
	return false, nil
}

func (t *theft) replace() (bool, error) {
	if !t.taken {
		root, err := t.origin.rootOf(2, t.evil)
		if err != nil {
			return false, err
		}
		raw, err := seal(sign.TypeRoot, root, t.keys.root.signers...)
		if err != nil {
			return false, err
		}
		t.serve(aboutRoots+"2", raw)
	}
	err := t.state(func(st *slipstream.State) { st.RootVersion = 2 }, t.evil.state.signers...)
	if err != nil {
		return false, err
	}
	a, err := t.update()
	return a.Root == 2, err
}

// heal is what the table says heals this theft. Then the device must follow the owner again, and what was stolen must be
// worth nothing.
func (t *theft) heal() error {
	t.origin.set(nil)
	after := ring("owner after the theft")
	if t.loot.owns() {
		// Who holds the root holds the app's trust: only a new build of the app, with a newer root in it, takes it back.
		t.origin.keys = after
		for len(t.origin.roots) < 2 {
			t.origin.roots = append(t.origin.roots, nil)
		}
		if err := t.origin.addRoot(after); err != nil {
			return err
		}
		t.setup.Root = string(t.origin.roots[2])
		if err := t.open(); err != nil {
			return err
		}
	} else if err := t.origin.addRoot(after); err != nil {
		return err
	}
	last, err := t.origin.publish(spec{seq: 1000, files: filesOf("last")})
	if err != nil {
		return err
	}
	t.named["last"] = last
	t.origin.change(func(st *slipstream.State) { withdraw(st, t.code, last) })
	if err := t.follow(last); err != nil {
		return fmt.Errorf("the device does not follow the owner after healing: %w", err)
	}
	again, err := t.origin.publish(spec{seq: 2000, files: filesOf("again"), signers: t.keys.release.signers})
	if err != nil {
		return err
	}
	if err := t.state(func(st *slipstream.State) { st.Epoch += 50; offer(st, again) }, t.keys.state.signers...); err != nil {
		return err
	}
	a, err := t.update()
	if err == nil && a.Reason != slipstream.ReasonSignatureInvalid {
		err = fmt.Errorf("after healing, a state by the stolen keys was refused for %q", a.Reason)
	}
	return errors.Join(err, t.runs(last))
}

// steal tries one power with one loot.
func steal(ctx context.Context, stock *Stock, d driver.Driver, dir string, l loot, p power) (err error) {
	s, err := besiege(ctx, stock, d, dir, &Attack{})
	if s == nil {
		return fmt.Errorf("set up: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := s.install(); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	t, err := newTheft(s, l)
	if err != nil {
		return err
	}
	done, err := p.try(t)
	switch {
	case err != nil:
		return err
	case done && !p.can(l):
		return errors.New("the thief did what he must not be able to do")
	case !done && p.can(l):
		return errors.New("the thief could not do what the table says: the proof proves too little")
	}
	return t.heal()
}

// thefts are all powers with all combinations of stolen keys.
func thefts() []Case {
	var out []Case
	for root := range threshold + 1 {
		for release := range threshold + 1 {
			for state := range threshold + 1 {
				for _, p := range powers() {
					l := loot{root, release, state}
					out = append(out, Case{Name: fmt.Sprintf("stolen: %s: to %s", l, p.name), Run: func(ctx context.Context, stock *Stock, d driver.Driver, dir string) error {
						return steal(ctx, stock, d, dir, l, p)
					}})
				}
			}
		}
	}
	return out
}
