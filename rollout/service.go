package rollout

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// Config is what a Service is made of.
type Config struct {
	Store store.Store
	Blobs blob.Store
	Keys  *Keys
	Clock func() time.Time // nil means time.Now
	Rand  io.Reader        // of rollout ids; nil means crypto/rand
	// Fits refuses a new release of a shape that a part of the app's devices could not take; nil refuses none.
	Fits func(ctx context.Context, tx store.Tx, m *slipstream.Manifest) error
}

// Service runs every change of a channel as one transaction. All methods may be called from many goroutines and from
// several nodes of one database. by is who did it, for the audit log.
type Service struct {
	store store.Store
	blobs blob.Store
	keys  *Keys
	clock func() time.Time
	rand  io.Reader
	fits  func(ctx context.Context, tx store.Tx, m *slipstream.Manifest) error
}

// New makes a Service.
func New(c Config) *Service {
	s := &Service{store: c.Store, blobs: c.Blobs, keys: c.Keys, clock: c.Clock, rand: c.Rand, fits: c.Fits}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	return s
}

// newID is a rollout's name: 50 random bits, short enough to type.
func (s *Service) newID() (string, error) {
	var b [7]byte
	if _, err := io.ReadFull(s.rand, b[:]); err != nil {
		return "", fmt.Errorf("make rollout id: %w", err)
	}
	return "r" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))[:10], nil
}

// Done is what came of a change.
type Done struct {
	Epoch     int64        `json:"epoch,omitempty"` // highest of the channel's states; 0 while the app has no root
	Rollout   *Entry       `json:"rollout,omitempty"`
	Withdrawn []Withdrawal `json:"withdrawn,omitempty"`
	Warnings  []string     `json:"warnings,omitempty"`
}

// edit is one change under way: a transaction, its channel and its policy.
type edit struct {
	ctx     context.Context
	tx      store.Tx
	app     store.App
	channel store.Channel
	policy  *Policy
	now     time.Time
	by      string
	done    Done
	action  string
	target  string
	detail  map[string]any
}

// change runs fn on the policy of a channel in one Update, signs the channel's states anew and records it.
func (s *Service) change(ctx context.Context, by, app, channel, action string, fn func(*edit) error) (Done, error) {
	var done Done
	err := s.store.Update(ctx, func(tx store.Tx) error {
		a, err := tx.Apps().Get(ctx, app)
		if err != nil {
			return err
		}
		e := &edit{ctx: ctx, tx: tx, app: a, now: s.clock(), by: by, action: action, detail: map[string]any{}}
		done, err = s.changeIn(e, channel, fn)
		return err
	})
	return done, err
}

// changeIn is change inside a transaction that is open already.
func (s *Service) changeIn(e *edit, channel string, fn func(*edit) error) (Done, error) {
	var err error
	e.channel, err = e.tx.Channels().Get(e.ctx, e.app.Name, channel)
	if errors.Is(err, slipstream.ErrNotFound) {
		return Done{}, slipstream.Hint(err, "`slipstream channel create %s --app %s` makes the channel", channel, e.app.Name)
	}
	if err != nil {
		return Done{}, err
	}
	if e.policy, err = PolicyOf(e.channel); err != nil {
		return Done{}, err
	}
	if err := fn(e); err != nil {
		return Done{}, err
	}
	e.policy.compact(e.app.Platforms)
	if e.channel.Policy, err = e.policy.encode(); err != nil {
		return Done{}, err
	}
	e.channel.Updated = e.now
	if err := e.tx.Channels().Save(e.ctx, e.channel); err != nil {
		return Done{}, err
	}
	if e.done.Epoch, err = s.signChannel(e.ctx, e.tx, e.app, channel, e.policy, e.now); err != nil {
		return Done{}, err
	}
	e.detail["channel"] = channel
	if e.done.Epoch > 0 {
		e.detail["epoch"] = e.done.Epoch
	}
	return e.done, s.audit(e.ctx, e.tx, e.by, e.action, e.app.Name, first(e.target, channel), e.detail, e.now)
}

