// Asks what this device should run, and acts on what needs no download.
import { decide, type Held, type Local, type Outcome } from "../decide/decide.js";
import { fits } from "../decide/ranges.js";
import * as machine from "../trial/machine.js";
import { anchorOf, blocked, embeddedOf, held, official, running, stagedFor, type Release } from "../trial/state.js";
import { dict, names, only, withEntry, type Dict } from "../words/dict.js";
import { formatTime, type Decision, type DeviceFacts, type Digest, type State } from "../words/documents.js";
import type { Reason, Verdict } from "../words/reasons.js";
import type { Checked, Offer } from "./api.js";
import { askDecision, noteLeft, ruleByDecision } from "./decision.js";
import type { Device } from "./device.js";
import { askGrant, maxGrants, places } from "./grant.js";
import type { Body } from "./persist.js";
import { failed, succeeded, tellAlive } from "./reports.js";
import { isExpired, lastState, refreshState } from "./roots.js";
import type { Stop } from "./stop.js";
import { jitter } from "./transport.js";

/** A decision in the client's own terms, wherever it came from. */
export interface Ruling {
  verdict: Verdict;
  reason: Reason;
  offer?: Offer;
  /** Whose control group the device is in, and what that rollout offers. */
  rollout?: string;
  control?: boolean;
  release?: Digest;
  fallback?: Digest;
  /** Leave for the embedded release. */
  embedded?: boolean;
  /** What runs must be left. */
  leave?: boolean;
  grant?: string;
}

/**
 * Bounds, in seconds, of when a server lets a device ask again: whoever steals its key could else have all devices ask
 * without end, or keep them from ever learning of a new key.
 */
const minCheckAfter = 10;
const maxCheckAfter = 24 * 3600;
/** How many rollouts are remembered before a decision that does not name one lets it be forgotten. */
const manyRollouts = 64;

/**
 * Asks the servers, keeps the accepted answer, and acts on what needs no download: withdrawn releases are left, refusals
 * lifted, group memberships reported. Whoever calls it has the turn.
 */
export async function check(d: Device, signal?: Stop): Promise<Checked> {
  await d.mu.run(() => d.own());
  const now = d.o.host.clock.now(); // fixed for the whole check
  let state: State | undefined, decision: Decision | undefined;
  try {
    let err: unknown;
    state = await refreshState(d, now, signal).catch((e) => {
      err = e;
      return undefined;
    });
    if (d.o.decisions && state || isExpired(err)) {
      decision = await askDecision(d, now, signal).catch((e) => {
        if (state) d.log("no decision: the public state rules", e);
        return undefined;
      });
    }
    if (!state && !decision) throw err;
  } catch (e) {
    throw await failed(d, { stage: "check" }, e);
  }
  await succeeded(d, "check", "");
  const out: Checked = { epoch: 0, answers: dict(), next: d.o.poll, decision: !!decision };
  out.epoch = decision ? decision.epoch : state!.epoch;
  next(d, out, (decision || state!).checkAfter, decision ? 0 : state!.jitter);
  await conclude(d, out, state, decision, now, signal);
  await d.mu.run(() => tellAlive(d, now));
  d.emit("check", out);
  return out;
}

/** Fills in when to come again: an explicit poll interval wins over the server's. */
function next(d: Device, out: Checked, after: number, spread: number): void {
  if (out.next > 0) return;
  const most = Math.min(Math.max(spread, 0), maxCheckAfter) * 1000;
  out.next = Math.min(Math.max(after, minCheckAfter), maxCheckAfter) * 1000 + jitter((n) => d.o.host.crypto.random(n), most);
}

/** Decides, acts, and asks the host to start again when something that runs was left. */
async function conclude(d: Device, out: Checked, state: State | undefined, decision: Decision | undefined, now: number, signal?: Stop): Promise<void> {
  const runs = () => d.o.packages.map((pkg) => d.running(pkg).digest);
  const before = runs(), rulings = await rule(d, state, decision, now, signal);
  try {
    await d.mu.run(() => act(d, state, rulings));
  } finally {
    for (const pkg of names(rulings)) {
      const { verdict, reason, offer } = rulings[pkg];
      out.answers[pkg] = { verdict, reason, offer };
    }
    const after = runs(), packages = d.o.packages.filter((_, i) => before[i] !== after[i]);
    if (packages.length > 0) d.restart({ packages, reason: leavingReason(rulings[packages[packages.length - 1]]), offers: [] });
  }
}

/** Decides for every package, anew when what is offered lifts a refusal or an answer about a grant comes in between. */
async function rule(d: Device, state: State | undefined, decision: Decision | undefined, now: number, signal?: Stop): Promise<Dict<Ruling>> {
  await d.mu.run(() => leaveVictims(d, state));
  const once = () => d.mu.run(() => ruleOnce(d, state, decision, now));
  let rulings = await once();
  for (let n = 0; n < maxGrants && await grants(d, rulings, signal); n++) {
    if (decision) {
      try {
        decision = await askDecision(d, now, signal);
      } catch (e) {
        d.log("no decision after an answer about a grant; the next check knows it", e);
        break;
      }
    }
    rulings = await once();
  }
  return await d.mu.run(() => lift(d, rulings)) ? once() : rulings;
}

