//go:build !device

package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// capsOf are the places of a channel's rollouts with a cap. A policy that cannot be read gives none: its channel has no
// states that name one either.
func capsOf(c store.Channel) map[string]int64 {
	p, err := rollout.PolicyOf(c)
	if err != nil {
		return nil
	}
	return p.Caps()
}

// expirePlaces forgets, until ctx ends, who had a place in rollouts that are on no list any more. They are kept a day at
// least: a rollout that starts while the lists are read has given its places since.
func (r reportSettings) expirePlaces(ctx context.Context, s store.Store, log *slog.Logger) error {
	return every(ctx, expireEvery, func() {
		standing, err := standingRollouts(ctx, s)
		if err == nil {
			_, err = s.Grants().Expire(ctx, time.Now().Add(-max(r.ages[1], 24*time.Hour)), standing)
		}
		if err != nil && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelError, "places in old rollouts could not be removed", slog.Any("error", err))
		}
	})
}

// standingRollouts are the ids of all rollouts that are on a channel's list. A policy that cannot be read fails it.
func standingRollouts(ctx context.Context, s store.Store) ([]string, error) {
	var ids []string
	err := s.View(ctx, func(tx store.Tx) error {
		ids = nil
		channels, err := tx.Channels().List(ctx, "")
		if err != nil {
			return err
		}
		for _, c := range channels {
			p, err := rollout.PolicyOf(c)
			if err != nil {
				return err
			}
			for _, pp := range p.Packages {
				for i := range pp.Rollouts {
					ids = append(ids, pp.Rollouts[i].ID)
				}
			}
		}
		return nil
	})
	return ids, err
}