func (s *Service) audit(ctx context.Context, tx store.Tx, by, action, app, target string, detail map[string]any, now time.Time) error {
	b, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("encode audit detail: %w", err)
	}
	_, err = tx.Log().Audit().Append(ctx, store.AuditEntry{At: now.UTC().Truncate(time.Microsecond), Actor: by, Action: action, App: app, Target: target, Detail: b})
	return err
}

// signChannel builds and signs the states of a channel under a new epoch. An app without a root has none yet: 0.
func (s *Service) signChannel(ctx context.Context, tx store.Tx, app store.App, channel string, p *Policy, now time.Time) (int64, error) {
	trust, err := newestTrust(ctx, tx, app.Name)
	if err != nil || trust == nil {
		return 0, err
	}
	var last int64
	for _, platform := range app.Platforms {
		row, err := tx.States().Get(ctx, app.Name, channel, platform)
		if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
			return 0, err
		}
		last = max(last, row.Epoch)
	}
	h := Header{App: app.Name, Channel: channel, Epoch: NextEpoch(last, now), RootVersion: trust.Root().Version, Now: now}
	built, err := Build(p, h, app.Platforms)
	if err != nil {
		return 0, err
	}
	signers, err := s.signers(ctx, tx, app.Name, trust)
	if err != nil {
		return 0, err
	}
	for _, b := range built {
		if err := s.put(ctx, tx, b, trust, signers); err != nil {
			return 0, err
		}
	}
	return h.Epoch, nil
}

// put signs one state, verifies it as a device would, and stores it.
func (s *Service) put(ctx context.Context, tx store.Tx, b Built, trust *sign.Trust, signers []sign.Signer) error {
	if err := sign.CheckState(b.State); err != nil {
		return err
	}
	env, err := sign.Seal(sign.TypeState, b.State, signers...)
	if err != nil {
		return fmt.Errorf("sign state: %w", err)
	}
	st := b.State
	if len(env.Payload) > slipstream.MaxStatePayload {
		return slipstream.Hint(slipstream.Refuse(slipstream.ReasonTooLarge, "state", "of channel %s, platform %s would have %d bytes, at most %d",
			st.Channel, st.Platform, len(env.Payload), slipstream.MaxStatePayload),
			"end rollouts that are over, raise the floor so that old withdrawals drop out, and make rollouts with long lists private")
	}
	raw := env.Encode()
	if _, err := trust.State(raw); err != nil {
		return slipstream.Hint(fmt.Errorf("devices would refuse the state: %w", err),
			"the newest root of %s must list the state keys that this server holds, with a threshold that they meet", st.App)
	}
	row := store.StateRow{App: st.App, Channel: st.Channel, Platform: st.Platform, Epoch: st.Epoch, Issued: st.Issued.Time,
		Expires: st.Expires.Time, Envelope: raw}
	if b.Private != nil {
		if row.Private, err = sign.Encode(b.Private); err != nil {
			return fmt.Errorf("encode private state: %w", err)
		}
	}
	return tx.States().Put(ctx, row)
}

// signers opens those state keys of the app that its newest root names.
func (s *Service) signers(ctx context.Context, tx store.Tx, app string, trust *sign.Trust) ([]sign.Signer, error) {
	keys, err := tx.Apps().StateKeys(ctx, app)
	if err != nil {
		return nil, err
	}
	var out []sign.Signer
	for _, k := range keys {
		if !slices.Contains(trust.Root().Roles.State.Keys, k.KeyID) {
			continue
		}
		signer, err := s.keys.OpenKey(ctx, k)
		if err != nil {
			return nil, err
		}
		out = append(out, signer)
	}
	return out, nil
}

// newestTrust opens the newest root, nil while there is none. Every root was verified against the one before it when
// it was added.
func newestTrust(ctx context.Context, tx store.Tx, app string) (*sign.Trust, error) {
	roots, err := tx.Apps().Roots(ctx, app)
	if err != nil || len(roots) == 0 {
		return nil, err
	}
	trust, err := sign.OpenRoot(roots[len(roots)-1])
	if err != nil {
		return nil, fmt.Errorf("open newest root of %s: %w", app, err)
	}
	return trust, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
