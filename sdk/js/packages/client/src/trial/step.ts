// One transition under way: a copy of the state, and the conclusions that transitions share.
import { dict, names, only, type Dict } from "../words/dict.js";
import { meets, type Digest } from "../words/documents.js";
import type { Reason } from "../words/reasons.js";
import * as at from "./state.js";
import { pointsCrash, type Control, type Env, type Evidence, type Happening, type Outcome, type Package, type Release, type ReleaseSet, type Start, type TrialState } from "./state.js";

/** Bounds of what a device remembers; the oldest is forgotten. */
const maxRefusals = 32;

const kinds = { crash: "crashed", hang: "hung", unknown: "failed" } as const;
const reasons = { crash: "crashed", hang: "hung", unknown: "unknown_end" } as const;
const points = (ev: Evidence) => ev === "unknown" ? at.pointsUnknown : pointsCrash;

export const sameSet = (a: Dict<Release>, b: Dict<Release>) =>
  names(a).length === names(b).length && names(a).every((pkg) => b[pkg] && a[pkg].digest === b[pkg].digest);
export const overlaps = (a: Dict<unknown>, b: Dict<unknown>) => names(a).some((pkg) => pkg in b);
const isNamed = (d: Digest | undefined) => (r: Release) => r.digest === d;

/** What r of pkg needs and does not find. */
export function broken(pkg: string, r: Release, find: (pkg: string) => Release): string {
  for (const dep of names(r.requires)) {
    const d = find(dep);
    if (!meets(r.requires![dep], d.seq, d.digest || "")) return `${pkg} ${r.version} needs another release of ${dep} than seq ${d.seq}`;
  }
  return "";
}

export class Step {
  readonly s: Required<Omit<TrialState, "trial">> & Pick<TrialState, "trial">;
  readonly events: Happening[] = [];
  readonly maxCrashes: number;
  private readonly retries: number;

  constructor(before: TrialState, readonly env: Env) {
    const packages = dict<Package>();
    for (const pkg of names(before.packages)) packages[pkg] = { ...before.packages[pkg], history: (before.packages[pkg].history || []).slice() };
    const copies = <T>(list: T[] | undefined) => (list || []).map((x) => ({ ...x }));
    this.s = {
      ...before, packages, staged: copies(before.staged), trial: before.trial && { ...before.trial }, starts: copies(before.starts),
      refusals: (before.refusals || []).slice(), controls: copies(before.controls), enrolled: dict(before.enrolled),
    };
    this.maxCrashes = env.rules.maxCrashes! > 0 ? env.rules.maxCrashes! : 2;
    this.retries = env.rules.retries || 1;
  }

  outcome(): Outcome {
    return { state: this.s, events: this.events };
  }

  tell(e: Happening): void {
    this.events.push(e);
  }

  /** Reports e once for every release of a set, in the order of the packages' names. */
  tellMembers(members: Dict<Release>, e: Happening): void {
    for (const pkg of names(members)) {
      const r = members[pkg], told: Happening = { ...e, package: pkg, release: r.digest, rollout: r.rollout, arm: r.rollout ? "treatment" : undefined };
      if (e.kind === "rolled_back") told.running = this.running(pkg).digest;
      this.tell(told);
    }
  }

  running(pkg: string): Release {
    return at.running(this.s, this.env, pkg);
  }

  official(pkg: string): Release {
    return at.official(this.s, this.env, pkg);
  }

  trialOf(pkg: string): Release | undefined {
    return at.trialOf(this.s, pkg);
  }

  /** The roles of pkg, to be changed. */
  package(pkg: string): Package & { history: Release[] } {
    const p = this.s.packages[pkg] || (this.s.packages[pkg] = {});
    p.history = p.history || [];
    return p as Package & { history: Release[] };
  }

  /** All packages that the app ships or the device holds, by name. */
  packages(): string[] {
    return names(Object.assign(dict<unknown>(), this.env.embedded, this.s.packages));
  }

  /** Drops every waiting set that shares a package with members. */
  unstage(members: Dict<unknown>): void {
    this.s.staged = this.s.staged.filter((set) => !overlaps(set.members, members));
  }

