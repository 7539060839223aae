import { test } from "node:test";
import assert from "node:assert/strict";
import { chromium, type Chromium } from "../chromium.js";
import { script, site } from "./site.js";

test("the web host in Chromium", async (t) => {
  const browser = chromium(t);
  if (!browser) return;
  const { origin } = await site(t, {
    "/": '<!doctype html><meta charset="utf-8"><script src="/page.js"></script><body>shell',
    "/page.js": await script("test/web/page.ts"), "/sw.js": await script("test/web/worker.ts"),
  });
  const shell = origin + "/";
  for (const storage of ["opfs", "cache"]) await inStorage(t, browser, shell, storage);

  await t.test("it says what it lacks", async () => {
    const tab = await fresh(browser, shell);
    const { storage, lacks } = await tab.run<{ storage: string; lacks: string[] }>("page.lacks()");
    assert.equal(storage, "opfs");
    assert.deepEqual(lacks.filter((l) => l !== "persistent storage"), []);
  });

  await t.test("a second tab cannot change the directory until the first is gone, closed or killed", async () => {
    const first = await fresh(browser, shell), second = await fresh(browser, shell);
    assert.equal(await first.run("page.lock()"), true);
    assert.equal(await second.run("page.lock()"), false);
    await first.kill();
    await second.until("page.lock()");
    const third = await fresh(browser, shell);
    assert.equal(await third.run("page.lock()"), false);
    await second.close();
    await third.until("page.lock()");
  });
});

async function fresh(browser: Chromium, shell: string) {
  const tab = await browser.tab();
  await tab.goto(shell);
  await tab.until("typeof page === 'object'");
  return tab;
}

async function inStorage(t: import("node:test").TestContext, browser: Chromium, shell: string, storage: string) {
  const run = `${JSON.stringify(storage)}`;
  await t.test(`${storage}: the directory`, async () => {
    const tab = await fresh(browser, shell);
    const { ran, ...failed } = await tab.run<Record<string, string>>(`page.contract(${run})`);
    assert.deepEqual(failed, {});
    assert.ok(Number(ran) > 8);
    await tab.close();
  });
  await t.test(`${storage}: what a killed tab left half moved is finished`, async () => {
    const tab = await fresh(browser, shell);
    await tab.run(`page.halfMoved(${run})`);
    await tab.kill();
    const next = await fresh(browser, shell);
    assert.deepEqual(await next.run(`page.recovered(${run})`), storage === "opfs" ? ["done.txt", "left.txt", "releases/", "rest/", "staging/"] : ["done.txt", "left.txt", "releases/", "rest/"]);
    await next.close();
  });
  await t.test(`${storage}: a full disk is told apart`, async () => {
    const tab = await fresh(browser, shell);
    await tab.send("Storage.overrideQuotaForOrigin", { origin: new URL(shell).origin, quotaSize: 8 << 20 });
    assert.deepEqual(await tab.run(`page.full(${run}, 10)`), ["full, before"]);
    await tab.send("Storage.overrideQuotaForOrigin", { origin: new URL(shell).origin });
    await tab.close();
  });
  await t.test(`${storage}: the service worker serves the release and nothing else`, async () => {
    const tab = await fresh(browser, shell);
    const files = { "index.html": '<!doctype html><body><script src="js/main.js"></script>', "js/main.js": 'document.body.append("version 2")', "été.json": '{"a":1}', "a.constructor": "b" };
    const at = await tab.run<string>(`page.release(${run}, ${JSON.stringify(files)})`);
    const get = (path: string, ...more: unknown[]) => tab.run<[number, string | null, string]>(`page.get(${[at + path, ...more].map((v) => JSON.stringify(v)).join()})`);
    assert.equal(at, `/slipstream/${storage}/releases/d1/`);
    assert.equal(await tab.run(`page.frame(${JSON.stringify(at + "index.html")})`), "version 2");
    assert.deepEqual(await get("js/main.js"), [200, "text/javascript; charset=utf-8", files["js/main.js"]]);
    assert.deepEqual(await get("%C3%A9t%C3%A9.json"), [200, "application/json", '{"a":1}']);
    assert.deepEqual(await get("a.constructor"), [200, "application/octet-stream", "b"]);
    assert.deepEqual(await get("js/main.js", { range: "bytes=0-7" }), [206, "text/javascript; charset=utf-8", "document"]);
    assert.equal((await get("js/main.js", { range: "bytes=900-" }))[0], 416);
    assert.equal((await get("js/main.js", {}, "POST"))[0], 405);
    assert.deepEqual(await get("js/main.js", {}, "HEAD"), [200, "text/javascript; charset=utf-8", ""]);
    for (const path of ["none.js", "../../state.json", "..%2f..%2fstate.json", ""]) assert.notEqual((await get(path))[2], "secret", path);
    assert.equal((await get("none.js"))[0], 404);
    assert.deepEqual(await get("%ff.js"), [404, "text/plain", "not a file of a release"]);
    assert.equal((await tab.run<[number]>("page.get('/not-served')"))[0], 404);
    // Any page that links here could fill the storage with folders otherwise.
    assert.equal((await tab.run<[number]>("page.get('/slipstream/stranger/releases/d1/a.js')"))[0], 404);
    assert.deepEqual((await tab.run<string[]>("page.directories()")).filter((d) => d.includes("stranger")), []);
    await tab.close();
  });
}
