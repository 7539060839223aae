// Package store is the seam to metadata: apps, roots, releases, channels, signed states, audit, tokens and reports.
// store/sqlite and store/postgres implement it and both pass storetest.Run. Bytes live in package blob.
//
// Errors: what is not there is slipstream.ErrNotFound, also for what would belong to it (a channel of an unknown app, a
// container of an unknown release) and for Save and Delete; what is there already or may not be is
// slipstream.ErrConflict (both wrapped with what was asked). Neither ends the transaction. A database that does not
// answer is slipstream.ErrUnavailable, and so is a closed store. Instants are kept to the microsecond, in UTC.
package store

import (
	"context"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Store keeps metadata. All methods may be called from many goroutines.
type Store interface {
	// View runs fn over one consistent snapshot; writes through tx fail.
	View(ctx context.Context, fn func(tx Tx) error) error
	// Update runs fn in a transaction. Updates are serialised over all nodes of the database, so fn may read, decide
	// and write without races. When Update returns nil everything fn wrote survives kill -9 and power loss; otherwise
	// nothing of it is visible. fn may be called more than once and must not have effects of its own, nor call Update or
	// Reports().Append of the same store, which would wait for itself.
	Update(ctx context.Context, fn func(tx Tx) error) error
	// Reports is the append-only outcome log; its commits do not wait for Updates on PostgreSQL.
	Reports() Reports
	// Jobs is the queue of background work.
	Jobs() Jobs
	// Grants are the places in rollouts with a cap.
	Grants() Grants
	// Watch calls changed soon (within a second) after any committed Update, of this process or of another node, and
	// once at the start; several changes may be told by one call. It returns ctx's error when ctx ends.
	Watch(ctx context.Context, changed func()) error
	// Ping says whether the database answers.
	Ping(ctx context.Context) error
	// Close waits for running transactions.
	Close() error
}

// Backuper is implemented by embedded stores: Backup writes a consistent copy to the new file path while the store is
// in use.
type Backuper interface {
	Backup(ctx context.Context, path string) error
}

// Tx gives the tables inside one transaction. It is used from one goroutine and only until fn returns.
type Tx interface {
	Apps() Apps
	Releases() Releases
	Channels() Channels
	States() States
	Containers() Containers
	Log() Log
	People() People
	Settings() Settings
}

// App is one product. Platforms are those for which states are signed; "any" is always among them. Settings is a JSON
// object that its owner (package rollout) understands.
type App struct {
	Name      string
	Display   string
	Platforms []string
	Settings  []byte
	Created   time.Time
}

// StateKey is a private state key of an app, sealed under the server secret.
type StateKey struct {
	App     string
	KeyID   string
	Public  string // base64, as in a root
	Sealed  []byte
	Created time.Time
}

// Apps are the apps with their roots and state keys.
type Apps interface {
	Create(ctx context.Context, a App) error // ErrConflict when the name is taken
	Get(ctx context.Context, name string) (App, error)
	List(ctx context.Context) ([]App, error) // by name
	Save(ctx context.Context, a App) error   // replaces all but Created; ErrNotFound
	// AddRoot keeps a root envelope verbatim. Its version must be the newest + 1 (1 for the first), else ErrConflict;
	// the very same bytes again are no error.
	AddRoot(ctx context.Context, app string, version int64, envelope []byte) error
	// Roots gives all root envelopes of app, version 1 first.
	Roots(ctx context.Context, app string) ([][]byte, error)
	AddStateKey(ctx context.Context, k StateKey) error             // ErrConflict when the app has it
	StateKeys(ctx context.Context, app string) ([]StateKey, error) // oldest first
}

// ReleaseFilter selects releases; zero fields do not restrict.
type ReleaseFilter struct {
	App, Package, Platform, Version string
	BeforeSeq                       int64 // only seq < BeforeSeq
	Limit                           int   // 0 = all
}

// Releases are the published releases.
type Releases interface {
	// Put keeps a new release. ErrConflict when its seq is not above the package's highest, or its version is taken
	// for that package, platform and runtime. The very same digest again is no error and changes nothing.
	Put(ctx context.Context, r *slipstream.Release) error
	Get(ctx context.Context, digest slipstream.Digest) (*slipstream.Release, error)
	// List gives releases newest (highest seq) first within app and package.
	List(ctx context.Context, f ReleaseFilter) ([]*slipstream.Release, error)
	// HighestSeq is 0 when the package has no release. Deleting a release never lowers it.
	HighestSeq(ctx context.Context, app, pkg string) (int64, error)
	// SetEnvelope replaces the envelope by one with more signatures over the same payload.
	SetEnvelope(ctx context.Context, digest slipstream.Digest, envelope []byte) error
	Delete(ctx context.Context, digest slipstream.Digest) error // with its containers' rows
}

// Channel is a named stream of decisions. Policy is a JSON document that package rollout owns: rollouts in order,
// withdrawals, floors, timing.
type Channel struct {
	App     string
	Name    string
	Display string
	Policy  []byte
	Created time.Time
	Updated time.Time
}

// Channels are the channels of apps.
type Channels interface {
	Create(ctx context.Context, c Channel) error // ErrConflict when taken
	Get(ctx context.Context, app, name string) (Channel, error)
	List(ctx context.Context, app string) ([]Channel, error) // by name; app "" = all
	Save(ctx context.Context, c Channel) error               // replaces all but Created; ErrNotFound
	Delete(ctx context.Context, app, name string) error      // with its states
}

// StateRow is the newest signed state of one app, channel and platform. Private, when not nil, is the JSON of the same
// state with the private rollouts in it, for decisions; it is never served.
type StateRow struct {
	App, Channel, Platform string
	Epoch                  int64
	Issued, Expires        time.Time
	Envelope               []byte
	Private                []byte
	Rev                    int64 // rises with every Put of any row; set by the store
}

// States are the signed states.
type States interface {
	Get(ctx context.Context, app, channel, platform string) (StateRow, error)
	// Put inserts or replaces. ErrConflict when the epoch would fall.
	Put(ctx context.Context, s StateRow) error
	// Since gives the rows with Rev > rev, by Rev; 0 = all. Since Updates are serialised none is ever missed.
	Since(ctx context.Context, rev int64) ([]StateRow, error)
	// Due gives the rows whose middle between Issued and Expires is before now.
	Due(ctx context.Context, now time.Time) ([]StateRow, error)
}

// Containers are the known ways to get a release; their bytes are blobs.
type Containers interface {
	Put(ctx context.Context, release slipstream.Digest, c slipstream.Container) error // same from+codec replaces
	List(ctx context.Context, release slipstream.Digest) ([]slipstream.Container, error)
	All(ctx context.Context) (map[slipstream.Digest][]slipstream.Container, error)
	Delete(ctx context.Context, release slipstream.Digest, c slipstream.Container) error
	// PutRendition keeps a release as another protocol needs it; the same release, protocol and From replaces.
	PutRendition(ctx context.Context, r Rendition) error
	// Renditions gives those of a protocol ("" = all), by release and From.
	Renditions(ctx context.Context, protocol string) ([]Rendition, error)
}

// Rendition is a release as clients of another protocol fetch it: a file that was rendered from it, or one of its own
// files, with what that protocol says about it. It goes with its release.
type Rendition struct {
	Release, From slipstream.Digest // From is the base of a difference, else empty
	Protocol      string
	Size          int64
	SHA256        slipstream.Digest // of the blob
	Doc           []byte            // JSON object of the protocol's own
}

// Log gives what the server writes down about what it does, in the same transaction as the doing.
type Log interface {
	Audit() Audit
	Evidence() Evidence
	Alerts() Alerts
}

// AuditEntry is one change. Hash = sha256 over the previous hash and this entry's fields (see ChainHash), so a removed
// or altered entry breaks the chain.
type AuditEntry struct {
	Seq    int64 // 1, 2, 3 … without gaps; set by the store
	At     time.Time
	Actor  string // token name or "system"
	Action string // verb: "app.create", "release.publish", "rollout.pause" …
	App    string
	Target string // what it was done to
	Detail []byte // JSON object
	Prev   string // hex; "" for the first; set by the store
	Hash   string // hex; set by the store
}

// AuditQuery selects entries, newest first; zero fields do not restrict.
type AuditQuery struct {
	App, Action string
	Apps        []string // any of these
	BeforeSeq   int64
	Limit       int
}

// Audit is the append-only log of changes; nothing updates or deletes it.
type Audit interface {
	Append(ctx context.Context, e AuditEntry) (AuditEntry, error)
	List(ctx context.Context, q AuditQuery) ([]AuditEntry, error)
}

// Settings are the server's own small values: schema marks, the check value of its secret, what the adapters of other
// protocols remember. Keys are paths: owner/…
type Settings interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Set(ctx context.Context, key string, value []byte) error
	// List gives the keys that begin with prefix, and their values, by key.
	List(ctx context.Context, prefix string) ([]Setting, error)
	Delete(ctx context.Context, key string) error // ErrNotFound
}

