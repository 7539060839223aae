import { test } from "node:test";
import assert from "node:assert/strict";
import { classify, isEnded, isNotServed } from "../../src/device/failure.js";
import { Stop } from "../../src/device/stop.js";
import { Network, retryAfter } from "../../src/device/transport.js";
import { Refusal } from "../../src/words/reasons.js";
import { MemoryDisk } from "../../src/hosts/miniprogram/disk.js";
import type { Limits } from "../../src/device/api.js";
import type { Http } from "../../src/host.js";
import { SimClock, simHost, SimNet, type Reply } from "./sim.js";

/** Servers a, b, … that say one thing each time; the last one is said for ever. */
function asking(said: Record<string, (Reply | undefined)[]>, limits?: Limits) {
  const clock = new SimClock(), servers: Record<string, () => Reply | undefined> = {};
  for (const [name, replies] of Object.entries(said)) servers[`http://${name}`] = () => (replies.length > 1 ? replies.shift() : replies[0]);
  const net = new SimNet(clock, servers), host = simHost({ disk: new MemoryDisk(), clock, net });
  const network = new Network(host, Object.keys(servers), limits), began = clock.now();
  return {
    clock, network, net,
    get: (accept: (text: string) => void = () => undefined, more = {}) => {
      let text = "";
      return clock.run(network.document("/doc", 100, (raw) => accept((text = Buffer.from(raw).toString())), more)).then(() => text);
    },
    asked: () => net.asked.map((a) => a.url.slice(7).split("/")[0]).join(""),
    waited: () => clock.now() - began,
  };
}

const reason = (want: string) => (e: unknown) => (assert.equal(classify(e), want, String(e)), true);
const yes: Reply = { body: "yes" };

test("servers are asked in turn, and the one that answered is asked first from then on", async () => {
  const w = asking({ a: [{ cut: -1 }], b: [{ status: 500 }], c: [yes] });
  assert.equal(await w.get(), "yes");
  assert.equal(await w.get(), "yes");
  assert.equal(w.asked(), "abcc");
  w.network.demote(w.network.answered());
  assert.equal(await w.get(), "yes");
  assert.equal(w.asked(), "abccabc");
  assert.equal(w.waited(), 0);
});

test("bytes that are refused are as bad as silence: the next server may have the right ones", async () => {
  const w = asking({ a: [{ body: "no" }], b: [yes] });
  assert.equal(await w.get((text) => { if (text !== "yes") throw new Refusal("signature_invalid", "doc", "no"); }), "yes");
  assert.equal(w.asked(), "ab");
});

test("rounds, with a random wait under a doubling bound", async () => {
  const waits = new Set<number>();
  for (let i = 0; i < 5; i++) {
    const w = asking({ a: [{ status: 500 }], b: [{ cut: -1 }] }, { rounds: 4, backoff: 1000 });
    for (let k = 0; k < i; k++) w.network.host.crypto.random(8);
    await assert.rejects(w.get(), reason("server_error"));
    assert.equal(w.asked(), "abababab");
    assert.ok(w.waited() < 1000 + 2000 + 4000);
    waits.add(w.waited());
  }
  assert.ok(waits.size > 1, "they differ");
  const patient = asking({ a: [{ cut: -1 }] }, { rounds: 40, backoff: 1000 });
  await assert.rejects(patient.get(), reason("network"));
  assert.ok(patient.waited() < 39 * 30_000, "no wait is longer than 30 s");
});

