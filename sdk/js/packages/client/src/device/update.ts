// Brings what is offered onto the device and puts it in line for the next cold start.
import * as machine from "../trial/machine.js";
import { fits } from "../decide/ranges.js";
import { group } from "../trial/group.js";
import { held, stagedFor, type Happening, type Release } from "../trial/state.js";
import { dict, names, type Dict } from "../words/dict.js";
import { Refusal } from "../words/reasons.js";
import type { Change, Checked, Offer, Updated } from "./api.js";
import { check, ruleOnce } from "./check.js";
import type { Device } from "./device.js";
import type { Having, Wanted } from "./download.js";
import { classify, several } from "./failure.js";
import { failed, flush, succeeded } from "./reports.js";
import { lastState, walkRoots } from "./roots.js";
import { describe } from "./settled.js";
import { Stop } from "./stop.js";
import type { Held } from "./trees.js";

/** How long a critical update may hold up a start, whatever the server says. In ms. */
const defaultCriticalTimeout = 10e3;
const maxCriticalTimeout = 30e3;

/** Releases that go together and are on disk. */
type Ready = Dict<Wanted>;

/** What came of an update: a package that fails does not hold up others. out is missing when the check itself failed. */
export interface Attempt {
  out?: Updated;
  err?: unknown;
}

/** Checks, fetches and stages, then asks the host about what is newly staged. With checked it goes on from that check. */
export async function update(d: Device, packages: string[], parent?: Stop, checked?: () => Checked | undefined): Promise<Updated> {
  const { out, err } = await attempt(d, packages, parent, checked);
  // A question may stay open for long: it is asked when the turn was given back.
  if (out && out.staged.length > 0) await offerNow(d, out.staged);
  if (err !== undefined) throw err;
  return out!;
}

/** As update, but asks nobody and does not throw. */
export async function attempt(d: Device, packages: string[], parent?: Stop, checked?: () => Checked | undefined): Promise<Attempt> {
  try {
    return await d.takeTurn(parent, async (signal) => {
      const c = checked && checked() || await check(d, signal);
      return fetchAndStage(d, { ...c, answers: dict(c.answers), staged: [], deferred: [] }, packages, signal);
    });
  } catch (err) {
    return { err };
  }
}

async function fetchAndStage(d: Device, out: Updated, packages: string[], signal: Stop): Promise<Attempt> {
  await tellArms(d, out, signal);
  const errs: unknown[] = [], sets = await fetchSets(d, out, packages, errs, signal);
  const all = errs.length === 0 && packages.length === d.o.packages.length || errs.some((e) => classify(e) === "disk_full");
  await d.downloads.tidy(all).catch((e) => d.log("partial downloads stay", e));
  for (const set of sets) {
    try {
      out.staged.push(...await d.mu.run(() => stageSet(d, set)));
      for (const pkg of names(set)) await succeeded(d, "stage", pkg);
    } catch (e) {
      let err: unknown = e;
      for (const pkg of names(set)) err = await failedOffer(d, "stage", set[pkg].offer, err);
      errs.push(err);
    }
  }
  if (out.staged.length > 0) d.emit("ready", out.staged);
  return { out, err: several("update", errs) };
}

function failedOffer(d: Device, stage: "fetch" | "stage", o: Offer, err: unknown): Promise<unknown> {
  return failed(d, { stage, package: o.package, release: o.release.digest, rollout: o.rollout, arm: o.rollout ? "treatment" : undefined }, err);
}

/**
 * Sends which arms the device is in before it downloads anything: what fails later must not fail unseen. When no server
 * takes it in the time of one document, the report waits and the download goes on.
 */
async function tellArms(d: Device, c: Checked, parent: Stop): Promise<void> {
  if (!names(c.answers).some((pkg) => c.answers[pkg].offer) || !(d.body.outbox || []).some((e) => e.kind === "enrolled")) return;
  const [signal, done] = Stop.after(d.o.host.clock, d.net.limits.document, new Refusal("timeout", "reports", "no server took them in time"), parent);
  await flush(d, signal);
  done();
}

/** Fetches the sets that one of packages is in. Answers of packages that cannot go are changed in out. */
async function fetchSets(d: Device, out: Updated, packages: string[], errs: unknown[], signal: Stop): Promise<Ready[]> {
  const wants = dict<Wanted>(), targets = dict<Release>(), { o } = d;
  const expect = { app: o.app, platform: o.platform, fits: (r: Release["runtime"]) => fits(r, o.runtime) };
  for (const pkg of names(out.answers)) {
    const { offer } = out.answers[pkg];
    if (!offer) continue;
    if (putOff(d, offer)) {
      out.deferred.push(offer);
      continue;
    }
    try {
      const w = await d.downloads.manifest(offer, expect, () => d.trust, () => walkRoots(d, signal), signal);
      wants[pkg] = w;
      targets[pkg] = releaseOf(w);
    } catch (e) {
      errs.push(await failedOffer(d, "fetch", offer, e));
    }
  }
  const { sets, unmet } = group(d.body.trial, d.env, targets);
  for (const pkg of names(unmet)) {
    errs.push(await failedOffer(d, "stage", out.answers[pkg].offer!, new Refusal("requires_unmet", `release of ${pkg}`, unmet[pkg])));
    out.answers[pkg] = { verdict: "none", reason: "requires_unmet" };
  }
  const ready: Ready[] = [];
  for (const members of sets) {
    if (!packages.some((pkg) => members[pkg])) continue;
    const set: Ready = dict();
    try {
      for (const pkg of names(members)) {
        await fetchOne(d, wants[pkg], signal);
        set[pkg] = wants[pkg];
      }
      ready.push(set);
    } catch (e) {
      errs.push(e);
    }
  }
  return ready;
}

