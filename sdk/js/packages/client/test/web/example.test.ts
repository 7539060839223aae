// The web example in a real browser, against a real server.
import { test } from "node:test";
import assert from "node:assert/strict";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium, type Tab } from "../chromium.js";
import { realServer, repository } from "../serve.js";
import { relay } from "./relay.js";

const example = join(repository(), "examples/web");
const load = <T>(file: string) => import(pathToFileURL(join(example, file)).href) as Promise<T>;

/** What the user reads: the page in the frame, and the shell's bar. */
const page = "(document.querySelector('#page iframe')?.contentDocument?.body?.innerText ?? '')";
const bar = "document.getElementById('state').textContent";

async function sees(tab: Tab, text: string, state: string): Promise<void> {
  await tab.until(`${page}.includes(${JSON.stringify(text)}) && ${bar}.startsWith(${JSON.stringify(state)})`);
}

/** Pictures are kept where PICTURES says, to be looked at. */
async function picture(tab: Tab, name: string): Promise<void> {
  if (process.env.PICTURES) writeFileSync(join(process.env.PICTURES, name + ".png"), await tab.picture());
}

test("the web example: an update, a bad update, no network", async (t) => {
  const browser = chromium(t), server = browser && (await realServer(t));
  if (!browser || !server) return;
  const { buildShell } = await load<{ buildShell(o: object): Promise<string[]> }>("build.mjs");
  const { serve } = await load<{ serve(folder: string): Server }>("serve.mjs");
  const publish = (version: string, ...args: string[]) => {
    const tree = join(server.dir, "tree");
    cpSync(join(example, "releases/1.0.0"), tree, { recursive: true });
    cpSync(join(example, "releases", version), tree, { recursive: true });
    return JSON.parse(server.run("publish", tree, "--version", version, "--json", ...args)) as { digest: string };
  };
  const { digest } = publish("1.0.0", "--embedded");
  const manifest = new Uint8Array(await (await fetch(`${server.url}/v1/manifests/${digest}`)).arrayBuffer());
  const between = await relay(t, server.url), into = join(server.dir, "public"), root = join(server.dir, "root.json");
  mkdirSync(into);
  writeFileSync(root, server.root);
  await buildShell({ into, servers: [between.url], root, manifest, poll: 300 });
  let web = serve(into);
  await new Promise<void>((up) => web.listen(0, "127.0.0.1", up));
  const { port } = web.address() as AddressInfo, shell = `http://127.0.0.1:${port}/`;
  const close = () => {
    web.closeAllConnections();
    web.close();
  };
  t.after(close);
  let tab = await browser.tab();

  await t.test("the first start shows the release that ships with the shell", async () => {
    await tab.goto(shell);
    await sees(tab, "Autumn tasting: 10 % off", "The shell's own release 1.0.0");
    await picture(tab, "1-embedded");
  });

  const offered = (version: string) => tab.until(`(b => !b.hidden && b.textContent === "Version ${version} is ready: start it")(document.getElementById("restart"))`);
  await t.test("an update comes while the page runs, and is there after the next start", async () => {
    publish("1.1.0");
    await offered("1.1.0");
    assert.match(await tab.run(page), /Autumn tasting: 10 % off/);
    await picture(tab, "2-ready");
    await tab.run("document.getElementById('restart').click()");
    await sees(tab, "Winter sale: 30 % off", "Release 1.1.0 · just tried and confirmed");
    assert.match(await tab.run(page), /8.90 €6.23 €/);
    await picture(tab, "3-updated");
    await tab.goto(shell + "?again");
    await sees(tab, "Winter sale: 30 % off", "Release 1.1.0");
    assert.equal(await tab.run(bar), "Release 1.1.0");
  });

  await t.test("a release that crashes is left, and the server learns why", async () => {
    publish("1.2.0");
    await offered("1.2.0");
    await tab.run("document.getElementById('restart').click()");
    await sees(tab, "Winter sale: 30 % off", "Release 1.1.0 · went back after: Uncaught RangeError: a promotion of 130 % leaves no price (js/price.js:4)");
    await picture(tab, "4-back");
    await tab.until("shop.report().then(() => shop.status().pending === 0)");
    assert.deepEqual(await tab.run("shop.status().packages.main.refused.map((r) => r.reason)"), ["crashed"]);
    assert.equal(await tab.run("shop.check().then((c) => c.answers.main.reason)"), "refused_after_crash");
    const { events } = JSON.parse(server.run("device", "show", await tab.run("shop.device"), "--app", "shop", "--json")) as { events: { kind: string; reason?: string; detail?: string }[] };
    const back = events.filter((e) => e.kind === "rolled_back");
    assert.deepEqual(back.map((e) => e.reason), ["crashed"], JSON.stringify(events));
    assert.equal(events.filter((e) => e.kind === "crashed" && e.detail === "Uncaught RangeError: a promotion of 130 % leaves no price (js/price.js:4)").length, 2, JSON.stringify(events));
  });

  await t.test("without site and server the release opens all the same", async () => {
    await tab.close();
    between.down = true;
    close();
    tab = await browser.tab();
    await tab.goto(shell);
    await sees(tab, "Winter sale: 30 % off", "Release 1.1.0");
    web = serve(into);
    await new Promise<void>((up) => web.listen(port, "127.0.0.1", up));
    between.down = false;
  });

  await t.test("what the browser lacks is said by name", async () => {
    const poor = await browser.tab();
    await poor.send("Page.enable");
    await poor.send("Page.addScriptToEvaluateOnNewDocument", { source: "Object.defineProperty(navigator, 'locks', { value: undefined })" });
    await poor.goto(shell);
    await poor.until(`${bar}.startsWith("the web host: it lacks navigator.locks: ")`);
  });
});
