package publish

import (
	"context"
	"fmt"
	"io"

	"github.com/slipstream-ota/slipstream"
)

// Conflicts that a Commit can meet; both are slipstream.ErrConflict.
var (
	// ErrSeqTaken: the manifest's seq is not above the package's highest. Read the standing again, sign again.
	ErrSeqTaken = fmt.Errorf("seq is not above the highest: %w", slipstream.ErrConflict)
	// ErrVersionTaken: another release of that package, platform and runtime has this version.
	ErrVersionTaken = fmt.Errorf("version is taken: %w", slipstream.ErrConflict)
)

// Server is what publishing needs of a server; api.Client implements it. What is not there is slipstream.ErrNotFound.
// Methods may be called from several goroutines.
type Server interface {
	// Standing tells in one consistent read how things stand where a release is about to go.
	Standing(ctx context.Context, t Target) (Standing, error)
	// Releases lists releases of an app, highest seq first within a package. Zero fields do not restrict.
	Releases(ctx context.Context, q ReleaseQuery) ([]ReleaseInfo, error)
	// Release gives one release with its manifest's envelope. ref is a digest, a digest's prefix of at least 8 digits
	// that is unique in the app, "package@version", or a version alone; what stands for several releases (platforms,
	// runtimes, packages) is ErrConflict.
	Release(ctx context.Context, app, ref string) (Release, error)
	// Roots gives all root envelopes of an app, version 1 first.
	Roots(ctx context.Context, app string) ([][]byte, error)
	// Missing gives those of digests that the server has no blob of, each once.
	Missing(ctx context.Context, app string, digests []slipstream.Digest) ([]slipstream.Digest, error)
	// PutBlob uploads one blob. It retries what is worth retrying and continues a large blob where the server has it.
	PutBlob(ctx context.Context, app string, b Blob) error
	// Commit makes the release visible and starts its rollout, both or nothing. Committing a digest that is published
	// already is no error: Existing is set and the rollout, if asked for, starts. ErrSeqTaken, ErrVersionTaken; a
	// missing blob is ErrNotFound; a bad signature is a *slipstream.Refusal.
	Commit(ctx context.Context, req CommitRequest) (CommitResult, error)
	// Resign replaces the release's envelope by one over the same payload with more signatures.
	Resign(ctx context.Context, app string, digest slipstream.Digest, envelope []byte) error
}

// Target is where a release goes. Channel may be "" when there is to be no rollout; Version may be "".
type Target struct {
	App      string             `json:"app"`
	Package  string             `json:"package"`
	Platform string             `json:"platform"`
	Channel  string             `json:"channel,omitempty"`
	Runtime  slipstream.Runtime `json:"runtime"`
	Version  string             `json:"version,omitempty"`
}

// Standing is how things stand for a Target.
type Standing struct {
	Kind string `json:"kind,omitempty"` // what the app is made with, when the app's settings say it
	// HostConfirms says that the app's shell confirms every start, whatever runs in it.
	HostConfirms bool     `json:"hostConfirms,omitempty"`
	Platforms    []string `json:"platforms"` // for which states are signed
	Root         []byte   `json:"root"`      // newest root envelope, verbatim
	// HighestSeq of the package over all platforms and runtimes, deleted releases counted.
	HighestSeq int64 `json:"highestSeq"`
	// Current is the release with the highest seq that the channel offers, not withdrawn, for exactly the target's
	// platform and runtime; nil when there is none.
	Current *ReleaseInfo `json:"current,omitempty"`
	// Same is the release that has the target's package, platform, runtime and version.
	Same *ReleaseInfo `json:"same,omitempty"`
	// Recent are the package's newest releases of every platform and runtime, highest seq first, at most 100.
	Recent []ReleaseInfo `json:"recent"`
	// Warnings are what the server alone can know: no device ever asked for this runtime or platform, the channel is
	// paused, the newest root expires soon.
	Warnings []string `json:"warnings,omitempty"`
}

// ReleaseQuery selects releases.
type ReleaseQuery struct {
	App      string `json:"app"`
	Package  string `json:"package,omitempty"`
	Platform string `json:"platform,omitempty"`
	Channel  string `json:"channel,omitempty"` // only what that channel's rollouts name
	Limit    int    `json:"limit,omitempty"`   // 0 = the server's default
}

