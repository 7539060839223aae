package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/slipstream-ota/slipstream"
)

// Bounds of passwords. Length is what makes one hard to guess.
const (
	minPassword  = 10  // characters
	maxPassword  = 256 // bytes
	minDifferent = 5   // characters
)

// Cost is what one look at a password takes: argon2id, RFC 9106.
type Cost struct {
	Memory  uint32 // KiB
	Time    uint32
	Threads uint8
}

// defaultCost is the second recommendation of RFC 9106, section 4.
func defaultCost() Cost { return Cost{Memory: 64 << 10, Time: 3, Threads: 4} }

const (
	saltLength  = 16
	keyLength   = 32
	looksAtOnce = 2 // passwords hashed at the same time: what bounds memory and processors, whoever tries
)

// passwords hashes and checks passwords.
type passwords struct {
	cost Cost
	turn chan struct{}
}

func newPasswords(c Cost) *passwords {
	if c == (Cost{}) {
		c = defaultCost()
	}
	return &passwords{cost: c, turn: make(chan struct{}, looksAtOnce)}
}

func checkPassword(password, name, email string) error {
	password = norm.NFC.String(password)
	different := map[rune]bool{}
	for _, r := range password {
		different[r] = true
	}
	lower := strings.ToLower(password)
	switch {
	case !utf8.ValidString(password) || len(password) > maxPassword:
		return slipstream.Invalidf("the password is too long: at most %d bytes of text", maxPassword)
	case utf8.RuneCountInString(password) < minPassword:
		return slipstream.Invalidf("the password is too short: at least %d characters; a few words that do not belong together are easy to remember", minPassword)
	case len(different) < minDifferent:
		return slipstream.Invalidf("the password is too easy to guess: use at least %d different characters", minDifferent)
	case lower == name, email != "" && lower == email:
		return slipstream.Invalidf("the password is the name: choose another")
	}
	return nil
}

// key derives the hash, one of a few at the same time.
func (p *passwords) key(ctx context.Context, password string, salt []byte, c Cost, length uint32) ([]byte, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(norm.NFC.String(password)), salt, c.Time, c.Memory, c.Threads, length), nil
}

// hash gives what is kept of a password: $argon2id$v=19$m=…,t=…,p=…$salt$hash.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltLength)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make salt: %w", err)
	}
	key, err := p.key(ctx, password, salt, p.cost, keyLength)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.cost.Memory, p.cost.Time, p.cost.Threads, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// check says whether kept is the hash of password. With kept "" it takes as long and is false. old tells that the hash
// should be made anew at today's cost.
func (p *passwords) check(ctx context.Context, kept, password string) (ok, old bool, err error) {
	if len(password) > maxPassword {
		password = "" // as long as any other
	}
	if kept == "" {
		_, err := p.key(ctx, password, make([]byte, saltLength), p.cost, keyLength)
		return false, false, err
	}
	h, err := parseHash(kept)
	if err != nil {
		return false, false, err
	}
	key, err := p.key(ctx, password, h.salt, h.cost, uint32(len(h.key)))
	if err != nil {
		return false, false, err
	}
	return subtle.ConstantTimeCompare(key, h.key) == 1, h.cost != p.cost, nil
}

type parsedHash struct {
	cost      Cost
	salt, key []byte
}

var errHash = errors.New("the kept hash of a password is damaged")

// parseHash reads a kept hash and refuses costs that would take a server down.
func parseHash(s string) (h parsedHash, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return h, errHash
	}
	numbers := strings.Split(parts[3], ",")
	if len(numbers) != 3 {
		return h, errHash
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, found := strings.CutPrefix(numbers[i], name)
		if n[i], err = strconv.ParseUint(digits, 10, 32); err != nil || !found {
			return h, errHash
		}
	}
	h.cost = Cost{Memory: uint32(n[0]), Time: uint32(n[1]), Threads: uint8(n[2])}
	if n[0] < 8 || n[0] > 1<<20 || n[1] < 1 || n[1] > 64 || n[2] < 1 || n[2] > 64 {
		return h, errHash
	}
	b64 := base64.RawStdEncoding.Strict()
	salt, err1 := b64.DecodeString(parts[4])
	key, err2 := b64.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return h, errHash
	}
	h.salt, h.key = salt, key
	return h, nil
}
