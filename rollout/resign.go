package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// settingRenew marks a database that came back from a backup: its epochs may be behind its devices.
const settingRenew = "states.renew"

// MarkRestored makes the next Resign give every state a new epoch, which is at or above the clock and so above
// whatever devices have seen.
func MarkRestored(ctx context.Context, st store.Store) error {
	return st.Update(ctx, func(tx store.Tx) error { return tx.Settings().Set(ctx, settingRenew, []byte("yes")) })
}

type channelName struct{ app, channel string }

// Resign signs the states anew whose half life is over and says how many channels that were. The content and the epoch
// stay, so devices see the same state with a later end; only a state that had expired already, or that this program
// would write differently, gets a new epoch. Several nodes may call it: whoever comes second finds nothing due.
func (s *Service) Resign(ctx context.Context) (int, error) {
	var due []channelName
	var renew bool
	err := s.store.View(ctx, func(tx store.Tx) error {
		due, renew = nil, false
		mark, err := tx.Settings().Get(ctx, settingRenew)
		if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
			return err
		}
		if renew = len(mark) > 0; renew {
			channels, err := tx.Channels().List(ctx, "")
			for _, c := range channels {
				due = append(due, channelName{c.App, c.Name})
			}
			return err
		}
		rows, err := tx.States().Due(ctx, s.clock())
		seen := map[channelName]bool{}
		for _, r := range rows {
			if n := (channelName{r.App, r.Channel}); !seen[n] {
				seen[n] = true
				due = append(due, n)
			}
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look for states to sign again: %w", err)
	}
	var failed error
	n := 0
	for _, d := range due {
		// One channel that cannot be signed must not keep the others from staying valid.
		if err := s.resignChannel(ctx, d, renew); err != nil {
			failed = errors.Join(failed, fmt.Errorf("sign states of channel %s of %s again: %w", d.channel, d.app, err))
			continue
		}
		n++
	}
	if renew && failed == nil {
		failed = s.store.Update(ctx, func(tx store.Tx) error { return tx.Settings().Set(ctx, settingRenew, nil) })
	}
	return n, failed
}

func (s *Service) resignChannel(ctx context.Context, n channelName, renew bool) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		c, err := tx.Channels().Get(ctx, n.app, n.channel)
		if errors.Is(err, slipstream.ErrNotFound) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		app, err := tx.Apps().Get(ctx, n.app)
		if err != nil {
			return err
		}
		p, err := PolicyOf(c)
		if err != nil {
			return err
		}
		now := s.clock()
		if renew {
			_, err := s.signChannel(ctx, tx, app, n.channel, p, now)
			return err
		}
		trust, err := newestTrust(ctx, tx, n.app)
		if err != nil || trust == nil {
			return err
		}
		rows, anew, err := standingRows(ctx, tx, app, n.channel, now)
		if err != nil {
			return err
		}
		if len(rows) == 0 && !anew {
			return nil // another node was faster
		}
		if !anew {
			if anew, err = s.refresh(ctx, tx, app, p, rows, trust, now); err != nil {
				return err
			}
		}
		if anew {
			_, err = s.signChannel(ctx, tx, app, n.channel, p, now)
		}
		return err
	})
}

// standingRows gives a channel's states of which half the life is over. anew says that one is missing or expired.
func standingRows(ctx context.Context, tx store.Tx, app store.App, channel string, now time.Time) (due []store.StateRow, anew bool, err error) {
	for _, platform := range app.Platforms {
		row, err := tx.States().Get(ctx, app.Name, channel, platform)
		if errors.Is(err, slipstream.ErrNotFound) {
			return nil, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		if !now.Before(row.Expires) {
			return nil, true, nil
		}
		if row.Issued.Add(row.Expires.Sub(row.Issued) / 2).Before(now) {
			due = append(due, row)
		}
	}
	return due, false, nil
}

// refresh signs rows again with later times. changed says that what the policy gives now is not what they say.
func (s *Service) refresh(ctx context.Context, tx store.Tx, app store.App, p *Policy, rows []store.StateRow, trust *sign.Trust, now time.Time) (changed bool, err error) {
	signers, err := s.signers(ctx, tx, app.Name, trust)
	if err != nil {
		return false, err
	}
	for _, row := range rows {
		h := Header{App: row.App, Channel: row.Channel, Epoch: row.Epoch, RootVersion: trust.Root().Version, Now: now}
		built, err := Build(p, h, []string{row.Platform})
		if err != nil {
			return false, err
		}
		same, err := sameButTimes(row, built[0])
		if err != nil || !same {
			return true, err
		}
		if err := s.put(ctx, tx, built[0], trust, signers); err != nil {
			return false, err
		}
	}
	return false, nil
}

// sameButTimes compares a stored state with a new one, byte by byte but for issued and expires.
func sameButTimes(row store.StateRow, b Built) (bool, error) {
	e, err := sign.ParseEnvelope(row.Envelope, sign.TypeState, slipstream.MaxStateBytes)
	if err != nil {
		return false, fmt.Errorf("open stored state: %w", err)
	}
	var old slipstream.State
	if err := sign.Decode(e.Payload, &old); err != nil {
		return false, fmt.Errorf("read stored state: %w", err)
	}
	fresh := *b.State
	fresh.Issued, fresh.Expires = old.Issued, old.Expires
	again, err := sign.Encode(&fresh)
	if err != nil {
		return false, err
	}
	return string(again) == string(e.Payload), nil
}
