// The example mini-program over the client, against a real server: what a user sees, start by start.
import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test, type TestContext } from "node:test";
import { createContext, runInContext } from "node:vm";
import { memoryPlatform, MemoryDisk, USER_LIMIT } from "../../src/hosts/miniprogram/memory.js";
import { buildClient, example, newPhone, newServer, type Phone, type Server } from "./phone.js";

const MINUTE = 60_000;

describe("the mini-program", () => {
  let missing: string | undefined, server: Server, folder = "", root = "", close = async () => undefined as void;
  let channels = 0;

  before(async () => {
    const made = await newServer();
    if ("missing" in made) return void (missing = made.missing);
    ({ server, folder, close } = made);
    await buildClient();
    root = readFileSync((await server.run<{ root: string }>("app", "create", "shop")).root, "utf8");
  });
  after(() => close());

  /** A phone on a channel of its own, and what a publisher does on that channel. */
  async function given(t: TestContext, config: Record<string, unknown> = {}) {
    const channel = `c${++channels}`, disk = new MemoryDisk(USER_LIMIT);
    let number = 0;
    await server.run("channel", "create", channel, "--app", "shop");
    const phone = await newPhone({
      platform: (p) => memoryPlatform({ disk, fetch, ...p }),
      config: { app: "shop", channel, servers: [server.url], root, runtime: "3.1.0", ...config },
    });
    t.after(() => phone.kill());
    /** Publishes the example's release with these changes: file → what becomes of its text. */
    const publish = async (changes: Record<string, (text: string) => string> = {}, ...args: string[]) => {
      const tree = join(folder, `${channel}-${++number}`), version = `${channels}.${number}.0`;
      cpSync(join(example, "release"), tree, { recursive: true });
      for (const [file, change] of Object.entries(changes)) writeFileSync(join(tree, file), change(readFileSync(join(tree, file), "utf8")));
      await server.publish(tree, version, "--channel", channel, ...args);
      return version;
    };
    const settings = async (values: object | string) => {
      const tree = join(folder, `${channel}-${++number}`);
      cpSync(join(example, "settings"), tree, { recursive: true });
      writeFileSync(join(tree, "settings.json"), typeof values === "string" ? values : JSON.stringify(values));
      await server.publish(tree, `${channels}.${number}.0`, "--channel", channel);
    };
    /** The app looks for updates; answers when this version is staged. */
    const comes = async (version: string) => {
      await phone.app.shop.update.getUpdateManager().check();
      await until(`version ${version}`, () => phone.app.shop.client.status().packages.main.staged?.version === version, phone);
    };
    return { phone, disk, publish, settings, comes };
  }

  const cheaper = { "prices.json": (text: string) => text.replace("8800", "8000") };
  const uncommon = { "pages/home.json": (text: string) => text.replace('"links"', '"carousel"') };

  test("new pages and prices come while the old ones are shown, and stand there at the next cold start alone", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const { phone, disk, publish, comes } = await given(t);
    await phone.open();
    assert.deepEqual(phone.screen(), { ...phone.screen(), texts: ["欢迎光临", "龙井 88.00", "茶杯 25.00"], images: 0 });
    await comes(await publish());
    assert.equal(phone.screen().images, 0, "what runs goes on");
    phone.hide();
    phone.sleep(4 * MINUTE);
    await phone.open();
    assert.equal(phone.screen().images, 0, "a hot start never switches");
    phone.hide();
    phone.sleep(6 * MINUTE);
    await phone.open();
    assert.deepEqual([phone.screen().texts, phone.screen().images, phone.starts], [["欢迎光临", "龙井 88.00", "茶杯 25.00", "立即购买", "更多"], 1, 1]);
    // The simulator draws no addresses: what the page was given is looked at.
    const { base, blocks } = phone.app.content;
    assert.match(base, /^wxfile:\/\/usr\/slipstream\/releases\/[0-9a-f]{64}$/);
    assert.ok(disk.read(`${base}/${blocks[0].image}`).length > 0);
    await phone.tap(".view >>> .item");
    assert.ok(phone.log.includes("navigateTo /pages/home/index?buy"));

    await comes(await publish(cheaper));
    phone.kill();
    await phone.open();
    assert.equal(phone.screen().texts[1], "龙井 80.00");
    assert.equal(phone.starts, 2);
  });

  test("a memory warning in the background ends it, and the next opening is a cold start", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const { phone, publish, comes } = await given(t);
    await phone.open();
    await comes(await publish());
    await phone.warn();
    assert.equal(phone.screen().images, 0, "one that is seen goes on");
    phone.hide();
    await phone.warn();
    await phone.open();
    assert.equal(phone.screen().images, 1);
  });

  test("a release that cannot be drawn is left by itself, offline, and the server hears why", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const { phone, publish, comes } = await given(t);
    await publish();
    await phone.open();
    await until("the first release", () => phone.app.shop.client.status().packages.main.staged !== undefined, phone);
    phone.kill();
    await phone.open();
    await comes(await publish(uncommon));
    phone.kill();
    await phone.open();
    assert.deepEqual(phone.screen().texts.slice(-2), ["立即购买", "更多"]);
    const { refused, official } = phone.app.shop.client.status().packages.main;
    assert.deepEqual([...refused.map((r) => r.reason), official.embedded], ["crashed", false]);
    await phone.app.shop.client.report();
    assert.equal(phone.app.shop.client.status().pending, 0);
  });

  test("an uncaught error after the page was up takes nothing back by itself, and the next opening is a cold start as ever", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const { phone, publish, comes } = await given(t);
    await phone.open();
    await comes(await publish());
    phone.kill();
    await phone.open();
    phone.app.onError("late");
    await phone.settled();
    assert.equal(phone.screen().images, 1);
    await comes(await publish(cheaper));
    phone.hide();
    phone.sleep(6 * MINUTE);
    await phone.open();
    assert.equal(phone.screen().texts[1], "龙井 80.00");
    assert.equal(phone.app.shop.client.status().packages.main.refused.length, 0);
  });

  test("a prompt shows the publisher's message, and starts anew when the user agrees", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const { phone, publish, comes } = await given(t);
    await phone.open();
    await comes(await publish({}, "--mode", "prompt", "--message", "现价更低"));
    await until("the prompt", () => phone.modals.length === 1, phone);
    assert.deepEqual([phone.modals[0].content, phone.modals[0].showCancel], ["现价更低", true]);
    phone.modals[0].success({ confirm: false });
    await phone.settled();
    assert.deepEqual([phone.starts, phone.screen().images], [1, 0], "the user said later");
    await comes(await publish(cheaper, "--mode", "prompt", "--mandatory", "--message", "必须更新"));
    await until("the second prompt", () => phone.modals.length === 2, phone);
    assert.equal(phone.modals[1].showCancel, false, "mandatory has no cancel");
    phone.modals[1].success({ confirm: true });
    await until("the start", () => phone.starts === 2, phone);
    await phone.settled();
    assert.equal(phone.screen().texts[1], "龙井 80.00");
  });

  test("silent never asks", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const { phone, publish, comes } = await given(t, { silent: true });
    await phone.open();
    await comes(await publish({}, "--mode", "prompt", "--mandatory"));
    await phone.settled();
    assert.equal(phone.modals.length, 0);
    phone.kill();
    await phone.open();
    assert.equal(phone.screen().images, 1);
  });

  test("switches and activities come into force without a start; a file that is no JSON changes nothing", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const { phone, publish, comes, settings } = await given(t);
    await phone.open();
    await comes(await publish());
    phone.kill();
    await phone.open();
    assert.equal(phone.screen().images, 1);
    const { client, settings: config } = phone.app.shop;
    const changed = new Promise((done) => config.onChange((keys) => done([...keys])));
    await settings({ banner: false, sale: { from: "2020-01-01T00:00:00Z", to: "2100-01-01T00:00:00Z", off: 50 } });
    await client.update(["config"]);
    await changed;
    await until("the sale", () => phone.screen().images === 0, phone);
    assert.match(phone.screen().html, /page-view--sale">龙井 44\.00</);
    const refused = new Promise<string>((done) => config.onError((e) => done(e.error.message)));
    await settings("{ not json");
    await client.update(["config"]);
    assert.match(await refused, /settings\.json is no JSON/);
    assert.match(phone.screen().html, /龙井 44\.00</);
    phone.kill();
    await phone.open();
    assert.match(phone.screen().html, /龙井 44\.00</, "the next start has the good values too");
  });

  test("code written for wx.getUpdateManager runs as it stands, over the client", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const { phone, publish } = await given(t);
    await publish();
    await phone.open();
    const code = readFileSync("testdata/update-manager/check-update.js", "utf8");
    const wx = Object.assign(phone.app.shop.wx, { updateWeChatApp: () => assert.fail("the interface is there") });
    runInContext(code + "\ncheckUpdate();", createContext({ wx }));
    await until("the prompt of that code", () => phone.modals.length === 1, phone);
    assert.deepEqual([phone.modals[0].content, phone.modals[0].showCancel], ["发现版本更新，已经准备好请重启应用~", false]);
    phone.modals[0].success({ confirm: true });
    await until("the start", () => phone.starts === 2, phone);
    await phone.settled();
    assert.equal(phone.screen().images, 1);
    assert.equal(phone.modals.length, 1, "asked once");
    assert.ok(!phone.log.some((line) => /of no use|TextEncoder/.test(line)), phone.log.join("; "));
  });

  test("a download that the background interrupts is made good when the user is back", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const { phone, publish, comes } = await given(t);
    await phone.open();
    const version = await publish();
    phone.hide();
    phone.platform.cutNetwork();
    const res = await phone.app.shop.update.getUpdateManager().check();
    assert.equal(res.hasUpdate, false);
    assert.match(String(res.error), /interrupted/);
    await phone.open();
    await comes(version);
  });
});

async function until(what: string, holds: () => boolean, phone: Phone): Promise<void> {
  for (let n = 0; n < 400; n++) {
    if (holds()) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`waited 20 s for ${what}; the app said: ${phone.log.join("; ")}`);
}
