import { test } from "node:test";
import assert from "node:assert/strict";
import { classify } from "../../src/device/failure.js";
import { askGrant, places } from "../../src/device/grant.js";
import { EventStream, listen } from "../../src/device/live.js";
import { bounded, complete, cutDetail, failureNote, metricEvent, quiet, sendReports, toldBy } from "../../src/device/outbox.js";
import { Network } from "../../src/device/transport.js";
import { MemoryDisk } from "../../src/hosts/miniprogram/disk.js";
import type { Event } from "../../src/words/documents.js";
import { SimClock, simHost, SimNet, type Reply, type Server } from "./sim.js";

function device(servers: Record<string, Server>, streams = true) {
  const clock = new SimClock(), net = new SimNet(clock, servers, streams), host = simHost({ disk: new MemoryDisk(), clock, net });
  return { clock, net, host, network: new Network(host, Object.keys(servers)) };
}

const teller = { app: "shop", channel: "beta", device: "d".repeat(64), platform: "any", epoch: 7 };
let made = 0;
const event = (more: Partial<Event> = {}): Event => ({ kind: "alive", ...teller, id: `id-${made++}`, at: "2026-11-21T08:00:00Z", ...more });

test("an event carries an id of its own and nothing empty", () => {
  const e = complete({ kind: "failed", package: "main", stage: "", attempt: 0, detail: "x".repeat(3000), metric: undefined }, { ...teller, runtime: "" }, (n) => new Uint8Array(n).fill(171), 1_795_248_000_999);
  assert.deepEqual(e, { ...teller, kind: "failed", package: "main", detail: "x".repeat(2048), id: "ab".repeat(16), at: "2026-11-21T08:00:00Z" });
  assert.equal(complete({ kind: "metric", metric: "m", value: 0 }, teller, (n) => new Uint8Array(n), 0).value, 0, "a measurement may be nothing");
});

test("a detail is cut between characters", () => {
  assert.equal(cutDetail("ok é 页"), "ok é 页");
  assert.equal(cutDetail("a".repeat(2047) + "é"), "a".repeat(2047));
  assert.equal(cutDetail("a".repeat(2046) + "éx"), "a".repeat(2046) + "é");
  assert.equal(cutDetail("a".repeat(2045) + "😀"), "a".repeat(2045));
  assert.equal(cutDetail("x\ud800y\udc00😀"), "x?y?😀");
});

test("an outbox that is too long loses its oldest events", () => {
  const many = Array.from({ length: 505 }, () => event());
  assert.deepEqual(bounded(many), many.slice(5));
  const large = Array.from({ length: 450 }, () => event({ detail: "é".repeat(2048) }));
  const kept = bounded(large);
  assert.equal(kept.length, Math.floor((1 << 20) / 4096));
  assert.equal(kept[kept.length - 1], large[449]);
  assert.equal(bounded([event({ value: "x".repeat(2 << 20) as never })]).length, 0);
});

test("measurements are numbers and booleans", () => {
  assert.deepEqual(metricEvent("load", 1.5, "main", "abc"), { kind: "metric", package: "main", metric: "load", value: 1.5, release: "abc", running: "abc" });
  assert.equal(metricEvent("ok", false, "", "").value, false);
  for (const bad of [NaN, Infinity, "1", null, {}]) assert.throws(() => metricEvent("m", bad as never, "", ""), /a number or a boolean/);
  assert.throws(() => metricEvent("m".repeat(2048), 1, "", ""), /more than 2048 bytes/);
});

test("what was told, and of whom nothing was heard", () => {
  assert.deepEqual(failureNote({ stage: "fetch", package: "main", release: "f".repeat(64) }, "network"), { key: "fetch/main", note: "network ffffffffffff" });
  assert.deepEqual(failureNote({ stage: "check" }, "network"), { key: "check/", note: "network" });
  const now = 1_795_248_000_000, day = 86_400;
  assert.deepEqual({ ...toldBy({ a: 1 }, [event({ package: "b" }), event({ package: "c", kind: "metric" }), event()], now) }, { a: 1, b: now / 1000 });
  const told = { fresh: now / 1000 - 10, old: now / 1000 - day, future: now / 1000 + 2 * day };
  assert.deepEqual(quiet(["fresh", "old", "future", "never"], told, now / 1000 - 100, now), ["future"], "a new device was just heard of");
  assert.deepEqual(quiet(["fresh", "old", "future", "never"], told, 0, now), ["old", "future", "never"]);
});