  /** A requirement that would be broken if members were in force beside the official releases. */
  unmet(members: Dict<Release>): { package: string; why: string } | undefined {
    const find = (pkg: string) => members[pkg] || this.official(pkg);
    for (const pkg of this.packages()) {
      const why = broken(pkg, find(pkg), find);
      if (why) return { package: members[pkg] ? pkg : names(members)[0], why };
    }
    return undefined;
  }

  /** Leaves the set on trial: the official releases are in force at once. */
  endTrial(reason: Reason, refuse: boolean): void {
    const trial = this.s.trial!;
    this.s.trial = undefined;
    this.tellMembers(trial.members, { kind: "rolled_back", reason, attempt: trial.attempt });
    if (refuse) this.refuse(trial.members, reason);
  }

  /** Remembers that a set failed here. */
  refuse(members: Dict<Release>, reason: Reason): void {
    const s = this.s, set = dict<number>(), final = dict<Release>();
    for (const pkg of names(members)) set[pkg] = members[pkg].seq;
    for (const pkg of names(members)) {
      const r = members[pkg], digest = r.digest || "", mine = (f: at.FailedRelease) => f.package === pkg && f.digest === digest;
      const before = s.refusals.filter(mine)[0];
      const f: at.FailedRelease = { package: pkg, digest, retry: r.retry || 0, tries: 1 + (before ? before.tries : 0), reason, at: this.env.now, set };
      s.refusals = s.refusals.filter((o) => o !== before);
      if (f.tries <= this.retries) f.retryAt = f.at + (this.env.rules.retryAfter! > 0 ? this.env.rules.retryAfter! : 6 * 3600e3);
      else final[pkg] = r;
      s.refusals.push(f);
      const p = this.package(pkg);
      p.history = p.history.filter((h) => h.digest !== r.digest);
      s.staged = s.staged.filter((o) => !(digest && o.members[pkg] && o.members[pkg].digest === digest));
    }
    s.refusals = s.refusals.slice(-maxRefusals);
    this.tellMembers(final, { kind: "refused", reason: "refused_after_crash" });
  }

  private refused(pkg: string, d: Digest | undefined): boolean {
    return at.blocked(this.s, this.env.now, pkg).some((f) => f.digest === d);
  }

  tellLeft(pkg: string, left: Release, reason: Reason): void {
    const members = dict<Release>();
    members[pkg] = { ...left, rollout: undefined };
    this.tellMembers(members, { kind: "rolled_back", reason });
  }

  /** Leaves the official release of pkg for the newest good one in history, then for the embedded one. */
  retreat(pkg: string, reason: Reason): void {
    const p = this.package(pkg), left = p.official!, tried = this.trialOf(pkg);
    Object.assign(p, { official: undefined, crashes: 0, foreign: false });
    while (p.history.length > 0 && !p.official) {
      const r = p.history[0];
      p.history = p.history.slice(1);
      if (tried && tried.digest === r.digest) continue; // whether it is good is just being found out
      if (!this.unfit(pkg, r) && !this.refused(pkg, r.digest)) p.official = r;
    }
    this.tellLeft(pkg, left, reason);
  }

  /**
   * Leaves official releases whose requirements the others do not meet, until all are met. Each round shortens a history,
   * so it ends; an embedded release is never left. A trial that would not fit beside what is left ends too.
   */
  settle(): void {
    for (let again = true; again;) {
      again = false;
      for (const pkg of names(this.s.packages)) {
        const o = this.s.packages[pkg].official;
        if (!o || !broken(pkg, o, (dep) => this.official(dep))) continue;
        this.retreat(pkg, "requires_unmet");
        again = true;
      }
    }
    if (this.s.trial && this.unmet(this.s.trial.members)) this.endTrial("requires_unmet", false);
  }

  unfit(pkg: string, r: Release): Reason | "" {
    if (!this.env.fits(r.runtime)) return "runtime_changed";
    return r.seq < at.embeddedOf(this.env, pkg).seq ? "embedded_newer" : "";
  }

