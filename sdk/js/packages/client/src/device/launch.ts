// What a cold start runs, and what is said of it afterwards.
import * as machine from "../trial/machine.js";
import { garbage, named, type Evidence, type Happening, type TrialState } from "../trial/state.js";
import { dict, names, withEntry } from "../words/dict.js";
import { isDigest, type Digest, type Manifest } from "../words/documents.js";
import { Refusal, type Reason } from "../words/reasons.js";
import type { Launch, Tree } from "./api.js";
import { dropLease, type Device } from "./device.js";
import { Ended, classify } from "./failure.js";
import { treePath } from "./trees.js";

/** One start of the app, or of one opened package. */
export class Started implements Launch {
  readonly leases: Digest[] = [];

  constructor(private readonly d: Device, readonly key: string, readonly token: string, readonly attempt: number, readonly trial: boolean,
    readonly packages: Record<string, Tree>, readonly reason?: Reason) {}

  confirm(): Promise<void> {
    const { d, token } = this;
    return d.mu.run(async () => {
      if (!token) throw new Refusal(this.reason || "internal", "launch", "it has no token: nothing about it can be kept");
      if (!(d.body.trial.starts || []).some((st) => st.token === token && st.confirmed)) await confirm(d, token);
    });
  }

  crash(detail?: string): Promise<void> {
    return this.d.mu.run(() => endLaunch(this.d, this, "crash", detail));
  }

  hang(detail?: string): Promise<void> {
    return this.d.mu.run(() => endLaunch(this.d, this, "hang", detail));
  }

  close(): Promise<void> {
    return this.d.mu.run(() => endLaunch(this.d, this, "unknown"));
  }

  outdated(): boolean {
    const { d, packages, token } = this;
    if (!d.lock || !token) return false;
    // The preview ends no launch: an unconfirmed trial that runs well is what a start would run again.
    const { launch } = machine.coldStart({ ...d.body.trial, starts: [] }, d.env, { token: "preview", key: this.key, packages: names(packages) });
    return names(launch.runs).some((pkg) => (launch.runs[pkg].digest || "") !== packages[pkg].release);
  }
}

/** Confirms the launch with this token; a stale one is refused. In mu. */
export function confirm(d: Device, token: string): Promise<void> {
  return d.step(machine.confirm(d.body.trial, d.env, token));
}

/** Notes how a launch ended. In mu. */
export async function endLaunch(d: Device, l: Started, ev: Evidence, detail = ""): Promise<void> {
  const page = d.pages[l.key];
  if (page && page.launch === l) delete d.pages[l.key];
  await unlease(d, l);
  if (l.token) await d.step(machine.end(d.body.trial, d.env, l.token, ev, detail));
}

/**
 * Begins a launch: ends every one before it that it replaces, may switch to what is staged, and says what to run. It works
 * without a writable disk: then the official releases run. In mu.
 */
export async function coldStart(d: Device, key: string, packages: string[]): Promise<Started> {
  if (d.closed) throw new Ended("start: the client is closed");
  for (const k of names(d.pages)) {
    if (key !== "" && k !== key) continue;
    // The state machine ends these in the same write as the start.
    await unlease(d, d.pages[k].launch as Started);
    delete d.pages[k];
  }
  let l: Started;
  d.read = dict();
  try {
    l = await begin(d, key, packages);
  } catch (e) {
    // Whoever holds the directory may have changed what is official.
    if (!d.lock) await d.reload();
    const reason = classify(e);
    d.log("what is official runs, without a trial", e);
    d.emit("failed", { stage: "start", reason, error: e });
    l = await describeLaunch(d, key, await untried(d, packages), reason);
  }
  await lease(d, l);
  d.pages[key] = { launch: l };
  if (d.lock && !d.salvaged) await collect(d).catch((e) => d.log("releases are not tidied", e));
  return l;
}

