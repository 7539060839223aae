// The client of one app on one device: what it holds in memory, and how that becomes what is on disk. Everything that it
// does is in the files beside this one. Whoever reads or changes what is below "state" across a pause does so in mu; whoever
// checks, fetches or stages has the turn, which is taken before mu.
import { directoryLock, type Crypto } from "../host.js";
import { fits } from "../decide/ranges.js";
import * as machine from "../trial/machine.js";
import { fresh, running, type Env, type Happening, type Release, type TrialState } from "../trial/state.js";
import { fromUtf8, hex, utf8 } from "../verify/bytes.js";
import { digestOf } from "../verify/envelope.js";
import { Trust } from "../verify/trust.js";
import { dict, type Dict } from "../words/dict.js";
import { defaultChannel, formatTime, parseTime, type Digest, type Event, type Manifest, type State } from "../words/documents.js";
import { Refusal, reasonOf } from "../words/reasons.js";
import type { Change, Events, Launch, Options } from "./api.js";
import { Downloads } from "./download.js";
import { Ended, classify, isEnded, messageOf } from "./failure.js";
import { bounded, complete, toldBy } from "./outbox.js";
import { encodeGeneration, load, previousState, stateFile, type Body, type Seen } from "./persist.js";
import { forgetStates, keepRoot, storedChain, unstageRevoked } from "./roots.js";
import { salvage } from "./salvage.js";
import { deviceId, openEmbedded, settle, type Settled } from "./settled.js";
import { Stop } from "./stop.js";
import { Network } from "./transport.js";
import { Trees } from "./trees.js";
import { Turns } from "./turns.js";

/** Releases that run, so that another process does not delete them. */
export interface Lease {
  name: string;
  lock: { release(): Promise<void> };
  users: number;
}

/** A launch that lives: the whole app under "", or one opened package under its name. */
export interface LivePage {
  launch: Launch;
  /** ms since 1970 when it went into the background; undefined while it is seen. */
  hidden?: number;
}

type Listener<K extends keyof Events> = (e: Events[K]) => void;

export class Device {
  readonly net: Network;
  readonly trees: Trees;
  readonly downloads: Downloads;
  readonly turn = new Turns();
  readonly mu = new Turns();
  /** One question to the user at a time. */
  readonly asking = new Turns();
  /** One batch of reports on its way at a time. */
  readonly sending = new Turns();
  /** Ends with the client. */
  readonly behind = new Stop();
  readonly process: string;
  private readonly listeners: { [K in keyof Events]?: Listener<K>[] } = {};

  // state
  lock?: { release(): Promise<void> };
  closed = false;
  identity = { id: "", firstSeen: 0 };
  /** The shipped root, those that followed it, oldest first, and the newest of all. */
  chain: Trust[] = [];
  trust: Trust;
  /** No state was readable: what lies on the disk is kept until the next process knows what it needs. */
  salvaged = false;
  number = 0;
  body: Body;
  raw?: Uint8Array;
  previous?: TrialState;
  /** Last accepted, by channel, and the envelope that said it. */
  states = dict<{ state: State; envelope: Uint8Array }>();
  leases = dict<Lease>();
  pages = dict<LivePage>();
  /** Manifests of the releases that the last cold start read, by digest. */
  read = dict<Manifest>();
  /** Called when something was put into the outbox, and when run is woken. */
  onTold?: () => void;
  onWake?: (spread: number) => void;
  /** A wake that came while run was at work: its spread in ms. */
  woken?: number;
  /** run is running. */
  runs = false;

  private constructor(readonly o: Settled, readonly root: Trust, readonly embeds: Dict<Release>, readonly manifests: Dict<Manifest>) {
    const { host } = o, log = (text: string, error?: unknown) => this.log(text, error);
    this.trust = root;
    this.process = hex(host.crypto.random(8));
    this.net = new Network(host, o.servers, o.limits);
    this.trees = new Trees(host);
    this.downloads = new Downloads({ host, net: this.net, trees: this.trees, delta: o.delta, progress: (p) => this.emit("progress", p), log });
    this.body = { trial: fresh(o.channel || defaultChannel, o.runtime) };
  }

  /**
   * Prepares the directory. When another process holds it, the client can still start what is in force, and every change is
   * refused with reason locked. Throws when the options or the shipped root are not usable.
   */
  static async open(options: Options, crypto: Crypto): Promise<Device> {
    const o = settle(options, crypto), root = await Trust.open(crypto, o.root);
    if (root.root.app !== o.app) throw new Refusal("wrong_app", "root", `it is of app "${root.root.app}", not "${o.app}"`);
    const log = (text: string, error?: unknown) => o.hooks && o.hooks.log && o.hooks.log(text, error);
    const { releases, manifests } = await openEmbedded(o, root, log);
    const d = new Device(o, root, releases, manifests);
    await d.mu.run(async () => {
      try {
        await d.own();
      } catch (e) {
        d.log("nothing can be changed from here", e);
        await d.reload();
      }
    });
    return d;
  }

