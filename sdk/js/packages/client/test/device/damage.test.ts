// Bad input and bad luck: a device keeps running, says what is wrong by its name, and is no easier to deceive afterwards.
import { test } from "node:test";
import assert from "node:assert/strict";
import { decodeGeneration, encodeGeneration } from "../../src/device/persist.js";
import { nodeCrypto } from "../../src/hosts/node/crypto.js";
import { typeManifest } from "../../src/verify/envelope.js";
import { App, refusedAs, rollout, whole } from "./app.js";
import { envelope, sha256, Shop } from "./shop.js";

/** A device that confirmed 1.0.0 and then 2.0.0. */
async function device() {
  const app = new App(), one = app.shop.release("1.0.0", { "index.json": "one" });
  app.offerMain(one);
  await app.install();
  const two = app.shop.release("2.0.0", { "index.json": "two", "lib/a.js": "a" });
  app.offerMain(two);
  await app.install();
  return { app, one, two };
}

const spoil = (app: App, path: string) => app.put(path, app.text(path).replace(/"serial":(\d)/, '"serial":7$1'));

test("a spoilt state.json: the generation before holds, and the next report tells", async () => {
  const { app, one, two } = await device();
  spoil(app, "state.json");
  const client = await app.process(), launch = await client.start();
  assert.equal(await whole(client, launch, [one, two]), "2.0.0", "the generation before is of the trial that was under way");
  assert.equal(launch.trial, true);
  await client.report();
  assert.deepEqual(app.reports.filter((e) => e.reason === "storage_corrupted").map((e) => [e.kind, e.stage, e.detail]), [["failed", "start", "state.json: the checksum is wrong"]]);
});

test("both generations spoilt: embedded runs, the anchor stays, nothing on disk is thrown away yet", async () => {
  const { app, one, two } = await device();
  spoil(app, "state.json");
  spoil(app, "state.previous.json");
  let client = await app.process();
  assert.equal(await whole(client, await client.start(), []), "embedded");
  assert.equal(client.status().packages.main.anchor.version, "2.0.0", "from the signed manifest on the disk");
  assert.ok(app.disk.exists(`releases/${two.ref.digest}`));
  app.offerMain(one);
  assert.equal((await client.check()).answers.main.reason, "downgrade", "damage is no way to a downgrade");
  app.offerMain(two);
  const asked = app.net.asked.length;
  assert.equal((await client.update()).staged[0].release.version, "2.0.0");
  assert.ok(app.net.asked.slice(asked).every((a) => !/blobs|containers/.test(a.url)), "the tree is there already");
  client = await app.process();
  assert.equal(await whole(client, await client.start(), [two]), "2.0.0");
});

for (const [name, content] of Object.entries({
  "is empty": "", "is cut off": '{"format":1,"generation":3,"sha256":"', "is of a later format": '{"format":2,"generation":1,"sha256":"' + "0".repeat(64) + '","body":{}}', "is no JSON": "\u0000\u0001",
})) {
  test(`a state.json that ${name} is as good as none`, async () => {
    const { app, one, two } = await device();
    app.put("state.json", content);
    const client = await app.process();
    assert.equal(await whole(client, await client.start(), [one, two]), "2.0.0");
  });
}

test("a file of what runs was changed: the release before runs, and the damaged one comes anew", async () => {
  const { app, one, two } = await device();
  app.put(`releases/${two.ref.digest}/lib/a.js`, "b");
  let client = await app.process();
  assert.equal(await whole(client, await client.start(), [one, two]), "1.0.0");
  await client.report();
  assert.ok(app.told("rolled_back").includes("rolled_back 2.0.0 storage_corrupted"), String(app.told()));
  await client.update();
  client = await app.process();
  assert.equal(await whole(client, await client.start(), [two]), "2.0.0");
});

test("a file that nobody signed is removed from the tree before it runs", async () => {
  const { app, two } = await device();
  app.put(`releases/${two.ref.digest}/evil.js`, "evil()");
  const client = await app.process();
  assert.equal(await whole(client, await client.start(), [two]), "2.0.0");
  assert.ok(!app.disk.exists(`releases/${two.ref.digest}/evil.js`));
});

test("the tree is gone: what is held runs", async () => {
  const { app, one, two } = await device();
  app.disk.rmdir(`releases/${two.ref.digest}`, true);
  const client = await app.process();
  assert.equal(await whole(client, await client.start(), [one]), "1.0.0");
});

