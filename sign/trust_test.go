package sign

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// chainCase is a shipped root and the ones that a server then gives. The walk ends with the root of Version, or with
// Expect at the first that is refused; then the last root's expiry is judged at Now.
type chainCase struct {
	Name    string  `json:"name"`
	Shipped input   `json:"shipped"`
	Next    []input `json:"next,omitempty"`
	Now     string  `json:"now"`
	Version int64   `json:"version"`
	// SameStateRole says whether the walk left the state role as it was.
	SameStateRole bool   `json:"sameStateRole"`
	Expect        string `json:"expect"`
}

type chain struct {
	t   *testing.T
	out []chainCase
}

// rootDoc makes version n of the good root, changed.
func rootDoc(n int64, change func(r *slipstream.Root)) *slipstream.Root {
	r := goodRoot()
	r.Version = n
	if change != nil {
		change(r)
	}
	return r
}

func (c *chain) seal(r *slipstream.Root, signers ...string) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return seal(c.t, TypeRoot, b, keys(signers...)...)
}

func (c *chain) add(name string, want slipstream.Reason, version int64, same bool, roots ...[]byte) {
	v := chainCase{Name: name, Shipped: inputOf(roots[0]), Now: "2026-11-21T12:00:00Z", Version: version, SameStateRole: same, Expect: string(want)}
	for _, r := range roots[1:] {
		v.Next = append(v.Next, inputOf(r))
	}
	c.out = append(c.out, v)
}

// shipped adds a case of a single root of version 1, signed by the first two root keys.
func (c *chain) shipped(name string, want slipstream.Reason, change func(r *slipstream.Root)) {
	c.add(name, want, 1, want == ok, c.seal(rootDoc(1, change), "root-1", "root-2"))
}

// payload adds a case of a root whose payload text is edited.
func (c *chain) payload(name string, want slipstream.Reason, edit func(doc map[string]any)) {
	var doc map[string]any
	if err := json.Unmarshal(encode(c.t, goodRoot()), &doc); err != nil {
		c.t.Fatal(err)
	}
	edit(doc)
	b, err := json.Marshal(doc)
	if err != nil {
		c.t.Fatal(err)
	}
	c.add(name, want, 1, want == ok, seal(c.t, TypeRoot, b, keys("root-1", "root-2")...))
}

func setRole(role *slipstream.Role, r *slipstream.Root, threshold int, names ...string) {
	role.Threshold, role.Keys = threshold, []string{}
	for _, n := range names {
		role.Keys = append(role.Keys, AddKey(r, key(n).Public()))
	}
}

func chainCases(t *testing.T) []chainCase {
	c := &chain{t: t}
	c.walks()
	c.forms()
	return c.out
}

