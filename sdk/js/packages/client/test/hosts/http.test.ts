import { test } from "node:test";
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createHash, randomBytes, randomFillSync } from "node:crypto";
import { tmpdir } from "node:os";
import type { AddressInfo } from "node:net";
import type { Crypto, Http } from "../../src/host.js";
import { fetchHttp, type Fetch } from "../../src/hosts/fetch-http.js";
import { MissingCapability } from "../../src/hosts/lacks.js";
import { miniProgramHost } from "../../src/hosts/miniprogram/index.js";
import { memoryPlatform, MemoryDisk, STORAGE_LIMIT } from "../../src/hosts/miniprogram/memory.js";
import { nodeHost } from "../../src/hosts/node/index.js";
import { Network } from "../../src/device/transport.js";
import { reactNativeHost, rnfsDrive } from "../../src/hosts/react-native/index.js";
import { webHost, type Browser } from "../../src/hosts/web/index.js";
import { reasonOf } from "../../src/words/reasons.js";
import { rnfs } from "./standins.js";

const big = randomBytes(700_000);

const native: Omit<Crypto, "random"> = {
  sha256() {
    const h = createHash("sha256");
    return { update: (b) => void h.update(b), digest: () => new Uint8Array(h.digest()) };
  },
  verifyEd25519: () => false,
};

const platform = (old = false, dialect: "wx" | "my" | "tt" = "wx", disk = new MemoryDisk()) =>
  memoryPlatform({ disk, old, dialect, fetch, later: (then) => void setImmediate(then), random: (n) => randomFillSync(new Uint8Array(n)) });

const hosts: Record<string, () => Promise<Http>> = {
  fetch: async () => fetchHttp(fetch as unknown as Fetch, globalThis, () => new AbortController(), true),
  "fetch without streams": async () =>
    fetchHttp(async (url, init) => {
      const r = await fetch(url, init);
      return { status: r.status, url: r.url, headers: r.headers, arrayBuffer: () => r.arrayBuffer() };
    }, globalThis, undefined),
  node: async () => nodeHost({ directory: tmpdir() }).http,
  wx: async () => (await miniProgramHost({ api: platform(), crypto: native })).http,
  "wx, old base library": async () => (await miniProgramHost({ api: platform(true), crypto: native, random: (n) => new Uint8Array(n) })).http,
  my: async () => (await miniProgramHost({ api: platform(false, "my"), dialect: "my", crypto: native })).http,
  tt: async () => (await miniProgramHost({ api: platform(false, "tt"), dialect: "tt", crypto: native })).http,
};

test("requests of every host", async (t) => {
  const server = createServer((q, r) => {
    if (q.url === "/big") return void r.writeHead(200, { ETag: '"x"', "content-length": big.length }).end(big);
    if (q.url === "/never") return;
    if (q.url === "/moved") return void r.writeHead(302, { location: "/big" }).end();
    if (q.url === "/missing") return void r.writeHead(404, { "content-type": "application/problem+json" }).end('{"code":"not_found"}');
    const parts: Buffer[] = [];
    q.on("data", (b: Buffer) => parts.push(b)).on("end", () => r.writeHead(200, { "X-Method": q.method ?? "", "X-Said": String(q.headers["x-said"]) }).end(Buffer.concat(parts)));
  });
  await new Promise<void>((up) => server.listen(0, "127.0.0.1", up));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  for (const [name, open] of Object.entries(hosts)) {
    await t.test(name, async () => {
      const http = await open(), ask = { method: "GET" as const, limit: 1 << 20, timeout: 10000 };
      const echoed = await http.request({ ...ask, method: "POST", url: base + "/echo", headers: { "x-said": "yes" }, body: Uint8Array.of(0, 200, 255) });
      assert.deepEqual([echoed.status, echoed.headers["x-method"], echoed.headers["x-said"], [...echoed.body]], [200, "POST", "yes", [0, 200, 255]]);
      const missing = await http.request({ ...ask, url: base + "/missing" });
      assert.deepEqual([missing.status, missing.headers["content-type"], Buffer.from(missing.body).toString()], [404, "application/problem+json", '{"code":"not_found"}']);
      const whole = await http.request({ ...ask, url: base + "/moved" });
      assert.ok(Buffer.from(whole.body).equals(big));
      const pieces: Uint8Array[] = [];
      const streamed = await http.request({ ...ask, url: base + "/big", onBytes: (b) => void pieces.push(b.slice()) });
      assert.equal(streamed.body.length, 0);
      if (name !== "wx, old base library" && name !== "my") assert.equal(streamed.headers.etag, '"x"');
      assert.ok(Buffer.concat(pieces).equals(big));
      const order: string[] = [];
      await http.request({ ...ask, url: base + "/big", onHead: (h) => void order.push("head " + h.status), onBytes: () => void order.push("bytes") });
      assert.deepEqual([order[0], order.filter((o) => o.startsWith("head")).length, order.includes("bytes")], ["head 200", 1, true]);
      const own = new Error("not that one");
      await assert.rejects(http.request({ ...ask, url: base + "/big", onHead: () => Promise.reject(own), onBytes: () => assert.fail("no byte is wanted") }), own);
      await assert.rejects(http.request({ ...ask, url: base + "/big", onBytes: () => Promise.reject(own) }), own);
      const cut = http.request({ ...ask, url: base + "/big", limit: 1000 });
      if (name === "fetch without streams") await assert.rejects(cut, (e) => reasonOf(e, "") === "too_large");
      else assert.equal((await cut).body.length, 1000);
      let got = 0;
      await http.request({ ...ask, url: base + "/big", limit: 1000, onBytes: (b) => void (got += b.length) }).catch((e: Error) => assert.match(e.message, /more than 1000/));
      assert.ok(got <= 1000);
      await assert.rejects(http.request({ ...ask, url: base + "/never", timeout: 100 }), /nothing whole came within 100 ms/);
      const stop = new AbortController();
      setTimeout(() => stop.abort(), 50);
      await assert.rejects(http.request({ ...ask, url: base + "/never", signal: stop.signal }), /given up/);
      await assert.rejects(http.request({ ...ask, url: "http://127.0.0.1:1/" }));
    });
  }
});

