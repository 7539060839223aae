// The one decision: a package's rollouts are walked top down; the first that means this device and may run here gives
// the target. Pure: the same state, device, holdings and time give the same answer, in every language.
import { fullShare, parseTime, platformAny, type DeviceFacts, type Digest, type PackageState, type Rollout, type Runtime, type State } from "../words/documents.js";
import type { Reason, Verdict } from "../words/reasons.js";
import { holds } from "./conditions.js";
import { position, type HashCrypto } from "./position.js";
import { fits } from "./ranges.js";

/** A release on a device. Without a digest, and with seq 0, it is an embedded one that ships without a manifest. */
export interface Held {
  digest?: Digest;
  seq: number;
  runtime?: Runtime;
}

/** What a device holds of one package. held: what it could go back to at once, newest first. */
export interface Local {
  running: Held;
  runningEmbedded?: boolean;
  embedded?: Held;
  anchor?: Held;
  anchorFallback?: Digest[];
  held?: Held[];
  refused?: { digest: Digest; retry?: number }[];
  granted?: string[];
  full?: string[];
  /** Somebody else decides and does not see the anchor's manifest. */
  remote?: boolean;
}

export interface Outcome {
  verdict: Verdict;
  reason: Reason;
  target?: Rollout;
  fallback?: Held;
  toEmbedded?: boolean;
  mustLeave?: boolean;
  rollout?: string;
  control?: boolean;
  retry?: number;
  /** The first rollout that only waits for a grant. */
  grant?: string;
}

/** Says what the device should run of pkg at now, in ms. */
export function decide(crypto: HashCrypto, state: State, pkg: string, device: DeviceFacts, local: Local, now: number): Outcome {
  if (now >= parseTime(state.expires)!) return { verdict: "none", reason: "expired_state" };
  if (state.platform !== platformAny && state.platform !== device.platform) return { verdict: "none", reason: "platform_mismatch" };
  const p = state.packages[pkg];
  return p ? new Walk(crypto, p, device, local).decide() : { verdict: "none", reason: "no_release" };
}

type Look = { got: "missed" | "skipped" | "matched"; reason: Reason };

class Walk {
  private floor = 0;
  private readonly leave: Reason | "";
  private skip: Reason | "" = "";
  private miss: Reason | "" = "";
  private control: Rollout | undefined;
  private grant = "";
  private readonly anchor: Held;
  private readonly embedded: Held;

  constructor(private readonly crypto: HashCrypto, private readonly pkg: PackageState, private readonly device: DeviceFacts, private readonly local: Local) {
    for (const f of pkg.floors || []) if (f.seq > this.floor && this.fits(f.runtime)) this.floor = f.seq;
    this.anchor = local.anchor || { seq: 0 };
    this.embedded = local.embedded || { seq: 0 };
    this.leave = this.bad(local.running);
  }

  private fits(r: Runtime | undefined): boolean {
    return fits(r, this.device.runtime || "");
  }

  /** Why a release must not run, "" when it may. */
  private bad(h: Held): Reason | "" {
    if (h.digest && (this.pkg.withdrawn || []).indexOf(h.digest) >= 0) return "withdrawn";
    return h.seq < this.floor ? "below_floor" : "";
  }

  decide(): Outcome {
    const d = this.run();
    if (this.leave) d.mustLeave = true;
    if (this.grant) d.grant = this.grant;
    return d;
  }

  private run(): Outcome {
    for (const r of this.pkg.rollouts || []) {
      const { got, reason } = this.look(r);
      if (got === "matched") return this.match(r, reason);
      if (got === "skipped") this.skip = this.skip || reason;
      else this.miss = this.miss || reason;
    }
    if (this.leave) return this.fallBack();
    const r = this.onlyRuntime();
    if (r) return { verdict: "upgrade_runtime", reason: "runtime_mismatch", target: r, rollout: r.id };
    return this.none(this.skip || (this.control ? "control_group" : "") || this.miss || "no_release");
  }

  private look(r: Rollout): Look {
    if (!this.fits(r.runtime)) return { got: "missed", reason: "runtime_mismatch" };
    if (!this.conditions(r)) return { got: "missed", reason: "conditions_unmet" };
    const { inside, inControl } = this.share(r);
    if (!inside && !inControl) return { got: "missed", reason: "not_in_rollout" };
    const reason = this.barred(r);
    if (!inside) {
      if (this.control || reason !== "new_release") return { got: "missed", reason: "not_in_rollout" };
      this.control = r;
      return { got: "missed", reason: "control_group" };
    }
    if (reason === "new_release" || reason === "up_to_date" || reason === "keep_newer") return { got: "matched", reason };
    // Nobody takes a place that it could not use.
    if (reason === "grant_needed" && !this.grant && (this.local.full || []).indexOf(r.id) < 0 && !this.keepsNewer(r) && this.anchorAllows(r)) this.grant = r.id;
    return { got: "skipped", reason };
  }

