import { test, type TestContext } from "node:test";
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rich as delta } from "../../src/delta/rich.js";
import type { Delta, Progress } from "../../src/device/api.js";
import { Downloads, type Wanted } from "../../src/device/download.js";
import { classify } from "../../src/device/failure.js";
import { askGrant } from "../../src/device/grant.js";
import { listen } from "../../src/device/live.js";
import { complete, sendReports } from "../../src/device/outbox.js";
import { Network } from "../../src/device/transport.js";
import { treePath, Trees } from "../../src/device/trees.js";
import type { Host } from "../../src/host.js";
import { nodeHost } from "../../src/hosts/node/index.js";
import { Trust } from "../../src/verify/trust.js";
import type { Container, Event, Rollout } from "../../src/words/documents.js";
import { realServer, type RealServer } from "../serve.js";

const maxState = 256 << 10;

/** A device of Node that asks a real server what is offered first, and gets it. */
class Device {
  readonly dir: string;
  readonly progress: Progress[] = [];
  /** Bytes of bodies that came, and the connection that breaks behind some of an object's. */
  came = 0;
  breakAfter = Infinity;

  constructor(t: TestContext, readonly server: RealServer) {
    this.dir = mkdtempSync(join(tmpdir(), "slipstream-js-device-"));
    t.after(() => rmSync(this.dir, { recursive: true, force: true }));
  }

  /** Each call is a new process. */
  async open(unpack?: Delta, rounds = 1) {
    const real = nodeHost({ directory: this.dir }), http = real.http;
    const host: Host = { ...real, http: { streams: true, request: (q) => http.request({ ...q, onBytes: q.onBytes && (async (b) => {
      if (this.came + b.length > this.breakAfter) {
        const rest = b.subarray(0, this.breakAfter - this.came);
        this.came = this.breakAfter;
        await q.onBytes!(rest);
        throw new Error("the connection broke");
      }
      this.came += b.length;
      await q.onBytes!(b);
    }) }) } };
    const net = new Network(host, [this.server.url], { rounds, backoff: 1 }), trees = new Trees(host);
    return { host, net, trees, downloads: new Downloads({ host, net, trees, delta: unpack, progress: (p) => void this.progress.push(p) }) };
  }

  async state(net: Network, trust: Trust, channel = "production") {
    let rollouts: Rollout[] = [], epoch = 0;
    await net.document(`/v1/apps/shop/channels/${channel}/state/any`, maxState, async (raw) => {
      const s = await trust.acceptState(raw, { app: "shop", channel, platform: "any", now: Date.now(), highestSigned: 0 });
      rollouts = s.packages.main?.rollouts ?? [];
      epoch = s.epoch;
    });
    return { rollouts, epoch };
  }

  async fetch(unpack?: Delta, base?: string): Promise<Wanted> {
    const p = await this.open(unpack), trust = await Trust.open(p.host.crypto, this.server.root), r = (await this.state(p.net, trust)).rollouts[0];
    const offer = { package: "main", release: { digest: r.manifest, seq: r.seq, version: r.version, size: r.size }, runtime: r.runtime, rollout: r.id, retry: 0, apply: r.apply, leaving: false, reason: "new_release" as const };
    const w = await p.downloads.manifest(offer, { app: "shop", platform: "any" }, () => trust, async () => undefined);
    await p.downloads.obtain(w, { base: base ? await p.trees.holding(base) : undefined });
    return w;
  }

  path(w: Wanted, file: string): string {
    return join(this.dir, treePath(w.offer.release.digest), file);
  }

  holds(w: Wanted, files: Record<string, string | Uint8Array>): void {
    assert.deepEqual(w.manifest.files.map((f) => f.path), Object.keys(files).sort());
    for (const [path, content] of Object.entries(files)) assert.ok(readFileSync(this.path(w, path)).equals(Buffer.from(content as string)), path);
  }
}

