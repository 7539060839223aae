package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"slices"
	"strconv"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func fromHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

type keyCase struct {
	Name   string `json:"name"`
	Public string `json:"public"`
	KeyID  string `json:"keyid,omitempty"`
	Expect string `json:"expect"`
}

func keyCases() []keyCase {
	const bad = string(slipstream.ReasonMalformed)
	var out []keyCase
	for _, name := range []string{"root-1", "release-1", "state-1"} {
		pub := key(name).Public()
		out = append(out, keyCase{"good key " + name, EncodePublic(pub), KeyID(pub), ok})
	}
	for i := 0; ; i++ { // bytes that a careless comparison with p takes for too large
		if pub := key("search " + strconv.Itoa(i)).Public(); pub[0] >= 0xed && pub[31]&0x7f == 0x7f {
			out = append(out, keyCase{"good key that begins and ends like p", EncodePublic(pub), KeyID(pub), ok})
			break
		}
	}
	reject := func(name string, raw []byte) {
		out = append(out, keyCase{Name: name, Public: base64.StdEncoding.EncodeToString(raw), Expect: bad})
	}
	rejectText := func(name, text string) { out = append(out, keyCase{Name: name, Public: text, Expect: bad}) }

	names := []string{"neutral element", "order 2", "order 4", "order 8", "order 8, the other y"}
	for i, name := range names {
		raw := fromHex(smallOrderY[64*i : 64*i+64])
		reject("small order: "+name, raw)
		negative := slices.Clone(raw)
		negative[31] |= 0x80
		reject("small order, sign bit set: "+name, negative)
	}
	for i := range 19 {
		raw := bytes.Repeat([]byte{0xff}, 32)
		raw[0], raw[31] = byte(0xed+i), 0x7f
		reject("not canonical: y = p + "+big.NewInt(int64(i)).String(), raw)
		raw[31] = 0xff
		reject("not canonical, sign bit set: y = p + "+big.NewInt(int64(i)).String(), raw)
	}
	two := make([]byte, 32)
	two[0] = 2
	reject("not on the curve: y = 2", two)
	seven := make([]byte, 32)
	seven[0] = 7
	reject("not on the curve: y = 7", seven)

	good := EncodePublic(key("root-1").Public())
	reject("31 bytes", key("root-1").Public()[:31])
	reject("33 bytes", append(slices.Clone(key("root-1").Public()), 0))
	rejectText("empty", "")
	rejectText("base64 without padding", good[:43])
	rejectText("base64 with a line break", good[:20]+"\n"+good[20:])
	rejectText("base64 with a line break at the end", good+"\n")
	rejectText("base64 with a space", good+" ")
	rejectText("base64 with bits left over", nonCanonical(good))
	rejectText("base64 of the URL alphabet", base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb, 0xff}, 16)))
	rejectText("hexadecimal", hex.EncodeToString(key("root-1").Public()))
	return out
}

// nonCanonical sets a bit that base64 of 32 bytes leaves unused.
func nonCanonical(good string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := bytes.IndexByte([]byte(alphabet), good[42])
	return good[:42] + string(alphabet[last|1]) + "="
}

func TestPublicKeys(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t, "keys.json", keyCases()) {
		t.Run(c.Name, func(t *testing.T) {
			pub, err := ParsePublic(c.Public)
			switch {
			case (err == nil) != (c.Expect == ok):
				t.Errorf("got %v, want %s", err, c.Expect)
			case err == nil && (KeyID(pub) != c.KeyID || EncodePublic(pub) != c.Public):
				t.Errorf("key id %s, want %s", KeyID(pub), c.KeyID)
			}
		})
	}
}

type signatureCase struct {
	Name      string `json:"name"`
	Public    string `json:"public"`    // base64
	Message   string `json:"message"`   // base64
	Signature string `json:"signature"` // base64
	Expect    string `json:"expect"`
}

func signatureCases() []signatureCase {
	const bad = string(slipstream.ReasonSignatureInvalid)
	var out []signatureCase
	b64 := base64.StdEncoding.EncodeToString
	add := func(name string, pub, message, sig []byte, want string) {
		out = append(out, signatureCase{name, b64(pub), b64(message), b64(sig), want})
	}
	rfc := func(name, pub, message, sig string) { add(name, fromHex(pub), fromHex(message), fromHex(sig), ok) }
	rfc("RFC 8032 test 1", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
		"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b")
	rfc("RFC 8032 test 2", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
		"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")
	rfc("RFC 8032 test 3", "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
		"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a")

	signer, message := key("release-1"), []byte("what is signed")
	pub := signer.Public()
	sig, err := signer.Sign(message)
	if err != nil {
		panic(err)
	}
	add("good", pub, message, sig, ok)
	add("another message", pub, []byte("what is signee"), sig, bad)
	add("another key", key("release-2").Public(), message, sig, bad)
	add("63 bytes", pub, message, sig[:63], bad)
	add("65 bytes", pub, message, append(slices.Clone(sig), 0), bad)
	add("no bytes", pub, message, nil, bad)
	add("R changed", pub, message, flip(sig, 3), bad)
	add("S changed", pub, message, flip(sig, 35), bad)

	c := edwards()
	s := slices.Clone(sig[32:])
	slices.Reverse(s)
	plusL := new(big.Int).Add(new(big.Int).SetBytes(s), c.l)
	add("S + L", pub, message, slices.Concat(sig[:32], littleEndian(plusL)), bad)
	for _, made := range c.hostile(message) {
		add(made.name, made.pub, message, made.sig, bad)
	}
	return out
}