  get channel(): string {
    return this.body.trial.channel;
  }

  /** The id on the wire; the install id never leaves the device. */
  get id(): string {
    return deviceId(this.o.host.crypto, this.o.app, this.identity.id);
  }

  get env(): Env {
    const { o } = this;
    return {
      now: o.host.clock.now(), process: this.process, runtime: o.runtime, fits: (r) => fits(r, o.runtime), embedded: this.embeds,
      rules: { maxCrashes: o.maxCrashes, retries: o.retries, retryAfter: o.retryAfter, history: o.history },
    };
  }

  running(pkg: string): Release {
    return running(this.body.trial, this.env, pkg);
  }

  seen(): Seen {
    return (this.body.channels && this.body.channels[this.channel]) || {};
  }

  random(n: number): string {
    return hex(this.o.host.crypto.random(n));
  }

  log(text: string, error?: unknown): void {
    const { hooks } = this.o;
    if (!hooks || !hooks.log) return;
    try {
      hooks.log(text, error);
    } catch (e) {
      // Whoever listens badly must not stop an update.
    }
  }

  on<K extends keyof Events>(name: K, listener: Listener<K>): () => void {
    const all = this.listeners as Record<string, unknown[]>;
    all[name] = (all[name] || []).concat(listener);
    return () => { all[name] = all[name].filter((l) => l !== listener); };
  }

  emit<K extends keyof Events>(name: K, e: Events[K]): void {
    for (const listener of (this.listeners[name] || []) as Listener<K>[]) {
      try {
        listener(e);
      } catch (err) {
        this.log(`a listener of ${name} failed`, err);
      }
    }
  }

  /** Calls one of the host's hooks; what it throws is logged, and the answer undefined. */
  async call<T>(what: string, hook: () => Promise<T> | T): Promise<T | undefined> {
    try {
      return await hook();
    } catch (e) {
      this.log(`the hook ${what} failed`, e);
      return undefined;
    }
  }

  /** Tells the host to start again. It is not waited for: a host may close the client in it. */
  restart(change: Change): void {
    this.emit("restart-needed", change);
    const hook = this.o.hooks && this.o.hooks.restart;
    if (hook) void this.call("restart", () => hook.call(this.o.hooks, change));
  }

  /** Runs work when nobody else checks, fetches or stages. The signal it gets ends with parent and with the client. */
  async takeTurn<T>(parent: Stop | undefined, work: (signal: Stop) => Promise<T>): Promise<T> {
    const [signal, unlink] = Stop.under(parent), end = () => signal.abort(this.behind.reason);
    if (this.behind.aborted) end();
    else this.behind.addEventListener("abort", end);
    try {
      return await this.turn.run(() => work(signal), signal);
    } finally {
      unlink();
      this.behind.removeEventListener("abort", end);
    }
  }

  /** Takes the lock, if it can, and loads everything. In mu. */
  async own(): Promise<void> {
    if (this.lock) return;
    if (this.closed) throw new Ended("the client is closed");
    const { host } = this.o;
    const lock = await host.locks.tryLock(directoryLock);
    if (!lock) throw new Refusal("locked", "the device's directory", "another process or tab holds it");
    this.lock = lock;
    const tried = async (what: string, work: () => Promise<void>) => work().catch((e) => this.log(what, e));
    await tried("leftovers stay", () => this.trees.leftovers());
    await this.reload();
    await tried("the device has no lasting id", () => this.identify());
    await tried("the root is not kept", () => keepRoot(this));
    await tried("a staged release of a former key stays", () => unstageRevoked(this));
    const want = this.o.channel;
    if (want && want !== this.channel) await tried("the change of channel is not kept", () => this.moveTo(want));
  }

  /** Reads what is on disk. In mu. */
  async reload(): Promise<void> {
    const { host, channel, runtime } = this.o;
    this.chain = await storedChain(this);
    this.trust = this.chain[this.chain.length - 1] || this.root;
    const l = await load(host.files, host.crypto);
    for (const e of l.damage) this.log("state unusable", e);
    const body: Body = l.body || { trial: fresh(channel || defaultChannel, runtime) };
    if (!l.newest) {
      body.trial = await salvage(this, body.trial);
      this.salvaged = !l.body && l.damage.length > 0;
    }
    Object.assign(this, { number: l.number, body, raw: l.raw, previous: l.previous, states: dict() });
    await this.readIdentity();
    if (l.damage.length > 0) {
      const e = this.complete({ kind: "failed", stage: "start", reason: "storage_corrupted", detail: messageOf(l.damage[0]) });
      this.body = { ...body, outbox: (body.outbox || []).concat(e) };
    }
    const role = this.roleKey(this.trust);
    if (!this.body.stateRole) this.body = { ...this.body, stateRole: role };
    else if (this.body.stateRole !== role && this.lock) await forgetStates(this).catch((e) => this.log("states of another key not forgotten", e));
  }

