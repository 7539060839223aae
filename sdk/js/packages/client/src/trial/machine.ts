// Decides what runs on a device: which release is staged, tried, in force or kept to fall back to, and what a start that
// ended badly means for it. Pure: every transition takes a state and what surrounds it, and gives the new state and the
// events to report. The caller persists the state before it acts on it.
//
// stage puts a verified set in line; the next coldStart takes one set into trial, at most one per launch, so that a crash
// has one suspect; confirm with the launch's token makes it official. An end without a confirm is evidence: a crash or
// hang is worth 3 points, an unknown end 2; at 3 × maxCrashes the trial is over and the official release runs again.
import { NotFound } from "../host.js";
import { dict, names, only, type Dict } from "../words/dict.js";
import type { Digest } from "../words/documents.js";
import { Refusal, type Reason } from "../words/reasons.js";
import * as at from "./state.js";
import { controlEvent, overlaps, sameSet, Step } from "./step.js";
import type { Env, Evidence, Outcome, Release, Start, TrialState } from "./state.js";

const maxControls = 64;
const maxEnrolled = 512;
const short = (d: Digest | undefined) => (d || "").slice(0, 12);

/** Asks for a launch. token is new for every launch; key is "" for the whole app or the package that is opened. */
export interface Opening {
  token: string;
  key?: string;
  /** Those that run in it; none = all. */
  packages?: string[];
}

/** What a cold start runs; trial names the packages that are on trial in it. Without a token nothing of it is remembered. */
export interface Launched {
  token: string;
  runs: Dict<Release>;
  trial: string[];
  attempt: number;
}

/**
 * Puts a set of verified, durable releases in line for the next cold start. Waiting sets that share a package with it are
 * dropped. Staging what is on trial, in force or in line already changes nothing but its apply rules. A release that is
 * refused here, does not fit the shell or is older than the embedded one is a Refusal.
 */
export function stage(s: TrialState, env: Env, offered: Dict<Release>): Outcome {
  const t = new Step(s, env), unchanged = { state: s, events: [] };
  for (const pkg of names(offered)) admit(t, pkg, offered[pkg]);
  const members = only(offered, (pkg) => {
    const o = at.held(t.s, pkg).official;
    return !o || o.digest !== offered[pkg].digest || !!t.trialOf(pkg);
  });
  if (names(members).length === 0) return unchanged;
  const trial = t.s.trial;
  if (trial && overlaps(trial.members, members)) {
    // What is tried together is displaced together.
    for (const pkg of names(trial.members)) if (!members[pkg]) members[pkg] = trial.members[pkg];
  }
  // A refusal is forgotten once the rollout's retry number is above the one it failed under.
  t.s.refusals = t.s.refusals.filter((f) => {
    const r = members[f.package];
    return !(r && r.digest === f.digest && (r.retry || 0) > f.retry);
  });
  if (trial && sameSet(trial.members, members)) {
    t.unstage(members);
    return t.outcome();
  }
  for (const set of t.s.staged) {
    if (!sameSet(set.members, members)) continue;
    set.members = members;
    return t.outcome();
  }
  const added = only(members, (pkg) => {
    const old = at.stagedFor(t.s, pkg);
    return !old || old.digest !== members[pkg].digest;
  });
  t.unstage(members);
  t.s.serial++;
  t.s.staged.push({ id: t.s.serial, members });
  t.tellMembers(added, { kind: "staged" });
  return t.outcome();
}

function admit(t: Step, pkg: string, r: Release): void {
  const what = `release ${short(r.digest)} of ${pkg}`, e = at.embeddedOf(t.env, pkg);
  if (!t.env.fits(r.runtime)) throw new Refusal("runtime_mismatch", what, `it does not fit the shell ${t.env.runtime}`);
  if (r.seq < e.seq) throw new Refusal("embedded_newer", what, `seq ${r.seq} is below the embedded ${e.seq}`);
  for (const f of at.blocked(t.s, t.env.now, pkg)) {
    if (f.digest === r.digest && (r.retry || 0) <= f.retry) throw new Refusal("refused_after_crash", what, `it failed ${f.tries} trials here`);
  }
}

/** Takes the waiting release of pkg, and the set it is in, out of the line: it is not offered any more. */
export function unstage(s: TrialState, env: Env, pkg: string): TrialState {
  const t = new Step(s, env), members = dict<true>();
  members[pkg] = true;
  t.unstage(members);
  return t.s;
}

/**
 * Tells the machine which releases are offered to this device now. A refusal is lifted when a newer release of a package
 * that failed with it is offered which has not failed here itself.
 */
