package siege

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// The attackers here bring company: packages that nobody asked for, servers beside the right one, or what was prepared
// under keys that are not in force any more.

// extraneous would have the device install more than the app asks for.
func extraneous() []Attack {
	const other = "extra"
	return []Attack{
		{Name: "a package that the app does not have, offered beside ours: it is not fetched", Runs: "next", strike: func(s *siege) error {
			r, err := s.origin.publish(spec{seq: 26, files: filesOf("extra"), edit: func(m *slipstream.Manifest) { m.Package = other }})
			if err != nil {
				return err
			}
			s.shunned = aboutManifests + string(r.digest)
			return s.state(func(st *slipstream.State) {
				offer(st, s.next)
				st.Packages[other] = slipstream.PackageState{Rollouts: []slipstream.Rollout{rollout(r)}}
			})
		}},
		{Name: "a release that requires a package that the app does not have: neither is taken", Reason: slipstream.ReasonRequires, strike: func(s *siege) error {
			r, err := s.origin.publish(spec{seq: 26, files: filesOf("extra"), edit: func(m *slipstream.Manifest) { m.Package = other }})
			if err != nil {
				return err
			}
			needy, err := s.origin.publish(spec{seq: 27, files: filesOf("needy"), edit: func(m *slipstream.Manifest) {
				m.Requires = map[string]slipstream.Requirement{other: {MinSeq: 1}}
			}})
			if err != nil {
				return err
			}
			s.shunned = aboutManifests + string(r.digest)
			return s.state(func(st *slipstream.State) {
				offer(st, needy)
				st.Packages[other] = slipstream.PackageState{Rollouts: []slipstream.Rollout{rollout(r)}}
			})
		}},
	}
}

// mirrors stand before the right server in the device's list. Which of them is asked first is no matter of trust.
func mirrors() []Attack {
	var out []Attack
	for _, m := range []struct {
		name string
		keys func(s *siege) keyring
		does func(s *siege, x *exchange)
	}{
		{"signs with keys of its own", func(s *siege) keyring { return s.evil }, nil},
		{"knows nothing", nil, func(_ *siege, x *exchange) { x.status, x.body = http.StatusNotFound, nil }},
		{"answers everything with a page", nil, func(_ *siege, x *exchange) {
			x.status, x.body = http.StatusOK, []byte("<!doctype html><title>Welcome</title>")
		}},
		{"breaks every connection", nil, func(_ *siege, x *exchange) { x.stream = hangUp }},
		{"has other bytes for every file and container", nil, func(_ *siege, x *exchange) {
			if x.about(aboutBlobs) || x.about(aboutContainers) {
				x.body = bytes.Repeat([]byte("x"), len(x.body))
			}
		}},
		{"has another release's manifest", nil, func(s *siege, x *exchange) {
			if x.about(aboutManifests) {
				x.body = s.low.envelope
			}
		}},
	} {
		out = append(out, Attack{Name: "a mirror before the right server " + m.name, Runs: "next", strike: func(s *siege) error {
			keys := s.origin.keys
			if m.keys != nil {
				keys = m.keys(s)
			}
			mirror, err := newOrigin(s.origin.stock, s.now, keys)
			if err != nil {
				return err
			}
			s.closing = append(s.closing, mirror.close)
			mirror.state, mirror.manifests, mirror.blobs, mirror.containers = s.origin.state, maps.Clone(s.origin.manifests), maps.Clone(s.origin.blobs), maps.Clone(s.origin.containers)
			mirror.offer(s.next)
			s.origin.offer(s.next)
			mirror.set(func(x *exchange) {
				s.met.Store(true)
				if m.does != nil {
					m.does(s, x)
				}
			})
			s.must = true
			s.setup.Servers = []string{mirror.url, s.origin.url}
			return s.open()
		}})
	}
	return out
}

// staged is what was verified once, under keys that were taken back before it ever ran.
func staged() []Attack {
	return []Attack{{Name: "rotation: what was staged under the release key before does not start", Reason: slipstream.ReasonSignatureInvalid, Root: 2, strike: func(s *siege) error {
		s.origin.offer(s.next)
		a, err := s.update()
		if err != nil || !a.OK {
			return errors.Join(err, refused(a))
		}
		if got := a.Packages[pkg].Staged; got != s.next.digest {
			return fmt.Errorf("%s is staged", s.call(got))
		}
		keys := s.origin.keys
		keys.release = keysOf("owner 2 release", 3, 2)
		err = s.origin.addRoot(keys)
		s.origin.change(func(*slipstream.State) {})
		return err
	}}}
}

// nulls are documents with null in the place of what must be there, signed by their owners.
func nulls() []Attack {
	var out []Attack
	for _, c := range []struct{ what, field, open string }{
		{"root", "keys", "{"}, {"root", "roles", "{"}, {"manifest", "files", "["}, {"manifest", "runtime", "{"}, {"decision", "packages", "{"},
	} {
		t := trick{reason: slipstream.ReasonMalformed, do: func(f *forgery) ([]byte, error) {
			n := *f
			n.payload = replaced(`"`+c.field+`":`+c.open, `"`+c.field+`":null,"later":`+c.open)(bytes.Clone(f.payload))
			if bytes.Equal(n.payload, f.payload) {
				return nil, fmt.Errorf("the %s has no %s", c.what, c.field)
			}
			e, err := n.envelope(n.owners...)
			if err != nil {
				return nil, err
			}
			return e.Encode(), nil
		}}
		f := forgeries[c.what]
		out = append(out, Attack{Name: c.what + " that says null in place of its " + c.field, Reason: f.reason(t.reason), Warning: f.warning(t.reason), decisions: f.decisions, strike: t.strike(c.what)})
	}
	return out
}

// oddIDs are signatures of strangers under ids that are none.
func oddIDs() []trick {
	var out []trick
	for name, id := range map[string]string{
		"an empty id": "", "an id that is a path": "../../root", "an id with a zero byte": "0123456789abcde\x00", "an id that is no text": "\u2028\U0001f511",
		"an id of a thousand digits": string(bytes.Repeat([]byte("0"), 1000)),
	} {
		out = append(out, trick{"strangers under " + name, slipstream.ReasonSignatureInvalid, signedBy(strangers, func(e *sign.Envelope) {
			for i := range e.Signatures {
				e.Signatures[i].KeyID = id
			}
		})})
	}
	return out
}