// ReleaseInfo describes a release without its file list.
type ReleaseInfo struct {
	Digest    slipstream.Digest       `json:"digest"`
	App       string                  `json:"app"`
	Package   string                  `json:"package"`
	Platform  string                  `json:"platform"`
	Runtime   slipstream.Runtime      `json:"runtime"`
	Seq       int64                   `json:"seq"`
	Version   string                  `json:"version"`
	Entry     string                  `json:"entry,omitempty"`
	Files     int                     `json:"files"`
	Size      int64                   `json:"size"` // bytes
	Created   slipstream.Time         `json:"created"`
	Published slipstream.Time         `json:"published"`
	Notes     string                  `json:"notes,omitempty"`
	Embedded  bool                    `json:"embedded,omitempty"`
	Data      *slipstream.DataFormats `json:"data,omitempty"`
	Channels  []string                `json:"channels,omitempty"` // whose rollouts name it, not withdrawn there
	Withdrawn []string                `json:"withdrawn,omitempty"`
	KeyIDs    []string                `json:"keyids,omitempty"` // that signed it
	// AdapterOnly names the protocol whose clients alone are offered it: it came in through that protocol and has no
	// signed manifest.
	AdapterOnly string `json:"adapterOnly,omitempty"`
}

// Release is a release with its signed manifest and the containers that lead to it.
type Release struct {
	ReleaseInfo
	Envelope   []byte                 `json:"envelope"`
	Unsigned   *slipstream.Manifest   `json:"unsigned,omitempty"` // of an adapter-only release, instead of the envelope
	Containers []slipstream.Container `json:"containers,omitempty"`
	Work       []Work                 `json:"work,omitempty"`
}

// Work is how far the server is with the containers from one base (empty: the full one). Done and Total are bytes, 0 of 0
// while nothing is known.
type Work struct {
	From    slipstream.Digest `json:"from,omitempty"`
	State   string            `json:"state"`           // queued, running, done or failed
	Stage   string            `json:"stage,omitempty"` // of a running one: a Stage constant, for a patch followed by " 1", " 2" …
	Done    int64             `json:"done,omitempty"`
	Total   int64             `json:"total,omitempty"`
	Seconds float64           `json:"seconds,omitempty"` // of processor time that it took so far
	Note    string            `json:"note,omitempty"`    // what came of it
	Again   *slipstream.Time  `json:"again,omitempty"`   // when a failed one is tried again
	Tries   int               `json:"tries,omitempty"`   // attempts that were begun
	Updated *slipstream.Time  `json:"updated,omitempty"` // when anything of this was heard of last
}

// Making is what there is of a release's containers, and how far the others are.
type Making struct {
	Containers []slipstream.Container `json:"containers"`
	Work       []Work                 `json:"work"`
}

// Blob is content to upload. Open gives its bytes from offset on and may be called again for a retry.
type Blob struct {
	Digest slipstream.Digest
	Size   int64
	Open   func(offset int64) (io.ReadCloser, error)
}

// CommitRequest publishes a release whose blobs are all on the server.
type CommitRequest struct {
	App      string      `json:"app"`
	Manifest []byte      `json:"manifest"` // envelope
	Notes    string      `json:"notes,omitempty"`
	Embedded bool        `json:"embedded,omitempty"` // ships inside app binaries only: no rollout
	Rollout  *NewRollout `json:"rollout,omitempty"`
}

// NewRollout offers the release on a channel at once. From and To are positions in [0, slipstream.FullShare]; Control
// nil is the default; Salt "" is the rollout's id. Values of "device" and "custom.*" in When are in clear: the server,
// which knows the salt, hashes them.
type NewRollout struct {
	Channel string                 `json:"channel"`
	From    int                    `json:"from"`
	To      int                    `json:"to"`
	Control *int                   `json:"control,omitempty"` // basis points
	Salt    string                 `json:"salt,omitempty"`
	When    []slipstream.Condition `json:"when,omitempty"`
	Apply   slipstream.Apply       `json:"apply"`
	Private bool                   `json:"private,omitempty"`
	Plan    *NewPlan               `json:"plan,omitempty"` // instead of To
	Cap     int64                  `json:"cap,omitempty" minimum:"0" doc:"Devices that may take it, first come, first served; 0 is no bound"`
}

// NewPlan lets a rollout advance by itself, as people write it.
type NewPlan struct {
	// Stages are "1%:30m,10%:2h:50,100%": share, least time, least devices. "" is the default plan.
	Stages  string           `json:"stages,omitempty"`
	Start   *slipstream.Time `json:"start,omitempty"`
	Windows []string         `json:"windows,omitempty"` // "mon-fri 09:00-17:00 Europe/Berlin"
}

// CommitResult is what came of a CommitRequest.
type CommitResult struct {
	Digest   slipstream.Digest `json:"digest"`
	Seq      int64             `json:"seq"`
	Existing bool              `json:"existing,omitempty"` // the release was there before
	Rollout  string            `json:"rollout,omitempty"`  // id
	Epoch    int64             `json:"epoch,omitempty"`    // highest of the channel's states
	Warnings []string          `json:"warnings,omitempty"`
}
