// One verified root, and what may be accepted under it, in the prescribed order of checks.
import type { Crypto } from "../host.js";
import { maxDecisionBytes, maxManifestBytes, maxRootBytes, maxStateBytes, parseTime, platformAny, totalSize, type Decision, type Digest, type Manifest, type ReleaseRef, type Root, type Runtime, type State } from "../words/documents.js";
import { Refusal } from "../words/reasons.js";
import { checkDecision, checkManifest, checkRootWords, checkState } from "./check.js";
import { checkSigned, digestOf, keySets, openEnvelope, typeDecision, typeManifest, typeRoot, typeState, type Envelope, type KeySet } from "./envelope.js";
import { parseStrict, type Value } from "./json.js";
import { decode, guarded } from "./shape.js";
import * as shapes from "./shapes.js";

/**
 * What a device asked for and remembers. Times in ms; highestSigned is the highest issued time that it accepted, or 0. last
 * is the envelope of the state that it accepted last, as it came: its signatures were checked then and are not again.
 */
export interface ExpectState {
  app: string;
  channel: string;
  platform: string;
  last?: Uint8Array;
  now: number;
  highestSigned: number;
}

export interface ExpectDecision {
  app: string;
  channel: string;
  device: string;
  nonce: string;
  lastEpoch: number;
  now: number;
  highestSigned: number;
}

/** runtime is the rollout's, missing when something else named the release. */
export interface ExpectManifest {
  app: string;
  package: string;
  platform: string;
  release: ReleaseRef;
  runtime?: Runtime;
  fits?(r: Runtime): boolean;
}

const maxDecisionLife = 10 * 60 * 1000;

export class Trust {
  private constructor(private readonly crypto: Crypto, readonly root: Root, readonly envelope: Uint8Array, private readonly roles: Record<"root" | "release" | "state", KeySet>) {}

  /** Opens the root that shipped inside the app. Its expiry is not looked at. */
  static async open(crypto: Crypto, raw: Uint8Array): Promise<Trust> {
    return Trust.from(crypto, openEnvelope(raw, typeRoot, maxRootBytes), raw);
  }

  private static async from(crypto: Crypto, e: Envelope, raw: Uint8Array): Promise<Trust> {
    const root = decode<Root>("root", e.payload, shapes.root);
    checkRootWords(root);
    const roles = guarded("root", () => keySets(crypto, root));
    await checkSigned(crypto, roles.root, e, "root", "root");
    return new Trust(crypto, root, raw.slice(), roles);
  }

  /** Opens the following root: version + 1, signed by a threshold of this root's and of its own root role. */
  async next(raw: Uint8Array): Promise<Trust> {
    const e = openEnvelope(raw, typeRoot, maxRootBytes);
    await checkSigned(this.crypto, this.roles.root, e, "root", "previous root's root");
    const next = await Trust.from(this.crypto, e, raw);
    if (next.root.app !== this.root.app) throw new Refusal("wrong_app", "root", `of app "${next.root.app}"`);
    if (next.root.version !== this.root.version + 1) throw new Refusal("root_version", "root", `version ${next.root.version} does not follow ${this.root.version}`);
    return next;
  }

  expired(now: number): boolean {
    return now >= parseTime(this.root.expires)!;
  }

  /** A text that is equal for equal keys and threshold of the state role. */
  stateRole(): string {
    const r = this.root.roles.state;
    return `${r.threshold} ${r.keys.slice().sort().join(" ")}`;
  }

  async manifest(raw: Uint8Array): Promise<{ manifest: Manifest; digest: Digest }> {
    const e = openEnvelope(raw, typeManifest, maxManifestBytes);
    await checkSigned(this.crypto, this.roles.release, e, "manifest", "release");
    const manifest = decode<Manifest>("manifest", e.payload, shapes.manifest);
    checkManifest(manifest);
    return { manifest, digest: digestOf(this.crypto, e.payload) };
  }

  async state(raw: Uint8Array): Promise<State> {
    return (await this.openState(raw)).state;
  }

  private async openState(raw: Uint8Array): Promise<{ state: State; payload: Uint8Array }> {
    const e = openEnvelope(raw, typeState, maxStateBytes);
    await checkSigned(this.crypto, this.roles.state, e, "state", "state");
    const state = decode<State>("state", e.payload, shapes.state);
    checkState(state);
    return { state, payload: e.payload };
  }

  async decision(raw: Uint8Array): Promise<Decision> {
    const e = openEnvelope(raw, typeDecision, maxDecisionBytes);
    await checkSigned(this.crypto, this.roles.state, e, "decision", "state");
    const d = decode<Decision>("decision", e.payload, shapes.decision);
    checkDecision(d);
    return d;
  }

  private unexpired(now: number): void {
    if (this.expired(now)) throw new Refusal("expired_root", "root", `version ${this.root.version} expired at ${this.root.expires}`);
  }

