package siege

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/lab/driver"
	"github.com/slipstream-ota/slipstream/sign"
)

// Attack is one thing that somebody does to one device.
type Attack struct {
	Name string
	// Reason is what the update that meets the attack is refused for; "" says that it succeeds and the attack changes
	// nothing. Warning is what is refused on the way then, or beside it; a client need not tell.
	Reason, Warning slipstream.Reason
	// Any says that the update fails, for whatever reason: the server gave nothing that could be judged.
	Any bool
	// Why is the reason of the last decision about the package, "" when it does not matter.
	Why slipstream.Reason
	// Runs is what the device runs afterwards: "" is what it ran before.
	Runs string
	// Root is the version of the root that is trusted afterwards; 0 is 1.
	Root int64

	decisions bool                           // the device asks for decisions
	limits    driver.Limits                  //
	keys      func(k *keyring)               // other keys than usual
	ship      func(s *siege) ([]byte, error) // another root than the origin's first
	unborn    bool                           // the device does not open at all, for Reason
	strike    func(s *siege) error
	heal      func(s *siege) error // what the honest owner does, beside offering a new release
	slow      bool                 // only in full runs
}

// siege is one device under attack and the honest server that it belongs to.
type siege struct {
	ctx    context.Context
	device driver.Driver
	origin *origin
	evil   keyring // the attacker's own keys
	setup  driver.Setup
	now    time.Time

	// low and edge are older than old, which names edge as a fallback; old runs and is confirmed; next is signed but not
	// offered; code is the attacker's, signed by him alone.
	low, edge, old, next, code *release
	named                      map[string]*release

	closing []func() error // other servers
	once    string         // the path of something that is done once
	shunned string         // a path that the device must not ask for
	must    bool           // the device must have met the attack,
	met     atomic.Bool    // and did
}

func (s *siege) close() error {
	err := s.origin.close()
	for _, c := range s.closing {
		err = errors.Join(err, c())
	}
	return err
}

var began = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// filesOf is a small tree with a nested file, one of some pages, and one that never changes.
func filesOf(name string) map[string][]byte {
	big := make([]byte, 0, 4000)
	for i := 0; len(big) < 4000; i++ {
		block := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, i))
		big = append(big, block[:]...)
	}
	return map[string][]byte{
		"app/deep/words.json": fmt.Appendf(nil, `{"release":%q}`, name),
		"app/main.js":         append(fmt.Appendf(nil, "// %s\n", name), big...),
		"shared.txt":          []byte("the same in every release\n"),
	}
}

// besiege sets up the device and its server, up to the point where old runs and is confirmed.
func besiege(ctx context.Context, stock *Stock, d driver.Driver, dir string, a *Attack) (*siege, error) {
	keys := ring("owner")
	if a.keys != nil {
		a.keys(&keys)
	}
	o, err := newOrigin(stock, began, keys)
	if err != nil {
		return nil, err
	}
	s := &siege{ctx: ctx, device: d, origin: o, evil: ring("thief"), now: began}
	if err := s.publish(); err != nil {
		return s, err
	}
	s.setup = driver.Setup{Dir: dir, App: app, Channel: channel, Platform: slipstream.PlatformAny, Runtime: shell, Packages: []string{pkg}, Servers: []string{o.url},
		Root: string(o.roots[0]), Decisions: a.decisions, Limits: a.limits}
	if a.ship != nil {
		raw, err := a.ship(s)
		if err != nil {
			return s, err
		}
		s.setup.Root = string(raw)
	}
	return s, nil
}

func (s *siege) publish() error {
	s.named = map[string]*release{}
	for _, p := range []struct {
		into **release
		name string
		spec spec
	}{
		{&s.low, "low", spec{seq: 5}}, {&s.edge, "edge", spec{seq: 6}}, {&s.old, "old", spec{seq: 10}}, {&s.next, "next", spec{seq: 20}},
		{&s.code, "code", spec{seq: 25, signers: s.evil.release.signers}},
	} {
		p.spec.files = filesOf(p.name)
		if p.name == "old" {
			p.spec.fallback = []slipstream.Digest{s.edge.digest}
		}
		r, err := s.origin.publish(p.spec)
		if err != nil {
			return err
		}
		*p.into, s.named[p.name] = r, r
	}
	return nil
}

// install brings old onto the device.
func (s *siege) install() error {
	if err := s.open(); err != nil {
		return err
	}
	s.origin.offer(s.old)
	return s.follow(s.old)
}

func (s *siege) open() error {
	a, err := s.tell(driver.Command{Do: driver.DoInit, Setup: s.setup})
	return errors.Join(err, refused(a))
}

// follow updates, starts and confirms, and must end up on r.
func (s *siege) follow(r *release) error {
	if a, err := s.update(); err != nil || !a.OK {
		return errors.Join(err, refused(a))
	}
	if err := s.runs(r); err != nil {
		return err
	}
	a, err := s.tell(driver.Command{Do: driver.DoConfirm})
	return errors.Join(err, refused(a))
}

func refused(a driver.Answer) error {
	if a.OK {
		return nil
	}
	return fmt.Errorf("%s: %s", a.Reason, a.Error)
}

func (s *siege) tell(c driver.Command) (driver.Answer, error) {
	now := slipstream.At(s.now)
	c.Now = &now
	return s.device.Tell(s.ctx, c)
}

// update lets a minute pass and the device look for updates.
func (s *siege) update() (driver.Answer, error) {
	s.wait(time.Minute)
	return s.tell(driver.Command{Do: driver.DoUpdate})
}

func (s *siege) wait(d time.Duration) {
	s.now = s.now.Add(d)
	s.origin.mu.Lock()
	defer s.origin.mu.Unlock()
	s.origin.now = s.origin.now.Add(d)
}