/** Makes a launch whose attempt and token are on disk. */
async function begin(d: Device, key: string, packages: string[]): Promise<Started> {
  await d.own();
  const here = new Set((await d.trees.all()).trees), { env } = d, opening = { token: d.random(16), key, packages };
  let { state, events } = machine.lose(d.body.trial, env, (digest) => !here.has(digest));
  let started = machine.coldStart(state, env, opening);
  for (let bad = await damaged(d, started.launch); bad.size > 0; bad = await damaged(d, started.launch)) {
    const lost: { state: TrialState; events: Happening[] } = machine.lose(state, env, (digest) => bad.has(digest));
    state = lost.state;
    events = events.concat(lost.events);
    started = machine.coldStart(state, env, opening);
  }
  await announce(d, started.launch);
  let { ran } = d.body;
  for (const pkg of names(started.launch.runs)) ran = withEntry(ran, pkg, started.launch.runs[pkg].digest || "");
  await d.commit({ ...d.body, trial: started.state, ran }, events.concat(started.events));
  return describeLaunch(d, key, started.launch);
}

/** What runs when nothing can be persisted. What is damaged on disk does not run all the same. */
async function untried(d: Device, packages: string[]): Promise<machine.Launched> {
  let s = d.body.trial, launch = machine.untried(s, d.env, packages);
  for (let bad = await damaged(d, launch); bad.size > 0; bad = await damaged(d, launch)) {
    s = machine.lose(s, d.env, (digest) => bad.has(digest)).state;
    launch = machine.untried(s, d.env, packages);
  }
  return launch;
}

/**
 * Reads the trees of a launch and gives those that are not as they were signed. A disk forgets, and a program may have
 * written into its own directory.
 */
async function damaged(d: Device, l: machine.Launched): Promise<Set<Digest>> {
  const bad = new Set<Digest>();
  for (const pkg of names(l.runs)) {
    const { digest, embedded } = l.runs[pkg];
    if (embedded || !digest) continue;
    try {
      await clean(d, digest);
    } catch (e) {
      d.log(`release ${digest.slice(0, 12)} on disk is damaged`, e);
      bad.add(digest);
    }
  }
  return bad;
}

/**
 * Refuses a tree that is not as it was signed. What nobody signed is removed from it, because a program could load it,
 * unless the tree is in use elsewhere.
 */
async function clean(d: Device, digest: Digest): Promise<void> {
  const t = await d.trees.holding(digest);
  if (!t) throw new Refusal("storage_corrupted", `release ${digest.slice(0, 12)}`, "its manifest is gone");
  const strays = await strangers(d, t.manifest, treePath(digest));
  if (strays.length > 0 && d.lock && !(await leased(d)).has(digest)) {
    for (const path of strays) {
      d.log(`what nobody signed is removed: ${path}`);
      await d.o.host.files.remove(path);
    }
  }
  await d.trees.inspect(t);
  d.read[digest] = t.manifest;
}

/** Files and folders in a tree that its manifest does not name. */
async function strangers(d: Device, m: Manifest, tree: string): Promise<string[]> {
  const known = new Set<string>(), out: string[] = [];
  for (const f of m.files) {
    known.add(f.path);
    for (let at = f.path.indexOf("/"); at >= 0; at = f.path.indexOf("/", at + 1)) known.add(f.path.slice(0, at + 1));
  }
  const look = async (folder: string) => {
    for (const name of await d.o.host.files.list(folder === "" ? tree : `${tree}/${folder.slice(0, -1)}`)) {
      if (!known.has(folder + name)) out.push(`${tree}/${folder}${name.replace(/\/$/, "")}`);
      else if (name.endsWith("/")) await look(folder + name);
    }
  };
  await look("");
  return out;
}

/** Tells the host of packages that go back behind the format of their users' data, before it happens. */
async function announce(d: Device, l: machine.Launched): Promise<void> {
  const hooks = d.o.hooks || {};
  if (!hooks.onDataRollback) return;
  for (const pkg of names(l.runs)) {
    const from = (d.body.ran && d.body.ran[pkg]) || "", to = l.runs[pkg];
    if (!from || from === to.digest) continue;
    const before = await manifestOf(d, pkg, from), after = await manifestOf(d, pkg, to.digest || "");
    const format = before && before.seq > to.seq && before.data && before.data.writes;
    if (!format || ((after && after.data && after.data.reads) || []).indexOf(format) >= 0) continue;
    await d.call("onDataRollback", () => hooks.onDataRollback!({ package: pkg, from, to: to.digest || "", format }));
  }
}