export function offered(s: TrialState, env: Env, offers: Dict<Release>): { state: TrialState; lifted: boolean } {
  const t = new Step(s, env), before = t.s.refusals;
  const failed = (pkg: string, d: Digest | undefined) => before.some((f) => f.package === pkg && f.digest === d);
  t.s.refusals = before.filter((f) => !names(f.set).some((pkg) => {
    const r = offers[pkg];
    return r && r.seq > f.set![pkg] && !failed(pkg, r.digest);
  }));
  return { state: t.s, lifted: t.s.refusals.length !== before.length };
}

/**
 * Notes that the device belongs to an arm of a rollout and gives the event that must be reported before any download; none
 * when that was told before. A control device's next start is judged.
 */
export function enroll(s: TrialState, env: Env, pkg: string, rollout: string, arm: "treatment" | "control", release?: Digest): Outcome {
  if (s.enrolled && s.enrolled[rollout] === arm) return { state: s, events: [] };
  const t = new Step(s, env), { enrolled } = t.s, run = t.running(pkg).digest;
  // What is dropped is told again if it ever comes back.
  for (const id of names(enrolled).slice(0, Math.max(names(enrolled).length - maxEnrolled + 1, 0))) delete enrolled[id];
  enrolled[rollout] = arm;
  t.s.controls = t.s.controls.filter((c) => c.rollout !== rollout);
  if (arm === "control") t.s.controls = t.s.controls.concat({ package: pkg, rollout, release: run }).slice(-maxControls);
  t.tell({ kind: "enrolled", package: pkg, release, running: run, rollout, arm });
  return t.outcome();
}

/** Drops what is remembered of rollouts that are not in force any more. */
export function forget(s: TrialState, env: Env, live: (rollout: string) => boolean): TrialState {
  const t = new Step(s, env);
  t.s.enrolled = only(t.s.enrolled, live);
  t.s.controls = t.s.controls.filter((c) => live(c.rollout));
  return t.s;
}

/** Notes that the channel itself offers what runs: a release that came from another channel is at home here now. */
export function adopt(s: TrialState, env: Env, pkg: string): TrialState {
  const t = new Step(s, env), p = t.package(pkg);
  if (!p.official || !p.foreign) return s;
  p.foreign = false;
  if (p.official.seq > at.anchorOf(t.s, env, pkg).seq) p.anchor = p.official;
  return t.s;
}

/**
 * Begins a launch. Starts that an earlier process left open count as unknown ends; what does not fit the shell any more or
 * is older than the embedded release is left; then at most one waiting set enters trial. The caller persists the state
 * before it runs anything, and runs untried when it cannot.
 */
export function coldStart(s: TrialState, env: Env, o: Opening): Outcome & { launch: Launched } {
  const t = new Step(s, env), key = o.key || "";
  for (const st of t.s.starts) if (st.process !== env.process || (st.key || "") === key || !key) t.finish(st, "unknown", "");
  t.sweep();
  const scope = scopeOf(t, o.packages);
  t.enter(scope);
  const launch = launchOf(t, scope, true), { trial } = t.s;
  launch.token = o.token;
  const st: Start = { token: o.token, process: env.process, at: env.now, attempt: 1, runs: dict() };
  if (key) st.key = key;
  for (const pkg of names(launch.runs)) {
    st.runs[pkg] = launch.runs[pkg].digest || "";
    st.attempt = Math.max(st.attempt, (at.held(t.s, pkg).crashes || 0) + 1);
  }
  if (trial && launch.trial.length > 0) {
    st.attempt = ++trial.attempt;
    st.trial = trial.id;
    if (trial.attempt === 1) t.tellMembers(trial.members, { kind: "started", attempt: 1 });
  } else t.startControls(st);
  launch.attempt = st.attempt;
  t.s.starts.push(st);
  return { state: t.s, events: t.events, launch };
}

/** What runs when nothing can be persisted: the official releases that fit, without a token. */
export function untried(s: TrialState, env: Env, packages: string[]): Launched {
  const t = new Step(s, env);
  t.sweep();
  return launchOf(t, scopeOf(t, packages), false);
}

function scopeOf(t: Step, packages: string[] | undefined): string[] {
  return packages && packages.length > 0 ? packages.slice().sort() : t.packages();
}

function launchOf(t: Step, scope: string[], withTrial: boolean): Launched {
  const l: Launched = { token: "", runs: dict(), trial: [], attempt: 0 };
  for (const pkg of scope) {
    const tried = withTrial && t.trialOf(pkg);
    l.runs[pkg] = tried || t.official(pkg);
    if (tried) l.trial.push(pkg);
  }
  return l;
}

