package api

import (
	"encoding/json"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/rollout"
)

// MaxDigests is the most digests that one question for missing blobs may name.
const MaxDigests = 5000

// DigestList is a list of digests.
type DigestList struct {
	Digests []slipstream.Digest `json:"digests" maxItems:"5000"`
}

// ReleaseList is a list of releases, newest first within a package.
type ReleaseList struct {
	Releases []publish.ReleaseInfo `json:"releases"`
}

// Envelope carries a signed document verbatim, as base64.
type Envelope struct {
	Envelope []byte `json:"envelope" doc:"The signed document, verbatim"`
}

// Me is who the token of a request belongs to.
type Me struct {
	Name string    `json:"name"`
	Role auth.Role `json:"role"`
	App  string    `json:"app,omitempty" doc:"The one app that the token is for, when it is for one"`
	Apps []string  `json:"apps,omitempty" doc:"The apps that the token or member is for; none means all"`
	// Member is whose token it is, or who is signed in.
	Member string `json:"member,omitempty" doc:"The member whose token it is, or who is signed in"`
}

// StateKey is the public half of a key that the server signs states with.
type StateKey struct {
	KeyID   string    `json:"keyid"`
	Public  string    `json:"public" doc:"Base64 of the 32 bytes"`
	Created time.Time `json:"created"`
	Active  bool      `json:"active" doc:"The newest root names it"`
}

// App describes an app.
type App struct {
	Name        string           `json:"name"`
	Display     string           `json:"display,omitempty"`
	Kind        string           `json:"kind,omitempty"`
	Confirm     string           `json:"confirm,omitempty" doc:"host where the shell confirms every start, else absent"`
	Platforms   []string         `json:"platforms"`
	Created     time.Time        `json:"created"`
	StateKeys   []StateKey       `json:"stateKeys"`
	RootVersion int64            `json:"rootVersion" doc:"0 while no root is registered"`
	RootExpires *slipstream.Time `json:"rootExpires,omitempty"`
	Channels    []string         `json:"channels"`
}

// AppList is a list of apps.
type AppList struct {
	Apps []App `json:"apps"`
}

// NewApp asks for an app.
type NewApp struct {
	Name      string   `json:"name"`
	Display   string   `json:"display,omitempty"`
	Kind      string   `json:"kind,omitempty" doc:"What it is made with: web, node, easyclick, codepush …"`
	Platforms []string `json:"platforms,omitempty"`
}

// AppChange changes an app; what is absent stays.
type AppChange struct {
	Display   *string  `json:"display,omitempty"`
	Kind      *string  `json:"kind,omitempty"`
	Confirm   *string  `json:"confirm,omitempty" doc:"Who confirms a start: host, or release for its own code"`
	Platforms []string `json:"platforms,omitempty" doc:"The whole list; platforms cannot be taken away"`
}

// RootList is all roots of an app, version 1 first.
type RootList struct {
	Roots [][]byte `json:"roots"`
}

// Channel describes a channel with its policy as it was decided.
type Channel struct {
	App     string         `json:"app"`
	Name    string         `json:"name"`
	Display string         `json:"display,omitempty"`
	Created time.Time      `json:"created"`
	Updated time.Time      `json:"updated"`
	Policy  rollout.Policy `json:"policy"`
	States  []StateInfo    `json:"states"`
	// Places are those that rollouts with a cap have given, by rollout.
	Places map[string]int64 `json:"places,omitempty" doc:"Devices that were let in, by rollout with a cap"`
}

// StateInfo describes the signed state of one platform.
type StateInfo struct {
	Platform string    `json:"platform"`
	Epoch    int64     `json:"epoch"`
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires"`
	Bytes    int       `json:"bytes" doc:"Size of the envelope that devices fetch"`
}

// ChannelList is a list of channels.
type ChannelList struct {
	Channels []Channel `json:"channels"`
}

// NewChannel asks for a channel.
type NewChannel struct {
	Name    string         `json:"name"`
	Display string         `json:"display,omitempty"`
	Timing  rollout.Timing `json:"timing,omitempty"`
}

// ChannelChange changes a channel; what is absent stays.
type ChannelChange struct {
	Display *string         `json:"display,omitempty"`
	Timing  *rollout.Timing `json:"timing,omitempty"`
	Guard   *rollout.Guard  `json:"guard,omitempty"`
	Freeze  *FreezeChange   `json:"freeze,omitempty"`
}

// FreezeChange keeps every plan of a channel where it is, or lets them go on.
type FreezeChange struct {
	On     bool       `json:"on"`
	Until  *time.Time `json:"until,omitempty" doc:"When it ends by itself"`
	Reason string     `json:"reason,omitempty"`
}

