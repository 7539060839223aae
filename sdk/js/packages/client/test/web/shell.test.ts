import { test } from "node:test";
import assert from "node:assert/strict";
import { chromium } from "../chromium.js";
import { script, site } from "./site.js";

const page = (text: string) => `<!doctype html><meta charset="utf-8"><body>${text}`;
const text = "document.body.innerText";
/** Everything that the worker keeps of the shell. */
const kept = 'caches.open("slipstream-shell").then((c) => c.keys()).then((all) => all.map((r) => new URL(r.url).pathname + new URL(r.url).search).sort())';

test("what the service worker keeps of the shell", async (t) => {
  const browser = chromium(t);
  if (!browser) return;
  const web = await site(t, {
    "/": page("one"), "/home.html": page("home"), "/sw.js": await script("test/web/shell-worker.ts"),
    "/start": (r) => void r.writeHead(302, { location: "/home.html" }).end(),
  });
  const tab = await browser.tab();
  await tab.goto(web.origin + "/");
  await tab.run('navigator.serviceWorker.register("/sw.js").then(() => navigator.serviceWorker.ready).then(() => true)');
  await tab.until("navigator.serviceWorker.controller !== null");

  await t.test("links with any queries add no copy, and what they answer is nobody else's page", async () => {
    web.files["/"] = (r) => void r.writeHead(200, { "content-type": "text/html" }).end(page(r.req.url === "/" ? "two" : "won a prize"));
    for (let i = 0; i < 5; i++) {
      await tab.goto(`${web.origin}/?from=${i}`);
      assert.equal(await tab.run(text), "won a prize");
    }
    await tab.until(`caches.open("slipstream-shell").then((c) => c.match("/")).then((r) => r.text()).then((t) => t.includes("two"))`);
    assert.deepEqual(await tab.run(kept), ["/", "/start"]);
  });

  await t.test("without a network the newest copy opens, also at an address that was a redirect", async () => {
    web.offline = true;
    await tab.goto(web.origin + "/?from=offline");
    assert.equal(await tab.run(text), "two");
    await tab.goto(web.origin + "/start");
    assert.equal(await tab.run(text), "home");
  });
});