test("reports", async (t) => {
  /** Sends events to a server and gives the sizes of the batches and what is left. */
  const sending = async (events: Event[], say: (batch: Event[]) => Reply) => {
    const batches: Event[][] = [], log: string[] = [];
    const d = device({ "http://a": (path, q) => {
      assert.equal(path, "/v1/reports");
      assert.equal(q.headers?.["content-type"], "application/json");
      batches.push(JSON.parse(Buffer.from(q.body!).toString()) as Event[]);
      return say(batches[batches.length - 1]);
    } });
    let left = events, error: unknown;
    await d.clock.run(sendReports(d.network, { pending: () => left, sent: async (ids) => void (left = left.filter((e) => !ids.has(e.id))) }, { log: (l) => void log.push(l) })).catch((e: unknown) => (error = e));
    return { sizes: batches.map((b) => b.length), batches, left, error, log, waited: d.clock.now() - Date.parse("2026-11-21T08:00:00Z") };
  };
  const answer = (status: (e: Event, i: number) => string | undefined) => (batch: Event[]): Reply =>
    ({ body: JSON.stringify({ results: batch.map((e, index) => ({ index, status: status(e, index), error: "" })).filter((r) => r.status) }) });

  await t.test("go in order, in batches, and are dropped when a server knows or refuses them", async () => {
    const events = Array.from({ length: 250 }, () => event()), r = await sending(events, answer((_, i) => ["accepted", "duplicate", "refused"][i % 3]));
    assert.deepEqual([r.sizes, r.left, r.error], [[100, 100, 50], [], undefined]);
    assert.deepEqual(r.batches.flat(), events);
  });
  await t.test("stay when no server takes them, and the next time begins with the oldest", async () => {
    const events = Array.from({ length: 150 }, () => event());
    for (const reply of [{ cut: -1 }, { status: 500 }, { status: 429, headers: { "retry-after": "30" } }, { status: 404 }, { body: "not JSON" }, { body: '{"results":[]}' }, { body: '{"results":[{"index":-1,"status":"accepted"},{"index":100,"status":"accepted"}]}' }, { body: "{}" }]) {
      const r = await sending(events, () => reply);
      assert.deepEqual([r.sizes, r.left.length], [[100], 150], JSON.stringify(reply));
      assert.ok(r.error);
      assert.equal(r.waited, 0, "one round is enough");
    }
  });
  await t.test("what the server did not speak of stays", async () => {
    let first = true;
    const r = await sending(Array.from({ length: 4 }, () => event()), (batch) => first ? (first = false, answer((_, i) => (i < 3 ? "accepted" : undefined))(batch)) : { cut: -1 });
    assert.equal(r.left.length, 1);
    assert.equal(classify(r.error), "network");
  });
  await t.test("one that makes a server refuse the whole is found and dropped", async () => {
    for (const status of [400, 413, 422]) {
      const events = Array.from({ length: 20 }, () => event()), bad = events[13];
      const r = await sending(events, (batch) => batch.includes(bad) || batch.some((e) => e.id === bad.id) ? { status } : answer(() => "accepted")(batch));
      assert.deepEqual([r.left, r.error], [[], undefined]);
      assert.equal(r.log.filter((l) => l.includes("that no server takes is dropped")).length, 1);
      assert.ok(r.sizes.length < 15);
    }
  });
});

test("grants", async () => {
  const question = { app: "shop", channel: "beta", rollout: "r1", device: "d" };
  const asked = async (reply: Reply | undefined) => {
    let body: unknown;
    const d = device({ "http://a": (_, q) => (body = JSON.parse(Buffer.from(q.body!).toString()), reply) });
    const said = await d.clock.run(askGrant(d.network, question, 7));
    assert.deepEqual(body, question);
    assert.equal(d.net.asked.length, 1, "it is asked once");
    return said;
  };
  assert.equal(await asked({ body: '{"granted":true}' }), "granted");
  assert.equal(await asked({ body: '{"granted":false,"epoch":7}' }), "full");
  assert.equal(await asked({ body: '{"granted":false}' }), "full");
  assert.equal(await asked({ body: '{"granted":false,"epoch":6}' }), undefined, "that node is behind");
  for (const none of [{ cut: -1 }, { status: 500 }, { status: 404 }, { body: "{}" }, { body: '{"granted":"yes"}' }, { body: "x".repeat(5000) }, undefined]) assert.equal(await asked(none), undefined);
  assert.deepEqual(places({ granted: { b: true, a: true }, ungranted: { old: 6, now: 7, next: 8 } }, 7), { granted: ["a", "b"], full: ["next", "now"] });
});