test("a mini-program's platform that throws at what it is asked beside a request harms none", async () => {
  const ask = { method: "GET" as const, limit: 1 << 20, timeout: 50, url: "http://x/" };
  const stuck = Object.assign(platform(), { request: () => ({ abort: () => { throw new Error("abort:fail no such task"); } }) });
  await assert.rejects((await miniProgramHost({ api: stuck as never, crypto: native })).http.request(ask), /nothing whole came within 50 ms/);

  const promising = platform(), fs = promising.getFileSystemManager(), stat = fs.stat.bind(fs);
  const files = Object.assign(fs, {
    stat: (o: { path: string; success(r: unknown): void }) => (o.path === "tmp" ? o.success({ stats: { size: 3, isDirectory: () => false } }) : stat(o as never)),
    readFile: (o: { success(r: unknown): void }) => o.success({ data: Uint8Array.of(1, 2, 3).buffer }),
    unlink: (o: { fail?(f: unknown): void }) => (o.fail ? o.fail({ errMsg: "unlink:fail permission denied" }) : Promise.reject(new Error("unlink:fail permission denied"))),
  });
  Object.assign(promising, { getFileSystemManager: () => files, downloadFile: (o: { success(r: unknown): void }) => void o.success({ tempFilePath: "tmp", statusCode: 200 }) });
  const got: number[] = [];
  await (await miniProgramHost({ api: promising as never, crypto: native })).http.request({ ...ask, onBytes: (b) => void got.push(...b) });
  assert.deepEqual(got, [1, 2, 3]);
  await new Promise((done) => setTimeout(done, 20)); // an unhandled rejection would end the test
});

test("a body that comes whole is refused for its size before it is in memory", async () => {
  const small = new TextEncoder().encode("{}"), large = new Uint8Array(5000);
  let taken = 0;
  const answering = (status: number, headers: Record<string, string>, body: Uint8Array, blobs: boolean) => {
    const answer = (): ReturnType<Fetch> extends Promise<infer R> ? R : never => ({
      status, url: "https://one/x", headers: new Headers(headers),
      arrayBuffer: async () => {
        taken++;
        return body.slice().buffer;
      },
      ...(blobs ? { clone: answer, blob: async () => ({ size: body.length }) } : {}),
    });
    return new Network({
      http: fetchHttp(async () => answer(), globalThis, undefined),
      clock: { now: Date.now, after: (ms: number, then: () => void) => { const t = setTimeout(then, ms); return () => clearTimeout(t); } },
      crypto: { ...native, random: (n: number) => new Uint8Array(n) },
    }, ["https://one"], { rounds: 1 });
  };
  const ask = async (...of: Parameters<typeof answering>) => {
    taken = 0;
    let reason = "";
    await answering(...of).document("/x", 1000, () => undefined).catch((e) => (reason = reasonOf(e, "internal")));
    return [reason, taken];
  };
  assert.deepEqual(await ask(200, { "content-length": "2" }, small, false), ["", 1]);
  assert.deepEqual(await ask(200, { "content-length": "5000" }, large, false), ["too_large", 0]);
  assert.deepEqual(await ask(200, {}, large, true), ["too_large", 0], "a blob tells its size");
  assert.deepEqual(await ask(200, {}, small, true), ["", 1]);
  assert.deepEqual(await ask(200, { "content-length": "20", "content-encoding": "gzip" }, large, true), ["too_large", 0], "the length is that of what was packed");
  assert.deepEqual(await ask(404, { "content-length": "5000" }, large, false), ["internal", 0], "the page of an error says no more than its status");
  assert.deepEqual(await ask(200, {}, large, false), ["too_large", 1], "nothing tells before");
});