  /** Size cap, envelope, role threshold, form, app, channel, platform, epoch, expiry of the state, expiry of the root. */
  async acceptState(raw: Uint8Array, want: ExpectState): Promise<State> {
    const { state: s, payload } = await this.openState(raw);
    if (s.app !== want.app) throw new Refusal("wrong_app", "state", `of app "${s.app}", not "${want.app}"`);
    if (s.channel !== want.channel) throw new Refusal("wrong_channel", "state", `of channel "${s.channel}", not "${want.channel}"`);
    if (s.platform !== want.platform) throw new Refusal("wrong_platform", "state", `of platform "${s.platform}", not "${want.platform}"`);
    if (want.last) checkEpoch(s, payload, openEnvelope(want.last, typeState, maxStateBytes).payload);
    const now = Math.max(want.now, want.highestSigned);
    if (now >= parseTime(s.expires)!) throw new Refusal("expired_state", "state", `expired at ${s.expires}`);
    this.unexpired(now);
    return s;
  }

  /**
   * Size cap, envelope, role threshold, form, app, channel, device, nonce, epoch, life, expiry of the root. It is fresh
   * because it repeats the request's nonce, so the device's clock is not held against it.
   */
  async acceptDecision(raw: Uint8Array, want: ExpectDecision): Promise<Decision> {
    const d = await this.decision(raw);
    if (d.app !== want.app) throw new Refusal("wrong_app", "decision", `of app "${d.app}", not "${want.app}"`);
    if (d.channel !== want.channel) throw new Refusal("wrong_channel", "decision", `of channel "${d.channel}", not "${want.channel}"`);
    if (d.device !== want.device) throw new Refusal("wrong_device", "decision", "for another device");
    if (d.nonce !== want.nonce || want.nonce === "") throw new Refusal("wrong_nonce", "decision", "answers another request");
    if (d.epoch < want.lastEpoch) throw new Refusal("stale_state", "decision", `epoch ${d.epoch} after ${want.lastEpoch}`);
    if (parseTime(d.expires)! - parseTime(d.issued)! > maxDecisionLife) throw new Refusal("malformed", "decision", "lives longer than 10 minutes");
    this.unexpired(Math.max(parseTime(d.issued)!, want.highestSigned));
    return d;
  }

  /** Size cap, envelope, role threshold, form, digest, app, package, platform, runtime, seq, version, total size, this shell. */
  async acceptManifest(raw: Uint8Array, want: ExpectManifest): Promise<Manifest> {
    const { manifest: m, digest } = await this.manifest(raw);
    const r = want.release;
    const equal = (field: string, got: unknown, wanted: unknown) => {
      if (got !== wanted) throw new Refusal("manifest_mismatch", "manifest", `${field} is ${got}, expected ${wanted}`);
    };
    equal("digest", digest, r.digest);
    if (m.app !== want.app) throw new Refusal("wrong_app", "manifest", `of app "${m.app}", not "${want.app}"`);
    equal("package", m.package, want.package);
    if (m.platform !== platformAny && m.platform !== want.platform) throw new Refusal("wrong_platform", "manifest", `for platform "${m.platform}", not "${want.platform}"`);
    if (want.runtime) equal("runtime", runtimeText(m.runtime), runtimeText(want.runtime));
    equal("seq", m.seq, r.seq);
    equal("version", m.version, r.version);
    equal("total size", totalSize(m), r.size);
    if (want.fits && !want.fits(m.runtime)) throw new Refusal("runtime_mismatch", "manifest", `needs runtime ${runtimeText(m.runtime)}`);
    return m;
  }
}

const runtimeText = (r: Runtime) => `range:${r.range || ""} fingerprint:${r.fingerprint || ""}`;

function checkEpoch(s: State, payload: Uint8Array, lastPayload: Uint8Array): void {
  const last = decode<State>("the state before", lastPayload, shapes.state);
  if (s.epoch < last.epoch) throw new Refusal("stale_state", "state", `epoch ${s.epoch} after ${last.epoch}`);
  if (s.epoch > last.epoch) return;
  if (parseTime(s.issued)! < parseTime(last.issued)!) throw new Refusal("stale_state", "state", `epoch ${s.epoch}, issued earlier than before`);
  if (!equal(withoutTimes(payload), withoutTimes(lastPayload))) throw new Refusal("equal_epoch_differs", "state", `epoch ${s.epoch} says something else than before`);
}

/** The whole of what was signed: a field that this version does not know counts too, because a later one may act on it. */
function withoutTimes(payload: Uint8Array): Value {
  const v = parseStrict(payload) as Map<string, Value>;
  v.delete("issued");
  v.delete("expires");
  return v;
}

/** Compares JSON values: names in any order. */
function equal(a: Value, b: Value): boolean {
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((x, i) => equal(x, b[i]));
  if (!(a instanceof Map)) return a === b;
  if (!(b instanceof Map) || a.size !== b.size) return false;
  let same = true;
  a.forEach((x, name) => {
    const y = b.get(name);
    same = same && y !== undefined && equal(x, y);
  });
  return same;
}
