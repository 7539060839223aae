package sign

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// Signer makes signatures by one Ed25519 key. A key in hardware or in a service implements it as well as one in memory.
type Signer interface {
	Public() ed25519.PublicKey
	// Sign signs message itself (pure Ed25519, RFC 8032 §5.1), not a hash of it.
	Sign(message []byte) ([]byte, error)
}

type memorySigner struct{ key ed25519.PrivateKey }

var _ Signer = memorySigner{}

// NewSigner signs by a key in memory.
func NewSigner(priv ed25519.PrivateKey) Signer { return memorySigner{priv} }

func (m memorySigner) Public() ed25519.PublicKey {
	return ed25519.PublicKey(m.key[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
}

func (m memorySigner) Sign(message []byte) ([]byte, error) { return ed25519.Sign(m.key, message), nil }

// GenerateKey makes a private key from 32 bytes of rand.
func GenerateKey(rand io.Reader) (ed25519.PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// KeyID is the first 16 hex digits of the SHA-256 of the raw public key.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

// EncodePublic is the base64 of the raw 32 bytes, as roots hold it.
func EncodePublic(pub ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(pub) }

// ParsePublic reads what EncodePublic writes. Bytes that are not the canonical encoding of a point of the curve, and
// points of small order, are refused: for these every signature verifies somewhere.
func ParsePublic(b64 string) (ed25519.PublicKey, error) {
	b, err := decodeBase64(b64)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if err := checkPoint(b); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return ed25519.PublicKey(b), nil
}

// VerifySignature verifies pure Ed25519 by the strict rules of the format: cofactorless, S < L, neither the key nor R
// of small order or encoded non-canonically.
func VerifySignature(pub ed25519.PublicKey, message, sig []byte) bool {
	if len(pub) != ed25519.PublicKeySize || len(sig) != ed25519.SignatureSize {
		return false
	}
	if !canonicalY(pub) || smallOrder(pub) || !canonicalY(sig[:32]) || smallOrder(sig[:32]) {
		return false
	}
	// crypto/ed25519 is cofactorless and checks S < L and that R is the canonical encoding.
	return ed25519.Verify(pub, message, sig)
}

// checkPoint accepts the canonical encodings (RFC 8032 §5.1.3) of points that are not of small order.
func checkPoint(b []byte) error {
	switch {
	case len(b) != ed25519.PublicKeySize:
		return fmt.Errorf("%d bytes instead of %d", len(b), ed25519.PublicKeySize)
	case !canonicalY(b):
		return errors.New("not the canonical encoding of a point")
	case smallOrder(b):
		return errors.New("point of small order")
	case !onCurve(b):
		return errors.New("not a point of the curve")
	}
	return nil
}

// canonicalY reports whether the 255-bit little-endian y of a point's encoding is below p = 2^255 - 19.
func canonicalY(b []byte) bool {
	if b[31]&0x7f != 0x7f {
		return true
	}
	for i := 30; i > 0; i-- {
		if b[i] != 0xff {
			return true
		}
	}
	return b[0] < 0xed
}

// smallOrderY are the y coordinates, as canonical encodings without the sign bit, of the eight points whose order
// divides 8: 1 (the neutral element), -1, 0, and the two of the points of order 8.
const smallOrderY = "0100000000000000000000000000000000000000000000000000000000000000" +
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f" +
	"0000000000000000000000000000000000000000000000000000000000000000" +
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05" +
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"

func smallOrder(b []byte) bool {
	var y [32]byte
	copy(y[:], b)
	y[31] &= 0x7f
	text := hex.EncodeToString(y[:])
	for i := 0; i < len(smallOrderY); i += len(text) {
		if smallOrderY[i:i+len(text)] == text {
			return true
		}
	}
	return false
}

// onCurve reports whether some x has -x² + y² = 1 + d·x²·y², that is whether (y²-1)/(d·y²+1) is a square. It runs when
// a key is read, not for every signature.
func onCurve(b []byte) bool {
	p := new(big.Int).Lsh(big.NewInt(1), 255)
	p.Sub(p, big.NewInt(19))
	// d = -121665/121666
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)

	be := make([]byte, 32)
	for i := range be {
		be[i] = b[31-i]
	}
	be[0] &= 0x7f
	y2 := new(big.Int).SetBytes(be)
	y2.Mul(y2, y2).Mod(y2, p)
	u := new(big.Int).Sub(y2, big.NewInt(1))
	v := new(big.Int).Mul(d, y2)
	v.Add(v, big.NewInt(1))
	// u/v is a square exactly when u·v is; v is never 0 because -1/d is not a square.
	u.Mul(u, v).Mod(u, p)
	return big.Jacobi(u, p) != -1
}