// StartRollout offers a published release. Release is a digest, its prefix, a version or package@version.
type StartRollout struct {
	Package string                 `json:"package,omitempty"`
	Release string                 `json:"release"`
	From    int                    `json:"from,omitempty"`
	To      *int                   `json:"to,omitempty" doc:"End of the range of positions, 10000 when absent"`
	Control *int                   `json:"control,omitempty" doc:"Basis points of the control group"`
	Salt    string                 `json:"salt,omitempty"`
	When    []slipstream.Condition `json:"when,omitempty"`
	Apply   slipstream.Apply       `json:"apply,omitempty"`
	Private bool                   `json:"private,omitempty"`
	Cap     int64                  `json:"cap,omitempty" doc:"Devices that may take it, first come, first served; 0 is no bound"`
	Notes   string                 `json:"notes,omitempty"`
	At      int                    `json:"at,omitempty" minimum:"0" doc:"Place in the package's list; 0 is the top"`
	Plan    *publish.NewPlan       `json:"plan,omitempty" doc:"Advance by itself; instead of to"`
}

// RolloutChange is one verb on a rollout: exactly one of the fields is set, but for Apply, When, Control, Notes,
// Cap and Retry, which go together.
type RolloutChange struct {
	To      *int                    `json:"to,omitempty" doc:"New end of the range of positions"`
	Hold    *string                 `json:"hold,omitempty" enum:"paused,none" doc:"paused stops new devices; none resumes"`
	Finish  bool                    `json:"finish,omitempty" doc:"Everybody whom the conditions name, no control group"`
	Winner  bool                    `json:"winner,omitempty" doc:"Finish it as the winner of a test: the other arms end"`
	End     bool                    `json:"end,omitempty" doc:"Take the rollout off the list"`
	Plan    *publish.NewPlan        `json:"plan,omitempty" doc:"Another plan; stages none takes it away"`
	Skip    bool                    `json:"skip,omitempty" doc:"The plan's next stage at once"`
	Freeze  *bool                   `json:"freeze,omitempty" doc:"Keep the plan where it is, or let it go on"`
	Move    *int                    `json:"move,omitempty" minimum:"0" doc:"New place in the package's list"`
	Apply   *slipstream.Apply       `json:"apply,omitempty"`
	When    *[]slipstream.Condition `json:"when,omitempty"`
	Control *int                    `json:"control,omitempty"`
	Notes   *string                 `json:"notes,omitempty"`
	Cap     *int64                  `json:"cap,omitempty" doc:"Devices that may take it; 0 takes the bound away"`
	Retry   bool                    `json:"retry,omitempty" doc:"Devices that gave the release up may try once more"`
}