/** One ruling for every package, by the decision where there is one, else by the state. In mu. */
export async function ruleOnce(d: Device, state: State | undefined, decision: Decision | undefined, now: number): Promise<Dict<Ruling>> {
  const out = dict<Ruling>(), { last } = await lastState(d);
  now = Math.max(now, (d.seen().signed || 0) * 1000);
  for (const pkg of d.o.packages) {
    if (!decision) out[pkg] = ruleByState(d, state!, pkg, now);
    else if (pkg in decision.packages) out[pkg] = ruleByDecision(d, pkg, decision.packages[pkg], last);
  }
  return out;
}

function ruleByState(d: Device, state: State, pkg: string, now: number): Ruling {
  const { crypto } = d.o.host, facts = deviceFacts(d), on = localOf(d, pkg);
  let o: Outcome = decide(crypto, state, pkg, facts, on, now);
  if (o.reason === "keep_newer" && held(d.body.trial, pkg).foreign) {
    // It was confirmed elsewhere: not newer by this channel's count.
    on.running = { ...on.running, seq: Math.min(on.running.seq, on.embedded!.seq) };
    o = decide(crypto, state, pkg, facts, on, now);
  }
  const r: Ruling = { verdict: o.verdict, reason: o.reason, rollout: o.rollout, control: o.control, embedded: o.toEmbedded, leave: o.mustLeave, grant: o.grant,
    fallback: o.fallback && o.fallback.digest };
  const t = o.target;
  if (t && (o.verdict === "update" || o.verdict === "rollback")) {
    r.offer = { package: pkg, release: { digest: t.manifest, seq: t.seq, version: t.version, size: t.size }, runtime: t.runtime, rollout: t.id,
      retry: t.retry || 0, apply: t.apply, leaving: !!o.mustLeave, reason: o.reason };
  }
  for (const ro of (state.packages[pkg] || {}).rollouts || []) if (ro.id === o.rollout) r.release = ro.manifest;
  return r;
}

/** What the device tells of itself. */
export function deviceFacts(d: Device): DeviceFacts {
  const { o } = d, attributes: Record<string, unknown> = { ...o.attributes };
  if (attributes.first_seen === undefined && d.id) attributes.first_seen = formatTime(d.identity.firstSeen);
  const text = (s: string | undefined) => s || undefined;
  return { id: text(d.id), platform: o.platform, runtime: text(o.runtime), os: text(o.os), model: text(o.model), locale: text(o.locale), attributes };
}

/** What the device holds of pkg, in the terms of the decision. */
export function localOf(d: Device, pkg: string): Local {
  const s = d.body.trial, { env } = d, run = running(s, env, pkg), anchor = anchorOf(s, env, pkg), { granted, full } = placesOf(d);
  const inForce = official(s, env, pkg), others = (held(s, pkg).history || []).filter((h) => h.digest !== run.digest).map(heldOf);
  if (!inForce.embedded && inForce.digest !== run.digest) others.unshift(heldOf(inForce));
  return {
    running: heldOf(run), runningEmbedded: run.embedded, embedded: heldOf(embeddedOf(env, pkg)), anchor: heldOf(anchor), anchorFallback: anchor.fallback,
    held: others, refused: blocked(s, env.now, pkg).map(({ digest, retry }) => ({ digest, retry })), granted, full,
  };
}

const heldOf = (r: Release): Held => ({ digest: r.digest, seq: r.seq, runtime: r.runtime });

export const placesOf = (d: Device) => places({ granted: d.body.grants || {}, ungranted: d.body.ungranted || {} }, d.seen().epoch || 0);

/** Why a state tells every device to leave a release of pkg, "" when it does not. */
export function victims(d: Device, state: State | undefined, pkg: string): (r: Release) => Reason | "" {
  const p = (state && state.packages[pkg]) || {}, withdrawn = p.withdrawn || [];
  const floor = (p.floors || []).reduce((n, f) => fits(f.runtime, d.o.runtime) ? Math.max(n, f.seq) : n, 0);
  return (r) => r.digest && withdrawn.indexOf(r.digest) >= 0 ? "withdrawn" : r.seq < floor ? "below_floor" : "";
}

/** Drops what is withdrawn or below its floor from the line, from trial and from history. In mu. */
async function leaveVictims(d: Device, state: State | undefined): Promise<void> {
  for (const pkg of state ? d.o.packages : []) {
    const why = victims(d, state, pkg);
    for (const reason of ["withdrawn", "below_floor"] as const) {
      const s = d.body.trial, bad = (r: Release | undefined) => !!r && why(r) === reason;
      if (!bad(stagedFor(s, pkg)) && !bad(s.trial && s.trial.members[pkg]) && !(held(s, pkg).history || []).some(bad)) continue;
      await d.step(machine.leave(s, d.env, pkg, bad, reason));
    }
  }
}

