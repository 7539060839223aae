package siege

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/lab/driver"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// The attackers here hold the network, or the CDN: they can change every answer and sign none.

// document is one thing that a device asks for. lands says that another road leads to the same signed bytes, or that the
// device can do without.
type document struct {
	name, part string
	lands      bool
}

func documents() []document {
	return []document{
		{"state", aboutState, false}, {"manifest", aboutManifests, false}, {"list of containers", aboutList, true}, {"container", aboutContainers, true},
		{"everything that carries files", "", false}, {"next root", aboutRoots, true}, {"decision", aboutCheck, true}, {"answer to reports", aboutReports, true},
	}
}

// attack changes the answer about this document while the device comes for the release next. It must have asked for it.
func (d document) attack(name string, to func(s *siege, x *exchange)) Attack {
	a := Attack{Name: name, Any: !d.lands, decisions: d.part == aboutCheck}
	if d.lands {
		a.Runs = "next"
	}
	a.strike = func(s *siege) error {
		if d.part == aboutRoots {
			s.wait(25 * time.Hour) // the device asks for newer roots again
		}
		s.origin.offer(s.next)
		root, err := s.origin.rootOf(2, s.origin.keys)
		later, err := sealRoot(s, root, err, nil, s.origin.keys.root.signers...)
		if err != nil {
			return err
		}
		if a.decisions {
			s.origin.decisions = func(req slipstream.CheckRequest) slipstream.Decision { return s.origin.decision(req, update(s.next)) }
		}
		s.also(func(x *exchange) {
			if !d.met(x) {
				return
			}
			if d.part == aboutRoots { // a good one, if it came
				x.status, x.body = http.StatusOK, later
			}
			s.met.Store(true)
			to(s, x)
		})
		s.must = true
		return nil
	}
	return a
}

func (d document) met(x *exchange) bool {
	if d.part == "" {
		return x.about(aboutContainers) || x.about(aboutBlobs)
	}
	return x.about(d.part)
}

// network is what a network can do to each of the documents on its own.
func network() []Attack {
	var out []Attack
	for _, what := range documents() {
		for _, does := range []struct {
			name string
			to   func(s *siege, x *exchange)
		}{
			{"not found", func(_ *siege, x *exchange) { x.status, x.body = http.StatusNotFound, nil }},
			{"forbidden", func(_ *siege, x *exchange) { x.status, x.body = http.StatusForbidden, []byte("no") }},
			{"an error of the server", func(_ *siege, x *exchange) { x.status, x.body = http.StatusBadGateway, nil }},
			{"empty", func(_ *siege, x *exchange) { x.body = []byte{} }},
			{"a page to log in", func(_ *siege, x *exchange) { x.body = []byte("<!doctype html><title>Log in</title>") }},
			{"cut in half", func(_ *siege, x *exchange) { x.body = x.body[:len(x.body)/2] }},
			{"one bit changed", func(_ *siege, x *exchange) { x.body = flipped(x.body, len(x.body)/2, 3) }},
			{"cut in half, announced as whole", func(_ *siege, x *exchange) {
				x.header.Set("Content-Length", strconv.Itoa(len(x.body)))
				x.body = x.body[:len(x.body)/2]
				x.stream = x.raw
			}},
			{"whole, announced as half", func(_ *siege, x *exchange) {
				x.header.Set("Content-Length", strconv.Itoa(len(x.body)/2))
				x.stream = x.raw
			}},
			{"the connection broken before the answer", func(_ *siege, x *exchange) { x.stream = hangUp }},
			{"the answer to another question", func(s *siege, x *exchange) { x.body = s.low.envelope; x.header.Del("ETag") }},
			{"redirected for ever", func(_ *siege, x *exchange) { x.redirect(x.req.URL.Path) }},
			{"redirected to a scheme that is none", func(_ *siege, x *exchange) { x.redirect("file:///etc/passwd") }},
			{"compressed without being asked", func(_ *siege, x *exchange) { x.body = zipped(x.body); x.header.Set("Content-Encoding", "gzip") }},
			{"unchanged, to a question that was not conditional", func(_ *siege, x *exchange) {
				if x.req.Header.Get("If-None-Match") == "" {
					x.status, x.body = http.StatusNotModified, nil
				}
			}},
		} {
			conditional := strings.HasPrefix(does.name, "unchanged")
			if conditional && what.part == aboutState {
				continue // the device asks conditionally, and may be told that nothing changed: see replays
			}
			out = append(out, what.attack("network: "+what.name+": "+does.name, does.to))
		}
	}
	return slices.Concat(out, elsewhere(), lies(), oversized())
}

