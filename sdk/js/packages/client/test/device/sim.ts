// A host in memory for tests: a disk that can lose its power, a clock that runs only when nothing else does, and a network
// that does what the test says. The servers behind it are the test's.
import { createHash } from "node:crypto";
import { NotFound, StorageFull, type Clock, type Host, type Http, type HttpRequest, type HttpResponse } from "../../src/host.js";
import { DriveFiles, type Drive } from "../../src/hosts/drive.js";
import { DiskError, MemoryDisk } from "../../src/hosts/miniprogram/disk.js";
import { nodeCrypto } from "../../src/hosts/node/crypto.js";
import { contextLocks } from "../../src/hosts/single.js";

export class SimClock implements Clock {
  at = Date.parse("2026-11-21T08:00:00Z");
  private timers: { at: number; then: () => void }[] = [];

  now(): number {
    return this.at;
  }

  after(ms: number, then: () => void): () => void {
    const timer = { at: this.at + Math.max(ms, 0), then };
    this.timers.push(timer);
    return () => void (this.timers = this.timers.filter((t) => t !== timer));
  }

  /** Runs work to its end; whenever it only waits, time jumps to what it waits for. */
  async run<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const end = () => void (over = true);
    work.then(end, end);
    for (let idle = 0; ;) {
      await new Promise((done) => setImmediate(done));
      if (over) return work;
      const next = this.timers.reduce<{ at: number; then: () => void } | undefined>((a, b) => (a && a.at <= b.at ? a : b), undefined);
      if (!next) {
        if (++idle > 1000) throw new Error("the client waits for nothing");
        continue;
      }
      idle = 0;
      this.timers = this.timers.filter((t) => t !== next);
      this.at = Math.max(this.at, next.at);
      next.then();
    }
  }
}

/** What a test's server says. The body is given in pieces, with a wait in ms between them. */
export interface Reply {
  status?: number;
  headers?: Record<string, string>;
  body?: Uint8Array | string;
  piece?: number;
  wait?: number;
  /** The connection breaks behind so many bytes of the body; -1 is before the head. */
  cut?: number;
  /** Follows the body until the client has enough. */
  endless?: boolean;
}

export type Server = (path: string, q: HttpRequest) => Reply | undefined;

/** The network: base URLs and who answers there. Nobody: the connection is refused. No reply: silence. */
export class SimNet implements Http {
  readonly asked: { url: string; range: string; method: string }[] = [];
  /** Bytes of bodies that came. */
  bytes = 0;

  constructor(private readonly clock: SimClock, readonly servers: Record<string, Server>, readonly streams = true) {}

  async request(q: HttpRequest): Promise<HttpResponse> {
    this.asked.push({ url: q.url, range: q.headers?.range ?? "", method: q.method });
    let end: (e: Error) => void = () => undefined, over = false;
    const ended = new Promise<never>((_, no) => (end = no)), stop = (why: string) => (over = true, end(new Error(why)));
    ended.catch(() => undefined);
    const cancel = this.clock.after(q.timeout, () => stop("nothing whole came in time")), aborted = () => stop("given up");
    if (q.signal?.aborted) aborted();
    q.signal?.addEventListener("abort", aborted);
    try {
      return await Promise.race([ended, this.answer(q, () => over)]);
    } finally {
      over = true;
      cancel();
      q.signal?.removeEventListener("abort", aborted);
    }
  }

  private async answer(q: HttpRequest, over: () => boolean): Promise<HttpResponse> {
    const base = Object.keys(this.servers).find((s) => q.url.startsWith(s + "/"));
    if (!base) throw new Error("connection refused");
    const reply = this.servers[base](q.url.slice(base.length), q);
    if (!reply) return new Promise(() => undefined);
    if (reply.cut === -1) throw new Error("connection reset");
    const head = { status: reply.status ?? 200, headers: reply.headers ?? {} };
    await q.onHead?.(head);
    const body = typeof reply.body === "string" ? new TextEncoder().encode(reply.body) : reply.body ?? new Uint8Array(0);
    const parts: Uint8Array[] = [], whole = Math.min(body.length, reply.cut ?? Infinity), piece = reply.piece ?? 16384;
    let size = 0;
    const give = async (b: Uint8Array) => {
      b = b.subarray(0, q.limit - size);
      size += b.length;
      this.bytes += b.length;
      if (q.onBytes) await q.onBytes(b.slice());
      else parts.push(b);
    };
    for (let at = 0; at < whole && size < q.limit && !over(); at += piece) {
      if (reply.wait) await new Promise<void>((done) => this.clock.after(reply.wait ?? 0, done));
      if (!over()) await give(body.subarray(at, Math.min(at + piece, whole)));
    }
    if (reply.cut !== undefined && reply.cut < body.length) throw new Error("connection reset");
    while (reply.endless && size < q.limit && !over()) await give(new Uint8Array(piece));
    return { ...head, body: q.onBytes ? new Uint8Array(0) : Buffer.concat(parts) };
  }
}

/** The disk as a drive: each call is one write. */
class DiskDrive implements Drive {
  readonly piece = 1;
  constructor(private readonly disk: MemoryDisk, readonly movesFolders: boolean) {}

  private async on<T>(work: () => T): Promise<T> {
    try {
      return work();
    } catch (e) {
      if (e instanceof DiskError && e.code === "ENOENT") throw new NotFound(e.path);
      if (e instanceof DiskError && e.code === "ENOSPC") throw new StorageFull(e.path);
      throw e;
    }
  }

  read = (path: string, offset = 0, length = Infinity) => this.on(() => this.disk.read(path).slice(offset, offset + length));
  write = (path: string, bytes: Uint8Array, append: boolean) => this.on(() => this.disk.write(path, bytes.slice(), append));
  move = (from: string, to: string) => this.on(() => this.disk.rename(from, to));
  remove = (path: string) => this.on(() => {
    if (this.disk.isFolder(path)) this.disk.rmdir(path, true);
    else if (this.disk.exists(path)) this.disk.unlink(path);
  });
  makeFolder = (path: string) => this.on(() => void (this.disk.exists(path) || this.disk.mkdir(path)));
  list = (path: string) => this.on(() => this.disk.isFolder(path) ? this.disk.list(path).map((name) => ({ name, folder: this.disk.isFolder(path === "" ? name : `${path}/${name}`) })) : []);
  stat = (path: string) => this.on(() => {
    if (!this.disk.exists(path)) return undefined;
    return this.disk.isFolder(path) ? { size: 0, folder: true } : { size: this.disk.read(path).length, folder: false };
  });
}

export interface SimHost extends Host {
  readonly clock: SimClock;
  readonly disk: MemoryDisk;
  readonly net: SimNet;
}

/**
 * A new process on the same disk, network and clock begins with another call. movesFolders: a folder moves in one step. drive:
 * the disk as a platform's file API shows it.
 */
export function simHost(o: { disk: MemoryDisk; clock: SimClock; net: SimNet; movesFolders?: boolean; drive?: (disk: MemoryDisk) => Drive }): SimHost {
  const files = new DriveFiles(o.drive ? o.drive(o.disk) : new DiskDrive(o.disk, o.movesFolders !== false), (path) => path);
  let counter = 0;
  return {
    name: "sim", files, clock: o.clock, http: o.net, disk: o.disk, net: o.net,
    locks: contextLocks(() => files.recover()),
    // The same bytes in every run, so that a failure can be run again.
    crypto: { ...nodeCrypto(), random: (n) => new Uint8Array(createHash("sha512").update(String(counter++)).digest().subarray(0, n)) },
    pause: async () => undefined,
  };
}
