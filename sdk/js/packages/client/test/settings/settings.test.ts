import { test } from "node:test";
import assert from "node:assert/strict";
import { openSettings, type SettingsClient, type SettingsError } from "../../src/settings/index.js";
import { differences, lookUp } from "../../src/settings/values.js";
import { fromUtf8 } from "../../src/verify/bytes.js";

/** A device that holds settings releases and follows the rules of trials: two crashes, and a release is left. */
class Device implements SettingsClient {
  staged: { name: string; content: Uint8Array | string; crashes: number } | undefined;
  history: string[] = [];
  private ready: ((offers: { package: string }[]) => void)[] = [];
  constructor(public official: { name: string; content: Uint8Array | string } | undefined) {}

  stage(name: string, content: Uint8Array | string): void {
    this.staged = { name, content, crashes: 0 };
    for (const r of this.ready) r([{ package: "config" }]);
  }
  on(_: "ready", listener: (offers: { package: string }[]) => void): () => void {
    this.ready.push(listener);
    return () => (this.ready = this.ready.filter((r) => r !== listener));
  }
  async page() {
    const runs = this.staged ?? this.official;
    this.history.push(runs?.name ?? "embedded");
    const tree = { release: runs?.name ?? "", version: runs?.name ?? "", entry: "", embedded: !runs, content: runs?.content };
    return {
      launch: {
        packages: { config: tree },
        confirm: async () => {
          if (runs && runs === this.staged) (this.official = runs), (this.staged = undefined);
        },
        crash: async () => {
          if (this.staged && runs === this.staged && ++this.staged.crashes === 2) this.staged = undefined;
        },
      },
      destroy: async () => undefined,
    };
  }
  async read(tree: never): Promise<Uint8Array> {
    const { content } = tree as { content?: Uint8Array | string };
    if (content === undefined) throw new Error("no such file");
    return typeof content === "string" ? new TextEncoder().encode(content) : content;
  }
}

const first = JSON.stringify({ dark: true, sale: { from: "2026-11-11T00:00:00+08:00", to: "2026-11-12T00:00:00+08:00", title: "双11", rules: { min: 100, off: 20 } }, links: ["https://a.example", "https://b.example"], "a.b": 7, limit: 3, odd: "yes" });

test("values are read by key, of the kind that is asked for", async () => {
  const now = Date.parse("2026-11-11T12:00:00+08:00");
  const config = await openSettings({ client: new Device({ name: "r1", content: first }), now: () => now, defaults: { "from": { defaults: 1 }, limit: 1 } });
  assert.equal(config.get("sale.title", ""), "双11");
  assert.equal(config.get("sale.rules.off", 0), 20);
  assert.equal(config.get("links.1", ""), "https://b.example");
  assert.equal(config.get("a.b", 0), 7);
  assert.equal(config.get("nowhere.at.all", "fallback"), "fallback");
  assert.equal(config.get("odd", false), false, "another kind than the fallback");
  assert.deepEqual(config.get("sale.rules", undefined), { min: 100, off: 20 });
  assert.equal(config.enabled("dark"), true);
  assert.equal(config.enabled("odd"), false);
  assert.equal(config.number("limit"), 3);
  assert.equal(config.number("from.defaults"), 1);
  assert.equal(config.text("limit", "text"), "text");
  assert.deepEqual(config.list("links"), ["https://a.example", "https://b.example"]);
  assert.deepEqual(config.list("sale"), []);
  assert.equal(config.time("sale.from")?.toISOString(), "2026-11-10T16:00:00.000Z");
  assert.equal(config.time("sale.title"), undefined);
  assert.equal(config.has("sale.rules.min"), true);
  for (const name of ["constructor", "__proto__", "sale.toString", "links.length"]) assert.equal(config.get(name, undefined), undefined, name);
  assert.throws(() => ((config.all() as { dark: boolean }).dark = false), TypeError);
  assert.deepEqual(config.source, { release: "r1", version: "r1" });
});

test("activities are on from their first instant to before their last", async () => {
  let now = 0;
  const config = await openSettings({
    client: new Device({ name: "r1", content: JSON.stringify({ a: { from: 100, to: 200 }, open: { from: 100 }, until: { to: 200 }, bad: { from: 100, to: "soon" }, none: {} }) }), now: () => now,
  });
  for (const [at, a, open, until] of [[99, false, false, true], [100, true, true, true], [199, true, true, true], [200, false, true, false]] as const) {
    now = at;
    assert.deepEqual([config.active("a"), config.active("open"), config.active("until"), config.active("bad"), config.active("none")], [a, open, until, false, false], String(at));
  }
  assert.equal(config.active("missing", true), true);
});

