// A device that is a web page: a real browser against a real server, in both kinds of storage.
import { randomBytes } from "node:crypto";
import { test, type TestContext } from "node:test";
import assert from "node:assert/strict";
import { chromium, type Chromium, type Tab } from "../chromium.js";
import { realServer, type RealServer } from "../serve.js";
import { relay, type Relay } from "./relay.js";
import { script, site } from "./site.js";

const page = (text: string) => `<!doctype html><meta charset="utf-8"><body>${text}`;

interface Shown {
  text: string;
  version: string;
  outcomes: string[];
  unkept: string;
}

/** A site with the shell, and the way to the server. */
class World {
  private constructor(readonly browser: Chromium, readonly server: RealServer, readonly network: Relay, readonly origin: string) {}

  static async make(t: TestContext, browser: Chromium, server: RealServer, storage: string, scripts: Record<string, string>): Promise<World> {
    const network = await relay(t, server.url);
    const settings = JSON.stringify({ server: network.url, root: Buffer.from(server.root).toString("utf8"), storage });
    const { origin } = await site(t, {
      "/": `<!doctype html><meta charset="utf-8"><body><div id="slot"></div><script>globalThis.settings = ${settings}</script><script src="/shop.js"></script>`,
      "/embedded.html": page("embedded"), ...scripts,
    });
    return new World(browser, server, network, origin);
  }

  /** A tab with the client open in it; state says whether it may change the directory. */
  async tab(state = "open"): Promise<Tab> {
    const tab = await this.browser.tab();
    await tab.goto(this.origin + "/");
    await tab.until("typeof shop === 'object'");
    assert.equal(await tab.run("shop.open()"), state);
    return tab;
  }

  /** The same, after whatever held the directory is gone. */
  async again(before: Tab, end: "close" | "kill" = "close"): Promise<Tab> {
    await before[end]();
    for (;;) {
      const tab = await this.browser.tab();
      await tab.goto(this.origin + "/");
      await tab.until("typeof shop === 'object'");
      if ((await tab.run("shop.open()")) === "open") return tab;
      await tab.close(); // the browser has not freed the lock yet
    }
  }
}

const show = (tab: Tab, more = {}) => tab.run<Shown>(`shop.show(${JSON.stringify(more)})`);
const events = (w: World, device: string) => (JSON.parse(w.server.run("device", "show", device, "--app", "shop", "--json")) as { events: { kind: string; reason?: string; detail?: string }[] }).events;

