package store

import (
	"context"
	"time"
)

// GrantRequest asks for a place in a rollout with a cap. Rollout is its id, which no other rollout of any app has; Device
// is the hash that devices have on the wire.
type GrantRequest struct {
	App, Rollout, Device string
	Cap                  int64 // places that the rollout has, as its policy says now
}

// Grants are the places in rollouts with a cap. Every call is a durable transaction of its own that does not wait for
// Updates on PostgreSQL.
type Grants interface {
	// Take gives places, first come, first served, in the order of the batch. given[i] says whether the device of
	// batch[i] has one: a device that got one before has it still, whatever the cap is now. Over all nodes no more devices
	// ever get one than the highest Cap that was asked with, and none while the rollout has given Cap or more. A place is
	// taken for ever: a device that is forgotten does not make room.
	Take(ctx context.Context, batch []GrantRequest) (given []bool, err error)
	// Count says how many places each of these rollouts has given; one that gave none is left out.
	Count(ctx context.Context, rollouts ...string) (map[string]int64, error)
	// Expire forgets the places of rollouts that are not among standing and have given none since t, and says how many
	// rollouts those were. A rollout that stands must be named: it would begin to give anew.
	Expire(ctx context.Context, t time.Time, standing []string) (int64, error)
}
