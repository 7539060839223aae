package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"image/png"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/slipstream-ota/slipstream"
)

// Second factors are codes by time, RFC 6238, as every authenticator app makes them.
const (
	otpPeriod     = 30 // seconds
	otpSkew       = 1  // codes before and after that are taken too
	otpSecret     = 20 // bytes, RFC 4226 section 4
	qrSize        = 232
	recoveryCodes = 10
	recoveryBytes = 10 // of each, 16 letters and digits
)

// Setup is a new second factor that is not in force yet: for an authenticator app, which then makes the code that proves
// it was taken over.
type Setup struct {
	Secret string // base32
	URL    string // otpauth://…
	QR     []byte // PNG of the URL
}

// newSetup makes a second factor for a member; issuer is what the app shows beside the name.
func newSetup(issuer, name string) (Setup, error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: name, Period: otpPeriod, SecretSize: otpSecret, Rand: rand.Reader})
	if err != nil {
		return Setup{}, fmt.Errorf("make second factor: %w", err)
	}
	image, err := key.Image(qrSize, qrSize)
	if err != nil {
		return Setup{}, fmt.Errorf("draw second factor: %w", err)
	}
	var picture bytes.Buffer
	if err := png.Encode(&picture, image); err != nil {
		return Setup{}, fmt.Errorf("draw second factor: %w", err)
	}
	return Setup{Secret: key.Secret(), URL: key.URL(), QR: picture.Bytes()}, nil
}

// parseSecret refuses what newSetup did not make.
func parseSecret(secret string) error {
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil || len(b) != otpSecret {
		return slipstream.Invalidf("the secret of the second factor is not one that this server made: begin its set-up again")
	}
	return nil
}

// stepOf is the time step that code belongs to, among those around now and after the last one that was taken.
func stepOf(secret, code string, now time.Time, last int64) (int64, bool) {
	code = strings.ReplaceAll(code, " ", "")
	if len(code) != int(otp.DigitsSix) {
		return 0, false
	}
	current := now.Unix() / otpPeriod
	for step := max(current-otpSkew, last+1); step <= current+otpSkew; step++ {
		ok, err := hotp.ValidateCustom(code, uint64(step), secret, hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && ok {
			return step, true
		}
	}
	return 0, false
}

// newRecovery makes recovery codes, and the hashes that are kept of them.
func newRecovery(random io.Reader) (codes, hashes []string, err error) {
	for range recoveryCodes {
		b := make([]byte, recoveryBytes)
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, nil, fmt.Errorf("make recovery codes: %w", err)
		}
		s := strings.ToLower(base32.StdEncoding.EncodeToString(b))
		code := s[:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:]
		codes, hashes = append(codes, code), append(hashes, recoveryHash(code))
	}
	return codes, hashes, nil
}

// recoveryHash is kept of a code, however it is typed. Its 80 random bits need no slow hash.
func recoveryHash(code string) string {
	code = strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code))
	sum := sha256.Sum256([]byte("slipstream recovery " + code))
	return hex.EncodeToString(sum[:])
}

// useRecovery gives the hashes that are left when code is one of them.
func useRecovery(hashes []string, code string) ([]string, bool) {
	i := slices.Index(hashes, recoveryHash(code))
	if i < 0 {
		return hashes, false
	}
	return slices.Delete(slices.Clone(hashes), i, i+1), true
}