async function manifestOf(d: Device, pkg: string, digest: Digest): Promise<Manifest | undefined> {
  if (d.read[digest]) return d.read[digest];
  const t = digest ? await d.trees.holding(digest).catch(() => undefined) : undefined;
  return t ? t.manifest : digest && d.embeds[pkg] && d.embeds[pkg].digest === digest ? d.manifests[pkg] : undefined;
}

async function describeLaunch(d: Device, key: string, l: machine.Launched, reason?: Reason): Promise<Started> {
  const packages = dict<Tree>();
  for (const pkg of names(l.runs)) {
    const r = l.runs[pkg], m = await manifestOf(d, pkg, r.digest || ""), shipped = d.o.embedded && d.o.embedded[pkg];
    const path = r.embedded ? "" : treePath(r.digest || "");
    packages[pkg] = {
      package: pkg, release: r.digest || "", version: r.version || "", seq: r.seq, entry: (m && m.entry) || "", embedded: !!r.embedded,
      trial: l.trial.indexOf(pkg) >= 0, path, location: path ? d.o.host.files.locate(path) : (shipped && shipped.location) || "",
    };
  }
  return new Started(d, key, l.token, l.attempt, l.trial.length > 0, packages, reason);
}

/** Keeps the launch's trees from being deleted by whoever holds the lock. */
async function lease(d: Device, l: Started): Promise<void> {
  for (const pkg of names(l.packages)) {
    const { embedded, release } = l.packages[pkg];
    if (embedded || !release) continue;
    let held = d.leases[release];
    if (!held) {
      const name = `leases/${release}-${d.process}`;
      try {
        const lock = await d.o.host.locks.tryLock(name);
        if (!lock) continue;
        await d.o.host.files.replace(`${name}.lease`, new Uint8Array(0));
        held = d.leases[release] = { name, lock, users: 0 };
      } catch (e) {
        d.log(`the running release ${release.slice(0, 12)} has no lease`, e);
        continue;
      }
    }
    held.users++;
    l.leases.push(release);
  }
}

async function unlease(d: Device, l: Started): Promise<void> {
  for (const digest of l.leases.splice(0)) {
    const held = d.leases[digest];
    if (!held || --held.users > 0) continue;
    delete d.leases[digest];
    await dropLease(d, held);
  }
}

/** The trees that live processes run; the leases of dead ones are removed. */
async function leased(d: Device): Promise<Set<Digest>> {
  const out = new Set<Digest>(names(d.leases)), { files, locks } = d.o.host;
  const found = new Set((await files.list("leases")).map((name) => name.replace(/(\.lease|\/)$/, "")));
  for (const name of Array.from(found)) {
    const digest = name.slice(0, 64);
    if (!isDigest(digest) || out.has(digest)) continue;
    const lock = await locks.tryLock(`leases/${name}`);
    if (!lock) out.add(digest);
    else await dropLease(d, { name: `leases/${name}`, lock, users: 0 });
  }
  return out;
}

/** Deletes the trees that nobody can need any more, and manifests without a tree but for those of the anchors. In mu. */
async function collect(d: Device): Promise<void> {
  const generations = d.previous ? [d.body.trial, d.previous] : [d.body.trial], inUse = await leased(d);
  for (const digest of garbage((await d.trees.all()).trees, Array.from(inUse), generations)) {
    await d.trees.discard(digest).catch((e) => d.log(`release ${digest.slice(0, 12)} stays`, e));
  }
  const { trees, manifests } = await d.trees.all(), keep = new Set(trees);
  for (const s of generations) {
    for (const digest of named(s)) keep.add(digest);
    for (const pkg of names(s.packages)) keep.add((s.packages[pkg].anchor || { digest: "" }).digest || "");
  }
  for (const digest of manifests) if (!keep.has(digest)) await d.trees.discardManifest(digest);
}
