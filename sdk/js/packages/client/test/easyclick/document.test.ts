import { test } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { hotUpdater } from "../../src/easyclick/index.js";
import { readConfig, request } from "../../src/easyclick/document.js";

const script = "the compiled script";
const md5 = createHash("md5").update(script).digest("hex");

// A server that follows the document and nothing else, in a thread of its own: a script's calls stand still.
const SERVER = `
const { workerData, parentPort } = require("node:worker_threads");
const server = require("node:http").createServer((q, r) => {
  const url = new URL(q.url, "http://x");
  if (url.pathname === "/asked") return r.end(JSON.stringify(asked));
  if (url.pathname.startsWith("/update")) { asked.push(q.url); const a = workerData[url.pathname.slice(8)]; r.statusCode = a.status || 200; return r.end(a.answer.replaceAll("%s", "http://" + q.headers.host)); }
  if (url.pathname === "/moved") { r.writeHead(302, { location: "/aaa.iec" }); return r.end(); }
  if (url.pathname === "/aaa.iec") return r.end(${JSON.stringify(script)});
  if (url.pathname === "/empty") return r.end();
  if (url.pathname === "/cut") { r.writeHead(200, { "content-length": 100 }); r.write("x"); return setTimeout(() => r.destroy(), 50); }
  if (url.pathname === "/drip") { const t = setInterval(() => r.write("x"), 100); return r.on("close", () => clearInterval(t)); }
  r.statusCode = 404; r.end();
});
const asked = [];
server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port));
`;

const cases: Record<string, { answer: string; status?: number; found?: boolean; error?: RegExp }> = {
  plain: { answer: '{"download_url":"%s/aaa.iec","version":"1.1.0","dialog":true,"msg":"优化部分问题","force":false}', found: true },
  md5: { answer: `{"download_url":"%s/aaa.iec","version":"1.1.0","dialog":true,"msg":"","force":false,"md5":"${md5.toUpperCase()}","download_timeout":60}`, found: true },
  number: { answer: '{"download_url":"%s/aaa.iec","version":8}', found: true },
  relative: { answer: '{"download_url":"/aaa.iec","version":"2"}', found: true },
  patient: { answer: '{"download_url":"/aaa.iec","version":"2","download_timeout":1e300}', found: true },
  redirected: { answer: '{"download_url":"/moved","version":"2"}', found: true },
  empty: { answer: "", error: /^no update$/ },
  spaces: { answer: " \n", error: /^no update$/ },
  html: { answer: "<html>", error: /^the answer is no update: / },
  list: { answer: "[]", error: /not a JSON object/ },
  nowhere: { answer: '{"version":"2"}', error: /no download_url/ },
  kinds: { answer: '{"download_url":7,"version":"2"}', error: /"download_url" is 7, not a string/ },
  failing: { answer: "sorry", status: 500, error: /the server answered 500/ },
  scheme: { answer: '{"download_url":"file:///etc/passwd","version":"2"}', found: true, error: /is no address/ },
  wrong: { answer: '{"download_url":"%s/aaa.iec","version":"2","md5":"00"}', found: true, error: /has MD5/ },
  missing: { answer: '{"download_url":"%s/none","version":"2"}', found: true, error: /404/ },
  nothing: { answer: '{"download_url":"%s/empty","version":"2"}', found: true, error: /the file is empty/ },
  cut: { answer: '{"download_url":"%s/cut","version":"2"}', found: true, error: /^download: / },
  slow: { answer: '{"download_url":"%s/drip","version":"2","download_timeout":1}', found: true, error: /nothing whole came within 1000 ms/ },
  huge: { answer: `{"msg":"${"x".repeat(1 << 19)}"}`, error: /more than 262144 bytes/ },
};

