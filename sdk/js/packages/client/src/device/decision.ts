// The server's signed decision, taken as far as the device's own rules allow it: it sees private rollouts, and works when
// the device's clock makes every state look expired.
import type { Local } from "../decide/decide.js";
import { fits } from "../decide/ranges.js";
import { anchorOf, blocked, running } from "../trial/state.js";
import { encodeBase64, utf8 } from "../verify/bytes.js";
import { dict, withEntry } from "../words/dict.js";
import { maxDecisionBytes, parseTime, type Decision, type Digest, type PackageDecision, type ReleaseRef, type State } from "../words/documents.js";
import type { Reason, Verdict } from "../words/reasons.js";
import { deviceFacts, localOf, placesOf, victims, type Ruling } from "./check.js";
import type { Device } from "./device.js";
import { during } from "./failure.js";
import { maxPlaces } from "./grant.js";
import type { Body } from "./persist.js";
import { lastState, remember, walkRoots } from "./roots.js";
import type { Stop } from "./stop.js";
import { asksForRoots } from "./transport.js";

/** Notes of releases that were left at once. */
const maxLeft = 32;

/** Asks for a decision with a fresh nonce, accepts it, and keeps its epoch and signed time. */
export async function askDecision(d: Device, now: number, signal?: Stop): Promise<Decision> {
  const { crypto } = d.o.host, nonce = encodeBase64(crypto.random(32)), device = deviceFacts(d), packages = dict<unknown>();
  const s = d.body.trial, { env } = d, { granted, full } = placesOf(d);
  for (const pkg of d.o.packages) {
    const run = running(s, env, pkg);
    packages[pkg] = { digest: run.digest, seq: run.seq, anchor: anchorOf(s, env, pkg).seq || undefined, refused: blocked(s, now, pkg).map((f) => f.digest),
      granted: granted.slice(0, maxPlaces), full: full.slice(0, maxPlaces) };
  }
  const body = utf8(JSON.stringify({ app: d.o.app, channel: d.channel, nonce, device, packages }));
  let decision: Decision | undefined;
  const ask = () => d.net.document("/v1/check", maxDecisionBytes, async (raw) => {
    decision = await d.mu.run(() => acceptDecision(d, raw, device.id || "", nonce, now));
  }, { body, signal });
  try {
    await ask().catch(async (e) => {
      if (!asksForRoots(e)) throw e;
      await walkRoots(d, signal).catch((err) => d.log("newer roots not reached", err));
      await ask();
    });
  } catch (e) {
    throw during("decision", e);
  }
  return decision!;
}

async function acceptDecision(d: Device, raw: Uint8Array, device: string, nonce: string, now: number): Promise<Decision> {
  const { known } = await lastState(d), epoch = known.epoch || 0, signed = known.signed || 0;
  const got = await d.trust.acceptDecision(raw, { app: d.o.app, channel: d.channel, device, nonce, lastEpoch: epoch, now, highestSigned: signed * 1000 });
  const issued = parseTime(got.issued)! / 1000;
  if (got.epoch > epoch || issued > signed) await remember(d, { ...known, epoch: Math.max(epoch, got.epoch), signed: Math.max(signed, issued) });
  return got;
}

/** last is the newest state that was accepted. In mu. */
export function ruleByDecision(d: Device, pkg: string, said: PackageDecision, last: State | undefined): Ruling {
  const reason = said.reason as Reason, leaving = reason === "withdrawn" || reason === "below_floor";
  const r: Ruling = { verdict: said.verdict as Verdict, reason, rollout: said.rollout, control: said.control, grant: said.grant };
  if (said.release && (said.verdict === "update" || said.verdict === "rollback")) {
    const forbidden = forbids(d, pkg, said.release, said.retry || 0, leaving, last);
    if (forbidden) return { ...r, verdict: "none", reason: forbidden };
    r.offer = { package: pkg, release: said.release, rollout: said.rollout || "", retry: said.retry || 0, apply: said.apply || {}, leaving, reason };
  } else if (said.verdict === "rollback" || said.verdict === "blocked") {
    const local = localOf(d, pkg), back = wayBack(d, pkg, local, last);
    Object.assign(r, { leave: true, embedded: !back && !local.runningEmbedded, fallback: back });
  }
  return r;
}

/**
 * The newest release that may be fallen back to: it fits the shell, is not refused here, and by the last state known it is
 * neither withdrawn nor below its floor.
 */
function wayBack(d: Device, pkg: string, local: Local, last: State | undefined): Digest | undefined {
  const why = victims(d, last, pkg), refused = (digest: Digest | undefined) => (local.refused || []).some((f) => f.digest === digest);
  const back = (local.held || []).filter((h) => !refused(h.digest) && fits(h.runtime, d.o.runtime) && !why({ digest: h.digest, seq: h.seq }))[0];
  return back && back.digest;
}

/** The body of now, with a note that a release is left in this epoch. */
export function noteLeft(d: Device, digest: Digest): Body {
  const left = Object.keys(d.body.left || {}).length >= maxLeft ? undefined : d.body.left;
  return { ...d.body, left: withEntry(left, `${d.channel}/${digest}`, d.seen().epoch || 0) };
}

/**
 * Applies the client's own rules to a release that a decision names: refusals, what was left in this epoch, the floor that
 * the last state knows, and the anchor rule. "" when nothing forbids it.
 */
function forbids(d: Device, pkg: string, target: ReleaseRef, retry: number, leaving: boolean, last: State | undefined): Reason | "" {
  const s = d.body.trial, { env } = d, why = victims(d, last, pkg);
  if (blocked(s, env.now, pkg).some((f) => f.digest === target.digest && retry <= f.retry)) return "refused_after_crash";
  if (why({ digest: target.digest, seq: target.seq }) === "below_floor") return "below_floor";
  const epoch = d.body.left && d.body.left[`${d.channel}/${target.digest}`];
  // Nothing was changed since: a server that says both would have devices restart for ever.
  if (epoch !== undefined && (d.seen().epoch || 0) <= epoch) return "withdrawn";
  const anchor = anchorOf(s, env, pkg);
  if (target.seq > anchor.seq || target.digest === anchor.digest) return "";
  const anchorLeft = why(anchor) || leaving && running(s, env, pkg).digest === anchor.digest;
  return anchorLeft && (anchor.fallback || []).indexOf(target.digest) >= 0 ? "" : "downgrade";
}
