// What becomes of releases on a device: tried, confirmed, left, withdrawn, kept together, opened as pages.
import { test } from "node:test";
import assert from "node:assert/strict";
import { contextLocks } from "../../src/hosts/single.js";
import type { Change, Client, DataRollback, Options } from "../../src/device/api.js";
import { App, refusedAs, rollout, whole } from "./app.js";
import { Shop, type Release } from "./shop.js";

async function installed(app: App, ...versions: string[]): Promise<Release[]> {
  const out: Release[] = [];
  for (const v of versions) {
    const r = app.shop.release(v, { "index.json": v }, out.length > 0 ? { fallback: out.map((o) => o.ref.digest).reverse() } : {});
    out.push(r);
    app.offerMain(r);
    await app.install();
  }
  return out;
}

const embeddedOf = (r: Release) => ({
  main: { manifest: r.envelope, location: "app://", open: async (path: string) => ({ size: r.files[path].length, read: async (at: number, n: number) => r.files[path].slice(at, at + n), close: async () => undefined }) },
});

test("a withdrawn release that runs is left at the next check, for what is held", async () => {
  const app = new App(), [one, two] = await installed(app, "1.0.0", "2.0.0"), changes: Change[] = [];
  const client = await app.process({ hooks: { restart: (c) => void changes.push(c) } }), rolled: unknown[] = [];
  client.on("rollback", (r) => void rolled.push([r.from, r.to, r.reason]));
  await client.start();
  app.offer({ main: { withdrawn: [two.ref.digest] } });
  const checked = await client.check();
  assert.deepEqual([checked.answers.main.verdict, checked.answers.main.reason], ["rollback", "withdrawn"]);
  await new Promise((done) => setImmediate(done));
  assert.deepEqual(changes, [{ packages: ["main"], reason: "withdrawn", offers: [] }]);
  assert.deepEqual(rolled, [[two.ref.digest, one.ref.digest, "withdrawn"]]);
  assert.equal(await whole(client, await client.start(), [one]), "1.0.0");
  await client.report();
  assert.ok(app.told("rolled_back").includes("rolled_back 2.0.0 withdrawn"));
});

test("a withdrawn one that waits or is tried is dropped; an older one is allowed as its fallback", async () => {
  const app = new App(), [one, two] = await installed(app, "1.0.0", "2.0.0"), three = app.shop.release("3.0.0", { "index.json": "3" });
  app.offerMain(three);
  let client = await app.process();
  await client.update();
  app.offer({ main: { rollouts: [rollout(one)], withdrawn: [three.ref.digest, two.ref.digest] } });
  const checked = await client.check();
  assert.equal(checked.answers.main.verdict, "rollback");
  assert.equal(client.status().packages.main.staged, undefined);
  client = await app.process();
  assert.equal(await whole(client, await client.start(), [one]), "1.0.0");
});

test("an official release that crashes at three starts in a row is left for the one before, then for the embedded one", async () => {
  const app = new App(), shipped = app.shop.release("0.9.0", { "index.json": "embedded" });
  app.options = { embedded: embeddedOf(shipped) };
  const [one, two] = await installed(app, "1.0.0", "2.0.0");
  const ran: string[] = [];
  for (let n = 0; n < 7; n++) {
    const client = await app.process(), launch = await client.start();
    ran.push(await whole(client, launch, [one, two]));
    await launch.crash("exit 1");
  }
  assert.deepEqual(ran, ["2.0.0", "2.0.0", "2.0.0", "1.0.0", "1.0.0", "1.0.0", "embedded"]);
  const client = await app.process(), launch = await client.start();
  assert.deepEqual([launch.packages.main.version, launch.packages.main.location, launch.packages.main.entry], ["0.9.0", "app://", "index.json"]);
  assert.equal(new TextDecoder().decode(await client.read(launch.packages.main, "index.json")), "embedded");
  await assert.rejects(client.read(launch.packages.main, "../x"), refusedAs("file_mismatch"));
});

test("ends nobody saw count less: three unknown ends leave a trial, and a release that failed is tried once more after six hours", async () => {
  const app = new App(), [one] = await installed(app, "1.0.0"), two = app.shop.release("2.0.0", { "index.json": "2" }), ran: string[] = [];
  app.offerMain(two);
  await (await app.process()).update();
  const go = async () => {
    const client = await app.process();
    ran.push(await whole(client, await client.start(), [one, two]));
    return client;
  };
  for (let n = 0; n < 4; n++) await go();
  assert.deepEqual(ran, ["2.0.0", "2.0.0", "2.0.0", "1.0.0"]);
  let client = await go();
  assert.equal((await client.update()).answers.main.reason, "refused_after_crash");
  app.clock.at += 6 * 3600e3;
  assert.equal((await client.update()).staged.length, 1);
  ran.length = 0;
  for (let n = 0; n < 4; n++) client = await go();
  assert.deepEqual(ran, ["2.0.0", "2.0.0", "2.0.0", "1.0.0"]);
  app.clock.at += 7 * 3600e3;
  assert.equal((await client.check()).answers.main.reason, "refused_after_crash", "for good now");
  app.offerMain(two, { retry: 1 });
  assert.equal((await client.update()).staged.length, 1, "until the rollout says to try again");
});

