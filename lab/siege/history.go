package siege

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/lab/driver"
	"github.com/slipstream-ota/slipstream/sign"
)

// The attackers here play with what was true once, or with roots: numbers that fall, keys that were replaced, chains
// that do not hold.

func sealRoot(s *siege, root *slipstream.Root, err error, edit func(r *slipstream.Root), signers ...sign.Signer) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if edit != nil {
		edit(root)
	}
	return seal(sign.TypeRoot, root, signers...)
}

// roots are next roots that must not be believed although keys of the owner signed them. Each gives the attacker the
// state and release roles, which he uses at once.
func roots() []Attack {
	var out []Attack
	add := func(name string, warning slipstream.Reason, version int64, edit func(s *siege, r *slipstream.Root), signers func(s *siege) []sign.Signer) {
		out = append(out, Attack{Name: "root " + name, Reason: slipstream.ReasonSignatureInvalid, Warning: warning, strike: func(s *siege) error {
			k := s.evil
			k.root = s.origin.keys.root // nothing but the reason of this attack stands against it
			who := s.origin.keys.root.signers
			if signers != nil {
				k.root, who = s.evil.root, signers(s)
			}
			root, err := s.origin.rootOf(version, k)
			raw, err := sealRoot(s, root, err, func(r *slipstream.Root) {
				if edit != nil {
					edit(s, r)
				}
			}, who...)
			if err != nil {
				return err
			}
			return s.usurp(raw)
		}})
	}
	add("signed by the keys before alone", slipstream.ReasonSignatureInvalid, 2, nil, func(s *siege) []sign.Signer { return s.origin.keys.root.signers })
	add("signed by the keys after alone", slipstream.ReasonSignatureInvalid, 2, nil, func(s *siege) []sign.Signer { return s.evil.root.signers })
	add("signed by the keys after, and one of two before", slipstream.ReasonSignatureInvalid, 2, nil, func(s *siege) []sign.Signer {
		return append(slices.Clone(s.evil.root.signers), s.origin.keys.root.signers[0])
	})
	add("signed by the keys before, and one of two after", slipstream.ReasonSignatureInvalid, 2, nil, func(s *siege) []sign.Signer {
		return append(slices.Clone(s.origin.keys.root.signers), s.evil.root.signers[0])
	})
	add("that leaves a version out", slipstream.ReasonRootVersion, 3, nil, nil)
	add("of the version that is trusted already", slipstream.ReasonRootVersion, 1, nil, nil)
	add("of another app", slipstream.ReasonWrongApp, 2, func(_ *siege, r *slipstream.Root) { r.App = "bank" }, nil)
	add("that needs what the device does not know", slipstream.ReasonUnknownCritical, 2, func(_ *siege, r *slipstream.Root) { r.Crit = []string{"later"} }, nil)

	bad := func(name string, edit func(s *siege, r *slipstream.Root)) {
		add(name, slipstream.ReasonMalformed, 2, edit, nil)
	}
	bad("of version 0", func(_ *siege, r *slipstream.Root) { r.Version = 0 })
	bad("of an app that is a path", func(_ *siege, r *slipstream.Root) { r.App = "../shop" })
	for _, role := range []struct {
		name string
		of   func(r *slipstream.Root) *slipstream.Role
	}{
		{"root", func(r *slipstream.Root) *slipstream.Role { return &r.Roles.Root }},
		{"release", func(r *slipstream.Root) *slipstream.Role { return &r.Roles.Release }},
		{"state", func(r *slipstream.Root) *slipstream.Role { return &r.Roles.State }},
	} {
		bad("with threshold 0 for the "+role.name+" role", func(_ *siege, r *slipstream.Root) { role.of(r).Threshold = 0 })
		bad("with a threshold below 0 for the "+role.name+" role", func(_ *siege, r *slipstream.Root) { role.of(r).Threshold = -1 })
		bad("with a threshold that no keys reach for the "+role.name+" role", func(_ *siege, r *slipstream.Root) { role.of(r).Threshold = 4 })
		bad("without keys for the "+role.name+" role", func(_ *siege, r *slipstream.Root) { role.of(r).Keys = []string{} })
		bad("with a key twice in the "+role.name+" role", func(_ *siege, r *slipstream.Root) { role.of(r).Keys = append(role.of(r).Keys, role.of(r).Keys[0]) })
		bad("with a key that it does not define in the "+role.name+" role", func(_ *siege, r *slipstream.Root) { role.of(r).Keys = append(role.of(r).Keys, "0123456789abcdef") })
	}
	swap := func(change func(r *slipstream.Root, id string, k slipstream.RootKey)) func(s *siege, r *slipstream.Root) {
		return func(s *siege, r *slipstream.Root) {
			id := r.Roles.Release.Keys[0]
			change(r, id, r.Keys[id])
		}
	}
	bad("with one public key under two ids", swap(func(r *slipstream.Root, id string, k slipstream.RootKey) {
		r.Keys["0123456789abcdef"] = k
		r.Roles.Release.Keys = append(r.Roles.Release.Keys, "0123456789abcdef")
	}))
	bad("with a key under its id in capitals", swap(func(r *slipstream.Root, id string, k slipstream.RootKey) {
		r.Keys["ABCDEF"+id[6:]] = k
	}))
	bad("with an id that is a path", swap(func(r *slipstream.Root, id string, k slipstream.RootKey) { r.Keys["../../root"] = k }))
	for name, public := range map[string][]byte{
		"a byte short": make([]byte, 31), "a byte long": make([]byte, 33), "that is empty": nil,
		"of small order":           append([]byte{1}, make([]byte, 31)...),
		"that is not canonical":    slices.Concat([]byte{0xf0}, slices.Repeat([]byte{0xff}, 30), []byte{0x7f}),
		"that is not on the curve": append([]byte{2}, make([]byte, 31)...),
	} {
		bad("with a key "+name, swap(func(r *slipstream.Root, _ string, _ slipstream.RootKey) {
			r.Keys[sign.KeyID(public)] = slipstream.RootKey{Alg: sign.AlgEd25519, Public: base64.StdEncoding.EncodeToString(public)}
		}))
	}
	bad("whose keys are of an algorithm nobody knows: they do not count", func(_ *siege, r *slipstream.Root) {
		for _, id := range r.Roles.State.Keys {
			k := r.Keys[id]
			k.Alg = "rsa-4096"
			r.Keys[id] = k
		}
	})
	return append(out, expiredRoots()...)
}