/** Waits until the server has made a container that ok takes; asking for one makes it want it. */
async function container(server: RealServer, digest: string, from: string, ok: (k: Container) => boolean): Promise<Container> {
  for (let i = 0; i < 300; i++) {
    const list = (await (await fetch(`${server.url}/v1/releases/${digest}/containers?from=${from}`)).json()) as Container[];
    const found = list.find(ok);
    if (found) return found;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error("no such container was made in 30 s");
}

const text = (n: number, seed: string) => Array.from({ length: n }, (_, i) => `${seed} line ${i} ${createHash("sha256").update(seed + i).digest("hex")}\n`).join("");
const first = { "main.js": "console.log(1)\n", "lib/large.js": text(3000, "a"), "img/photo.bin": randomBytes(50_000) };
const second = { ...first, "main.js": "console.log(2)\n", "lib/large.js": first["lib/large.js"].replace(/line (\d*7) /g, "row $1, "), "new.txt": text(20, "n"), "empty.txt": "", "copy.js": "console.log(2)\n" };

test("a real server's releases come by every way", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.publish("1.0.0", first);
  const digestOf = (version: string) => JSON.parse(server.run("release", "show", version, "--app", "shop", "--json")).digest as string;
  await container(server, digestOf("1.0.0"), "", (k) => !k.from);
  const device = new Device(t, server), one = await device.fetch(delta);
  await t.test("the full container", () => {
    assert.equal(one.codec, "full/1");
    device.holds(one, first);
    assert.deepEqual(device.progress.map((p) => [p.received, p.total]).pop(), [one.received, one.received]);
  });
  server.publish("1.1.0", second);
  const bare = new Device(t, server);
  await t.test("single files", async () => {
    const w = await bare.fetch();
    assert.equal(w.codec, "blobs");
    bare.holds(w, second);
  });
  const digest = digestOf("1.1.0"), base = one.offer.release.digest;
  // Each way by itself: what cannot be unpacked is as good as not offered.
  const only = (wanted: (codec: string) => boolean): Delta => ({ ...delta, can: (codec, memory) => wanted(codec) && delta.can(codec, memory) });
  const whole = await container(server, digest, base, (k) => !k.from);
  await t.test("what changed against what runs, and every other patch that can be applied", async () => {
    await container(server, digest, base, (k) => k.from === base && k.codec === "simple/1+zstd");
    const made = (await (await fetch(`${server.url}/v1/releases/${digest}/containers?from=${base}`)).json()) as Container[];
    const codecs = new Set(made.filter((k) => k.from === base && delta.can(k.codec, 16 << 20)).map((k) => k.codec));
    assert.deepEqual([...codecs].sort(), ["changed/1", "rich/1+js", "simple/1+zstd"]);
    for (const codec of codecs) {
      const d: Device = new Device(t, server);
      await copyRelease(device, d, one);
      const w: Wanted = await d.fetch(only((c) => c === codec), base);
      assert.equal(w.codec, codec);
      d.holds(w, second);
      assert.ok(w.received < whole.size, `${codec}: ${w.received} bytes of ${whole.size}`);
      t.diagnostic(`${codec}: ${w.received} bytes, full ${whole.size}, signed ${w.offer.release.size}`);
    }
  });
  await t.test("single files beside what is held", async () => {
    const d: Device = new Device(t, server);
    await copyRelease(device, d, one);
    const w: Wanted = await d.fetch(undefined, base);
    d.holds(w, second);
    assert.equal(w.received, w.manifest.files.filter((f) => ["lib/large.js", "main.js", "new.txt"].includes(f.path)).reduce((n, f) => n + f.size, 0));
  });
  await t.test("a broken connection and a new process cost only the rest", async () => {
    for (const unpack of [delta, undefined]) {
      const d: Device = new Device(t, server);
      for (const at of [1000, 40_000, 60_000]) {
        d.breakAfter = at;
        // One question that breaks brings something, the next one nothing: the process gives up.
        await assert.rejects(d.fetch(unpack), (e) => classify(e) === "network");
      }
      d.breakAfter = Infinity;
      const w: Wanted = await d.fetch(unpack);
      d.holds(w, second);
      const signed = new Set(w.manifest.files.map((f) => f.sha256 + f.size));
      const bytes = unpack ? whole.size : [...signed].reduce((n, f) => n + Number(f.slice(64)), 0);
      assert.equal(d.came, bytes, "every byte came once");
      assert.equal(w.received, bytes - 60_000, "the last process got the rest");
    }
  });
  await t.test("what can be run keeps that", { skip: process.platform === "win32" && "MISSING: file modes" }, async () => {
    server.publish("1.2.0", { "run.sh": "#!/bin/sh\necho yes\n", "plain.txt": "no\n" }, "--entry", "run.sh");
    for (const unpack of [undefined, delta]) {
      const d: Device = new Device(t, server), w: Wanted = await d.fetch(unpack), exec = w.manifest.files.map((f) => [f.path, !!f.exec]);
      for (const [path, x] of exec) assert.equal((statSync(d.path(w, path as string)).mode & 0o111) !== 0, x, `${path} by ${w.codec}`);
    }
  });
});