func flip(b []byte, i int) []byte {
	out := slices.Clone(b)
	out[i] ^= 1
	return out
}

type made struct {
	name     string
	pub, sig []byte
}

// hostile makes signatures that satisfy a laxer verification equation than ours.
func (c curve) hostile(message []byte) []made {
	neutral := make([]byte, 32)
	neutral[0] = 1
	neutralNonCanonical := bytes.Repeat([]byte{0xff}, 32)
	neutralNonCanonical[0], neutralNonCanonical[31] = 0xee, 0x7f
	neutralSigned := slices.Clone(neutral)
	neutralSigned[31] = 0x80

	a, r := big.NewInt(0).SetBytes([]byte("a fixed private scalar")), big.NewInt(0).SetBytes([]byte("a fixed nonce"))
	base, t8 := c.base(), c.order8()
	pubPoint := c.mul(a, base)
	pub, rB := c.encode(pubPoint), c.encode(c.mul(r, base))
	// s = r + k·a makes S·B = R + k·A exactly.
	solve := func(r *big.Int, rBytes, pub []byte) []byte {
		k := c.challenge(rBytes, pub, message)
		s := new(big.Int).Add(r, k.Mul(k, a))
		return slices.Concat(rBytes, littleEndian(s.Mod(s, c.l)))
	}
	zero := new(big.Int)
	torsionR := c.encode(c.add(c.mul(r, base), t8))
	torsionA := c.encode(c.add(pubPoint, t8))
	return []made{
		{"small-order key: any R = S·B verifies", neutral, slices.Concat(rB, littleEndian(r))},
		{"small-order key encoded non-canonically (y = p + 1)", neutralNonCanonical, slices.Concat(rB, littleEndian(r))},
		{"small-order key encoded non-canonically (-0)", neutralSigned, slices.Concat(rB, littleEndian(r))},
		{"small-order key and R, S = 0", neutral, slices.Concat(neutral, make([]byte, 32))},
		{"small-order R", pub, solve(zero, neutral, pub)},
		{"small-order R encoded non-canonically (y = p + 1)", pub, solve(zero, neutralNonCanonical, pub)},
		{"small-order R encoded non-canonically (-0)", pub, solve(zero, neutralSigned, pub)},
		{"R off by a point of order 8: only the cofactored equation holds", pub, solve(r, torsionR, pub)},
		{"key off by a point of order 8: only the cofactored equation holds", torsionA, solve(r, rB, torsionA)},
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t, "signatures.json", signatureCases()) {
		t.Run(c.Name, func(t *testing.T) {
			raw := func(s string) []byte {
				b, err := base64.StdEncoding.DecodeString(s)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			if got := VerifySignature(raw(c.Public), raw(c.Message), raw(c.Signature)); got != (c.Expect == ok) {
				t.Errorf("valid = %v, want %s", got, c.Expect)
			}
		})
	}
}

// TestHostileSignaturesAreHostile: a vector that no lax library would accept either proves nothing.
func TestHostileSignaturesAreHostile(t *testing.T) {
	t.Parallel()
	c := edwards()
	message := []byte("what is signed")
	for _, m := range c.hostile(message) {
		k := c.challenge(m.sig[:32], m.pub, message)
		s := slices.Clone(m.sig[32:])
		slices.Reverse(s)
		lhs := c.mul(new(big.Int).SetBytes(s), c.base())
		rhs := c.add(c.decode(reduced(m.sig[:32])), c.mul(k, c.decode(reduced(m.pub))))
		eight := big.NewInt(8)
		if !bytes.Equal(c.encode(c.mul(eight, lhs)), c.encode(c.mul(eight, rhs))) {
			t.Errorf("%s: the cofactored equation does not hold", m.name)
		}
	}
}

// reduced gives the canonical encoding of a y at or above p, and of a signed zero.
func reduced(b []byte) []byte {
	out := slices.Clone(b)
	if !canonicalY(out) {
		out = make([]byte, 32)
		out[0] = b[0] - 0xed
	}
	if smallOrder(out) {
		out[31] &= 0x7f
	}
	return out
}

func TestGeneratedKeySigns(t *testing.T) {
	t.Parallel()
	priv, err := GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	s := NewSigner(priv)
	sig, err := s.Sign([]byte("m"))
	if err != nil || !VerifySignature(s.Public(), []byte("m"), sig) {
		t.Errorf("own signature does not verify: %v", err)
	}
	if _, err := ParsePublic(EncodePublic(s.Public())); err != nil {
		t.Errorf("own public key is refused: %v", err)
	}
	if _, err := GenerateKey(bytes.NewReader(make([]byte, ed25519.SeedSize-1))); err == nil {
		t.Error("a key was made of too little randomness")
	}
}