  /** Leaves what does not fit the shell any more and what is older than the embedded release. */
  sweep(): void {
    const s = this.s;
    if (s.runtime !== this.env.runtime) Object.assign(s, { runtime: this.env.runtime, refusals: [] });
    for (const pkg of names(s.trial && s.trial.members)) {
      const reason = this.unfit(pkg, s.trial!.members[pkg]);
      if (!reason) continue;
      this.endTrial(reason, false);
      break;
    }
    s.staged = s.staged.filter((set) => !names(set.members).some((pkg) => this.unfit(pkg, set.members[pkg])));
    for (const pkg of names(s.packages)) {
      const p = this.package(pkg);
      p.history = p.history.filter((r) => !this.unfit(pkg, r));
      if (p.anchor && !this.env.fits(p.anchor.runtime)) p.anchor = undefined;
      const reason = p.official && this.unfit(pkg, p.official);
      if (reason) this.retreat(pkg, reason);
    }
    this.settle();
  }

  /**
   * Takes at most one waiting set into trial. A set that shares a package with the trial under way displaces it; any other
   * waits until that is decided.
   */
  enter(scope: string[]): void {
    const s = this.s;
    for (const set of s.staged) {
      if (s.trial && !overlaps(set.members, s.trial.members) || !names(set.members).every((pkg) => scope.indexOf(pkg) >= 0)) continue;
      if (s.trial) this.endTrial("displaced", false);
      s.staged = s.staged.filter((o) => o.id !== set.id);
      const members = only(set.members, (pkg) => this.official(pkg).digest !== set.members[pkg].digest);
      if (names(members).length === 0) return;
      const unmet = this.unmet(members);
      if (!unmet) {
        s.trial = { id: set.id, members, points: 0, attempt: 0 };
        return;
      }
      const r = members[unmet.package];
      this.tell({ kind: "failed", stage: "start", package: unmet.package, release: r.digest, rollout: r.rollout,
        arm: r.rollout ? "treatment" : undefined, reason: "requires_unmet", detail: unmet.why });
    }
  }

  promote(): void {
    const trial = this.s.trial!;
    this.s.trial = undefined;
    this.tellMembers(trial.members, { kind: "confirmed", attempt: trial.attempt });
    for (const pkg of names(trial.members)) {
      const r = { ...trial.members[pkg], set: trial.id }, anchor = at.anchorOf(this.s, this.env, pkg), p = this.package(pkg);
      const former = p.official && p.official.digest !== r.digest ? [p.official] : [];
      p.history = former.concat(p.history).filter((h) => h.digest !== r.digest).slice(0, this.env.rules.history! > 0 ? this.env.rules.history! : 3);
      Object.assign(p, { official: r, crashes: 0, foreign: false });
      if (r.seq > anchor.seq) p.anchor = r;
      this.s.refusals = this.s.refusals.filter((f) => !(f.package === pkg && f.digest === r.digest));
    }
  }

  /** Closes a start and draws the conclusions. */
  finish(st: Start, ev: Evidence, detail: string): void {
    this.s.starts = this.s.starts.filter((o) => o.token !== st.token);
    const tried = !st.confirmed && st.trial;
    if (tried && this.s.trial && this.s.trial.id === st.trial) return this.judgeTrial(st, ev, detail);
    if (tried) return; // its trial was left while it ran: nothing else is to blame
    this.judgeControls(st, ev, detail);
    this.judgeOfficial(st, ev, detail);
  }

  private judgeTrial(st: Start, ev: Evidence, detail: string): void {
    const trial = this.s.trial!;
    trial.points += points(ev);
    this.tellMembers(trial.members, { kind: kinds[ev], stage: "start", reason: reasons[ev], detail, attempt: st.attempt });
    if (trial.points >= pointsCrash * this.maxCrashes) this.endTrial(reasons[ev], true);
  }

