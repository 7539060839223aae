package slipstream

// Verdict is the outcome of deciding for one package on one device.
type Verdict string

// The verdicts.
const (
	VerdictNone           Verdict = "none"
	VerdictUpdate         Verdict = "update"
	VerdictRollback       Verdict = "rollback"
	VerdictBlocked        Verdict = "blocked"
	VerdictUpgradeRuntime Verdict = "upgrade_runtime"
)

// Reason says why: of a decision, a refusal, a failure or a rollback. One vocabulary for device, report and console.
type Reason string

// Reasons of a decision.
const (
	ReasonUpToDate          Reason = "up_to_date"
	ReasonNewRelease        Reason = "new_release"
	ReasonNoRelease         Reason = "no_release"
	ReasonNotInRollout      Reason = "not_in_rollout"
	ReasonConditions        Reason = "conditions_unmet"
	ReasonKeepNewer         Reason = "keep_newer"
	ReasonRuntimeMismatch   Reason = "runtime_mismatch"
	ReasonPlatformMismatch  Reason = "platform_mismatch"
	ReasonRefusedAfterCrash Reason = "refused_after_crash"
	ReasonWithdrawn         Reason = "withdrawn"
	ReasonBelowFloor        Reason = "below_floor"
	ReasonPaused            Reason = "paused"
	ReasonHalted            Reason = "halted"
	ReasonControlGroup      Reason = "control_group"
	ReasonGrantNeeded       Reason = "grant_needed"
	ReasonDowngrade         Reason = "downgrade" // the anchor rule forbids the target
	ReasonRequires          Reason = "requires_unmet"
	ReasonNotExpressible    Reason = "not_expressible"
)

// Reasons to refuse a document or bytes; each check of the order in which a client verifies has its own.
const (
	ReasonStaleState       Reason = "stale_state"
	ReasonExpiredState     Reason = "expired_state"
	ReasonExpiredRoot      Reason = "expired_root"
	ReasonTooLarge         Reason = "too_large"
	ReasonMalformed        Reason = "malformed"
	ReasonSignatureInvalid Reason = "signature_invalid"
	ReasonUnknownCritical  Reason = "unknown_critical"
	ReasonWrongApp         Reason = "wrong_app"
	ReasonWrongChannel     Reason = "wrong_channel"
	ReasonWrongPlatform    Reason = "wrong_platform"
	ReasonWrongNonce       Reason = "wrong_nonce"
	ReasonWrongDevice      Reason = "wrong_device"
	ReasonEquivocation     Reason = "equal_epoch_differs"
	ReasonRootVersion      Reason = "root_version"
	ReasonManifestMismatch Reason = "manifest_mismatch"
	ReasonFileMismatch     Reason = "file_mismatch"
	ReasonContainerInvalid Reason = "container_invalid"
)

// Reasons of what happens on a device.
const (
	ReasonCrashed          Reason = "crashed"
	ReasonHung             Reason = "hung"
	ReasonUnknownEnd       Reason = "unknown_end"
	ReasonDisplaced        Reason = "displaced" // a trial left for a newer staged release
	ReasonRuntimeChanged   Reason = "runtime_changed"
	ReasonEmbeddedNewer    Reason = "embedded_newer"
	ReasonChannelChanged   Reason = "channel_changed"
	ReasonStaleToken       Reason = "stale_token"
	ReasonNetwork          Reason = "network"
	ReasonDiskFull         Reason = "disk_full"
	ReasonReadOnly         Reason = "read_only"
	ReasonStorageCorrupted Reason = "storage_corrupted"
	ReasonLocked           Reason = "locked" // another process holds the directory
	ReasonDeferred         Reason = "deferred"
	ReasonDeclined         Reason = "declined"
	ReasonTimeout          Reason = "timeout"
	ReasonServerError      Reason = "server_error"
	ReasonInternal         Reason = "internal"
)