/** Tells the state machine what is offered, which may lift refusals. In mu. */
async function lift(d: Device, rulings: Dict<Ruling>): Promise<boolean> {
  const offers = dict<Release>();
  for (const pkg of names(rulings)) {
    const { offer } = rulings[pkg];
    if (offer) offers[pkg] = { digest: offer.release.digest, seq: offer.release.seq };
  }
  const { state, lifted } = machine.offered(d.body.trial, d.env, offers);
  if (lifted) await d.step({ state });
  return lifted;
}

/**
 * Asks for admission to the rollouts with a cap that packages wait for, keeps the answers, a yes for good, a no until the
 * state changes, and says whether there was one. Leaving a bad release does not wait for it.
 */
async function grants(d: Device, rulings: Dict<Ruling>, signal?: Stop): Promise<boolean> {
  let answered = false;
  for (const pkg of names(rulings)) {
    const { grant, leave, offer } = rulings[pkg];
    if (!grant || leave || offer && offer.leaving) continue;
    const epoch = d.seen().epoch || 0;
    const said = await askGrant(d.net, { app: d.o.app, channel: d.channel, rollout: grant, device: d.id }, epoch, { signal, log: (text, e) => d.log(text, e) });
    if (!said) continue;
    answered = true;
    await d.mu.run(async () => {
      await d.own();
      await d.commit(said === "granted" ? { ...d.body, grants: withEntry(d.body.grants, grant, true) }
        : { ...d.body, ungranted: withEntry(d.body.ungranted, grant, epoch) });
    });
  }
  return answered;
}

/** Does what a check asks for and needs no download. In mu. */
async function act(d: Device, state: State | undefined, rulings: Dict<Ruling>): Promise<void> {
  await forget(d, state, rulings);
  for (const pkg of d.o.packages) {
    const ruled = rulings[pkg];
    if (!ruled || ruled.reason === "expired_state") continue;
    await enroll(d, pkg, ruled);
    // What is offered instead takes the place of what waits when it is staged.
    if (stagedFor(d.body.trial, pkg) && !ruled.offer) await d.step({ state: machine.unstage(d.body.trial, d.env, pkg) });
    if (ruled.reason === "up_to_date" && held(d.body.trial, pkg).foreign) await d.step({ state: machine.adopt(d.body.trial, d.env, pkg) });
    const r = rulings[pkg] = atHand(d, pkg, ruled);
    if (!r.embedded && r.fallback === undefined) continue;
    const left = d.running(pkg).digest || "", out = machine.rollBack(d.body.trial, d.env, pkg, r.fallback || "", leavingReason(r));
    await d.commit({ ...noteLeft(d, left), trial: out.state }, out.events);
  }
}

/**
 * Drops what is remembered of rollouts that the public state no longer has. Decisions know private ones too, of which each
 * names only some: where they are used, this waits until many are remembered. In mu.
 */
async function forget(d: Device, state: State | undefined, rulings: Dict<Ruling>): Promise<void> {
  const { trial, grants: had, ungranted } = d.body;
  if (!state || d.o.decisions) {
    if (names(trial.enrolled).length < manyRollouts && names(had).length < manyRollouts) return;
    state = (await lastState(d)).last;
  }
  const live = new Set<string>();
  for (const pkg of names(rulings)) live.add(rulings[pkg].rollout || "");
  for (const pkg of names(state && state.packages)) for (const r of state!.packages[pkg].rollouts || []) live.add(r.id);
  const keep = (id: string) => live.has(id), all = (b: Body) => names(b.trial.enrolled).length + names(b.grants).length + names(b.ungranted).length;
  const rest = { ...d.body, trial: machine.forget(trial, d.env, keep), grants: only(had, keep), ungranted: only(ungranted, keep) };
  if (all(rest) !== all(d.body)) await d.commit(rest);
}

/**
 * Turns an offer of a known good release that the device holds into a way back that needs no trial, when what runs must be
 * left. In mu.
 */
function atHand(d: Device, pkg: string, r: Ruling): Ruling {
  if (!r.offer || !r.offer.leaving) return r;
  const { digest } = r.offer.release, s = d.body.trial, good = (h: Release) => h.digest === digest;
  if (good(d.embeds[pkg])) return { ...r, embedded: true, offer: undefined };
  if (good(official(s, d.env, pkg)) || (held(s, pkg).history || []).some(good)) return { ...r, fallback: digest, offer: undefined };
  return r;
}

const leavingReason = (r: Ruling | undefined): Reason => r && r.reason === "below_floor" ? "below_floor" : "withdrawn";

/** Reports once in which arm of a rollout the device is. In mu. */
async function enroll(d: Device, pkg: string, r: Ruling): Promise<void> {
  const rollout = r.offer ? r.offer.rollout : r.control ? r.rollout : "";
  if (!rollout) return;
  const out = machine.enroll(d.body.trial, d.env, pkg, rollout, r.offer ? "treatment" : "control", r.offer ? r.offer.release.digest : r.release);
  if (out.events.length > 0) await d.step(out);
}