func expiredRoots() []Attack {
	return []Attack{
		{Name: "root that expired before it came", Reason: slipstream.ReasonExpiredRoot, Root: 2, strike: func(s *siege) error {
			root, err := s.origin.rootOf(2, s.origin.keys)
			raw, err := sealRoot(s, root, err, func(r *slipstream.Root) { r.Expires = slipstream.At(s.now.Add(-time.Hour)) }, s.origin.keys.root.signers...)
			if err != nil {
				return err
			}
			s.origin.roots, s.origin.state.RootVersion = append(s.origin.roots, raw), 2
			return s.state(func(st *slipstream.State) { offer(st, s.next) })
		}, heal: func(s *siege) error { return s.origin.addRoot(s.origin.keys) }},
		{Name: "root on the device expired: no updates, the app runs", Reason: slipstream.ReasonExpiredRoot, strike: func(s *siege) error {
			s.wait(rootLife)
			s.origin.offer(s.next)
			return nil
		}, heal: func(s *siege) error { return s.origin.addRoot(s.origin.keys) }},
		{Name: "shipped root of another app", unborn: true, Reason: slipstream.ReasonWrongApp, ship: func(s *siege) ([]byte, error) {
			root, err := s.origin.rootOf(1, s.origin.keys)
			return sealRoot(s, root, err, func(r *slipstream.Root) { r.App = "bank" }, s.origin.keys.root.signers...)
		}},
		{Name: "shipped root that its own keys did not sign", unborn: true, Reason: slipstream.ReasonSignatureInvalid, ship: func(s *siege) ([]byte, error) {
			root, err := s.origin.rootOf(1, s.origin.keys)
			return sealRoot(s, root, err, nil, s.evil.root.signers...)
		}},
		{Name: "shipped root with one signature of two", unborn: true, Reason: slipstream.ReasonSignatureInvalid, ship: func(s *siege) ([]byte, error) {
			root, err := s.origin.rootOf(1, s.origin.keys)
			return sealRoot(s, root, err, nil, s.origin.keys.root.signers[0])
		}},
		{Name: "shipped root with threshold 0", unborn: true, Reason: slipstream.ReasonMalformed, ship: func(s *siege) ([]byte, error) {
			root, err := s.origin.rootOf(1, s.origin.keys)
			return sealRoot(s, root, err, func(r *slipstream.Root) { r.Roles.Root.Threshold = 0 })
		}},
		{Name: "shipped root with a name twice", unborn: true, Reason: slipstream.ReasonMalformed, ship: func(s *siege) ([]byte, error) {
			root, err := s.origin.rootOf(1, s.origin.keys)
			if err != nil {
				return nil, err
			}
			payload, err := sign.Encode(root)
			if err != nil {
				return nil, err
			}
			e, err := (&forgery{kind: sign.TypeRoot, payload: prefixed(`"version":7`)(payload)}).envelope(s.origin.keys.root.signers...)
			if err != nil {
				return nil, err
			}
			return e.Encode(), nil
		}},
	}
}