func (c *chain) walks() {
	good := c.seal(rootDoc(1, nil), "root-1", "root-2")
	old := []string{"root-1", "root-2"}
	newKeys := func(r *slipstream.Root) { setRole(&r.Roles.Root, r, 2, "new-1", "new-2") }
	rotated := c.seal(rootDoc(2, newKeys), "root-1", "root-2", "new-1", "new-2")

	c.add("shipped root alone", ok, 1, true, good)
	c.add("signed by one key more", ok, 1, true, c.seal(rootDoc(1, nil), "root-1", "root-2", "root-3"))
	c.add("next version, same keys", ok, 2, true, good, c.seal(rootDoc(2, nil), old...))
	c.add("next version, signed by another two of the three", ok, 2, true, good, c.seal(rootDoc(2, nil), "root-2", "root-3"))
	c.add("root keys rotated, signed by old and new", ok, 2, true, good, rotated)
	c.add("rotated, then signed by new alone", ok, 3, true, good, rotated, c.seal(rootDoc(3, newKeys), "new-1", "new-2"))
	c.add("one key stays and signs for both", ok, 2, true, good, c.seal(rootDoc(2, func(r *slipstream.Root) {
		setRole(&r.Roles.Root, r, 2, "root-1", "new-1")
	}), "root-1", "root-2", "new-1"))
	c.add("threshold lowered, signed by the old threshold", ok, 2, true, good, c.seal(rootDoc(2, func(r *slipstream.Root) { r.Roles.Root.Threshold = 1 }), old...))
	c.add("state key rotated", ok, 2, false, good, c.seal(rootDoc(2, func(r *slipstream.Root) { setRole(&r.Roles.State, r, 1, "state-2") }), old...))
	c.add("state key added", ok, 2, false, good, c.seal(rootDoc(2, func(r *slipstream.Root) { setRole(&r.Roles.State, r, 1, "state-1", "state-2") }), old...))
	c.add("release key rotated leaves the state role", ok, 2, true, good, c.seal(rootDoc(2, func(r *slipstream.Root) { setRole(&r.Roles.Release, r, 1, "release-3") }), old...))
	two := func(r *slipstream.Root) { setRole(&r.Roles.State, r, 1, "state-1", "state-2") }
	turned := func(r *slipstream.Root) { setRole(&r.Roles.State, r, 1, "state-2", "state-1") }
	more := func(r *slipstream.Root) { setRole(&r.Roles.State, r, 2, "state-1", "state-2") }
	c.add("state keys in another order", ok, 2, true, c.seal(rootDoc(1, two), old...), c.seal(rootDoc(2, turned), old...))
	c.add("threshold of the state role raised", ok, 2, false, c.seal(rootDoc(1, two), old...), c.seal(rootDoc(2, more), old...))

	past := func(r *slipstream.Root) { r.Expires = at("2026-01-01T00:00:00Z") }
	c.add("an expired root on the way", ok, 2, true, c.seal(rootDoc(1, past), old...), c.seal(rootDoc(2, nil), old...))
	c.add("the last root is expired", slipstream.ReasonExpiredRoot, 2, true, good, c.seal(rootDoc(2, past), old...))
	c.add("expires this second", slipstream.ReasonExpiredRoot, 1, true, c.seal(rootDoc(1, func(r *slipstream.Root) { r.Expires = at("2026-11-21T12:00:00Z") }), old...))
	c.add("expires in a second", ok, 1, true, c.seal(rootDoc(1, func(r *slipstream.Root) { r.Expires = at("2026-11-21T12:00:01Z") }), old...))

	const invalid = slipstream.ReasonSignatureInvalid
	c.add("shipped root below its own threshold", invalid, 0, false, c.seal(rootDoc(1, nil), "root-1"))
	c.add("shipped root signed by its release keys", invalid, 0, false, c.seal(rootDoc(1, nil), "release-1", "release-2"))
	c.add("shipped root not signed", invalid, 0, false, c.seal(rootDoc(1, nil)))
	c.add("rotated, signed by the old threshold only", invalid, 1, true, good, c.seal(rootDoc(2, newKeys), old...))
	c.add("rotated, signed by the new threshold only", invalid, 1, true, good, c.seal(rootDoc(2, newKeys), "new-1", "new-2"))
	c.add("rotated, signed by all new and one old", invalid, 1, true, good, c.seal(rootDoc(2, newKeys), "root-1", "new-1", "new-2"))
	c.add("rotated, signed by all old and one new", invalid, 1, true, good, c.seal(rootDoc(2, newKeys), "root-1", "root-2", "root-3", "new-1"))
	c.add("threshold raised, signed by the old threshold", invalid, 1, true, good, c.seal(rootDoc(2, func(r *slipstream.Root) { r.Roles.Root.Threshold = 3 }), old...))
	c.add("threshold lowered, signed by the new threshold", invalid, 1, true, good, c.seal(rootDoc(2, func(r *slipstream.Root) { r.Roles.Root.Threshold = 1 }), "root-1"))
	c.add("one of the two new roots is refused", invalid, 2, true, good, rotated, c.seal(rootDoc(3, newKeys), old...))
	c.add("a version skipped", slipstream.ReasonRootVersion, 1, true, good, c.seal(rootDoc(3, nil), old...))
	c.add("the same version again", slipstream.ReasonRootVersion, 1, true, good, good)
	c.add("an earlier version", slipstream.ReasonRootVersion, 2, true, c.seal(rootDoc(2, nil), old...), good)
	c.add("root of another app", slipstream.ReasonWrongApp, 1, true, good, c.seal(rootDoc(2, func(r *slipstream.Root) { r.App = "shop2" }), old...))
	c.add("next root needs what is not known", slipstream.ReasonUnknownCritical, 1, true, good, c.seal(rootDoc(2, func(r *slipstream.Root) { r.Crit = []string{"future"} }), old...))
	c.add("next root is no root", slipstream.ReasonMalformed, 1, true, good, seal(c.t, TypeState, encode(c.t, rootDoc(2, nil)), keys(old...)...))
	twiceSigned, err := ParseEnvelope(c.seal(rootDoc(1, nil), "root-1"), TypeRoot, slipstream.MaxRootBytes)
	if err != nil {
		c.t.Fatal(err)
	}
	twiceSigned.Signatures = append(twiceSigned.Signatures, twiceSigned.Signatures[0])
	c.add("one key signs twice", invalid, 0, false, twiceSigned.Encode())
	tooLarge := chainCase{Name: "too large", Shipped: inputOf(good), Now: "2026-11-21T12:00:00Z", Expect: string(slipstream.ReasonTooLarge)}
	tooLarge.Shipped.Pad = slipstream.MaxRootBytes + 1
	c.out = append(c.out, tooLarge)
}