test("a staged release changes values at once and listeners are told what changed", async () => {
  const device = new Device({ name: "r1", content: first }), config = await openSettings({ client: device });
  const keys: string[] = [], offs: unknown[] = [];
  config.onChange((k) => void keys.push(...k));
  const off = config.onChange("sale.rules.off", (v, before) => void offs.push([before, v]));
  config.onChange("dark", () => assert.fail("dark did not change"));
  config.onChange(() => {
    throw new Error("a listener of its own");
  });
  device.stage("r2", first.replace('"off":20', '"off":30').replace('"limit":3', '"more":1'));
  await config.reload();
  assert.deepEqual(keys, ["limit", "more", "sale.rules.off"]);
  assert.deepEqual(offs, [[20, 30]]);
  assert.equal(device.official?.name, "r2", "settings that are read are confirmed");
  off();
  device.stage("r3", first);
  await config.reload();
  assert.equal(offs.length, 1);
  await config.close();
  device.stage("r4", "{}");
  await config.reload();
  assert.equal(config.number("limit"), 3, "a closed one changes no more");
});

for (const [what, content, error] of [
  ["no JSON", '{"dark":', /settings.json is no JSON/],
  ["a list", "[1]", /not a JSON object/],
  ["not UTF-8", Uint8Array.of(123, 255, 125), /not UTF-8/],
  ["empty", "", /no JSON/],
  ["too large", " ".repeat((1 << 20) + 1), /larger than/],
  ["what the app refuses", '{"limit":-1}', /limit below zero/],
] as const) {
  test(`${what}: the values before stay, and an error is told`, async () => {
    const device = new Device({ name: "r1", content: first }), errors: SettingsError[] = [];
    const validate = (v: { readonly [name: string]: unknown }) => {
      if ((v.limit as number) < 0) throw new Error("limit below zero");
    };
    const config = await openSettings({ client: device, validate });
    config.onError((e) => errors.push(e));
    config.onChange(() => assert.fail("nothing changed"));
    device.stage("r2", content);
    await config.reload();
    assert.equal(config.number("limit"), 3);
    assert.equal(errors.length, 1);
    assert.equal(errors[0].release, "r2");
    assert.match(errors[0].error.message, error);
    assert.equal(device.staged, undefined, "the release is left");
    assert.equal(config.source.release, "r1");

    device.stage("r2", content);
    const next = await openSettings({ client: device, validate }), late: SettingsError[] = [];
    assert.equal(next.number("limit"), 3, "the start of the app after it has them too");
    next.onError((e) => late.push(e));
    await Promise.resolve();
    assert.equal(late.length, 1, "told to who listens late");
  });
}

test("where nothing can be kept, what is in force is read all the same", async () => {
  const device = new Device({ name: "r1", content: first }), page = device.page.bind(device), logged: string[] = [];
  // As in a second tab, or on a full disk.
  device.page = async () => {
    const p = await page(), refuse = async () => { throw new Error("locked"); };
    return { ...p, launch: { ...p.launch, confirm: refuse, crash: refuse } };
  };
  const config = await openSettings({ client: device, defaults: { limit: 1 }, log: (text) => void logged.push(text) });
  assert.equal(config.number("limit"), 3);
  assert.deepEqual(device.history, ["r1"]);
  config.onError(() => assert.fail("a good file is refused"));
  assert.equal(logged.length, 1);
});

test("a late listener that fails harms nobody", async () => {
  const device = new Device({ name: "r1", content: first }), logged: string[] = [];
  device.stage("r2", "no JSON");
  const config = await openSettings({ client: device, log: (text) => void logged.push(text) });
  config.onError(() => { throw new Error("listens badly"); });
  await new Promise((done) => setTimeout(done, 5)); // an unhandled rejection would end the test
  assert.deepEqual(logged, ["a listener of the settings failed"]);
});

test("an app without settings has its defaults", async () => {
  const device = new Device(undefined), config = await openSettings({ client: device, defaults: { dark: true } });
  config.onError((e) => assert.fail(e.error.message));
  assert.equal(config.enabled("dark"), true);
  device.stage("r1", '{"dark":false}');
  await config.reload();
  assert.equal(config.enabled("dark"), false);
});

test("values", () => {
  assert.equal(lookUp({ "a.b": { c: 1 }, a: { b: { d: 2 } } }, "a.b.c"), 1);
  assert.equal(lookUp({ "a.b": { c: 1 }, a: { b: { d: 2 } } }, "a.b.d"), 2);
  assert.equal(lookUp({ a: null }, "a"), null);
  assert.deepEqual(differences({ a: 1, b: { c: 1, d: [1] } }, { b: { c: 2, d: [1] }, e: {} }), ["a", "b.c", "e"]);
  const text = "100% 双11 \u{1F600}";
  assert.equal(fromUtf8(new TextEncoder().encode(text)), text);
  assert.throws(() => fromUtf8(Uint8Array.of(0xc0, 0x80)), /not UTF-8/);
});