test("against a server that follows the document and nothing else", async (t) => {
  const worker = new Worker(SERVER, { eval: true, workerData: cases });
  const port = await new Promise<number>((done) => worker.once("message", done));
  t.after(() => worker.terminate());
  for (const [name, c] of Object.entries(cases)) {
    await t.test(name, (t) => {
      const dir = mkdtempSync(join(tmpdir(), "slipstream-easyclick-"));
      t.after(() => rmSync(dir, { recursive: true, force: true }));
      const updater = hotUpdater({ config: { update_url: `http://127.0.0.1:${port}/update/${name}?kept=1`, version: "1.0.0", appendDeviceInfo: true }, dir });
      assert.equal(updater.updateReq(), c.found ?? false, updater.getErrorMsg());
      if (c.found) {
        assert.equal(updater.getErrorMsg(), "");
        const path = updater.updateDownload();
        if (c.error) assert.equal(path, "");
        else assert.equal(readFileSync(path, "utf8"), script);
      }
      assert.match(updater.getErrorMsg(), c.error ?? /^$/);
      assert.deepEqual(readdirSync(dir).filter((f) => f.startsWith(".")), [], "nothing half is left behind");
    });
  }
  await t.test("a moved server, however its former address is written", () => {
    for (const [i, host] of ["old.example", "OLD.example", "old.example:80", "me:pw@old.example"].entries()) {
      const updater = hotUpdater({ dir: tmpdir(), moved: { "http://old.example": `http://127.0.0.1:${port}` } });
      assert.equal(updater.updateReq(`http://${host}/update/plain`, i), true, `${host}: ${updater.getErrorMsg()}`);
    }
  });
  const asked = (await (await fetch(`http://127.0.0.1:${port}/asked`)).json()) as string[];
  assert.equal(asked[0], "/update/plain?kept=1&version=1.0.0&deviceId=&apkVersion=&osVersion=&pkgName=&model=&ecVersion=&brand=&androidId=");
});

test("what a script leaves out comes from update.json", () => {
  const config = { update_url: "https://u.example/a?x=1#f", version: "3", appendDeviceInfo: false, timeout: 500 };
  const info = { model: "LNA AL00", brand: "华为" };
  for (const [asked, url, timeout] of [
    [{}, "https://u.example/a?x=1&version=3#f", 1000],
    [{ url: "", version: 0, appendDeviceInfo: false, timeout: 9000 }, "https://u.example/a?x=1&version=3#f", 9000],
    [{ url: "http://other.example", version: 0, timeout: 9000 }, "http://other.example?version=0", 9000],
    [{ url: "http://other.example/", version: 12 }, "http://other.example/?version=12", 1000],
    [{ url: "http://o.example", appendDeviceInfo: true }, "http://o.example?version=3&deviceId=&apkVersion=&osVersion=&pkgName=&model=LNA%20AL00&ecVersion=&brand=%E5%8D%8E%E4%B8%BA&androidId=", 1000],
  ] as const) {
    assert.deepEqual(request(config, info, asked), { url, timeout });
  }
  assert.throws(() => request(config, info, { url: "ftp://u.example" }), /is no address: it looks like https/);
  assert.throws(() => request({ ...config, version: "" }, info, {}), /update.json needs "version"/);
});

test("update.json that cannot be read says why", () => {
  assert.throws(() => readConfig('{"update_url":"http://x", // here\n}'), /knows no comments/);
  assert.throws(() => readConfig('{"version":true}'), /neither text nor a number/);
  assert.deepEqual(readConfig('\uFEFF{"update_url":"http://x/u","version":7}'), { update_url: "http://x/u", version: "7", appendDeviceInfo: false, timeout: 0 });
  const dir = mkdtempSync(join(tmpdir(), "slipstream-easyclick-"));
  writeFileSync(join(dir, "update.json"), "{");
  const updater = hotUpdater({ config: join(dir, "update.json"), dir });
  assert.equal(updater.updateReq(), false);
  assert.match(updater.getErrorMsg(), /^update.json: /);
  assert.equal(updater.updateDownload(), "");
  assert.match(updater.getErrorMsg(), /ask first/);
  rmSync(dir, { recursive: true });
});