function open(t: Step, token: string): Start {
  const st = t.s.starts.filter((o) => token !== "" && o.token === token)[0];
  if (!st) throw stale(token);
  return st;
}

function stale(token: string): Refusal {
  return new Refusal("stale_token", "confirm", `token "${token.slice(0, 8)}" is not of a launch that waits for it`);
}

/**
 * Says that the launch with this token works. The set on trial becomes official, the former official joins history, and
 * the anchor rises. A token confirms once; a stale one is refused.
 */
export function confirm(s: TrialState, env: Env, token: string): Outcome {
  const t = new Step(s, env), st = open(t, token), { trial } = t.s;
  const onTrial = !!trial && st.trial === trial.id;
  const inForce = () => names(st.runs).every((pkg) => (t.official(pkg).digest || "") === st.runs[pkg]);
  if (st.confirmed || st.trial && !onTrial && !inForce()) throw stale(token);
  st.confirmed = true;
  if (onTrial) t.promote();
  for (const c of t.s.controls) if (c.token === token) t.tell(controlEvent(c, { kind: "confirmed" }));
  t.s.controls = t.s.controls.filter((c) => c.token !== token);
  return t.outcome();
}

/** Says how the launch with this token ended. detail (an exit code, an error's text) goes into the report. */
export function end(s: TrialState, env: Env, token: string, ev: Evidence, detail = ""): Outcome {
  const t = new Step(s, env);
  t.finish(open(t, token), ev, detail);
  return t.outcome();
}

/**
 * Puts an earlier release of pkg in force at once: one that is official or in history, or the embedded one when to is "".
 * What was in force before is dropped, because it must be left. A trial of pkg ends without a refusal. Packages whose
 * requirements break are left too. Throws NotFound when the device does not hold it.
 */
export function rollBack(s: TrialState, env: Env, pkg: string, to: Digest, reason: Reason): Outcome {
  const t = new Step(s, env), found = t.find(pkg, to);
  const toEmbedded = !to || to === at.embeddedOf(env, pkg).digest && !found;
  if (!toEmbedded && t.official(pkg).digest !== to && !found) throw new NotFound(`roll ${pkg} back to ${short(to)}: not on this device`);
  if (t.trialOf(pkg)) t.endTrial(reason, false);
  const p = t.package(pkg), left = p.official;
  if (left && (toEmbedded || left.digest !== to)) {
    const back = toEmbedded ? undefined : found;
    Object.assign(p, { official: back, crashes: 0 });
    if (back) p.history = p.history.filter((r) => r.digest !== to);
    t.tellLeft(pkg, left, reason);
  }
  t.settle();
  return t.outcome();
}

/**
 * Drops releases of pkg that were withdrawn or fell below the floor from the line, from trial and from history. An official
 * release is left here only while another one is on trial; one that runs is left by rollBack or for its successor, because
 * only the caller knows where to go.
 */
export function leave(s: TrialState, env: Env, pkg: string, victim: (r: Release) => boolean, reason: Reason): Outcome {
  const t = new Step(s, env), tried = t.trialOf(pkg);
  if (tried && victim(tried)) t.endTrial(reason, false);
  t.s.staged = t.s.staged.filter((set) => !(set.members[pkg] && victim(set.members[pkg])));
  const p = t.s.packages[pkg];
  if (p) {
    p.history = (p.history || []).filter((r) => !victim(r));
    if (p.official && t.trialOf(pkg) && victim(p.official)) {
      t.retreat(pkg, reason); // or a trial that fails would lead back to it
      t.settle();
    }
  }
  return t.outcome();
}

/**
 * Drops the releases whose trees are gone from the disk or damaged, whatever their role. One that is lost after a bad start
 * is refused like one that failed: it may have done that to itself, and would do it again.
 */
export function lose(s: TrialState, env: Env, gone: (d: Digest) => boolean): Outcome {
  const t = new Step(s, env);
  t.lose(gone);
  return t.outcome();
}

/**
 * Moves the device to another channel, which only the host can do: what waits or is on trial is left, the anchors restart
 * at the embedded releases. What runs keeps running until the new channel says otherwise.
 */
export function changeChannel(s: TrialState, env: Env, channel: string): Outcome {
  if (s.channel === channel) return { state: s, events: [] };
  const t = new Step(s, env);
  t.s.channel = channel;
  if (t.s.trial) t.endTrial("channel_changed", false);
  t.dropControls("channel_changed", () => true);
  Object.assign(t.s, { staged: [], controls: [], enrolled: dict() });
  for (const pkg of names(t.s.packages)) {
    const p = t.package(pkg);
    p.anchor = undefined;
    p.foreign = !!p.official;
  }
  return t.outcome();
}