// rotations are what a device does with good roots, and what an attacker makes of it.
func rotations() []Attack {
	return []Attack{
		{Name: "nine rotations of all keys in a row", Root: 10, Runs: "rotated", strike: times(9, offerRotated)},
		{Name: "rotations: 64 steps at a time, the rest at the next check", Reason: slipstream.ReasonSignatureInvalid, Root: 65, strike: times(70, offerRotated)},
		{Name: "rotations through a root that expired", Root: 3, Runs: "rotated", strike: func(s *siege) error {
			root, err := s.origin.rootOf(2, s.origin.keys)
			raw, err := sealRoot(s, root, err, func(r *slipstream.Root) { r.Expires = slipstream.At(s.now.Add(-time.Hour)) }, s.origin.keys.root.signers...)
			if err != nil {
				return err
			}
			s.origin.roots = append(s.origin.roots, raw)
			return times(1, offerRotated)(s)
		}},
		{Name: "rotation: the state key before is worth nothing", Reason: slipstream.ReasonSignatureInvalid, Root: 2, strike: func(s *siege) error {
			before := s.origin.keys.state.signers
			return times(1, func(s *siege) error {
				if a, err := s.update(); err != nil || !a.OK {
					return errors.Join(err, refused(a))
				}
				return s.state(func(st *slipstream.State) { offer(st, s.next) }, before...)
			})(s)
		}},
		{Name: "rotation: the release key before is worth nothing", Reason: slipstream.ReasonSignatureInvalid, Root: 2, strike: times(1, func(s *siege) error {
			s.origin.offer(s.next)
			return nil
		})},
		{Name: "rotation hidden for a day by a thief of the state key: the device asks by itself", Reason: slipstream.ReasonSignatureInvalid, Root: 2, strike: func(s *siege) error {
			thief := s.origin.keys.state.signers
			s.wait(24 * time.Hour)
			return times(1, func(s *siege) error { // the thief goes on naming root 1
				return s.state(func(st *slipstream.State) { st.RootVersion = 1; offer(st, s.next) }, thief...)
			})(s)
		}},
	}
}

// epochs are what a rotation does to the numbers that a device remembers.
func epochs() []Attack {
	return []Attack{
		{Name: "rotation of other keys than the state's: epochs do not start again", Reason: slipstream.ReasonStaleState, Root: 2, strike: func(s *siege) error {
			keys := ring("owner 2")
			keys.state = s.origin.keys.state
			if err := s.origin.addRoot(keys); err != nil {
				return err
			}
			s.origin.change(func(*slipstream.State) {})
			if a, err := s.update(); err != nil || !a.OK {
				return errors.Join(err, refused(a))
			}
			return s.state(func(st *slipstream.State) { st.Epoch = 5 })
		}},
		{Name: "rotation of other keys than the state's, at the same time as a state of before", Reason: slipstream.ReasonStaleState, Root: 2, strike: func(s *siege) error {
			keys := ring("owner 2")
			keys.state = s.origin.keys.state
			s.wait(24 * time.Hour) // the device asks for roots before it looks at the state
			if err := s.origin.addRoot(keys); err != nil {
				return err
			}
			return s.state(func(st *slipstream.State) { st.Epoch = 5; offer(st, s.next) })
		}},
		{Name: "rotation of the state key: epochs start again, and an old clock is forgotten", Root: 2, Runs: "rotated", strike: func(s *siege) error {
			// a thief signed the highest epoch there is, ten days ahead
			if err := s.state(func(st *slipstream.State) {
				st.Epoch = slipstream.MaxSafeInteger
				st.Issued, st.Expires = slipstream.At(s.now.Add(240*time.Hour)), slipstream.At(s.now.Add(480*time.Hour))
			}); err != nil {
				return err
			}
			if a, err := s.update(); err != nil || !a.OK || a.Epoch != slipstream.MaxSafeInteger {
				return errors.Join(err, refused(a), fmt.Errorf("epoch %d", a.Epoch))
			}
			s.origin.set(nil)
			return times(1, func(s *siege) error {
				s.origin.change(func(st *slipstream.State) { st.Epoch = 1 })
				return offerRotated(s)
			})(s)
		}},
	}
}

