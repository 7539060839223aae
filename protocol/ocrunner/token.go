package ocrunner

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// TokenLife is how long a link may start, or go on with, a download.
const TokenLife = time.Minute

// Errors of a token.
var (
	errInvalid = errors.New("invalid or expired link")
	errExpired = errors.New("link expired")
	errUnknown = errors.New("the store does not say which links are used up")
)

const (
	nonceBytes = 16
	macBytes   = 16
	tokenBytes = nonceBytes + 8 + sha256.Size + macBytes
)

type nonce [nonceBytes]byte

// ticket is what a token stands for.
type ticket struct {
	nonce   nonce
	expires time.Time
	blob    slipstream.Digest
}

// Tokens makes and reads links. A token is random and carries what it is for under a MAC (HMAC-SHA-256, RFC 2104): it
// costs no memory, is good on every node and after a restart, and names no other file. Only that it was used up has to be
// remembered, until it would have expired anyway.
type Tokens struct {
	key   []byte
	store store.Store
	clock func() time.Time
	log   *slog.Logger

	learnt atomic.Bool // what the store knows was taken over once
	mu     sync.Mutex
	used   map[nonce]time.Time // when it expires
	fresh  map[nonce]time.Time // of those, not yet written down
	wake   chan struct{}
}

// NewTokens makes the links of a server; key is a secret of all its nodes. Run remembers them.
func NewTokens(key []byte, st store.Store, clock func() time.Time, log *slog.Logger) *Tokens {
	if clock == nil {
		clock = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Tokens{key: key, store: st, clock: clock, log: log, used: map[nonce]time.Time{}, fresh: map[nonce]time.Time{}, wake: make(chan struct{}, 1)}
}

func (t *Tokens) mac(scope string, body []byte) []byte {
	h := hmac.New(sha256.New, t.key)
	_, _ = io.WriteString(h, scope)
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(body)
	return h.Sum(nil)[:macBytes]
}

// issue makes a token for one blob; scope is the app and channel that it belongs to.
func (t *Tokens) issue(scope string, blob slipstream.Digest) (string, error) {
	raw, err := hex.DecodeString(string(blob))
	if err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("token for blob %q: no digest", blob)
	}
	b := make([]byte, nonceBytes, tokenBytes)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(t.clock().Add(TokenLife).UnixMilli()))
	b = append(b, raw...)
	return base64.RawURLEncoding.EncodeToString(append(b, t.mac(scope, b)...)), nil
}

// open reads a token: errInvalid for what this server never gave out or what was used up, errExpired for what is over. A
// server that has just started asks the store first what was used up before: errUnknown when that does not answer.
func (t *Tokens) open(ctx context.Context, scope, token string) (ticket, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenBytes {
		return ticket{}, errInvalid
	}
	body, mac := b[:tokenBytes-macBytes], b[tokenBytes-macBytes:]
	if !hmac.Equal(mac, t.mac(scope, body)) {
		return ticket{}, errInvalid
	}
	k := ticket{nonce: nonce(body), expires: time.UnixMilli(int64(binary.BigEndian.Uint64(body[nonceBytes:]))),
		blob: slipstream.DigestOf([32]byte(body[nonceBytes+8:]))}
	if !t.learnt.Load() {
		if err := t.learn(ctx); err != nil {
			return ticket{}, fmt.Errorf("%w: %w", errUnknown, err)
		}
	}
	t.mu.Lock()
	_, used := t.used[k.nonce]
	t.mu.Unlock()
	switch {
	case used:
		return k, errInvalid
	case !t.clock().Before(k.expires):
		return k, errExpired
	}
	return k, nil
}

// use marks a token as used up.
func (t *Tokens) use(k ticket) {
	t.mu.Lock()
	t.used[k.nonce], t.fresh[k.nonce] = k.expires, k.expires
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

const (
	usedPrefix = "ocrunner/used/"
	flushEvery = 100 * time.Millisecond // at most this often, so that a crowd shares a commit
	learnEvery = time.Second            // what other nodes saw used up
)

// Run writes down which tokens are used up and learns of those of other nodes, until ctx ends.
func (t *Tokens) Run(ctx context.Context) error {
	tick := time.NewTicker(learnEvery)
	defer tick.Stop()
	for {
		if err := t.Sync(ctx); err != nil && ctx.Err() == nil {
			t.log.LogAttrs(ctx, slog.LevelError, "used links could not be written down", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			return t.flush(ctx)
		case <-t.wake:
			select {
			case <-ctx.Done():
			case <-time.After(flushEvery):
			}
		case <-tick.C:
		}
	}
}

// Sync does once what Run does again and again.
func (t *Tokens) Sync(ctx context.Context) error {
	if err := t.flush(ctx); err != nil {
		return err
	}
	return t.learn(ctx)
}

// bucket is the key under which tokens that expire within the same quarter of a minute are kept, as one value.
func bucket(expires time.Time) string {
	return fmt.Sprintf("%s%d", usedPrefix, expires.Unix()/15)
}

// flush adds the fresh ones to what the store has.
func (t *Tokens) flush(ctx context.Context) error {
	t.mu.Lock()
	fresh := t.fresh
	t.fresh = map[nonce]time.Time{}
	t.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	err := t.store.Update(ctx, func(tx store.Tx) error {
		byBucket := map[string][]byte{}
		for n, at := range fresh {
			byBucket[bucket(at)] = append(byBucket[bucket(at)], n[:]...)
		}
		for key, more := range byBucket {
			have, err := tx.Settings().Get(ctx, key)
			if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
				return err
			}
			if err := tx.Settings().Set(ctx, key, append(have, more...)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.mu.Lock()
		for n, at := range fresh {
			t.fresh[n] = at
		}
		t.mu.Unlock()
	}
	return err
}

// learn takes over what the store knows, and forgets there and here what has expired.
func (t *Tokens) learn(ctx context.Context) error {
	now := t.clock()
	var list []store.Setting
	if err := t.store.View(ctx, func(tx store.Tx) (err error) {
		list, err = tx.Settings().List(ctx, usedPrefix)
		return err
	}); err != nil {
		return err
	}
	var over []string
	t.mu.Lock()
	for n, at := range t.used {
		if now.After(at) {
			delete(t.used, n)
		}
	}
	for _, s := range list {
		var slot int64
		if _, err := fmt.Sscanf(s.Key[len(usedPrefix):], "%d", &slot); err != nil {
			continue
		}
		ends := time.Unix((slot+1)*15, 0)
		if now.After(ends) {
			over = append(over, s.Key)
			continue
		}
		for v := s.Value; len(v) >= nonceBytes; v = v[nonceBytes:] {
			if _, known := t.used[nonce(v)]; !known {
				t.used[nonce(v)] = ends
			}
		}
	}
	t.mu.Unlock()
	t.learnt.Store(true)
	if len(over) == 0 {
		return nil
	}
	return t.store.Update(ctx, func(tx store.Tx) error {
		for _, key := range over {
			if err := tx.Settings().Delete(ctx, key); err != nil && !errors.Is(err, slipstream.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}