test("a host says by name what it lacks", async () => {
  const lacks = async (host: Promise<{ lacks: readonly { capability: string }[] }>) => (await host).lacks.map((l) => l.capability);
  const missing = (name: string) => (e: unknown) => e instanceof MissingCapability && e.capability === name && e.message.includes(name);

  assert.deepEqual(await lacks(miniProgramHost({ api: platform(), crypto: native })), ["eval"]);
  await assert.rejects(miniProgramHost({ api: platform(true), crypto: native }), missing("getRandomValues"));
  assert.deepEqual(await lacks(miniProgramHost({ api: platform(true), crypto: native, random: (n) => new Uint8Array(n) })), ["eval", "restartMiniProgram"]);
  await assert.rejects(miniProgramHost({ api: {}, crypto: native }), missing("getFileSystemManager"));
  await assert.rejects(miniProgramHost({ api: { getFileSystemManager: () => platform().getFileSystemManager(), request: () => undefined }, crypto: native }), missing("env.USER_DATA_PATH"));

  const disk = new MemoryDisk();
  disk.folders.add("data");
  const drive = rnfsDrive(rnfs(disk), "data"), timers = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout as never };
  await assert.rejects(reactNativeHost({ drive, location: "file:///data", crypto: native, environment: { ...timers } }), missing("fetch"));
  const environment = { ...timers, fetch: fetch as unknown as Fetch };
  await assert.rejects(reactNativeHost({ drive, location: "file:///data", crypto: native, environment }), missing("crypto.getRandomValues"));
  const rn = await reactNativeHost({ drive, location: "file:///data/", crypto: native, environment, random: (n) => new Uint8Array(n) });
  assert.deepEqual(rn.lacks.map((l) => l.capability), ["a power-safe flush", "restart", "streams of fetch", "AbortController"]);
  assert.equal(rn.files.locate("releases/abc/main.jsbundle"), "file:///data/slipstream/releases/abc/main.jsbundle");
  assert.equal(await rn.restart(), false);

  const page: Browser = { ...timers, fetch: fetch as unknown as Fetch, location: { href: "http://x/", origin: "http://x" }, navigator: {} };
  await assert.rejects(webHost({ browser: page, crypto: native }), missing("crypto.getRandomValues"));
  await assert.rejects(webHost({ browser: { ...page, crypto }, crypto: native }), missing("navigator.locks"));
  await assert.rejects(webHost({ browser: { ...page, crypto, navigator: { locks: { request: async () => undefined } } }, crypto: native }), /lacks navigator.storage.getDirectory and caches/);
});

test("a mini-program with a full disk still starts", async () => {
  const disk = new MemoryDisk(), api = platform(false, "wx", disk);
  disk.mkdir = () => {
    throw { errMsg: "mkdir:fail the maximum size of the file storage limit is exceeded" };
  };
  const host = await miniProgramHost({ api, crypto: native });
  assert.ok(host.lacks.some((l) => l.capability === "free space"));
});

test("the platform in memory keeps the platforms' storage limits", () => {
  const wx = platform();
  for (let n = 0; n < 10; n++) wx.setStorageSync("k" + n, "x".repeat(1_000_000));
  assert.throws(() => wx.setStorageSync("k10", "x".repeat(1_000_000)), (e) => /exceed storage max size 10Mb/.test((e as { errMsg: string }).errMsg));
  assert.throws(() => wx.setStorageSync("one", "x".repeat(2_000_000)), (e) => /entry size/.test((e as { errMsg: string }).errMsg));
  assert.ok(wx.getStorageInfoSync().currentSize * 1024 <= STORAGE_LIMIT);
  assert.equal(wx.getStorageSync("k3"), "x".repeat(1_000_000));
  assert.equal(wx.getStorageSync("none"), "");
  assert.equal(wx.canIUse?.("getUpdateManager"), false);
});

test("random bytes of a mini-program come from its seed and never repeat", async () => {
  const host = await miniProgramHost({ api: platform(), crypto: native });
  const seen = new Set(Array.from({ length: 100 }, () => Buffer.from(host.crypto.random(33)).toString("hex")));
  assert.equal(seen.size, 100);
  assert.equal(host.crypto.random(5).length, 5);
});

test("one client at a time holds the directory", async () => {
  const host = await miniProgramHost({ api: platform(), crypto: native });
  const lock = await host.locks.tryLock("lock");
  assert.ok(lock);
  assert.equal(await host.locks.tryLock("lock"), undefined);
  await lock.release();
  assert.ok(await host.locks.tryLock("lock"));
});