  private conditions(r: Rollout): boolean {
    return (r.when || []).every((c) => holds(this.crypto, c, this.device, this.local.running.seq, r.salt || r.id));
  }

  /** Places the device. Without an id only the full range holds it. */
  private share(r: Rollout): { inside: boolean; inControl: boolean } {
    if (r.from === 0 && r.to === fullShare) return { inside: true, inControl: false };
    if (!this.device.id) return { inside: false, inControl: false };
    const at = position(this.crypto, r.salt || r.id, this.device.id);
    const inside = at >= r.from && at < r.to;
    return { inside, inControl: !inside && at >= fullShare - r.control };
  }

  /** What stands between a fitting device and the rollout's release: new_release when nothing does. */
  private barred(r: Rollout): Reason {
    const bad = this.bad({ digest: r.manifest, seq: r.seq });
    if (bad) return bad;
    if (r.manifest === this.local.running.digest) return "up_to_date";
    if (this.refused(r.manifest, r.retry || 0)) return "refused_after_crash";
    if (r.hold) return r.hold === "halted" ? "halted" : "paused";
    if (r.grant && (this.local.granted || []).indexOf(r.id) < 0) return "grant_needed";
    if (this.keepsNewer(r)) return "keep_newer";
    return this.anchorAllows(r) ? "new_release" : "downgrade";
  }

  private refused(d: Digest, retry: number): boolean {
    return (this.local.refused || []).some((f) => f.digest === d && (f.retry || 0) >= retry);
  }

  private keepsNewer(r: Rollout): boolean {
    return !this.leave && r.seq <= this.local.running.seq;
  }

  /** The anchor itself, anything newer, or what its publisher allowed to leave it for once it is withdrawn or below its floor. */
  private anchorAllows(r: Rollout): boolean {
    const a = this.anchor;
    if (r.seq > a.seq || r.manifest === a.digest) return true;
    if (this.local.remote && !a.digest) return a.seq < this.floor || (this.pkg.withdrawn || []).length > 0;
    if (!this.bad(a)) return false;
    return !!this.local.remote || (this.local.anchorFallback || []).indexOf(r.manifest) >= 0;
  }

  private match(r: Rollout, reason: Reason): Outcome {
    if (reason !== "new_release") return this.none(reason, r.id);
    const d: Outcome = { verdict: "update", reason: this.leave || reason, target: r, rollout: r.id, retry: r.retry };
    if (this.leave && r.seq <= this.local.running.seq) d.verdict = "rollback";
    return d;
  }

  /** Keeps what runs. A control device reports for the rollout that it is compared with. */
  private none(reason: Reason, rollout?: string): Outcome {
    return this.control ? { verdict: "none", reason, rollout: this.control.id, control: true } : { verdict: "none", reason, rollout };
  }

  private fallBack(): Outcome {
    const leave = this.leave as Reason;
    const h = (this.local.held || []).filter((x) => this.usable(x))[0];
    if (h) return { verdict: "rollback", reason: leave, fallback: h };
    if (this.local.runningEmbedded) return { verdict: "blocked", reason: leave };
    const bad = this.local.remote ? "" : this.bad(this.embedded);
    return { verdict: bad ? "blocked" : "rollback", reason: bad || leave, toEmbedded: true };
  }

  private usable(h: Held): boolean {
    return !this.bad(h) && h.seq >= this.embedded.seq && !this.refused(h.digest || "", 0) && this.fits(h.runtime);
  }

  /** The first rollout that this device would be offered if its shell were another; the floor belongs to the one it has. */
  private onlyRuntime(): Rollout | undefined {
    for (const r of this.pkg.rollouts || []) {
      if (r.seq <= this.local.running.seq || this.fits(r.runtime) || !this.conditions(r)) continue;
      const floor = this.floor;
      this.floor = 0;
      const reason = this.barred(r);
      this.floor = floor;
      if (reason === "new_release" && this.share(r).inside) return r;
    }
    return undefined;
  }
}