test("a web page as a device", async (t) => {
  const browser = chromium(t), server = browser && (await realServer(t));
  if (!browser || !server) return;
  const scripts = { "/shop.js": await script("test/web/shop.ts"), "/sw.js": await script("test/web/worker.ts") };
  server.publish("1.0.0", { "index.html": page("one") });
  const worlds: World[] = [];
  for (const storage of ["opfs", "cache"]) worlds.push(await World.make(t, browser, server, storage, scripts));
  const tabs = new Map<World, Tab>();
  const both = (name: string, check: (w: World, tab: Tab, storage: string) => Promise<Tab>) => t.test(name, async (sub) => {
    for (const [i, w] of worlds.entries()) {
      const storage = ["opfs", "cache"][i];
      await sub.test(storage, async () => void tabs.set(w, await check(w, tabs.get(w) ?? (await w.tab()), storage)));
    }
  });

  await both("it takes a release and shows it from then on", async (w, tab) => {
    assert.deepEqual(await show(tab), { text: "embedded", version: "", outcomes: ["confirmed"], unkept: "" });
    assert.equal(await tab.run("shop.update()"), "");
    assert.equal((await tab.run<{ embedded: boolean }>("shop.official()")).embedded, true, "what runs stays until the next start");
    tab = await w.again(tab);
    assert.deepEqual(await show(tab), { text: "one", version: "1.0.0", outcomes: ["confirmed"], unkept: "" });
    return tab;
  });

  server.publish("2.0.0", { "index.html": page("two"), "film.bin": randomBytes(3 << 20) });
  await both("a tab that is killed in the middle of a download goes on where it was", async (w, tab) => {
    w.network.hide = /\/containers/; // which the server may add to at any time: single files stay what they are
    w.network.stall = 5 << 19;
    await tab.run("void shop.update()");
    await tab.until("shop.parts().then((n) => n >= 2 << 20)");
    tab = await w.again(tab, "kill");
    w.network.stall = undefined;
    w.network.asked.length = 0;
    assert.equal(await tab.run("shop.update()"), "");
    const from = w.network.asked.map((q) => /^GET \/v1\/blobs\/\S+ bytes=(\d+)-/.exec(q)?.[1]).filter(Boolean).map(Number);
    assert.ok(from.some((n) => n >= 2 << 20), JSON.stringify(w.network.asked));
    assert.deepEqual(await show(tab), { text: "two", version: "2.0.0", outcomes: ["confirmed"], unkept: "" });
    assert.equal(await tab.run("shop.parts()"), 0);
    return tab;
  });

  await both("a second tab shows the same and changes nothing, until the first is gone", async (w, tab) => {
    const second = await w.tab("locked");
    assert.equal((await show(second)).text, "two");
    assert.equal(await second.run("shop.update()"), "locked");
    await tab.kill();
    await second.until("shop.update().then((reason) => reason === '')");
    assert.equal(await second.run("shop.client.status().locked"), false);
    assert.deepEqual(await show(second), { text: "two", version: "2.0.0", outcomes: ["confirmed"], unkept: "" });
    return second;
  });

  server.publish("3.0.0", { "index.html": page("three"), "film.bin": randomBytes(2 << 20) });
  await both("with a full storage the release before goes on running", async (w, tab) => {
    const usage = await tab.run<number>("navigator.storage.estimate().then((e) => e.usage)");
    await tab.send("Storage.overrideQuotaForOrigin", { origin: w.origin, quotaSize: usage + (1 << 20) });
    assert.equal(await tab.run("shop.update()"), "disk_full");
    assert.equal((await show(tab)).text, "two");
    tab = await w.again(tab);
    assert.equal((await show(tab)).text, "two");
    await tab.send("Storage.overrideQuotaForOrigin", { origin: w.origin });
    assert.equal(await tab.run("shop.update()"), "");
    assert.deepEqual(await show(tab), { text: "three", version: "3.0.0", outcomes: ["confirmed"], unkept: "" });
    return tab;
  });

  server.publish("4.0.0", { "index.html": page("four") });
  await both("a trial whose tab is killed again and again is left", async (w, tab) => {
    assert.equal(await tab.run("shop.update()"), "");
    for (let kill = 1; kill <= 3; kill++) {
      tab = await w.again(tab, kill === 1 ? "close" : "kill");
      await tab.run(`void shop.show({ confirm: "told" })`);
      await tab.until("document.querySelector('iframe')?.contentDocument?.body?.innerText.trim() === 'four'");
    }
    tab = await w.again(tab, "kill");
    assert.equal((await show(tab)).text, "three");
    await tab.run("shop.client.report()");
    const back = events(w, await tab.run("shop.client.device")).filter((e) => e.kind === "rolled_back");
    assert.deepEqual(back.map((e) => e.reason), ["unknown_end"]);
    return tab;
  });

  await both("damage leads to the release before, to the state before, at last to the embedded one", async (w, tab) => {
    const digest = (await tab.run<{ digest: string }>("shop.official()")).digest;
    await tab.run(`shop.damage("releases/${digest}/index.html")`);
    tab = await w.again(tab);
    assert.deepEqual(await show(tab), { text: "two", version: "2.0.0", outcomes: ["confirmed"], unkept: "" });
    await tab.run(`shop.damage("state.json")`);
    tab = await w.again(tab);
    assert.equal((await show(tab)).text, "two");
    for (const name of await tab.run<string[]>("shop.list('releases')")) if (name.endsWith("/")) await tab.run(`shop.damage("releases/${name}index.html")`);
    await tab.run(`shop.damage("state.json").then(() => shop.damage("state.previous.json"))`);
    tab = await w.again(tab);
    assert.equal((await show(tab)).text, "embedded");
    await tab.run("shop.client.report()");
    const told = events(w, await tab.run("shop.client.device"));
    assert.ok(told.some((e) => e.reason === "storage_corrupted"), JSON.stringify(told));
    return tab;
  });
});