/** Puts a release that one device has onto another. */
async function copyRelease(from: Device, to: Device, w: Wanted): Promise<void> {
  const a = await from.open(), b = await to.open();
  for (const f of w.manifest.files) {
    const sink = await b.host.files.create(`staging/${w.offer.release.digest}/${f.path}`, { executable: f.exec });
    await sink.write(await a.host.files.read(`${treePath(w.offer.release.digest)}/${f.path}`));
    await sink.close();
  }
  await b.trees.publish(w.offer.release.digest, w.envelope);
}

test("a real server takes reports once, admits to a rollout with a cap, and tells of changes", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.publish("1.0.0", first);
  const device = new Device(t, server), p = await device.open(), trust = await Trust.open(p.host.crypto, server.root);
  const id = createHash("sha256").update("shop:one").digest("hex"), { epoch } = await device.state(p.net, trust);
  await t.test("reports", async () => {
    const teller = { app: "shop", channel: "production", device: id, platform: "any", runtime: "", epoch };
    const good = Array.from({ length: 120 }, (_, i) => complete({ kind: "metric", package: "main", metric: "load", value: i }, teller, p.host.crypto.random, Date.now()));
    const bad: Event = { ...good[0], id: "!", kind: "nonsense" as never };
    let left = [...good.slice(0, 50), bad, ...good.slice(50)], log: string[] = [];
    const send = () => sendReports(p.net, { pending: () => left, sent: async (ids) => void (left = left.filter((e) => !ids.has(e.id))) }, { log: (l) => void log.push(l) });
    await send();
    assert.deepEqual([left.length, log.length], [0, 1], log.join("\n"));
    left = good.slice(0, 10);
    await send();
    assert.equal(left.length, 0, "known already");
  });
  await t.test("live", async () => {
    const heard = new Promise<string>((done) => {
      const stop = listen({ host: p.host, servers: [server.url], app: "shop", channel: "production", epoch: () => epoch, log: (l) => t.diagnostic(l) }, (data) => (stop(), done(data)));
    });
    await new Promise((done) => setTimeout(done, 300));
    server.publish("1.1.0", second, "--no-rollout");
    server.run("rollout", "start", "1.1.0", "--app", "shop", "--cap", "1");
    assert.ok((JSON.parse(await heard) as { epoch: number }).epoch > epoch);
  });
  await t.test("grants", async () => {
    const now = await device.state(p.net, trust), r = now.rollouts.find((one) => one.grant);
    assert.ok(r);
    const ask = (who: string) => askGrant(p.net, { app: "shop", channel: "production", rollout: r.id, device: createHash("sha256").update(`shop:${who}`).digest("hex") }, now.epoch);
    assert.deepEqual([await ask("one"), await ask("two"), await ask("one")], ["granted", "full", "granted"]);
  });
});