func (c *chain) forms() {
	const bad = slipstream.ReasonMalformed
	c.shipped("version 0", bad, func(r *slipstream.Root) { r.Version = 0 })
	c.shipped("version below 0", bad, func(r *slipstream.Root) { r.Version = -1 })
	c.shipped("app name with a slash", bad, func(r *slipstream.Root) { r.App = "a/b" })
	c.shipped("threshold 0", bad, func(r *slipstream.Root) { r.Roles.Root.Threshold = 0 })
	c.shipped("threshold below 0", bad, func(r *slipstream.Root) { r.Roles.Root.Threshold = -1 })
	c.shipped("threshold 0 of the release role", bad, func(r *slipstream.Root) { r.Roles.Release.Threshold = 0 })
	c.shipped("threshold 0 of the state role", bad, func(r *slipstream.Root) { r.Roles.State.Threshold = 0 })
	c.shipped("threshold above the number of keys", bad, func(r *slipstream.Root) { r.Roles.State.Threshold = 2 })
	c.shipped("a role without keys", bad, func(r *slipstream.Root) { r.Roles.Release.Keys = []string{} })
	c.shipped("a role names a key that is not there", bad, func(r *slipstream.Root) {
		r.Roles.Release.Keys = append(r.Roles.Release.Keys, "0123456789abcdef")
	})
	c.shipped("a role names a key twice", bad, func(r *slipstream.Root) {
		r.Roles.Release.Keys = append(r.Roles.Release.Keys, r.Roles.Release.Keys[0])
	})
	c.shipped("one key under two ids", bad, func(r *slipstream.Root) {
		r.Keys["0123456789abcdef"] = r.Keys[ids("root-1")[0]]
		r.Roles.Root.Keys = append(r.Roles.Root.Keys, "0123456789abcdef")
	})
	c.shipped("a key that no role names has a wrong id", bad, func(r *slipstream.Root) { r.Keys["0123456789abcdef"] = r.Keys[ids("root-1")[0]] })
	c.shipped("key id in upper case", bad, func(r *slipstream.Root) {
		id := ids("release-2")[0]
		r.Keys["ABCDEF"+id[6:]] = r.Keys[id]
	})
	c.shipped("key of small order", bad, func(r *slipstream.Root) {
		pub := make(publicKey, 32)
		pub[0] = 1
		AddKey(r, pub)
	})
	c.shipped("key not canonical", bad, func(r *slipstream.Root) {
		pub := make(publicKey, 32)
		for i := range pub {
			pub[i] = 0xff
		}
		AddKey(r, pub)
	})
	c.shipped("key of 31 bytes", bad, func(r *slipstream.Root) { AddKey(r, key("a").Public()[:31]) })
	c.shipped("key with a line break", bad, func(r *slipstream.Root) {
		id := ids("release-1")[0]
		r.Keys[id] = slipstream.RootKey{Alg: AlgEd25519, Public: r.Keys[id].Public + "\n"}
	})
	future := slipstream.RootKey{Alg: "ml-dsa-65", Public: "whatever"}
	c.shipped("a key of an unknown algorithm is skipped", ok, func(r *slipstream.Root) {
		r.Keys["pq"] = future
		r.Roles.Release.Keys = append(r.Roles.Release.Keys, "pq")
	})
	c.shipped("a threshold that needs a key of an unknown algorithm", bad, func(r *slipstream.Root) {
		r.Keys["pq"] = future
		r.Roles.State = slipstream.Role{Keys: []string{"pq"}, Threshold: 1}
	})
	c.shipped("algorithm in upper case is unknown", bad, func(r *slipstream.Root) {
		id := ids("state-1")[0]
		r.Keys[id] = slipstream.RootKey{Alg: "Ed25519", Public: r.Keys[id].Public}
	})
	c.shipped("crit names what is known", ok, func(r *slipstream.Root) { r.Crit = []string{"expires", "roles"} })
	c.shipped("crit names what is not known", slipstream.ReasonUnknownCritical, func(r *slipstream.Root) { r.Crit = []string{"expires", "delegations"} })

	c.payload("unknown fields are kept and ignored", ok, func(doc map[string]any) { doc["future"] = map[string]any{"x": 1} })
	c.payload("null in an unknown field", bad, func(doc map[string]any) { doc["future"] = nil })
	c.payload("version as text", bad, func(doc map[string]any) { doc["version"] = "1" })
	c.payload("version a float", bad, func(doc map[string]any) { doc["version"] = 1.5 })
	c.payload("version 2^53", bad, func(doc map[string]any) { doc["version"] = int64(1) << 53 })
	c.payload("expires with an offset", bad, func(doc map[string]any) { doc["expires"] = "2031-11-21T08:00:00+00:00" })
	c.payload("expires missing", bad, func(doc map[string]any) { delete(doc, "expires") })
	c.payload("keys null", bad, func(doc map[string]any) { doc["keys"] = nil })
	c.payload("keys missing", bad, func(doc map[string]any) { delete(doc, "keys") })
	c.payload("a role missing", bad, func(doc map[string]any) { delete(doc["roles"].(map[string]any), "release") })
	c.payload("app in another case", bad, func(doc map[string]any) { doc["App"] = doc["app"]; delete(doc, "app") })
}

