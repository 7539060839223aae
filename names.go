package slipstream

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Defaults that make the short form of every command work.
const (
	DefaultPackage  = "main"
	DefaultChannel  = "production"
	PlatformAny     = "any"
	DefaultControl  = 500   // basis points of the same-time control group
	FullShare       = 10000 // positions run from 0 to FullShare-1
	MaxSafeInteger  = 1<<53 - 1
	MaxNameLength   = 64
	MaxPathBytes    = 512
	MaxFiles        = 16000
	MaxRootSteps    = 64
	MaxHashedValues = 1000 // hashed values in one rollout's conditions
	MaxStatePayload = 200 << 10
)

// Caps on envelope bytes, and what a container may weigh above its signed sizes.
const (
	MaxRootBytes      = 64 << 10
	MaxStateBytes     = 256 << 10
	MaxDecisionBytes  = 256 << 10
	MaxManifestBytes  = 4 << 20
	ContainerOverhead = 1 << 20
)

// Digest is the lower-case hex SHA-256 that names immutable bytes: a release (its manifest's payload), a file's
// content, a container.
type Digest string

// Valid reports whether d is 64 lower-case hex digits.
func (d Digest) Valid() bool {
	if len(d) != 64 {
		return false
	}
	for i := 0; i < len(d); i++ {
		if c := d[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Short is the first twelve digits, for people.
func (d Digest) Short() string {
	if len(d) < 12 {
		return string(d)
	}
	return string(d[:12])
}

// DigestOf names the 32 bytes of a finished SHA-256.
func DigestOf(sum [32]byte) Digest { return Digest(hex.EncodeToString(sum[:])) }

// DeviceID is how an installed copy is known on the wire: hex sha256(app + ":" + install id).
func DeviceID(app, install string) string {
	sum := sha256.Sum256([]byte(app + ":" + install))
	return hex.EncodeToString(sum[:])
}

// CheckName accepts app, channel, package and platform names: [a-z0-9][a-z0-9._-]{0,63}. kind names the thing in the
// error.
func CheckName(kind, name string) error {
	ok := len(name) > 0 && len(name) <= MaxNameLength
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		ok = alnum || i > 0 && (c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return fmt.Errorf("%s name %q: %w", kind, name, ErrBadName)
	}
	return nil
}

// Time is an instant to the second, written exactly as 2006-01-02T15:04:05Z.
type Time struct{ time.Time }

// TimeLayout is the one accepted form of a time in a signed document.
const TimeLayout = "2006-01-02T15:04:05Z"

// At cuts t to the second, in UTC.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Second)} }

// ParseTime reads the one accepted form; anything else is refused.
func ParseTime(s string) (Time, error) {
	t, err := time.Parse(TimeLayout, s)
	if err != nil || t.Format(TimeLayout) != s {
		return Time{}, fmt.Errorf("time %q is not of the form %s", s, TimeLayout)
	}
	return Time{t}, nil
}

// MarshalJSON writes the one accepted form.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(TimeLayout) + `"`), nil
}

// UnmarshalJSON reads the one accepted form.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read time: %w", err)
	}
	parsed, err := ParseTime(s)
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// Runtime is what a release or a floor fits: a semver range of shell versions, or one exact fingerprint. Exactly one
// of the two is set.
type Runtime struct {
	Range       string `json:"range,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// AnyRuntime fits every shell.
func AnyRuntime() Runtime { return Runtime{Range: "*"} }

// Key is a text that is equal for equal runtimes, for uniqueness in stores.
func (r Runtime) Key() string {
	if r.Fingerprint != "" {
		return "fingerprint:" + r.Fingerprint
	}
	return "range:" + r.Range
}

func (r Runtime) String() string {
	if r.Fingerprint != "" {
		return "fingerprint " + r.Fingerprint
	}
	return r.Range
}
