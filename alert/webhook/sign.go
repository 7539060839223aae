package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Headers of a signed message (https://www.standardwebhooks.com). The signature is over ID "." timestamp "." body.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp" // seconds since 1970
	HeaderSignature = "Webhook-Signature" // "v1,<base64>" (HMAC-SHA256) or "v1a,<base64>" (Ed25519), several by spaces
)

// Prefixes of keys; the rest is base64.
const (
	prefixSecret  = "whsec_"
	prefixPrivate = "whsk_"
	prefixPublic  = "whpk_"
)

// Tolerance is how old or how new a message may be, against replay.
const Tolerance = 5 * time.Minute

// ErrSignature says that a message is not what it claims to be.
var ErrSignature = errors.New("the webhook's signature does not verify")

// NewSecret makes a secret for HMAC-SHA256.
func NewSecret() (string, error) { return newKey(prefixSecret) }

// NewPrivate makes a private key for Ed25519.
func NewPrivate() (string, error) { return newKey(prefixPrivate) }

func newKey(prefix string) (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make key: %w", err)
	}
	return prefix + base64.StdEncoding.EncodeToString(b), nil
}

// PublicOf is what receivers check the messages of a private key with.
func PublicOf(private string) (string, error) {
	key, err := decodeKey(private, prefixPrivate, ed25519.SeedSize, ed25519.SeedSize)
	if err != nil {
		return "", err
	}
	return prefixPublic + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(key).Public().(ed25519.PublicKey)), nil
}

func decodeKey(s, prefix string, least, most int) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, prefix))
	if err != nil || !strings.HasPrefix(s, prefix) || len(b) < least || len(b) > most {
		return nil, slipstream.Hint(slipstream.Invalidf("a key that begins with %s and holds %d to %d bytes of base64 is needed", prefix, least, most),
			"leave the secret out, and one is made")
	}
	return b, nil
}

func content(id string, at time.Time, body []byte) []byte {
	return append(fmt.Appendf(nil, "%s.%d.", id, at.Unix()), body...)
}

// Sign gives the value of HeaderSignature for a key of either sort.
func Sign(key, id string, at time.Time, body []byte) (string, error) {
	if strings.HasPrefix(key, prefixPrivate) {
		seed, err := decodeKey(key, prefixPrivate, ed25519.SeedSize, ed25519.SeedSize)
		if err != nil {
			return "", err
		}
		return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(seed), content(id, at, body))), nil
	}
	secret, err := decodeKey(key, prefixSecret, 24, 64)
	if err != nil {
		return "", err
	}
	return "v1," + base64.StdEncoding.EncodeToString(mac(secret, content(id, at, body))), nil
}

func mac(secret, content []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(content)
	return h.Sum(nil)
}

// Verify is the receiver's side: it checks the headers of a message against its body, with the secret (whsec_…) or the
// public key (whpk_…) of the target. Who wants no message twice remembers the IDs of the last Tolerance.
func Verify(key string, header http.Header, body []byte, now time.Time) error {
	seconds, err := strconv.ParseInt(header.Get(HeaderTimestamp), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: no timestamp", ErrSignature)
	}
	at := time.Unix(seconds, 0)
	if age := now.Sub(at); age > Tolerance || age < -Tolerance {
		return fmt.Errorf("%w: it is of %s", ErrSignature, at.UTC().Format(time.RFC3339))
	}
	signed := content(header.Get(HeaderID), at, body)
	version, check := "v1", func([]byte) bool { return false }
	if strings.HasPrefix(key, prefixPublic) {
		public, err := decodeKey(key, prefixPublic, ed25519.PublicKeySize, ed25519.PublicKeySize)
		if err != nil {
			return err
		}
		version, check = "v1a", func(sig []byte) bool { return ed25519.Verify(public, signed, sig) }
	} else {
		secret, err := decodeKey(key, prefixSecret, 24, 64)
		if err != nil {
			return err
		}
		check = func(sig []byte) bool { return hmac.Equal(sig, mac(secret, signed)) }
	}
	for s := range strings.FieldsSeq(header.Get(HeaderSignature)) {
		v, text, _ := strings.Cut(s, ",")
		sig, err := base64.StdEncoding.DecodeString(text)
		if err == nil && v == version && check(sig) {
			return nil
		}
	}
	return ErrSignature
}
