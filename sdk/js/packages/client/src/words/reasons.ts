// One vocabulary of verdicts and reasons for device, report and console; the same codes as the server's.

/** What was decided for one package. */
export type Verdict = "none" | "update" | "rollback" | "blocked" | "upgrade_runtime";

/** Why: of a decision, a refusal, a failure or a rollback. */
export type Reason =
  // of a decision
  | "up_to_date" | "new_release" | "no_release" | "not_in_rollout" | "conditions_unmet" | "keep_newer" | "runtime_mismatch"
  | "platform_mismatch" | "refused_after_crash" | "withdrawn" | "below_floor" | "paused" | "halted" | "control_group"
  | "grant_needed" | "downgrade" | "requires_unmet" | "not_expressible"
  // to refuse a document or bytes
  | "stale_state" | "expired_state" | "expired_root" | "too_large" | "malformed" | "signature_invalid" | "unknown_critical"
  | "wrong_app" | "wrong_channel" | "wrong_platform" | "wrong_nonce" | "wrong_device" | "equal_epoch_differs" | "root_version"
  | "manifest_mismatch" | "file_mismatch" | "container_invalid"
  // of what happens on a device
  | "crashed" | "hung" | "unknown_end" | "displaced" | "runtime_changed" | "embedded_newer" | "channel_changed" | "stale_token"
  | "network" | "disk_full" | "read_only" | "storage_corrupted" | "locked" | "deferred" | "declined" | "timeout"
  | "server_error" | "internal"
  // of a host
  | "host_incapable";

/** Says no with a reason. Bytes and documents that break a rule end in one. */
export class Refusal extends Error {
  override readonly name: string = "Refusal";
  constructor(readonly reason: Reason, readonly what: string, detail: string, readonly source?: unknown) {
    super(`${what}: ${detail}`);
  }
}

/** The reason that an error carries, or otherwise. */
export function reasonOf<T extends Reason | "">(err: unknown, otherwise: T): Reason | T {
  return err instanceof Refusal ? err.reason : otherwise;
}
