// What the state machine of a device knows: the roles of all packages and the evidence. Values are treated as immutable.
import { dict, names, type Dict } from "../words/dict.js";
import type { Apply, Digest, Event, Kind, Requirement, Runtime } from "../words/documents.js";
import type { Reason } from "../words/reasons.js";

/**
 * What the machine knows of one release: all of it from a verified manifest, but for rollout, retry and apply, which come
 * from the rollout that offered it. Without a digest it is an embedded release that has no manifest.
 */
export interface Release {
  digest?: Digest;
  seq: number;
  version?: string;
  runtime?: Runtime;
  fallback?: Digest[];
  requires?: Record<string, Requirement>;
  rollout?: string;
  retry?: number;
  apply?: Apply;
  /** Runs from the app binary. */
  embedded?: boolean;
  /** The set that it was confirmed in. */
  set?: number;
}

/** The roles of one package. Without an official release the embedded one is in force. */
export interface Package {
  official?: Release;
  /** Confirmed earlier, newest first. */
  history?: Release[];
  /** Highest seq confirmed on this channel; missing = embedded. */
  anchor?: Release;
  /** Bad starts of the official one in a row. */
  crashes?: number;
  /** The official one was confirmed on another channel. */
  foreign?: boolean;
}

/** Releases that go together, by package. id rises with every set staged. */
export interface ReleaseSet {
  id: number;
  members: Dict<Release>;
}

export interface Trial extends ReleaseSet {
  points: number;
  /** Starts so far. */
  attempt: number;
}

/** A launch that has not ended yet. Times are ms since 1970. */
export interface Start {
  token: string;
  /** Missing = the whole app, else the package that was opened. */
  key?: string;
  process: string;
  at: number;
  attempt: number;
  /** The set on trial. */
  trial?: number;
  /** "" = embedded without a manifest. */
  runs: Dict<Digest>;
  confirmed?: boolean;
}

/** A release that did not work here. It blocks until retryAt, or for good without one. set: the seqs that failed together. */
export interface FailedRelease {
  package: string;
  digest: Digest;
  /** The rollout's retry number when it failed. */
  retry: number;
  /** Trials that failed. */
  tries: number;
  reason: Reason;
  at: number;
  retryAt?: number;
  set?: Dict<number>;
}

/** Membership of a same-time control group, whose next start is judged like a trial of what runs anyway. */
export interface Control {
  package: string;
  rollout: string;
  release?: Digest;
  points?: number;
  attempt?: number;
  /** Of the start that is being judged. */
  token?: string;
}

export interface TrialState {
  channel: string;
  /** The shell's, at the last cold start. */
  runtime: string;
  /** Of the newest set. */
  serial: number;
  packages: Dict<Package>;
  /** Oldest first. */
  staged?: ReleaseSet[];
  trial?: Trial;
  starts?: Start[];
  refusals?: FailedRelease[];
  controls?: Control[];
  /** Rollout → arm, told once. */
  enrolled?: Dict<string>;
}

/** Zero or missing takes the default. Times in ms. */
export interface Rules {
  /** Bad starts that end a trial; default 2. */
  maxCrashes?: number;
  /** Further trials of a release that failed; default 1, negative = none. */
  retries?: number;
  /** Until that further trial; default 6 h. */
  retryAfter?: number;
  /** A crash this soon after the start counts even when confirmed; default 30 s. */
  early?: number;
  /** Good releases kept per package; default 3. */
  history?: number;
}

/** What surrounds a transition. process differs for every run of the host's process; embedded names every package of the app. */
export interface Env {
  now: number;
  process: string;
  runtime: string;
  fits(r: Runtime | undefined): boolean;
  embedded: Dict<Release>;
  rules: Rules;
}

/** A report in the making: what every event carries is filled in when it is written down. */
export type Happening = Partial<Event> & { kind: Kind };

/** What a transition gives: the new state, and what to report. */
export interface Outcome {
  state: TrialState;
  events: Happening[];
}

export type Evidence = "crash" | "hang" | "unknown";

/** Points of the kinds of evidence; a trial ends at pointsCrash × maxCrashes. */
export const pointsCrash = 3;
export const pointsUnknown = 2;

/** The state of a device that holds nothing: the embedded releases run. */
export function fresh(channel: string, runtime: string): TrialState {
  return { channel, runtime, serial: 0, packages: dict() };
}

export function embeddedOf(env: Env, pkg: string): Release {
  return Object.assign({ seq: 0 }, env.embedded[pkg], { embedded: true });
}

/** The roles of a package; empty when nothing of it was ever held. */
export function held(s: TrialState, pkg: string): Package {
  return s.packages[pkg] || {};
}

/** What is in force for pkg when no trial runs. */
export function official(s: TrialState, env: Env, pkg: string): Release {
  return held(s, pkg).official || embeddedOf(env, pkg);
}

/** What a launch of pkg runs: the trial's release, else the official one, else the embedded one. */
export function running(s: TrialState, env: Env, pkg: string): Release {
  return trialOf(s, pkg) || official(s, env, pkg);
}

/** The release of pkg that is on trial. */
export function trialOf(s: TrialState, pkg: string): Release | undefined {
  return s.trial && s.trial.members[pkg];
}

/** The release of pkg that waits for a cold start. */
export function stagedFor(s: TrialState, pkg: string): Release | undefined {
  for (const set of s.staged || []) if (set.members[pkg]) return set.members[pkg];
  return undefined;
}

/** The release against which downgrades of pkg are judged; the embedded one counts as confirmed. */
export function anchorOf(s: TrialState, env: Env, pkg: string): Release {
  const e = embeddedOf(env, pkg), a = held(s, pkg).anchor;
  return a && a.seq > e.seq && env.fits(a.runtime) ? a : e;
}

/**
 * Whether a refusal holds at now. One whose retry time has come does not. A clock that is far before the refusal was wrong
 * then: waiting for it to come round again could take years.
 */
export function blocks(f: FailedRelease, now: number): boolean {
  return !f.retryAt || now < f.retryAt && now > f.at - (f.retryAt - f.at);
}

/** The refusals of pkg that hold at now. */
export function blocked(s: TrialState, now: number, pkg: string): FailedRelease[] {
  return (s.refusals || []).filter((f) => f.package === pkg && blocks(f, now));
}

/** Every release whose tree the state may still need: all roles, open starts, and failed ones that will be tried again. */
export function named(s: TrialState): Digest[] {
  const all = dict<true>();
  const note = (r: Release | undefined) => { if (r && r.digest) all[r.digest] = true; };
  for (const pkg of names(s.packages)) {
    note(s.packages[pkg].official);
    (s.packages[pkg].history || []).forEach(note);
  }
  for (const set of (s.staged || []).concat(s.trial || [])) for (const pkg of names(set.members)) note(set.members[pkg]);
  for (const st of s.starts || []) for (const pkg of names(st.runs)) if (st.runs[pkg]) all[st.runs[pkg]] = true;
  for (const f of s.refusals || []) if (f.retryAt) all[f.digest] = true;
  return names(all);
}

/** The trees on disk that may be deleted at a cold start: no generation of the state names them and no live process leases them. */
export function garbage(onDisk: Digest[], leased: Digest[], generations: TrialState[]): Digest[] {
  const keep = new Set(leased);
  for (const s of generations) named(s).forEach((d) => keep.add(d));
  return onDisk.filter((d) => !keep.has(d));
}