// Withdraw makes devices leave a release, or with Undo takes that back.
type Withdraw struct {
	Package  string `json:"package,omitempty"`
	Release  string `json:"release"`
	Platform string `json:"platform,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Undo     bool   `json:"undo,omitempty"`
}

// Rollback goes back to an earlier release; To "" means the one before the newest in force.
type Rollback struct {
	Package  string `json:"package,omitempty"`
	To       string `json:"to,omitempty"`
	Platform string `json:"platform,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Promote offers on a channel what another one has in force.
type Promote struct {
	Package string `json:"package,omitempty"`
	From    string `json:"from" doc:"The channel to take from"`
	Release string `json:"release,omitempty"`
	To      *int   `json:"to,omitempty" doc:"End of the range of positions, 10000 when absent"`
	Control *int   `json:"control,omitempty"`
	Notes   string `json:"notes,omitempty"`
}

// Promoted is what a promotion started.
type Promoted struct {
	Started []rollout.Done `json:"started"`
}

// SetFloor sets the lowest seq that devices may run. Release may name it instead of Seq.
type SetFloor struct {
	Package  string             `json:"package,omitempty"`
	Platform string             `json:"platform,omitempty"`
	Runtime  slipstream.Runtime `json:"runtime,omitempty"`
	Seq      int64              `json:"seq,omitempty" doc:"0 takes the floor away"`
	Release  string             `json:"release,omitempty"`
	Force    bool               `json:"force,omitempty"`
}

// Explain asks why a device gets what it gets. Running is a release reference, or empty for an embedded release
// without a manifest.
type Explain struct {
	Device  slipstream.DeviceFacts `json:"device"`
	Package string                 `json:"package,omitempty"`
	Running string                 `json:"running,omitempty"`
	Anchor  string                 `json:"anchor,omitempty" doc:"Newest release that the device has confirmed; the running one when absent"`
	Held    []string               `json:"held,omitempty" doc:"Releases that it could go back to, newest first"`
	Refused []string               `json:"refused,omitempty" doc:"Releases that it gave up"`
	Granted []string               `json:"granted,omitempty" doc:"Rollouts with a cap that admitted it"`
}

// Explained is the decision with every step that led to it.
type Explained struct {
	Platform string                     `json:"platform" doc:"Of the state that was asked"`
	Epoch    int64                      `json:"epoch"`
	Decision slipstream.PackageDecision `json:"decision"`
	Position map[string]int             `json:"position,omitempty" doc:"Of the device, by rollout"`
	Steps    []decide.Step              `json:"steps"`
}

// AuditEntry is one recorded change.
type AuditEntry struct {
	Seq    int64           `json:"seq"`
	At     time.Time       `json:"at"`
	Actor  string          `json:"actor"`
	Action string          `json:"action"`
	App    string          `json:"app,omitempty"`
	Target string          `json:"target,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
	Prev   string          `json:"prev,omitempty"`
	Hash   string          `json:"hash"`
}

// AuditList is a part of the audit log, newest first.
type AuditList struct {
	Entries []AuditEntry `json:"entries"`
}

// Token describes a token. Secret is only there when it was just made.
type Token struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Role     auth.Role  `json:"role"`
	App      string     `json:"app,omitempty"`
	Member   string     `json:"member,omitempty" doc:"Whose personal token it is"`
	Created  time.Time  `json:"created"`
	Expires  *time.Time `json:"expires,omitempty"`
	LastUsed *time.Time `json:"lastUsed,omitempty" doc:"To the hour"`
	Secret   string     `json:"secret,omitempty" doc:"Shown once"`
}

// TokenList is a list of tokens.
type TokenList struct {
	Tokens []Token `json:"tokens"`
}

// NewToken asks for a token.
type NewToken struct {
	Name    string     `json:"name"`
	Role    string     `json:"role" enum:"owner,publisher,operator,viewer"`
	App     string     `json:"app,omitempty" doc:"For one app only"`
	Expires *time.Time `json:"expires,omitempty"`
}

// Collect asks for a garbage collection; without Apply it only tells what would go. Durations are in seconds.
type Collect struct {
	Apply   bool  `json:"apply,omitempty"`
	Margin  int64 `json:"margin,omitempty" minimum:"0" maximum:"315360000" doc:"Seconds that bytes must be old; a day when absent"`
	Keep    int   `json:"keep,omitempty" minimum:"0" doc:"Newest releases of each package, platform and runtime that stay"`
	KeepFor int64 `json:"keepFor,omitempty" minimum:"0" maximum:"3153600000" doc:"Seconds that releases stay"`
}

// Status is what is in force, and how it goes.
type Status struct {
	Apps []AppStatus `json:"apps"`
}

// AppStatus is the status of one app.
type AppStatus struct {
	Name        string           `json:"name"`
	Display     string           `json:"display,omitempty"`
	RootVersion int64            `json:"rootVersion"`
	RootExpires *slipstream.Time `json:"rootExpires,omitempty"`
	Channels    []ChannelStatus  `json:"channels"`
	Unverified  []rollout.Live   `json:"unverified,omitempty" doc:"Live releases that the newest root does not verify"`
	Warnings    []string         `json:"warnings,omitempty"`
}

// ChannelStatus is the status of one channel.
type ChannelStatus struct {
	Name     string          `json:"name"`
	Epoch    int64           `json:"epoch"`
	Expires  *time.Time      `json:"expires,omitempty" doc:"Of the state that expires first"`
	Packages []PackageStatus `json:"packages"`
}

// PackageStatus is the status of one package on one channel.
type PackageStatus struct {
	Name      string               `json:"name"`
	Rollouts  []RolloutStatus      `json:"rollouts"`
	Withdrawn []rollout.Withdrawal `json:"withdrawn,omitempty"`
	Floors    []rollout.Floor      `json:"floors,omitempty"`
}

// RolloutStatus is a rollout that stands in a state, with what devices reported of its release on this channel.
type RolloutStatus struct {
	rollout.Entry
	Waits     string                    `json:"waits,omitempty" doc:"Why its plan stays where it is"`
	Withdrawn bool                      `json:"isWithdrawn,omitempty"`
	Devices   map[slipstream.Kind]int64 `json:"devices,omitempty" doc:"Different devices by what they reported"`
	Left      map[slipstream.Kind]int64 `json:"left,omitempty" doc:"How many of these left for what the release is not to blame for, as for a newer one"`
	Guard     *Look                     `json:"guard,omitempty" doc:"The guard's newest look, once it has taken one"`
}