// Setting is one value of Settings.
type Setting struct {
	Key   string
	Value []byte
}

// StoredEvent is an accepted report with what the server adds.
type StoredEvent struct {
	slipstream.Event
	Received time.Time
	Network  string // /24 or /48 of the sender, for the guard's weights; hashed, never an address in clear
	// Uncounted keeps the event out of the counts, whose rows stay for ever: it names what this server does not know.
	// Reading events back does not tell.
	Uncounted bool
}

// EventQuery selects stored events, newest first.
type EventQuery struct {
	App, Device string
	Release     slipstream.Digest
	Kind        slipstream.Kind
	Limit       int // 0 = 1000
}

// Count is the number of different devices that reported Kind for Release.
type Count struct {
	App, Channel, Package string
	Release               slipstream.Digest
	Kind                  slipstream.Kind
	Devices               int64
}

// Reports is the outcome log.
type Reports interface {
	// Append stores a batch in one durable commit. fresh[i] is false when the same device of the same app has stored that
	// event id before (also earlier in the same batch); ids of different devices have nothing to do with each other.
	Append(ctx context.Context, batch []StoredEvent) (fresh []bool, err error)
	Events(ctx context.Context, q EventQuery) ([]StoredEvent, error)
	// Counts counts each device once in each row, however often it reported; app "" = all.
	Counts(ctx context.Context, app string) ([]Count, error)
	// Forget deletes all that is stored of a device, also in Trials and Fleet and its part of the counts, and says how many
	// events that were. What is counted by minute, hour and day stays: it names no device.
	Forget(ctx context.Context, app, device string) (int64, error)
	// Expire deletes events received before t; counts stay.
	Expire(ctx context.Context, t time.Time) (int64, error)
	// Trials is the log of enrolments and outcomes; Fleet what the devices run and how it goes. Both are filled by Append.
	Trials() Trials
	Fleet() Fleet
}