test("packages that need each other are staged, tried, confirmed and left as one", async () => {
  const app = new App();
  app.options = { packages: ["base", "cart"] };
  const base1 = app.shop.release("b1", { "base.js": "1" }, { package: "base" }), cart1 = app.shop.release("c1", { "cart.js": "1" }, { package: "cart" });
  app.offer({ base: { rollouts: [rollout(base1)] }, cart: { rollouts: [rollout(cart1)] } });
  await app.install();
  await app.install(); // one set enters trial a launch
  const base2 = app.shop.release("b2", { "base.js": "2" }, { package: "base" });
  const cart2 = app.shop.release("c2", { "cart.js": "2" }, { package: "cart", requires: { base: base2.ref.seq } });
  const versions = async (client: Client) => {
    const l = await client.start();
    return [await whole(client, l, [base1, base2], "base"), await whole(client, l, [cart1, cart2], "cart"), l.trial] as const;
  };

  app.offer({ base: { rollouts: [rollout(base1)] }, cart: { rollouts: [rollout(cart2)] } });
  let client = await app.process();
  await assert.rejects(client.update(), refusedAs("requires_unmet"));
  assert.deepEqual(await versions(client), ["b1", "c1", false], "alone it cannot go");

  app.offer({ base: { rollouts: [rollout(base2)] }, cart: { rollouts: [rollout(cart2)] } });
  assert.deepEqual((await client.update(["cart"])).staged.map((o) => o.package), ["base", "cart"], "its base comes with it");
  for (let n = 0; n < 2; n++) {
    client = await app.process();
    const launch = await client.start();
    assert.deepEqual([launch.packages.base.version, launch.packages.cart.version], ["b2", "c2"]);
    await launch.hang();
  }
  client = await app.process();
  assert.deepEqual(await versions(client), ["b1", "c1", false]);
  await client.report();
  assert.deepEqual(app.told("rolled_back"), ["rolled_back b2 hung", "rolled_back c2 hung"]);
});

test("a page opened is a package of its own: hot while it lives, cold when it was away for long, or for an update meant for the resume", async () => {
  const app = new App();
  app.options = { packages: ["cart", "main"] };
  const cart1 = app.shop.release("c1", { "cart.js": "1" }, { package: "cart" }), cart2 = app.shop.release("c2", { "cart.js": "2" }, { package: "cart" });
  const cart3 = app.shop.release("c3", { "cart.js": "3" }, { package: "cart" });
  app.offer({ cart: { rollouts: [rollout(cart1)] } });
  const client = await app.process();
  await client.start();
  let page = await app.run(client.page("cart", 5000));
  assert.deepEqual([page.hot, page.launch.packages.cart.version, page.launch.trial, Object.keys(page.launch.packages)], [false, "c1", true, ["cart"]]);
  await page.launch.confirm();

  app.offer({ cart: { rollouts: [rollout(cart2)] } });
  await client.update();
  assert.equal(page.launch.outdated(), true);
  const again = await client.page("cart");
  assert.deepEqual([again.hot, again.launch], [true, page.launch], "a hot start never switches");
  page.background();
  assert.equal((await page.foreground()).hot, true);
  page.background();
  app.clock.at += 5 * 60e3;
  page = await page.foreground();
  assert.deepEqual([page.hot, page.launch.packages.cart.version], [false, "c2"]);
  await page.launch.confirm();

  app.offer({ cart: { rollouts: [rollout(cart3, { apply: { mode: "next_resume" } })] } });
  await client.update();
  page.background();
  page = await page.foreground();
  assert.deepEqual([page.hot, page.launch.packages.cart.version], [false, "c3"]);
  page.background();
  await client.memoryWarning();
  assert.equal((await client.page("cart")).hot, false);
  await assert.rejects(client.page("nowhere"), refusedAs("no_release"));
});

