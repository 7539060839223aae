package store

import (
	"context"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// JobState says how far a Job is.
type JobState string

// The states.
const (
	JobQueued  JobState = "queued"
	JobRunning JobState = "running"
	JobDone    JobState = "done"
	JobFailed  JobState = "failed"
)

// Job is one piece of background work: to build the containers that lead from the release From (empty: from nothing) to
// Release. Release and From name it.
type Job struct {
	Release, From slipstream.Digest
	Priority      int // lower runs first
	State         JobState
	Attempts      int           // begun so far; set by Claim
	Owner         string        // node that runs it, or ran it last
	Due           time.Time     // not before; of a running job the end of its lease; zero for a failed one that is given up
	Done, Total   int64         // progress in bytes, 0 of 0 while nothing is known
	Spent         time.Duration // of processors, over all attempts that ended
	Note          string        // for people: what came of it, or why it failed
	Created       time.Time
	Updated       time.Time
}

// Jobs is the queue of background work, shared by all nodes of a database. Every call is a durable transaction of its
// own that does not wait for Updates on PostgreSQL.
type Jobs interface {
	// Add queues jobs, due at their Due or else at their Created, and says how many were new. What is there already is left
	// alone, but for a Priority that is lower now. A job whose release does not exist is left out.
	Add(ctx context.Context, jobs []Job) (int64, error)
	// Claim gives owner the next job that is due and nobody else works on, and the right to it until now + lease; a lease
	// that ran out is somebody else's turn. slipstream.ErrNotFound when nothing is due.
	Claim(ctx context.Context, owner string, now time.Time, lease time.Duration) (Job, error)
	// Renew records progress and moves the end of the lease to due. slipstream.ErrConflict when the job is not owner's any more.
	Renew(ctx context.Context, j Job, due time.Time) error
	// Finish records State (done or failed), Due (when a failed one is tried again), Done, Total, Spent and Note. State queued
	// gives the job back, to be taken from Due on: that attempt does not count.
	// slipstream.ErrConflict when the job is not j.Owner's any more.
	Finish(ctx context.Context, j Job) error
	// List gives the jobs of a release, the full container first; release "" those of all that are not done, in the order
	// in which they will run.
	List(ctx context.Context, release slipstream.Digest) ([]Job, error)
	// Drop forgets jobs whatever their state, so that Add may queue them anew.
	Drop(ctx context.Context, release, from slipstream.Digest) error
}