test("live", async (t) => {
  /** Listens until the first server was asked often enough; gives what was heard and when each question came, in s. */
  const listening = async (reply: (n: number) => Reply | undefined, often: number) => {
    const heard: string[] = [], times: number[] = [];
    let enough: () => void = () => undefined;
    const d = device({ "http://a": () => {
      times.push((d.clock.now() - began) / 1000);
      if (times.length >= often) enough();
      return reply(times.length);
    } });
    const began = d.clock.now();
    d.host.crypto.random = () => { throw new Error("no randomness: waits are as long as they may be"); };
    const done = new Promise<void>((r) => (enough = r));
    const stop = listen({ host: d.host, servers: ["http://a"], app: "shop", channel: "beta", epoch: () => 41 }, (data) => void heard.push(data));
    await d.clock.run(done);
    stop();
    assert.equal(d.net.asked[0].url, "http://a/v1/live?app=shop&channel=beta&epoch=41");
    return { heard, times };
  };
  await t.test("events are handed on, those that tell of a change", async () => {
    const body = ':\n\nid: 42\nevent: changed\ndata: {"epoch":42}\n\nevent: other\ndata: x\n\nevent: changed\r\ndata: a\r\ndata:b\r\n\r\nevent: changed\ndata: cut off';
    for (const piece of [1, 7, 1000]) assert.deepEqual((await listening(() => ({ body, piece }), 2)).heard.slice(0, 2), ['{"epoch":42}', "a\nb"]);
  });
  await t.test("a wire that breaks is waited out longer and longer", async () => {
    assert.deepEqual((await listening(() => ({ cut: -1 }), 5)).times, [0, 5, 15, 35, 75]);
    assert.deepEqual((await listening(() => ({ body: "retry: 20000\n\n" }), 4)).times, [0, 20, 60, 140]);
  });
  await t.test("a connection that lived is the first again", async () => {
    assert.deepEqual((await listening((n) => n === 3 ? { body: ":".repeat(70) + "\n", piece: 1, wait: 1000 } : { cut: -1 }, 5)).times, [0, 5, 15, 15 + 71 + 5, 15 + 71 + 5 + 10]);
  });
  await t.test("silence is a broken wire", async () => {
    assert.deepEqual((await listening(() => undefined, 2)).times, [0, 30 + 5]);
    assert.deepEqual((await listening(() => ({ body: "::", piece: 1, wait: 100_000 }), 2)).times, [0, 90 + 5]);
  });
  await t.test("where there is nothing live, it is asked once in a while", async () => {
    assert.deepEqual((await listening(() => ({ status: 404 }), 2)).times, [0, 1800 + 3600]);
    assert.deepEqual((await listening(() => ({ status: 503, headers: { "retry-after": "100" } }), 2)).times, [0, 150]);
    assert.deepEqual((await listening(() => ({ status: 503 }), 2)).times, [0, 5]);
  });
  await t.test("a flood is read slowly", async () => {
    const { heard, times } = await listening(() => ({ body: "event: changed\ndata: x\n\n".repeat(50), piece: 24 }), 2);
    assert.deepEqual([heard.slice(0, 50).length, times], [50, [0, 55]]);
  });
  await t.test("a line without an end is not kept", () => {
    assert.throws(() => new EventStream().take(new Uint8Array(5000).fill(65)), /too long/);
    const stream = new EventStream(), line = Buffer.from(`data: ${"x".repeat(3000)}\n`);
    stream.take(line);
    assert.throws(() => stream.take(line), /too long/);
  });
  await t.test("a host that cannot hold a connection says so", () => {
    const d = device({ "http://a": () => undefined }, false), log: string[] = [];
    listen({ host: d.host, servers: ["http://a"], app: "shop", channel: "beta", epoch: () => 1, log: (l) => void log.push(l) }, () => undefined)();
    assert.deepEqual([d.net.asked.length, log.length], [0, 1]);
    assert.match(log[0], /sim host cannot hold a connection open/);
  });
});