// replays bring back what was true once, or hold what was true for too long.
func replays() []Attack {
	return []Attack{
		{Name: "an old state, replayed", Reason: slipstream.ReasonStaleState, strike: func(s *siege) error {
			raw, err := seal(sign.TypeState, s.origin.stated(nil), s.origin.keys.state.signers...)
			if err != nil {
				return err
			}
			s.origin.offer(s.old) // one epoch up
			if a, err := s.update(); err != nil || !a.OK {
				return errors.Join(err, refused(a))
			}
			s.serve(aboutState, raw)
			return nil
		}},
		{Name: "an old state, replayed after a restart", Reason: slipstream.ReasonStaleState, strike: func(s *siege) error {
			raw, err := seal(sign.TypeState, s.origin.stated(nil), s.origin.keys.state.signers...)
			if err != nil {
				return err
			}
			s.origin.offer(s.old)
			if a, err := s.update(); err != nil || !a.OK {
				return errors.Join(err, refused(a))
			}
			s.serve(aboutState, raw)
			return s.open()
		}},
		{Name: "a state that was accepted and not acted upon is still not forgotten", Reason: slipstream.ReasonStaleState, strike: func(s *siege) error {
			raw, err := seal(sign.TypeState, s.origin.stated(nil), s.origin.keys.state.signers...)
			if err != nil {
				return err
			}
			s.origin.offer(s.next)
			s.also(func(x *exchange) {
				if x.about(aboutManifests) {
					x.status, x.body = http.StatusNotFound, nil
				}
			})
			if a, err := s.update(); err != nil || a.OK {
				return errors.Join(err, errors.New("it found a manifest that is not there"))
			}
			s.serve(aboutState, raw)
			return s.open()
		}},
		{Name: "a decision's epoch is remembered against old states", Reason: slipstream.ReasonStaleState, decisions: true, strike: func(s *siege) error {
			s.origin.decisions = func(req slipstream.CheckRequest) slipstream.Decision {
				d := s.origin.decision(req, slipstream.PackageDecision{Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonUpToDate})
				d.Epoch += 50
				return d
			}
			if a, err := s.update(); err != nil || !a.OK {
				return errors.Join(err, refused(a))
			}
			return s.state(func(st *slipstream.State) { offer(st, s.next) })
		}},
		{Name: "one state for ever: it expires", Reason: slipstream.ReasonExpiredState, strike: func(s *siege) error {
			if err := s.state(nil); err != nil {
				return err
			}
			if a, err := s.update(); err != nil || !a.OK {
				return errors.Join(err, refused(a))
			}
			s.wait(stateLife)
			return nil
		}},
		{Name: "one state for ever, said to be unchanged: it expires", Reason: slipstream.ReasonExpiredState, strike: func(s *siege) error {
			s.also(func(x *exchange) {
				if x.about(aboutState) && x.req.Header.Get("If-None-Match") != "" {
					x.status, x.body = http.StatusNotModified, nil
				}
			})
			s.wait(stateLife)
			return nil
		}},
		{Name: "an expired state, with the device's clock set back", Reason: slipstream.ReasonExpiredState, strike: func(s *siege) error {
			raw, err := seal(sign.TypeState, s.upcoming(func(st *slipstream.State) { st.Epoch += 50; offer(st, s.next) }), s.origin.keys.state.signers...)
			if err != nil {
				return err
			}
			s.wait(2 * stateLife)
			if a, err := s.update(); err != nil || !a.OK {
				return errors.Join(err, refused(a))
			}
			s.serve(aboutState, raw) // of a higher epoch, but two days old
			s.now = s.now.Add(-2 * stateLife)
			return nil
		}, heal: func(s *siege) error { s.now = s.now.Add(2 * stateLife); return nil }},
	}
}

