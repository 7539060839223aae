// A device against the project's own server: the way of a release onto a phone, and back.
import { test } from "node:test";
import assert from "node:assert/strict";
import { Refusal } from "../../src/index.js";
import { realServer, type RealServer } from "../serve.js";
import { Phone, shown } from "./phone.js";

const phoneOf = (server: RealServer, more: object = {}) => new Phone({ app: "shop", servers: [server.url], root: server.root, runtime: "1.0.0", ...more });
const refusedAs = (reason: string) => (e: unknown) => e instanceof Refusal && e.reason === reason;

test("a release comes, is tried, confirmed, and stays", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.publish("1.0.0", { "index.json": "one", "img/logo.svg": "<svg/>" });
  const phone = phoneOf(server);
  t.after(() => phone.kill());
  let client = await phone.open();
  assert.equal(await shown(client, await client.start()), "embedded");
  const checked = await client.check();
  assert.deepEqual([checked.answers.main.verdict, checked.answers.main.reason], ["update", "new_release"]);
  const updated = await client.fetch();
  assert.equal(updated.staged[0].release.version, "1.0.0");
  assert.equal(client.status().packages.main.staged?.version, "1.0.0");
  client = await phone.open();
  let launch = await client.start();
  assert.equal(launch.trial, true);
  assert.equal(await shown(client, launch), "one");
  await launch.confirm();
  await launch.confirm();
  assert.equal(client.status().packages.main.official.version, "1.0.0");
  assert.equal((await client.check()).answers.main.reason, "up_to_date");
  client = await phone.open();
  launch = await client.start();
  assert.equal(launch.trial, false);
  assert.equal(await shown(client, launch), "one");
  await client.report();
  assert.equal(client.status().pending, 0);
  const seen = JSON.parse(server.run("device", "show", client.device, "--app", "shop", "--json"));
  assert.ok(JSON.stringify(seen).includes("1.0.0"), JSON.stringify(seen));
});

test("a release that crashes twice is left, offline, and the server learns why", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.publish("1.0.0", { "index.json": "one" });
  const phone = phoneOf(server);
  t.after(() => phone.kill());
  let client = await phone.open();
  await client.update();
  client = await phone.open();
  await (await client.start()).confirm();
  server.publish("2.0.0", { "index.json": "two" });
  await client.update();
  const told: string[] = [];
  for (let n = 0; n < 2; n++) {
    client = await phone.open({ hooks: { onEvent: (e) => void told.push(`${e.kind} ${e.reason ?? ""}`.trim()) } });
    phone.network = () => Promise.reject(new Error("offline"));
    const launch = await client.start();
    assert.equal(await shown(client, launch), "two");
    await launch.crash("TypeError: x is not a function");
  }
  assert.deepEqual(told, ["started", "crashed crashed", "crashed crashed", "rolled_back crashed"]);
  client = await phone.open();
  assert.equal(await shown(client, await client.start()), "one");
  assert.equal(client.status().packages.main.refused[0].reason, "crashed");
  phone.network = fetch;
  assert.equal((await client.check()).answers.main.reason, "refused_after_crash");
  await client.report();
  const status = server.run("status", "--app", "shop", "--json");
  assert.match(status, /rolled|crash/);
});

test("a stale token is refused", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.publish("1.0.0", { "index.json": "one" });
  const phone = phoneOf(server);
  t.after(() => phone.kill());
  let client = await phone.open();
  await client.update();
  client = await phone.open();
  const first = await client.start();
  client = await phone.open();
  const second = await client.start();
  await assert.rejects(client.confirm(first.token), refusedAs("stale_token"));
  await client.confirm(second.token);
  await assert.rejects(client.confirm("made up"), refusedAs("stale_token"));
});

test("a private rollout is seen by those alone who ask for a decision", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.publish("1.0.0", { "index.json": "one" }, "--private");
  const plain = phoneOf(server), asks = phoneOf(server, { decisions: true });
  t.after(() => (plain.kill(), asks.kill()));
  assert.equal((await (await plain.open()).check()).answers.main.reason, "no_release");
  let client = await asks.open();
  const updated = await client.update();
  assert.deepEqual([updated.decision, updated.staged[0]?.release.version], [true, "1.0.0"]);
  client = await asks.open();
  await (await client.start()).confirm();
  assert.equal((await client.check()).answers.main.reason, "up_to_date");
});

test("a rollout for the first one device takes one, and keeps its word to it", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.publish("1.0.0", { "index.json": "one" }, "--cap", "1");
  const first = phoneOf(server), second = phoneOf(server);
  t.after(() => (first.kill(), second.kill()));
  assert.equal((await (await first.open()).update()).staged.length, 1);
  const late = await second.open();
  assert.equal((await late.update()).answers.main.reason, "grant_needed");
  assert.equal((await (await first.open()).check()).answers.main.verdict, "update");
});

test("a device whose clock is days ahead takes a fresh decision instead of a state that looks expired", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.publish("1.0.0", { "index.json": "one" });
  const phone = phoneOf(server);
  t.after(() => phone.kill());
  phone.skew = 3 * 24 * 3600e3;
  let client = await phone.open();
  const updated = await client.update();
  assert.deepEqual([updated.decision, updated.staged[0]?.release.version], [true, "1.0.0"]);
  client = await phone.open();
  assert.equal(await shown(client, await client.start()), "one");
});