async function fetchOne(d: Device, w: Wanted, signal: Stop): Promise<void> {
  const { offer } = w, pkg = offer.package;
  try {
    await d.downloads.obtain(w, await having(d, pkg, offer.release.digest), signal);
  } catch (e) {
    throw await failedOffer(d, "fetch", offer, e);
  }
  await succeeded(d, "fetch", pkg);
  if (!w.codec) return;
  await d.mu.run(() => d.commit(d.body, [{ kind: "fetched", package: pkg, release: offer.release.digest, rollout: offer.rollout,
    arm: offer.rollout ? "treatment" : undefined, running: d.running(pkg).digest, bytes: w.received, codec: w.codec }]));
}

/** What of pkg is on the device, to build on. */
async function having(d: Device, pkg: string, wanted: string): Promise<Having> {
  const s = d.body.trial, run = d.running(pkg), staged = stagedFor(s, pkg), others: Held[] = [];
  for (const h of held(s, pkg).history || []) {
    const t = await d.trees.holding(h.digest!);
    if (t) others.push(t);
  }
  return { base: await base(d, pkg, run), others, staged: !!staged && staged.digest === wanted };
}

async function base(d: Device, pkg: string, run: Release): Promise<Held | undefined> {
  if (!run.digest) return undefined;
  if (!run.embedded) return d.trees.holding(run.digest);
  const shipped = d.o.embedded && d.o.embedded[pkg], manifest = d.manifests[pkg];
  return manifest && shipped && shipped.open ? { digest: run.digest, manifest, open: (path) => shipped.open!(path) } : undefined;
}

/** Holds back downloads of low priority while the network costs money or the device is in use. */
function putOff(d: Device, o: Offer): boolean {
  const { metered, idle } = d.o.hooks || {};
  return o.apply.priority === "low" && !o.leaving && (!!metered && metered() || !!idle && !idle());
}

function releaseOf(w: Wanted): Release {
  const { release, rollout, retry, apply } = w.offer;
  return { ...describe(w.manifest, release.digest), rollout, retry, apply };
}

/**
 * Stages one set and says which of its releases were not in line before. An official release that must be left is given up
 * in the same write: should the new one fail, the device falls back to a good one. In mu.
 */
async function stageSet(d: Device, set: Ready): Promise<Offer[]> {
  await d.own();
  const members = dict<Release>(), added: Offer[] = [], { env } = d;
  for (const pkg of names(set)) {
    const r = members[pkg] = releaseOf(set[pkg]), before = stagedFor(d.body.trial, pkg);
    if ((!before || before.digest !== r.digest) && d.running(pkg).digest !== r.digest) added.push(set[pkg].offer);
  }
  let { state, events } = machine.stage(d.body.trial, env, members);
  const all: Happening[] = events.slice();
  for (const pkg of names(set)) {
    const { leaving, reason } = set[pkg].offer;
    if (!leaving) continue;
    const newest = (held(state, pkg).history || [])[0];
    ({ state, events } = machine.rollBack(state, env, pkg, newest ? newest.digest! : "", reason));
    all.push(...events);
  }
  if (added.length > 0 || all.length > 0) await d.step({ state, events: all });
  return added;
}

/** Asks the host to start again where the apply mode says so: at once, or when the user agrees. */
export function offerNow(d: Device, staged: Offer[]): Promise<void> {
  return d.asking.run(async () => {
    const now: Offer[] = [], hooks = d.o.hooks || {};
    for (const o of staged) {
      if (o.leaving || o.apply.mode === "immediate") now.push(o);
      else if (o.apply.mode === "prompt" && hooks.prompt) {
        const agreed = await d.call("prompt", () => hooks.prompt!(o));
        if (agreed || o.apply.mandatory) now.push(o);
        else d.log(`update ${o.release.version} of ${o.package} declined: it applies at the next cold start`);
      }
    }
    const change: Change = { packages: now.map((o) => o.package), reason: "new_release", offers: now };
    if (now.length > 0 && !d.behind.aborted) d.restart(change);
  });
}

/** Blocks a start while an update of critical priority is known but not staged, at most as long as it says. */
export async function awaitCritical(d: Device): Promise<void> {
  let wait = 0;
  const { clock } = d.o.host;
  await d.mu.run(async () => {
    await d.own();
    const { last } = await lastState(d);
    const rulings = last ? await ruleOnce(d, last, undefined, clock.now()) : dict<never>();
    for (const pkg of names(rulings)) {
      const { offer } = rulings[pkg] as { offer?: Offer }, waiting = stagedFor(d.body.trial, pkg);
      if (!offer || offer.apply.priority !== "critical" || waiting && waiting.digest === offer.release.digest) continue;
      wait = Math.max(wait, Math.min((offer.apply.timeout || 0) * 1000, maxCriticalTimeout) || defaultCriticalTimeout);
    }
  }).catch((e) => d.log("nothing can be fetched before the start", e));
  if (wait === 0) return;
  const [signal, done] = Stop.after(clock, wait, new Refusal("timeout", "update", "the start does not wait longer"));
  await update(d, d.o.packages, signal).catch((e) => d.log("a critical update did not make it before the start", e));
  done();
}