// runs starts the device: it must run r, byte for byte, and nothing else. nil is the embedded release.
func (s *siege) runs(r *release) error {
	a, err := s.tell(driver.Command{Do: driver.DoStart})
	if err != nil || !a.OK {
		return errors.Join(err, refused(a))
	}
	p := a.Packages[pkg]
	if r == nil {
		if !p.Embedded {
			return fmt.Errorf("it runs %s and not the embedded release", s.call(p.Running))
		}
		return nil
	}
	if p.Running != r.digest {
		return fmt.Errorf("it runs %s and not %s", s.call(p.Running), s.call(r.digest))
	}
	want := map[string]slipstream.Digest{}
	for path, data := range r.files {
		want[path] = sum(data)
	}
	if !maps.Equal(want, p.Files) {
		return fmt.Errorf("it runs %s with other files than were signed: %v", s.call(r.digest), p.Files)
	}
	return nil
}

func (s *siege) call(d slipstream.Digest) string {
	for name, r := range s.named {
		if r != nil && r.digest == d {
			return name
		}
	}
	if d == "" {
		return "the embedded release"
	}
	return "release " + d.Short()
}

// serve puts raw in the place of every answer about part.
func (s *siege) serve(part string, raw []byte) {
	s.also(func(x *exchange) {
		if x.about(part) {
			x.status, x.body = http.StatusOK, raw
			x.header.Del("ETag")
		}
	})
}

// also adds to what the attacker does.
func (s *siege) also(tamper func(x *exchange)) {
	s.origin.mu.Lock()
	before := s.origin.tamper
	s.origin.mu.Unlock()
	s.origin.set(func(x *exchange) {
		if before != nil {
			before(x)
		}
		tamper(x)
	})
}

// state puts a state in place that says what the honest one says after edit, in the next epoch, signed by signers.
func (s *siege) state(edit func(*slipstream.State), signers ...sign.Signer) error {
	if signers == nil {
		signers = s.origin.keys.state.signers
	}
	raw, err := seal(sign.TypeState, s.upcoming(edit), signers...)
	if err == nil {
		s.serve(aboutState, raw)
	}
	return err
}

// upcoming is the state that could come next: one epoch up, a minute later.
func (s *siege) upcoming(edit func(*slipstream.State)) *slipstream.State {
	return s.origin.stated(func(st *slipstream.State) {
		st.Epoch++
		st.Issued, st.Expires = slipstream.At(s.now.Add(time.Minute)), slipstream.At(s.now.Add(time.Minute+stateLife))
		if edit != nil {
			edit(st)
		}
	})
}

// Run does one attack to a device, and says what went wrong. The device is new and is closed by the caller; dir is
// empty or its own directory.
func (a *Attack) Run(ctx context.Context, stock *Stock, d driver.Driver, dir string) (err error) {
	s, err := besiege(ctx, stock, d, dir, a)
	if s == nil {
		return fmt.Errorf("set up: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if a.unborn {
		answer, err := s.tell(driver.Command{Do: driver.DoInit, Setup: s.setup})
		if err == nil && (answer.OK || answer.Reason != a.Reason) {
			err = fmt.Errorf("init: refused for %q and not for %q", answer.Reason, a.Reason)
		}
		return err
	}
	if err := s.install(); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if err := a.strike(s); err != nil {
		return fmt.Errorf("strike: %w", err)
	}
	if err := a.endure(s); err != nil {
		return err
	}
	if err := a.recover(s); err != nil {
		return err
	}
	if m, is := d.(*Metered); is {
		return m.excess(s.limit)
	}
	return nil
}

// endure is the update that meets the attack.
func (a *Attack) endure(s *siege) error {
	answer, err := s.update()
	if err != nil {
		return err
	}
	switch why := answer.Packages[pkg].Why; {
	case a.Any && answer.OK:
		return errors.New("the update met no obstacle")
	case !a.Any && answer.Reason != a.Reason:
		return fmt.Errorf("refused for %q and not for %q: %s", answer.Reason, a.Reason, answer.Error)
	case a.Warning != "" && answer.Warnings != nil && !slices.Contains(answer.Warnings, a.Warning):
		return fmt.Errorf("refused on the way for %q and not for %q", answer.Warnings, a.Warning)
	case a.Why != "" && why != a.Why:
		return fmt.Errorf("decided for %q and not for %q", why, a.Why)
	case s.shunned != "" && s.origin.asked(s.shunned):
		return fmt.Errorf("it asked for %s", s.shunned)
	case s.must && !s.met.Load():
		return errors.New("it did not ask for what the attack changes: the proof proves too little")
	case answer.Root != max(a.Root, 1):
		return fmt.Errorf("it trusts root %d and not %d", answer.Root, max(a.Root, 1))
	}
	want := s.old
	if a.Runs != "" {
		want = s.named[a.Runs]
	}
	if err := s.runs(want); err != nil {
		return fmt.Errorf("after the attack: %w", err)
	}
	return nil
}

// recover is what follows: the attacker is gone, the owner offers something newer than everything.
func (a *Attack) recover(s *siege) error {
	s.origin.set(nil)
	s.origin.decisions = nil
	s.origin.change(func(st *slipstream.State) { st.Epoch += 100 })
	if a.heal != nil {
		if err := a.heal(s); err != nil {
			return fmt.Errorf("heal: %w", err)
		}
	}
	last, err := s.origin.publish(spec{seq: 1000, files: filesOf("last")})
	if err != nil {
		return err
	}
	s.named["last"] = last
	s.origin.offer(last)
	if err := s.follow(last); err != nil {
		return fmt.Errorf("the device does not follow the honest server any more: %w", err)
	}
	return nil
}
