package main

import (
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