  /** Equal for equal state roles. */
  roleKey(t: Trust): string {
    return digestOf(this.o.host.crypto, utf8(t.stateRole()));
  }

  private async readIdentity(): Promise<void> {
    try {
      const d = JSON.parse(fromUtf8(await this.o.host.files.read("device.json"))) as { id?: unknown; firstSeen?: unknown };
      const at = typeof d.firstSeen === "string" ? parseTime(d.firstSeen) : undefined;
      if (typeof d.id === "string" && /^[0-9a-f]{32}$/.test(d.id) && at !== undefined) this.identity = { id: d.id, firstSeen: at };
    } catch (e) {
      // None yet, or damaged: a new one is made.
    }
  }

  /** Makes the install id on the first run. In mu. */
  private async identify(): Promise<void> {
    if (this.identity.id !== "") return;
    const { clock, files } = this.o.host;
    this.identity = { id: this.random(16), firstSeen: clock.now() };
    await files.replace("device.json", utf8(JSON.stringify({ id: this.identity.id, firstSeen: formatTime(this.identity.firstSeen) })));
  }

  private complete(e: Happening): Event {
    const { o } = this;
    return complete(e, { app: o.app, channel: this.channel, device: this.id, platform: o.platform, runtime: o.runtime, epoch: this.seen().epoch },
      (n) => o.host.crypto.random(n), o.host.clock.now());
  }

  /**
   * Makes next the state of the device, durably or not at all. Events go into the outbox in the same write. Who changes
   * anything owns the directory before it computes next. In mu.
   */
  async commit(next: Body, events: Happening[] = []): Promise<void> {
    if (!this.lock) throw new Refusal("locked", "the device's directory", "another process or tab holds it");
    const { crypto, files, clock } = this.o.host, done = events.map((e) => this.complete(e));
    const body = { ...next, outbox: bounded((next.outbox || []).concat(done)), told: toldBy(next.told || dict(), done, clock.now()) };
    let raw: Uint8Array | undefined;
    while (!raw) {
      try {
        raw = encodeGeneration(crypto, this.number + 1, body);
      } catch (e) {
        // The roles of releases matter more than old reports.
        if (reasonOf(e, "") !== "too_large" || body.outbox.length === 0) throw e;
        body.outbox = body.outbox.slice(Math.ceil(body.outbox.length / 2));
      }
    }
    try {
      if (this.raw) await files.replace(previousState, this.raw);
      await files.replace(stateFile, raw);
    } catch (e) {
      throw new Refusal(classify(e), "write state", messageOf(e), e);
    }
    Object.assign(this, { number: this.number + 1, previous: this.body.trial, body, raw });
    for (const e of done) this.told(e);
    if (done.length > 0 && this.onTold) this.onTold();
  }

  private told(e: Event): void {
    this.log(`event: ${e.kind} ${e.package || ""} ${(e.release || "").slice(0, 12)} ${e.reason || ""}`);
    const hook = this.o.hooks && this.o.hooks.onEvent;
    if (hook) void this.call("onEvent", () => hook.call(this.o.hooks, e));
    if (e.kind === "rolled_back") {
      this.emit("rollback", { package: e.package || "", from: e.release || "", to: e.running || "", reason: (e.reason || "internal") as Refusal["reason"] });
    }
  }

  /** Applies one transition of the state machine and persists it. In mu. */
  step(out: { state: TrialState; events?: Happening[] }): Promise<void> {
    return this.commit({ ...this.body, trial: out.state }, out.events);
  }

  /** Moves in memory even when the disk refuses: the host's word counts. In mu. */
  async moveTo(channel: string): Promise<void> {
    const out = machine.changeChannel(this.body.trial, this.env, channel);
    this.o.channel = channel;
    try {
      await this.step(out);
    } catch (e) {
      this.body = { ...this.body, trial: out.state };
      throw e;
    }
  }

  /** Whether err only says that the client ends. */
  ending(err: unknown): boolean {
    return isEnded(err) || this.behind.aborted;
  }

  /** Ends what is under way, waits for it, and gives the directory up. What was started keeps running. */
  async close(): Promise<void> {
    this.behind.abort(new Ended("the client is closed"));
    await this.turn.run(() => this.mu.run(async () => {
      this.closed = true;
      const held = Object.keys(this.leases).map((digest) => this.leases[digest as Digest]);
      this.leases = dict();
      for (const l of held) await dropLease(this, l);
      const { lock } = this;
      this.lock = undefined;
      if (lock) await lock.release();
    }));
  }
}

export async function dropLease(d: Device, l: Lease): Promise<void> {
  try {
    await l.lock.release();
    await d.o.host.files.remove(`${l.name}.lease`);
    await d.o.host.files.remove(l.name);
  } catch (e) {
    d.log("a lease is left behind", e);
  }
}