test("apply modes: prompt asks, mandatory does not care for the answer, immediate asks nobody", async () => {
  const app = new App(), asked: string[] = [], changes: string[] = [];
  const hooks: Options["hooks"] = { prompt: (o) => (asked.push(o.apply.message ?? ""), false), restart: (c) => void changes.push(c.reason + " " + c.offers[0].release.version) };
  const client = await app.process({ hooks });
  const offer = async (v: string, apply: object) => {
    app.offerMain(app.shop.release(v, { "index.json": v }), { apply });
    await client.update();
    await new Promise((done) => setImmediate(done));
  };
  await offer("1.0.0", { mode: "next_launch" });
  assert.deepEqual([asked, changes], [[], []]);
  await offer("2.0.0", { mode: "prompt", message: "new prices" });
  assert.deepEqual([asked, changes], [["new prices"], []]);
  await offer("3.0.0", { mode: "prompt", mandatory: true });
  assert.deepEqual(changes, ["new_release 3.0.0"]);
  await offer("4.0.0", { mode: "immediate" });
  assert.deepEqual(changes, ["new_release 3.0.0", "new_release 4.0.0"]);
  assert.equal(asked.length, 2);
});

test("while the user is asked, checks go on, and what must be left is left", async () => {
  const app = new App(), [one] = await installed(app, "1.0.0"), changes: Change[] = [], two = app.shop.release("2.0.0", { "index.json": "2" });
  let answer: (yes: boolean) => void = () => undefined;
  const client = await app.process({ hooks: { prompt: () => new Promise((done) => (answer = done)), restart: (c) => void changes.push(c) } });
  await client.start();
  app.offerMain(two, { apply: { mode: "prompt" } });
  const staged = new Promise((done) => void client.on("ready", done)), updating = client.update();
  await staged;
  app.offer({ main: { withdrawn: [one.ref.digest, two.ref.digest] } });
  assert.equal((await client.check()).answers.main.verdict, "rollback");
  assert.deepEqual(changes.map((c) => c.reason), ["withdrawn"]);
  answer(false);
  assert.equal((await updating).staged[0].release.version, "2.0.0");
  assert.equal(changes.length, 1);
});

test("low priority waits while the network costs money; critical holds up a start, but not for ever", async () => {
  const app = new App(), one = app.shop.release("1.0.0", { "index.json": "1" });
  app.offerMain(one, { apply: { priority: "low" } });
  let metered = true, client = await app.process({ hooks: { metered: () => metered } });
  assert.deepEqual((await client.update()).deferred.map((o) => o.release.version), ["1.0.0"]);
  metered = false;
  assert.equal((await client.update()).staged.length, 1);
  const two = app.shop.release("2.0.0", { "index.json": "2" });
  app.offerMain(two, { apply: { priority: "critical", timeout: 4 } });
  await client.check();
  app.offline = true;
  client = await app.process({ limits: { rounds: 100, backoff: 1000 } });
  const before = app.clock.now();
  assert.equal((await app.run(client.start())).packages.main.version, "1.0.0");
  assert.equal(app.clock.now() - before, 4000);
  app.offline = false;
  assert.equal((await app.run(client.start())).packages.main.version, "2.0.0");
});

test("the host hears before a package goes back behind its users' data", async () => {
  const app = new App(), told: DataRollback[] = [];
  const one = app.shop.release("1.0.0", { "index.json": "1" }, { data: { reads: ["v1"], writes: "v1" } });
  app.offerMain(one);
  await app.install();
  const two = app.shop.release("2.0.0", { "index.json": "2" }, { data: { reads: ["v1", "v2"], writes: "v2" } });
  app.offerMain(two);
  await (await app.process()).update();
  for (let n = 0; n < 2; n++) await (await (await app.process()).start()).crash();
  const client = await app.process({ hooks: { onDataRollback: (d) => void told.push(d) } });
  await client.start();
  assert.deepEqual(told, [{ package: "main", from: two.ref.digest, to: one.ref.digest, format: "v2" }]);
});

test("run: at once, on the timer, on a wake and after a failure; reports go out as they come up", async () => {
  const app = new App(), [one] = await installed(app, "1.0.0"), client = await app.process();
  const states = () => app.net.asked.filter((a) => a.url.includes("/state/")).length, pass = async (ms: number) => app.run(new Promise<void>((done) => void app.clock.after(ms, done)));
  await client.start();
  const stop = client.run(), first = states();
  await pass(1000);
  assert.equal(states(), first + 1, "at once");
  await pass(15 * 60e3);
  assert.equal(states(), first + 2, "on the timer");
  client.wake('{"spread":0}');
  await pass(10);
  assert.equal(states(), first + 3, "on a wake");
  client.wake(JSON.stringify({ spread: 0, epoch: client.status().epoch }));
  await pass(10);
  assert.equal(states(), first + 3, "not for what is known");
  await client.metric("cold_start_ms", 812);
  await pass(10);
  assert.deepEqual(app.reports.filter((e) => e.kind === "metric").map((e) => [e.metric, e.value, e.release]), [["cold_start_ms", 812, one.ref.digest]]);
  app.offline = true;
  client.wake('{"spread":0}');
  await pass(60e3);
  app.offline = false;
  const two = app.shop.release("2.0.0", { "index.json": "2" });
  app.offerMain(two);
  await pass(100e3);
  assert.equal(client.status().packages.main.staged?.version, "2.0.0", "a failed check is repeated sooner than the timer says");
  assert.throws(() => client.run(), /runs already/);
  stop();
  const ended = states();
  await pass(3600e3);
  assert.equal(states(), ended);
});

