import { test } from "node:test";
import assert from "node:assert/strict";
import { chromium } from "../chromium.js";
import { script, site, type Site } from "./site.js";

const page = (head: string, body = "a page") => `<!doctype html><meta charset="utf-8">${head}<body>${body}`;

/** What each page is, and how its start must be judged. */
const cases: Record<string, { html: Site["files"][string]; rules?: object; query?: string; want: [string, string | RegExp] }> = {
  "a page that shows something works": { html: page(""), want: ["confirmed", ""] },
  "a picture is something": { html: page("", '<img src="/none.png">'), want: ["confirmed", ""] },
  "what is drawn later is waited for": { html: page("<script>setTimeout(() => document.body.append('late'), 400)</script>", ""), want: ["confirmed", ""] },
  "an error of the first script": { html: page("<script>throw new TypeError('boom')</script>"), want: ["crashed", /^Uncaught TypeError: boom \(\/case\.html:1\)$/] },
  "an error of a module": { html: page('<script type="module">throw new Error("deep")</script>'), want: ["crashed", /^Uncaught Error: deep/] },
  "a rejection that nobody handles": { html: page("<script>Promise.reject(new RangeError('far'))</script>"), want: ["crashed", "unhandled rejection: RangeError: far"] },
  "a rejection without an error": { html: page("<script>Promise.reject('just so')</script>"), want: ["crashed", "unhandled rejection: just so"] },
  "an error soon after loading": { html: page("<script>onload = () => setTimeout(() => { nothing.here }, 100)</script>"), rules: { settle: 20000 }, want: ["crashed", /nothing is not defined/] },
  "a script that is not there": { html: page('<script src="/none.js"></script>'), want: ["crashed", "/none.js could not be loaded"] },
  "a style that is not there": { html: page('<link rel="stylesheet" href="/none.css">'), want: ["crashed", "/none.css could not be loaded"] },
  "a long error is cut": { html: page("<script>throw new Error('x'.repeat(9000))</script>"), want: ["crashed", /^Uncaught Error: x{484}$/] },
  "a stranger's script is no fault of the release": { html: page('<script src="http://localhost:1/ads.js"></script>'), want: ["confirmed", ""] },
  "nor one whose address begins like the page's": { html: page("<script>dispatchEvent(new ErrorEvent('error', { message: 'theirs', filename: location.origin + '0.example/ads.js' }))</script>"), want: ["confirmed", ""] },
  "a layout that takes two frames is none": { html: page("<script>dispatchEvent(new ErrorEvent('error', { message: 'ResizeObserver loop completed with undelivered notifications.', filename: location.href }))</script>"), want: ["confirmed", ""] },
  "a white page hangs": { html: page("<script>document.title = 'x'</script>", "<div> </div>"), rules: { watchdog: 1500 }, want: ["hung", "the page showed nothing within 1500 ms"] },
  "a page that never comes hangs": { html: () => undefined, rules: { watchdog: 1500 }, want: ["hung", "the page did not load within 1500 ms"] },
  "a page that is not there": { html: (r) => void r.writeHead(404, { "content-type": "text/plain" }).end("no such file"), want: ["crashed", "the release has no such page"] },
  "a page that leads elsewhere": { html: page("<script>location.href = 'data:text/html,hello'</script>"), want: ["crashed", "the page went to another origin"], rules: { settle: 20000 } },
  "it confirms by itself": { html: page("", '<script src="/inside.js"></script>'), query: "?say=confirm", rules: { confirm: "told" }, want: ["confirmed", ""] },
  "it says that it crashed": { html: page("", '<script src="/inside.js"></script>'), query: "?say=crash", rules: { confirm: "told" }, want: ["crashed", "no cart"] },
  "it should confirm and does not": { html: page("", '<script src="/inside.js"></script>'), rules: { confirm: "told", watchdog: 1500 }, want: ["hung", "the page did not confirm within 1500 ms"] },
};

test("how the start of a page in a frame is judged", async (t) => {
  const browser = chromium(t);
  if (!browser) return;
  const shell = await site(t, { "/": '<!doctype html><body><div id="slot"></div><script src="/frames.js"></script>', "/frames.js": await script("test/web/frames.ts"), "/inside.js": await script("test/web/inside.ts") });
  const tab = await browser.tab();
  await tab.goto(shell.origin + "/");
  await tab.until("typeof frames === 'object'");
  for (const [name, { html, rules, query, want: [kind, detail] }] of Object.entries(cases)) {
    await t.test(name, async () => {
      shell.files["/case.html"] = html;
      const got = await tab.run<{ kind: string; detail: string }>(`frames.start(${JSON.stringify("/case.html" + (query ?? ""))}, ${JSON.stringify(rules ?? {})})`);
      assert.equal(got.kind, kind, got.detail);
      if (typeof detail === "string") assert.equal(got.detail, detail);
      else assert.match(got.detail, detail);
    });
  }
  await t.test("only the last page stays in the shell", async () => {
    shell.files["/case.html"] = page("", "the last");
    await tab.run("frames.start('/case.html')");
    assert.deepEqual(await tab.run("frames.shown()"), [1, "the last"]);
  });
  await t.test("a page finds the release that it belongs to", async () => {
    const digest = "0123456789abcdef".repeat(4), at = `/slipstream/shop/releases/${digest}/`;
    shell.files[at + "pages/cart.html"] = page("", '<script src="/inside.js"></script>');
    await tab.run(`frames.start(${JSON.stringify(at + "pages/cart.html?a=1#b")})`);
    assert.deepEqual(await tab.run("frames.shown()"), [1, JSON.stringify({ digest, base: at })]);
    await tab.run("frames.start('/case.html')");
  });
});