test("a full disk: what is official runs, an update fails as disk_full, and works when there is room again", async () => {
  const { app, one, two } = await device();
  const three = app.shop.release("3.0.0", { "index.json": "three".repeat(1000) });
  app.offerMain(three);
  let client = await app.process();
  app.disk.limit = app.disk.used;
  const launch = await client.start();
  assert.equal(await whole(client, launch, [one, two]), "2.0.0");
  assert.deepEqual([launch.token, launch.reason], ["", "disk_full"]);
  await assert.rejects(launch.confirm(), refusedAs("disk_full"));
  await assert.rejects(app.run(client.update()), refusedAs("disk_full"));
  app.disk.limit = Infinity;
  await app.run(client.update());
  client = await app.process();
  assert.equal(await whole(client, await client.start(), [three]), "3.0.0");
});

test("a disk that never took anything: embedded runs, and a check says why it cannot act", async () => {
  const app = new App();
  app.offerMain(app.shop.release("1.0.0", { "index.json": "one" }));
  app.disk.limit = 0;
  const client = await app.process(), launch = await client.start();
  assert.equal(await whole(client, launch, []), "embedded");
  assert.deepEqual([launch.token, launch.reason], ["", "disk_full"]);
  await assert.rejects(app.run(client.check()), refusedAs("disk_full"));
});

test("a second tab: it runs what is official, changes nothing, and takes over when the first is gone", async () => {
  const { app, two } = await device(), three = app.shop.release("3.0.0", { "index.json": "three" });
  app.offerMain(three);
  const first = await app.process(), second = await app.client();
  assert.deepEqual([first.status().locked, second.status().locked], [false, true]);
  const launch = await second.start();
  assert.equal(await whole(second, launch, [two]), "2.0.0");
  assert.deepEqual([launch.token, launch.reason], ["", "locked"]);
  const writes = app.disk.writes;
  await assert.rejects(second.check(), refusedAs("locked"));
  await assert.rejects(second.update(), refusedAs("locked"));
  await assert.rejects(second.metric("x", 1), refusedAs("locked"));
  await assert.rejects(second.rollback("main"), refusedAs("locked"));
  await assert.rejects(launch.confirm(), refusedAs("locked"));
  assert.equal(app.disk.writes, writes);
  // What the second tab runs is leased: the first one's starts do not take it away.
  for (let n = 0; n < 2; n++) {
    await app.run(first.update());
    await (await first.start()).confirm();
    app.offerMain(app.shop.release(`${4 + n}.0.0`, { "index.json": "later" }));
  }
  assert.equal(await whole(second, launch, [two]), "2.0.0");
  await first.close();
  assert.equal((await second.check()).answers.main.verdict, "update");
  assert.equal(second.status().locked, false);
});

test("documents that somebody forged are refused by the reasons that every client uses", async () => {
  const app = new App(), thief = new Shop(), two = app.shop.release("2.0.0", { "index.json": "two" });
  app.offerMain(two);
  const failures: string[] = [], client = await app.process();
  client.on("failed", (f) => void failures.push(`${f.stage} ${f.reason}`));
  const good = new Map(app.shop.objects), manifest = `/v1/manifests/${two.ref.digest}`, state = "/v1/apps/shop/channels/production/state/any";
  const cases: [string, string, Uint8Array][] = [
    ["fetch signature_invalid", manifest, envelope(typeManifest, two.manifest, thief.keys.release)],
    ["fetch manifest_mismatch", manifest, envelope(typeManifest, { ...two.manifest, version: "2.0.1" }, app.shop.keys.release)],
    ["fetch malformed", manifest, new TextEncoder().encode("{}")],
    ["check signature_invalid", state, thief.state(JSON.parse(Buffer.from(JSON.parse(new TextDecoder().decode(good.get(state))).payload, "base64").toString()))],
    ["check malformed", state, envelope(typeManifest, two.manifest, app.shop.keys.release)],
    ["check too_large", state, new Uint8Array(300 << 10)],
  ];
  for (const [want, path, bytes] of cases) {
    for (const [k, v] of good) app.shop.objects.set(k, v);
    app.shop.objects.set(path, bytes);
    failures.length = 0;
    await assert.rejects(app.run(client.update()), refusedAs(want.split(" ")[1]));
    assert.deepEqual(failures, [want]);
    assert.equal(client.status().packages.main.staged, undefined);
  }
  for (const [k, v] of good) app.shop.objects.set(k, v);
  assert.equal((await app.run(client.update())).staged.length, 1);
  await app.run(client.report());
  assert.ok(cases.every(([want]) => app.reports.some((e) => e.kind === "failed" && `${e.stage} ${e.reason}` === want)), "each is reported");
});