func flipped(body []byte, at int, bit uint) []byte {
	out := bytes.Clone(body)
	if len(out) > 0 {
		out[at] ^= 1 << bit
	}
	return out
}

func zipped(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	// Writing to memory cannot fail.
	_, _ = z.Write(body)
	_ = z.Close()
	return b.Bytes()
}

func (x *exchange) redirect(to string) {
	x.status, x.body = http.StatusFound, nil
	x.header.Set("Location", to)
}

// raw sends the body as it is, whatever its header announces.
func (x *exchange) raw(w http.ResponseWriter, _ *http.Request) {
	for name, values := range x.header {
		w.Header()[name] = values
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(x.body) // that it does not fit is the point
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	if h, ok := w.(http.Hijacker); ok {
		if c, _, err := h.Hijack(); err == nil {
			_ = c.Close()
		}
	}
}

// elsewhere are answers that come from another server, another release, or lie about what they are.
func elsewhere() []Attack {
	return []Attack{
		// A redirect is followed, to any host: mirrors work that way, and only signatures and hashes count. So it must be
		// harmless: from elsewhere come signed bytes, or nothing.
		{Name: "network: everything redirected to another host that has the signed bytes: it is a mirror", Runs: "next", strike: func(s *siege) error {
			mirror, err := newOrigin(s.origin.stock, s.now, s.origin.keys)
			if err != nil {
				return err
			}
			mirror.roots, mirror.state, mirror.manifests, mirror.blobs, mirror.containers = s.origin.roots, s.origin.state, s.origin.manifests, s.origin.blobs, s.origin.containers
			mirror.offer(s.next)
			s.also(func(x *exchange) { x.redirect(mirror.url + x.req.URL.Path) })
			s.closing = append(s.closing, mirror.close)
			return nil
		}},
		{Name: "network: everything redirected to a host of the attacker's", Reason: slipstream.ReasonSignatureInvalid, strike: func(s *siege) error {
			other, err := newOrigin(s.origin.stock, s.now, s.evil)
			if err != nil {
				return err
			}
			other.state.Epoch = 500
			if err := other.hold(s.code); err != nil {
				return err
			}
			other.offer(s.code)
			s.also(func(x *exchange) { x.redirect(other.url + x.req.URL.Path) })
			s.closing = append(s.closing, other.close)
			return nil
		}},
		{Name: "network: the manifest of another release, signed", Reason: slipstream.ReasonManifestMismatch, strike: func(s *siege) error {
			s.origin.offer(s.next)
			s.serve(aboutManifests, s.low.envelope)
			return nil
		}},
		{Name: "network: the manifest of a twin that was signed for the same seq, version and size", Reason: slipstream.ReasonManifestMismatch, strike: func(s *siege) error {
			files := filesOf("twin")
			twin, err := s.origin.publish(spec{seq: s.next.manifest.Seq, files: files})
			if err != nil {
				return err
			}
			if twin.manifest.Size() != s.next.manifest.Size() {
				return fmt.Errorf("the twin has %d bytes and not %d", twin.manifest.Size(), s.next.manifest.Size())
			}
			s.origin.offer(s.next)
			s.serve(aboutManifests, twin.envelope)
			return nil
		}},
		{Name: "network: a container far larger than what is signed", Runs: "next", strike: func(s *siege) error {
			s.origin.offer(s.next)
			large := make([]byte, s.next.manifest.Size()+slipstream.ContainerOverhead+1)
			s.shunned = aboutContainers + string(sum(large))
			s.lie(func([]slipstream.Container) []slipstream.Container {
				return []slipstream.Container{{Codec: delta.CodecFull, Size: int64(len(large)), SHA256: sum(large)}}
			}, large)
			return nil
		}},
		{Name: "network: the container of another release", Runs: "next", strike: func(s *siege) error {
			s.origin.offer(s.next)
			s.also(func(x *exchange) {
				if x.about(aboutContainers) {
					other, err := s.origin.stock.container(nil, s.low)
					if x.body = other.bytes; err != nil {
						x.status = http.StatusInternalServerError
					}
				}
			})
			return nil
		}},
		{Name: "network: containers of another release, listed under their own hash", Runs: "next", strike: func(s *siege) error {
			s.origin.offer(s.next)
			s.also(func(x *exchange) {
				if x.about(aboutList) {
					s.origin.mu.Lock()
					defer s.origin.mu.Unlock()
					x.body, _ = json.Marshal(s.origin.containers[s.low.digest])
				}
			})
			return nil
		}},
	}
}

// lies are about containers.
func lies() []Attack {
	return []Attack{
		{Name: "network: every container and file replaced by the attacker's of the same size", Any: true, strike: func(s *siege) error {
			s.origin.offer(s.next)
			s.also(func(x *exchange) {
				if x.about(aboutContainers) || x.about(aboutBlobs) {
					x.body = bytes.Repeat([]byte("x"), len(x.body))
				}
			})
			return nil
		}},
		{Name: "network: a container of the attacker's, listed under its own hash", Runs: "next", strike: func(s *siege) error {
			s.origin.offer(s.next)
			raw, err := evilContainer(s)
			if err != nil {
				return err
			}
			s.lie(func(list []slipstream.Container) []slipstream.Container {
				return []slipstream.Container{{Codec: delta.CodecFull, Size: int64(len(raw)), SHA256: sum(raw)}}
			}, raw)
			return nil
		}},
		{Name: "network: a list of containers with sizes and names that lie", Runs: "next", strike: func(s *siege) error {
			s.origin.offer(s.next)
			s.lie(func(list []slipstream.Container) []slipstream.Container {
				good := list[0]
				return []slipstream.Container{
					{Codec: delta.CodecFull, Size: -1, SHA256: good.SHA256}, {Codec: delta.CodecFull, Size: 1 << 60, SHA256: good.SHA256}, {Codec: delta.CodecFull, Size: 1, SHA256: good.SHA256},
					{Codec: delta.CodecFull, Size: good.Size, SHA256: "../../../device"}, {Codec: "rich/9", Size: 5, SHA256: good.SHA256},
					{Codec: delta.CodecChanged, From: s.low.digest, Size: 7, SHA256: good.SHA256}, {Codec: delta.CodecChanged, From: s.old.digest, Size: good.Size, SHA256: good.SHA256},
				}
			}, nil)
			return nil
		}},
		{Name: "network: a range that was not asked for", Runs: "next", strike: func(s *siege) error {
			s.origin.offer(s.next)
			s.also(func(x *exchange) {
				if x.about(aboutContainers) {
					x.status = http.StatusPartialContent
					x.header.Set("Content-Range", fmt.Sprintf("bytes 7-%d/%d", len(x.body)-1, len(x.body)))
				}
			})
			return nil
		}},
		{Name: "network: a download that goes on with other bytes", Runs: "next", strike: func(s *siege) error {
			s.origin.offer(s.next)
			s.also(func(x *exchange) {
				if !x.about(aboutContainers) && !x.about(aboutBlobs) {
					return
				}
				if x.req.Header.Get("Range") == "" && len(s.once) == 0 {
					s.once = x.req.URL.Path
					x.header.Set("Content-Length", strconv.Itoa(len(x.body)))
					x.body, x.stream = bytes.Repeat([]byte("x"), len(x.body)/2), x.raw
				}
			})
			return nil
		}},
	}
}

// oversized are documents beyond their caps, signed by whoever must sign them.
func oversized() []Attack {
	return []Attack{
		{Name: "state of another app, channel and platform in the place of ours, signed by our own keys", Reason: slipstream.ReasonWrongApp, strike: func(s *siege) error {
			return s.state(func(st *slipstream.State) { st.App, st.Channel, st.Platform = "bank", "beta", "ios"; offer(st, s.next) })
		}},
		{Name: "a state longer than the cap, signed", Reason: slipstream.ReasonTooLarge, strike: rewritten(prefixed(`"later":"` + strings.Repeat("x", slipstream.MaxStateBytes) + `"`))},
		{Name: "a root longer than the cap, signed", Reason: slipstream.ReasonSignatureInvalid, Warning: slipstream.ReasonTooLarge, strike: func(s *siege) error {
			keys := s.evil
			keys.root = s.origin.keys.root
			root, err := s.origin.rootOf(2, keys)
			if err != nil {
				return err
			}
			payload, err := sign.Encode(root)
			if err != nil {
				return err
			}
			e, err := (&forgery{kind: sign.TypeRoot, payload: prefixed(`"later":"` + strings.Repeat("x", slipstream.MaxRootBytes) + `"`)(payload)}).envelope(s.origin.keys.root.signers...)
			if err != nil {
				return err
			}
			return s.usurp(e.Encode())
		}},
		{Name: "a manifest longer than the cap, signed", Reason: slipstream.ReasonTooLarge, strike: func(s *siege) error {
			return s.mislabel(func(m *slipstream.Manifest) {
				m.Meta = map[string]json.RawMessage{"notes": json.RawMessage(`"` + strings.Repeat("x", slipstream.MaxManifestBytes) + `"`)}
			}, nil)
		}},
		{Name: "a decision longer than the cap, signed", Warning: slipstream.ReasonTooLarge, decisions: true, strike: func(s *siege) error {
			s.decide(func(req slipstream.CheckRequest) ([]byte, error) {
				d := s.origin.decision(req, update(s.next))
				d.CheckAfter = 1
				payload, err := sign.Encode(d)
				if err != nil {
					return nil, err
				}
				e, err := (&forgery{kind: sign.TypeDecision, payload: prefixed(`"later":"` + strings.Repeat("x", slipstream.MaxDecisionBytes) + `"`)(payload)}).envelope(s.origin.keys.state.signers...)
				if err != nil {
					return nil, err
				}
				return e.Encode(), nil
			})
			return nil
		}},
	}
}

// evilContainer is a well-made container of next in which some bytes of a file are the attacker's.
func evilContainer(s *siege) ([]byte, error) {
	const header = 22 // magic, version, codec, and what names the two lists of files; docs/PROTOCOL.md
	good, err := s.origin.stock.container(nil, s.next)
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	content, err := dec.DecodeAll(good.bytes[header:], nil)
	if err != nil {
		return nil, err
	}
	evil := bytes.Replace(content, []byte("// next"), []byte("// evil"), 1)
	if bytes.Equal(evil, content) {
		return nil, errors.New("the forged container is the good one")
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		return nil, err
	}
	return append(bytes.Clone(good.bytes[:header]), enc.EncodeAll(evil, nil)...), enc.Close()
}

// lie changes the list of containers; raw, if any, is served as a container under its own hash.
func (s *siege) lie(change func(list []slipstream.Container) []slipstream.Container, raw []byte) {
	if raw != nil {
		s.origin.mu.Lock()
		s.origin.blobs[sum(raw)] = raw
		s.origin.mu.Unlock()
	}
	s.also(func(x *exchange) {
		if !x.about(aboutList) {
			return
		}
		var list []slipstream.Container
		if json.Unmarshal(x.body, &list) != nil || len(list) == 0 {
			return
		}
		x.body, _ = json.Marshal(change(list))
	})
}

// dripping limits make a device give up within a second or two.
func dripping() driver.Limits {
	return driver.Limits{Document: 600, Download: 1500, Window: 1000, MinRate: 64 << 10}
}

// floods are bodies that never end, or hardly move. They take a second or two each.
func floods() []Attack {
	var out []Attack
	for _, what := range documents() {
		for _, does := range []struct {
			name string
			to   func(w http.ResponseWriter, r *http.Request)
		}{
			{"never ends", func(w http.ResponseWriter, r *http.Request) {
				block := bytes.Repeat([]byte(" "), 64<<10)
				for r.Context().Err() == nil {
					if _, err := w.Write(block); err != nil {
						return
					}
				}
			}},
			{"comes a byte at a time", func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					if _, err := w.Write([]byte("{")); err != nil {
						return
					}
					if f, ok := w.(http.Flusher); ok {
						f.Flush()
					}
					wait(r, 50*time.Millisecond)
				}
			}},
			{"is announced and never comes", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "1000")
				w.WriteHeader(http.StatusOK)
				if f, ok := w.(http.Flusher); ok {
					f.Flush()
				}
				wait(r, time.Minute)
			}},
			{"is never answered", func(_ http.ResponseWriter, r *http.Request) { wait(r, time.Minute) }},
		} {
			a := what.attack("network: "+what.name+" that "+does.name, func(_ *siege, x *exchange) { x.stream = does.to })
			a.limits, a.slow = dripping(), does.name != "never ends"
			if !a.slow && !what.lands && what.part != "" {
				a.Any, a.Reason = false, slipstream.ReasonTooLarge // long before it is too slow
			}
			out = append(out, a)
		}
	}
	return out
}

func wait(r *http.Request, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.Context().Done():
	case <-t.C:
	}
}
