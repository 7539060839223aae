import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { hotUpdater, hotUpdaterAsync, type HotUpdater } from "../../src/easyclick/index.js";
import { realServer } from "../serve.js";

/** Runs a script as the host does, with stand-ins for the functions of the device that it calls, and gives what they saw. */
function runScript(code: string, hotupdater: HotUpdater) {
  const seen = { log: [] as string[], warned: [] as string[], restarted: "", slept: 0, toast: "" };
  runInNewContext(code, {
    hotupdater,
    toast: (text: string) => void (seen.toast = text),
    logd: (text: string) => void seen.log.push(text),
    logw: (text: string) => void seen.warned.push(text),
    sleep: (ms: number) => void (seen.slept += ms),
    time: () => "2026-11-21 08:00:00",
    restartScript: (path: string, stop: boolean, seconds: number) => {
      assert.deepEqual([stop, seconds], [true, 3]);
      seen.restarted = path;
    },
  });
  return seen;
}

const example = (name: string) => readFileSync(join("testdata/easyclick", name), "utf8");

test("the document's examples run as they stand against our server", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.run("protocol", "enable", "easyclick", "--app", "shop");
  server.publish("7", { "main.iec": "old" });
  const config = join(server.dir, "update.json"), dir = join(server.dir, "down");
  writeFileSync(config, JSON.stringify({ update_url: server.url + "/easyclick/shop/production/update", version: "7", appendDeviceInfo: true, timeout: 30000 }));
  const fresh = () => hotUpdater({ config, dir, info: { androidId: "82a3b055470ebe1a", model: "LNA AL00" } });

  await t.test("nothing newer: the old script goes on", () => {
    const seen = runScript(example("update-json.js"), fresh());
    assert.deepEqual(seen.warned, ["请求失败错误信息: no update"]);
    assert.equal(seen.restarted, "");
    assert.equal(seen.slept, 51000);
  });

  const next = example("update-json.js").replace("let version = 7", "let version = 8");
  server.publish("8", { "main.iec": next }, "--mode", "prompt", "--message", "优化部分问题");

  await t.test("a newer one is downloaded and started", () => {
    const seen = runScript(example("update-json.js"), fresh());
    assert.deepEqual(seen.warned, []);
    assert.equal(seen.log[0], "请求更新是否有: true");
    const answer = JSON.parse(seen.log[1].slice("请求数据: ".length));
    assert.deepEqual([answer.version, answer.dialog, answer.msg, answer.force], ["8", true, "优化部分问题", false]);
    assert.equal(readFileSync(seen.restarted, "utf8"), next);
    const after = runScript(readFileSync(seen.restarted, "utf8"), hotUpdater({ config: { update_url: server.url + "/easyclick/shop/production/update", version: "8" }, dir }));
    assert.equal(after.toast, "Hello World - 8");
    assert.deepEqual(after.warned, ["请求失败错误信息: no update"]);
  });

  await t.test("with promises instead of waiting", async () => {
    const updater = hotUpdaterAsync({ config, dir });
    assert.equal(await updater.updateReq(), true, updater.getErrorMsg());
    assert.equal(updater.answer()?.version, "8");
    assert.equal(readFileSync(await updater.updateDownload(), "utf8"), next);
  });

  await t.test("the example with an address of its own", () => {
    const seen = runScript(example("given-address.js"), hotUpdater({ dir, moved: { "http://baidu.com": server.url + "/easyclick/shop/production/update" } }));
    assert.deepEqual(seen.warned, []);
    assert.equal(readFileSync(seen.restarted, "utf8"), next);
  });

  await t.test("offline", () => {
    const seen = runScript(example("given-address.js"), hotUpdater({ dir, moved: { "http://baidu.com": "http://127.0.0.1:1" } }));
    assert.match(seen.warned[0], /^请求失败错误信息: request an update: /);
    assert.equal(seen.slept, 51000);
  });
});
