// What the platforms' documents say of their limits and errors, and that the hosts know them by number as well as in words.
import { test } from "node:test";
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { NotFound, StorageFull } from "../../src/host.js";
import type { FileSystemManager, MiniProgramApi } from "../../src/hosts/miniprogram/api.js";
import { UserDirectory } from "../../src/hosts/miniprogram/drive.js";
import { FILE_LIMIT, memoryPlatform, TT_USER_LIMIT, type PlatformOptions } from "../../src/hosts/miniprogram/memory.js";

const platform = (more: Partial<PlatformOptions> = {}) =>
  memoryPlatform({ fetch, later: (then) => void setImmediate(then), random: (n) => new Uint8Array(n), ...more });

const drive = (more: Partial<PlatformOptions> = {}) => new UserDirectory(platform(more).getFileSystemManager(), "wxfile://usr");

test("a missing file and a full disk are told by number, whatever the words are", async () => {
  const numbers: [object, typeof NotFound | typeof StorageFull][] = [
    [{ errMsg: "stat:fail", errno: 1300002 }, NotFound], [{ errMsg: "stat:fail", errNo: 21102 }, NotFound], [{ errMsg: "stat:fail", errorCode: 107002 }, NotFound],
    [{ errMsg: "writeFile:fail", errno: 1300202 }, StorageFull], [{ errMsg: "writeFile:fail", errNo: 21103 }, StorageFull],
  ];
  for (const [said, kind] of numbers) {
    const failing = (o: { fail?(f: object): void }) => void setImmediate(() => o.fail?.(said));
    const disk = new UserDirectory({ writeFile: failing, readFile: failing } as unknown as FileSystemManager, "wxfile://usr");
    await assert.rejects(kind === NotFound ? disk.read("a") : disk.write("a", new Uint8Array(1), false), kind, JSON.stringify(said));
  }
  const other = { writeFile: (o: { fail?(f: object): void }) => void setImmediate(() => o.fail?.({ errMsg: "writeFile:fail permission denied", errno: 1300013 })) };
  await assert.rejects(new UserDirectory(other as unknown as FileSystemManager, "wxfile://usr").write("a", new Uint8Array(1), false), (e) => !(e instanceof StorageFull) && /permission denied/.test(String(e)));
});

test("one file has 100 MB at most, and a mini-program of tt 10 MB for all files", async () => {
  await assert.rejects(drive().write("big", new Uint8Array(FILE_LIMIT + 1), false), StorageFull);
  const tt = drive({ dialect: "tt" });
  await tt.write("half", new Uint8Array(TT_USER_LIMIT - 10), false);
  await assert.rejects(tt.write("more", new Uint8Array(11), false), StorageFull);
  await assert.rejects(tt.read("none"), NotFound);
});

test("in the background requests are interrupted, and none begins until the mini-program is seen again", async (t) => {
  const server = createServer((q, r) => {
    if (q.url !== "/slow") r.end("here");
  });
  await new Promise<void>((up) => server.listen(0, "127.0.0.1", up));
  t.after(() => (server.closeAllConnections(), server.close()));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`, wx = platform();
  const ask = (url: string, how: "request" | "downloadFile" = "request") =>
    new Promise<string>((done) => (wx[how] as NonNullable<MiniProgramApi["request"]>)({ url, success: () => done("ok"), fail: (f: { errMsg?: string }) => done(f.errMsg ?? "") }));
  const slow = ask(base + "/slow", "downloadFile");
  wx.hide();
  wx.cutNetwork();
  assert.equal(await slow, "downloadFile:fail interrupted");
  assert.equal(await ask(base + "/"), "request:fail interrupted");
  wx.show();
  assert.equal(await ask(base + "/"), "ok");
});

test("the mini-program's own package can be read, not written; starting anew ends what ran", async () => {
  let restarted = 0;
  const wx = platform({ code: (path) => (path === "embedded/prices.json" ? Uint8Array.of(123, 125) : undefined), restarted: () => void restarted++ });
  const fs = wx.getFileSystemManager();
  const read = (filePath: string) => new Promise((done) => fs.readFile({ filePath, success: (r) => done([...new Uint8Array(r.data as ArrayBuffer)]), fail: (f) => done(f.errno) }));
  assert.deepEqual(await read("/embedded/prices.json"), [123, 125]);
  assert.equal(await read("embedded/none.json"), 1300002);
  let told = 0;
  wx.restartMiniProgram?.({ success: () => void told++ });
  await new Promise((done) => setTimeout(done, 20));
  assert.equal(restarted, 1);
  fs.readFile({ filePath: "embedded/prices.json", success: () => void told++ });
  await new Promise((done) => setTimeout(done, 20));
  assert.equal(told, 0);
});