test("bytes that are not those of the manifest never become visible", async () => {
  const app = new App(), one = app.shop.release("1.0.0", { "index.json": "one" });
  app.offerMain(one);
  app.shop.objects.set(`/v1/blobs/${sha256("one")}`, new TextEncoder().encode("two"));
  const client = await app.process();
  await assert.rejects(app.run(client.update()), refusedAs("file_mismatch"));
  assert.ok(!app.disk.exists(`releases/${one.ref.digest}`));
});

test("an older epoch, another channel, an expired state", async () => {
  const { app, two } = await device(), path = "/v1/apps/shop/channels/production/state/any", old = app.shop.objects.get(path)!;
  app.offerMain(two);
  const client = await app.process();
  await client.check();
  app.shop.objects.set(path, old);
  await assert.rejects(client.check(), refusedAs("stale_state"));
  app.offer({}, { channel: "beta" });
  app.shop.objects.set(path, app.shop.objects.get("/v1/apps/shop/channels/beta/state/any")!);
  await assert.rejects(client.check(), refusedAs("wrong_channel"));
  app.offerMain(app.shop.release("3.0.0", { "index.json": "three" }));
  app.clock.at += 25 * 3600e3;
  await assert.rejects(client.check(), refusedAs("expired_state"));
  assert.equal(await whole(client, await client.start(), [two]), "2.0.0", "what runs goes on");
});

test("one bad mirror hides no good one", async () => {
  const app = new App({ servers: ["http://bad", "http://good"] }), thief = new Shop(), serve = app.net.servers["http://bad"];
  const one = app.shop.release("1.0.0", { "index.json": "one" });
  app.offerMain(one);
  app.net.servers["http://bad"] = (path, q) => path.includes("/state/") ? { body: thief.state({ channel: "production" } as never) } : serve(path, q);
  const client = await app.process();
  assert.equal((await app.run(client.update())).staged[0].release.version, "1.0.0");
});

test("a shipped root or options that are not usable throw at once", async () => {
  const app = new App(), thief = new Shop("other");
  await assert.rejects(app.process({ root: thief.root }), refusedAs("wrong_app"));
  await assert.rejects(app.process({ root: new Uint8Array(3) }), refusedAs("malformed"));
  await assert.rejects(app.process({ app: "Not a name" }), /name "Not a name" is not allowed/);
  await assert.rejects(app.process({ packages: ["a/b"] }), /package name "a\/b"/);
  const host = { ...app.host, crypto: { random: app.host.crypto.random } };
  await assert.rejects(app.process({ host: host as never }), refusedAs("host_incapable"));
});

test("a generation is exactly what was written, or nothing", () => {
  const crypto = nodeCrypto(), body = { trial: { channel: "production", runtime: "1<2>&\u2028", serial: 3, packages: { constructor: { crashes: 1 } } } };
  const raw = encodeGeneration(crypto, 12, body), back = decodeGeneration(crypto, raw);
  assert.equal(back.number, 12);
  assert.deepEqual(JSON.parse(JSON.stringify(back.body)), body);
  for (let at = 0; at < raw.length; at++) {
    const bad = raw.slice();
    bad[at] ^= 1;
    let got: ReturnType<typeof decodeGeneration> | undefined;
    try {
      got = decodeGeneration(crypto, bad);
    } catch (e) {
      refusedAs("storage_corrupted")(e);
    }
    if (got) assert.deepEqual(got.body, back.body, "only the number is not covered by the checksum");
  }
  for (const end of [raw.length - 1, 100, 0]) assert.throws(() => decodeGeneration(crypto, raw.subarray(0, end)), refusedAs("storage_corrupted"));
});

test("an offer whose rollout is not what the manifest says is refused before a byte is fetched", async () => {
  const app = new App(), one = app.shop.release("1.0.0", { "index.json": "one" });
  app.offer({ main: { rollouts: [rollout(one, { size: one.ref.size + 1 })] } });
  const client = await app.process();
  await assert.rejects(app.run(client.update()), refusedAs("manifest_mismatch"));
  assert.ok(app.net.asked.every((a) => !/blobs|containers/.test(a.url)));
});