// downgrades lead back to what was good once.
func downgrades() []Attack {
	return []Attack{
		{Name: "a downgrade, named by a state", Why: slipstream.ReasonKeepNewer, strike: func(s *siege) error {
			return s.state(func(st *slipstream.State) { offer(st, s.low) })
		}},
		{Name: "a downgrade, with what runs withdrawn: not without a fallback that the publisher signed", Runs: "embedded", strike: func(s *siege) error {
			s.named["embedded"] = nil
			return s.state(func(st *slipstream.State) { withdraw(st, s.old, s.low) })
		}},
		{Name: "a way back that the publisher signed is free, with what runs withdrawn", Runs: "edge", strike: func(s *siege) error {
			return s.state(func(st *slipstream.State) { withdraw(st, s.old, s.edge) })
		}},
		{Name: "a way back that the publisher signed is not free while what runs is good", Why: slipstream.ReasonKeepNewer, strike: func(s *siege) error {
			return s.state(func(st *slipstream.State) { offer(st, s.edge) })
		}},
		{Name: "a downgrade after a fall to the embedded release: the anchor stays", Why: slipstream.ReasonDowngrade, Runs: "embedded", strike: func(s *siege) error {
			s.named["embedded"] = nil
			if err := s.state(func(st *slipstream.State) { withdraw(st, s.old, s.old) }); err != nil {
				return err
			}
			if a, err := s.update(); err != nil || !a.OK {
				return errors.Join(err, refused(a))
			}
			return s.state(func(st *slipstream.State) { st.Epoch++; withdraw(st, s.next, s.low) }) // old is not withdrawn any more
		}},
		{Name: "a release below its floor", Why: slipstream.ReasonBelowFloor, Runs: "embedded", strike: func(s *siege) error {
			s.named["embedded"] = nil
			return s.state(func(st *slipstream.State) {
				withdraw(st, s.old, s.edge)
				p := st.Packages[pkg]
				p.Floors = []slipstream.Floor{{Runtime: slipstream.AnyRuntime(), Seq: 8}}
				st.Packages[pkg] = p
			})
		}},
		{Name: "a release that this device gave up, offered again and again", Why: slipstream.ReasonRefusedAfterCrash, strike: func(s *siege) error {
			if err := s.state(func(st *slipstream.State) { offer(st, s.next) }); err != nil {
				return err
			}
			for range 2 { // the second time is the retry after six hours
				if a, err := s.update(); err != nil || !a.OK {
					return errors.Join(err, refused(a))
				}
				for range 2 {
					if err := s.runs(s.next); err != nil {
						return err
					}
					if a, err := s.tell(driver.Command{Do: driver.DoCrash}); err != nil || !a.OK {
						return errors.Join(err, refused(a))
					}
				}
				s.wait(7 * time.Hour)
			}
			return s.runs(s.old)
		}},
	}
}

// withdraw withdraws one release and offers another.
func withdraw(st *slipstream.State, bad, instead *release) {
	offer(st, instead)
	p := st.Packages[pkg]
	p.Withdrawn = []slipstream.Digest{bad.digest}
	st.Packages[pkg] = p
}

// times replaces all keys n times, one root after the other, and goes on.
func times(n int, then func(s *siege) error) func(s *siege) error {
	return func(s *siege) error {
		for i := range n {
			if err := s.origin.addRoot(ring(fmt.Sprintf("owner %d", i+2))); err != nil {
				return err
			}
		}
		return then(s)
	}
}

// offerRotated offers a release that the keys in force signed.
func offerRotated(s *siege) error {
	r, err := s.origin.publish(spec{seq: 30, files: filesOf("next")})
	if err != nil {
		return err
	}
	s.named["rotated"] = r
	s.origin.offer(r)
	return nil
}