test("what servers ask to wait", async (t) => {
  const busy = (after: string): Reply => ({ status: 429, headers: { "retry-after": after } });
  await t.test("seconds", async () => {
    const w = asking({ a: [busy("20"), yes] });
    assert.equal(await w.get(), "yes");
    assert.equal(w.waited(), 20_000);
  });
  await t.test("a date", async () => {
    const w = asking({ a: [{ status: 503, headers: { "retry-after": "Sat, 21 Nov 2026 08:00:30 GMT" } }, yes] });
    assert.equal(await w.get(), "yes");
    assert.equal(w.waited(), 30_000);
  });
  await t.test("longer than a minute is not waited for, and told", async () => {
    const w = asking({ a: [busy("61"), yes] });
    await assert.rejects(w.get(), (e) => retryAfter(e) === 61_000 && classify(e) === "server_error");
    assert.equal(w.waited(), 0);
  });
  await t.test("nonsense and years are not believed", async () => {
    for (const [said, believed] of [["soon", 0], ["-5", 0], ["1e9", 0], ["", 0], ["999999999", 24 * 3600_000], ["Sat, 21 Nov 2099 08:00:30 GMT", 24 * 3600_000]] as const) {
      await assert.rejects(asking({ a: [busy(said)] }, { rounds: 1 }).get(), (e) => (assert.equal(retryAfter(e), believed, said), true));
    }
  });
});

test("what still comes of a request that was given up does not mix with the next answer", async () => {
  const clock = new SimClock(), host = simHost({ disk: new MemoryDisk(), clock, net: new SimNet(clock, {}) }), took: string[] = [], late: unknown[] = [];
  const http: Http = {
    streams: true,
    async request(q) {
      const give = (text: string) => q.onBytes!(Buffer.from(text));
      await q.onHead!({ status: 200, headers: {} });
      await give(q.url.slice(7, 8) + "1");
      if (q.url.startsWith("http://b")) return { status: 200, headers: {}, body: new Uint8Array(0) };
      setImmediate(() => void Promise.resolve(give("late")).catch((e: unknown) => late.push(e)));
      throw new Error("it took too long");
    },
  };
  const network = new Network({ ...host, http }, ["http://a", "http://b"]);
  await network.ask({ path: "/x", limit: 10, stream: { ms: 1000, head: () => undefined, bytes: (b) => void took.push(Buffer.from(b).toString()) } }, () => undefined);
  await new Promise((done) => setImmediate(done));
  assert.deepEqual(took, ["a1", "b1"]);
  assert.equal(late.length, 1);
});

test("which answer counts when all servers fail", async () => {
  const cases: [Record<string, (Reply | undefined)[]>, string, string][] = [
    [{ a: [{ status: 404 }], b: [{ cut: -1 }] }, "internal", "ab"],
    [{ a: [{ cut: -1 }], b: [{ status: 404 }] }, "internal", "ab"],
    [{ a: [{ status: 403 }] }, "internal", "a"],
    [{ a: [{ body: "x".repeat(101) }], b: [{ cut: -1 }] }, "too_large", "abababab".slice(0, 6)],
    [{ a: [{ body: "x", endless: true }] }, "too_large", "a"],
    [{ a: [undefined] }, "network", "aaa"],
  ];
  for (const [said, want, asked] of cases) {
    const w = asking(said);
    await assert.rejects(w.get(), reason(want));
    assert.equal(w.asked(), asked, JSON.stringify(said));
    assert.ok(w.net.bytes < 500);
  }
  await assert.rejects(asking({ a: [{ status: 404 }], b: [{ cut: -1 }] }).get(), isNotServed);
  await assert.rejects(asking({}).get(), reason("network"));
});

test("who is told to stop stops, and does not call it a failure of the network", async () => {
  for (const reply of [undefined, { status: 500 }]) {
    const w = asking({ a: [reply] }, { rounds: 1000 }), stop = new Stop();
    w.clock.after(5000, () => stop.abort());
    await assert.rejects(w.get(undefined, { signal: stop }), (e) => isEnded(e) && classify(e) === (reply ? "server_error" : "timeout"));
    assert.equal(w.waited(), 5000);
  }
  const w = asking({ a: [undefined] }), [stop, end] = Stop.after(w.clock, 1000, new Refusal("timeout", "start", "too late"));
  await assert.rejects(w.get(undefined, { signal: stop }), (e) => !isEnded(e) && classify(e) === "timeout");
  end();
});