test("another channel: what waits is dropped, the anchor restarts, what runs stays until the channel says otherwise", async () => {
  const app = new App(), [, two] = await installed(app, "1.0.0", "2.0.0"), beta = app.shop.release("3.0.0-beta", { "index.json": "b" });
  app.offer({ main: { rollouts: [rollout(beta)] } }, { channel: "beta" });
  let client = await app.process();
  await client.changeChannel("beta");
  assert.deepEqual([client.status().channel, client.status().packages.main.anchor.embedded], ["beta", true]);
  assert.equal(await whole(client, await client.start(), [two]), "2.0.0");
  assert.equal((await client.update()).staged[0].release.version, "3.0.0-beta");
  client = await app.process();
  assert.equal(client.status().channel, "beta", "it is remembered");
});

test("a new root with another state key: what was learned under the old one is forgotten", async () => {
  const app = new App(), [, two] = await installed(app, "1.0.0", "2.0.0"), { shop } = app;
  app.offer({ main: { withdrawn: [two.ref.digest] } }, { epoch: Number.MAX_SAFE_INTEGER }); // signed by a thief
  let client = await app.process();
  await client.check();
  assert.equal(client.status().epoch, Number.MAX_SAFE_INTEGER);
  Object.assign(shop, { keys: { ...shop.keys, state: new Shop().keys.state } });
  shop.objects.set("/v1/apps/shop/roots/2", shop.signRoot(2));
  app.offer({ main: { rollouts: [rollout(two)] } }, { rootVersion: 2 });
  client = await app.process();
  const checked = await client.check();
  assert.equal(client.status().rootVersion, 2);
  assert.ok(checked.epoch < 100);
  client = await app.process();
  assert.equal(client.status().rootVersion, 2, "and the new root is kept");
});

test("the same-time control group reports once and its next start is judged", async () => {
  const app = new App(), [one] = await installed(app, "1.0.0"), two = app.shop.release("2.0.0", { "index.json": "2" });
  app.reports.length = 0;
  app.offerMain(two, { from: 0, to: 0, control: 10000 });
  let client = await app.process();
  assert.deepEqual([(await client.check()).answers.main.reason, client.status().packages.main.running.digest], ["control_group", one.ref.digest]);
  await client.check();
  client = await app.process();
  await (await client.start()).confirm();
  await client.report();
  assert.deepEqual(app.reports.filter((e) => e.arm === "control").map((e) => e.kind), ["enrolled", "started", "confirmed"]);
});

test("the host's own way back, and what cannot be gone back to", async () => {
  const app = new App(), [one, two] = await installed(app, "1.0.0", "2.0.0"), client = await app.process();
  await client.start();
  await assert.rejects(client.rollback("main", "0".repeat(64)), /not on this device/);
  await client.rollback("main", one.ref.digest);
  assert.equal(await whole(client, await client.start(), [one, two]), "1.0.0");
  await client.rollback("main");
  assert.equal(await whole(client, await client.start(), []), "embedded");
});

test("trees that nobody can need any more are deleted at a cold start, the anchor's manifest never", async () => {
  const app = new App(), all = await installed(app, "1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0", "6.0.0");
  await (await app.process()).start();
  await (await app.process()).start();
  const trees = app.disk.list("releases").filter((n) => !n.includes("."));
  assert.deepEqual(trees.map((d) => app.version(d)).sort(), ["3.0.0", "4.0.0", "5.0.0", "6.0.0"]);
  assert.ok(app.disk.exists(`releases/${all[5].ref.digest}.manifest.json`));
});

test("a start lets the host draw between slices of its reading, not between small files", async () => {
  const app = new App(), small = Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`pages/${n}.json`, `{"page":${n}}`]));
  app.offerMain(app.shop.release("1.0.0", { "index.json": "x".repeat(1 << 20), ...small }));
  await app.run((await app.process()).update());
  await app.process();
  let pauses = 0;
  app.host = { ...app.host, pause: async () => void pauses++, locks: contextLocks() };
  const client = await app.client();
  assert.equal((await client.start()).packages.main.version, "1.0.0");
  assert.ok(pauses >= 8 && pauses < 12, `${pauses} pauses for 1 MiB`);
});