func TestRootChains(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t, "roots.json", chainCases(t)) {
		t.Run(c.Name, func(t *testing.T) {
			first, last, err := walk(t, c)
			if err == nil && last.Expired(at(c.Now).Time) {
				err = slipstream.Refuse(slipstream.ReasonExpiredRoot, "root", "expired")
			}
			expect(t, err, c.Expect)
			if last == nil {
				return
			}
			if last.Root().Version != c.Version {
				t.Errorf("ended at version %d, want %d", last.Root().Version, c.Version)
			}
			if got := first.StateRoleEqual(last); got != c.SameStateRole {
				t.Errorf("same state role = %v", got)
			}
		})
	}
}

// walk gives the first and the last root that were accepted.
func walk(t *testing.T, c chainCase) (first, last *Trust, err error) {
	if first, err = OpenRoot(c.Shipped.bytes(t)); err != nil {
		return nil, nil, err
	}
	last = first
	for _, raw := range c.Next {
		next, err := last.Next(raw.bytes(t))
		if err != nil {
			return first, last, err
		}
		last = next
	}
	return first, last, nil
}

func TestTrustKeepsTheEnvelopeVerbatim(t *testing.T) {
	t.Parallel()
	raw := padded(seal(t, TypeRoot, encode(t, goodRoot()), keys("root-1", "root-2")...), 5000)
	trust, err := OpenRoot(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(trust.Envelope(), raw) {
		t.Error("the envelope was changed")
	}
	raw[0] = 'x'
	if trust.Envelope()[0] == 'x' {
		t.Error("the envelope is the caller's slice")
	}
}

func TestNewRootKeepsTheServersKeyOutOfOtherRoles(t *testing.T) {
	t.Parallel()
	expires := noon().Add(time.Hour)
	if _, err := NewRoot("shop", expires, publics("a"), publics("b", "s"), publics("s")); err == nil {
		t.Error("the state key may sign releases")
	}
	if _, err := NewRoot("shop", expires, publics("s"), publics("b"), publics("s")); err == nil {
		t.Error("the state key may sign roots")
	}
	if _, err := NewRoot("shop", expires, publics("a"), publics("a"), publics("s")); err != nil {
		t.Errorf("one person holds root and release key: %v", err)
	}
	if _, err := NewRoot("Shop", expires, publics("a"), publics("b"), publics("s")); err == nil {
		t.Error("a bad name was taken")
	}
}

func TestDraftRootSaysWhoSigned(t *testing.T) {
	t.Parallel()
	raw := seal(t, TypeRoot, encode(t, goodRoot()), keys("root-2", "release-1")...)
	_, e, signers, err := DraftRoot(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(signers.Signed, ids("root-2")) || signers.Needed != 2 || signers.Complete() {
		t.Errorf("got %+v", signers)
	}
	if err := e.Sign(key("root-3")); err != nil {
		t.Fatal(err)
	}
	if _, _, signers, err = DraftRoot(e.Encode()); err != nil || !signers.Complete() {
		t.Errorf("got %+v, %v", signers, err)
	}
	if _, err := OpenRoot(e.Encode()); err != nil {
		t.Errorf("complete draft does not open: %v", err)
	}
}

func FuzzOpenRoot(f *testing.F) {
	good := encode(f, goodRoot())
	f.Add(good)
	f.Fuzz(func(t *testing.T, payload []byte) {
		trust, err := OpenRoot(seal(t, TypeRoot, payload, keys("root-1", "root-2")...))
		if err != nil {
			return
		}
		if err := CheckRoot(trust.Root()); err != nil {
			t.Fatalf("an opened root is refused by its own check: %v", err)
		}
		for _, role := range []keySet{trust.roles.root, trust.roles.release, trust.roles.state} {
			if role.threshold < 1 || role.threshold > len(role.keys) {
				t.Fatalf("threshold %d of %d", role.threshold, len(role.keys))
			}
		}
	})
}