  /**
   * Counts bad starts of official releases in a row and leaves the set that came last when they are too many. An unknown
   * end of an unconfirmed start says nothing and breaks no row.
   */
  private judgeOfficial(st: Start, ev: Evidence, detail: string): void {
    const early = this.env.rules.early! > 0 ? this.env.rules.early! : 30e3;
    const bad = ev !== "unknown" && (!st.confirmed || this.env.now - st.at < early);
    if (!bad && !st.confirmed) return;
    let worn: Release | undefined;
    for (const pkg of names(st.runs)) {
      const o = at.held(this.s, pkg).official;
      if (!o || (o.digest || "") !== st.runs[pkg]) continue;
      const p = this.package(pkg);
      p.crashes = bad ? (p.crashes || 0) + 1 : 0;
      if (bad) this.tell({ kind: kinds[ev], stage: "start", package: pkg, release: o.digest, running: o.digest, reason: reasons[ev], detail, attempt: p.crashes });
      if (p.crashes > this.maxCrashes && (!worn || (o.set || 0) > (worn.set || 0))) worn = o;
    }
    if (worn) this.leaveOfficialSet(worn.set || 0, st, reasons[ev]);
  }

  /** Leaves the releases that were confirmed together, and begins new rows for all that ran. */
  private leaveOfficialSet(set: number, st: Start, reason: Reason): void {
    const left = dict<Release>();
    for (const pkg of names(this.s.packages)) {
      const p = this.package(pkg);
      if (p.official && (p.official.set || 0) === set) left[pkg] = p.official;
      if (pkg in st.runs) p.crashes = 0;
    }
    this.refuse(left, reason);
    for (const pkg of names(left)) this.retreat(pkg, reason);
    this.settle();
  }

  startControls(st: Start): void {
    this.dropControls("displaced", (c) => c.package in st.runs && st.runs[c.package] !== (c.release || ""));
    for (const c of this.s.controls) {
      if (!(c.package in st.runs) || c.token) continue;
      c.attempt = (c.attempt || 0) + 1;
      c.token = st.token;
      if (c.attempt === 1) this.tell(controlEvent(c, { kind: "started" }));
    }
  }

  /** Ends memberships without a verdict: what was to be judged does not run any more. */
  dropControls(reason: Reason, drop: (c: Control) => boolean): void {
    this.s.controls = this.s.controls.filter((c) => {
      if (drop(c)) this.tell(controlEvent(c, { kind: "failed", stage: "trial", reason }));
      return !drop(c);
    });
  }

  private judgeControls(st: Start, ev: Evidence, detail: string): void {
    this.s.controls = this.s.controls.filter((c) => {
      if (c.token !== st.token) return true;
      c.token = undefined;
      c.points = (c.points || 0) + points(ev);
      this.tell(controlEvent(c, { kind: kinds[ev], stage: "start", reason: reasons[ev], detail }));
      const over = c.points >= pointsCrash * this.maxCrashes;
      if (over) this.tell(controlEvent(c, { kind: "failed", stage: "trial", reason: reasons[ev] }));
      return !over;
    });
  }

  lose(gone: (d: Digest) => boolean): void {
    const s = this.s, lost = (r: Release) => !!r.digest && gone(r.digest), anyLost = (set: ReleaseSet) => names(set.members).some((pkg) => lost(set.members[pkg]));
    if (s.trial && anyLost(s.trial)) this.endTrial("storage_corrupted", s.trial.points >= pointsCrash);
    s.staged = s.staged.filter((set) => !anyLost(set));
    for (const pkg of names(s.packages)) {
      const p = this.package(pkg);
      p.history = p.history.filter((r) => !lost(r));
      if (!p.official || !lost(p.official)) continue;
      if (p.crashes! > 0) {
        const members = dict<Release>();
        members[pkg] = p.official;
        this.refuse(members, "storage_corrupted");
      }
      this.retreat(pkg, "storage_corrupted");
    }
    this.settle();
  }

  find(pkg: string, d: Digest): Release | undefined {
    return d ? (at.held(this.s, pkg).history || []).filter(isNamed(d))[0] : undefined;
  }
}

export function controlEvent(c: Control, e: Happening): Happening {
  return { ...e, package: c.package, release: c.release, running: c.release, rollout: c.rollout, arm: "control", attempt: c.attempt };
}
