import { test } from "node:test";
import assert from "node:assert/strict";
import { NotFound, StorageFull, type Files } from "../../src/host.js";
import { DriveFiles, type Drive } from "../../src/hosts/drive.js";
import { fromBase64, toBase64 } from "../../src/hosts/base64.js";
import { MemoryDisk, type Cut } from "../../src/hosts/miniprogram/disk.js";
import { memoryPlatform } from "../../src/hosts/miniprogram/memory.js";
import { UserDirectory } from "../../src/hosts/miniprogram/drive.js";
import { reactNativeHost } from "../../src/hosts/react-native/index.js";
import { blobUtilDrive, expoAsyncDrive, expoDrive, rnfsDrive } from "../../src/hosts/react-native/drives.js";
import { contract } from "./contract.js";
import { blobUtil, expo, expoAsync, rnfs } from "./standins.js";

const platform = (disk: MemoryDisk, dialect: "wx" | "my" | "tt", old: boolean) =>
  memoryPlatform({ disk, dialect, old, fetch, later: (then) => void setImmediate(then), random: (n) => new Uint8Array(n) });

/** A disk without the folder moves that most have, as in a browser. */
class PlainDrive implements Drive {
  readonly piece = 4;
  readonly movesFolders = false;
  private readonly inner: UserDirectory;
  constructor(disk: MemoryDisk) {
    this.inner = new UserDirectory(platform(disk, "wx", false).getFileSystemManager(), "wxfile://usr");
  }
  read(path: string, offset?: number, length?: number) {
    return this.inner.read(path, offset, length);
  }
  write(path: string, bytes: Uint8Array, append: boolean) {
    return this.inner.write(path, bytes, append);
  }
  async move(from: string, to: string) {
    if ((await this.inner.stat(from))?.folder) throw new Error("this drive moves no folders");
    await this.inner.move(from, to);
  }
  remove(path: string) {
    return this.inner.remove(path);
  }
  makeFolder(path: string) {
    return this.inner.makeFolder(path);
  }
  list(path: string) {
    return this.inner.list(path);
  }
  stat(path: string) {
    return this.inner.stat(path);
  }
}

function library(make: (disk: MemoryDisk) => Drive): (disk: MemoryDisk) => Drive {
  return (disk) => {
    disk.folders.add("data");
    return make(disk);
  };
}

const drives: Record<string, (disk: MemoryDisk) => Drive> = {
  "wx": (disk) => new UserDirectory(platform(disk, "wx", false).getFileSystemManager(), "wxfile://usr"),
  "wx, old base library": (disk) => new UserDirectory(platform(disk, "wx", true).getFileSystemManager(), "wxfile://usr"),
  "my": (disk) => new UserDirectory(platform(disk, "my", false).getFileSystemManager(), "wxfile://usr"),
  "tt": (disk) => new UserDirectory(platform(disk, "tt", false).getFileSystemManager(), "wxfile://usr"),
  "folders that do not move": (disk) => new PlainDrive(disk),
  "react-native-fs": library((disk) => rnfsDrive(rnfs(disk), "data")),
  "react-native-blob-util": library((disk) => blobUtilDrive(blobUtil(disk), "data")),
  "expo-file-system/legacy": library((disk) => expoAsyncDrive(expoAsync(disk), "file:///data")),
  "expo-file-system without append": library((disk) => expoAsyncDrive(expoAsync(disk, true), "file:///data")),
  "expo-file-system": library((disk) => expoDrive(expo(disk), "file:///data/")),
  "expo-file-system, synchronous": library((disk) => expoDrive(expo(disk, true), "file:///data/")),
};

for (const [name, make] of Object.entries(drives)) {
  test(`the directory over ${name}`, async (t) => {
    for (const [what, check] of Object.entries(contract)) {
      await t.test(what, () => check(new DriveFiles(make(new MemoryDisk()), (path) => path)));
    }
    await t.test("a full disk is told apart, and what was there stays", async () => {
      const disk = new MemoryDisk(), files = new DriveFiles(make(disk), (path) => path);
      await files.replace("state.json", Uint8Array.of(1, 2, 3));
      disk.limit = disk.used + 10;
      await assert.rejects(files.replace("state.json", new Uint8Array(1000)), StorageFull);
      const sink = await files.create("big");
      await assert.rejects((async () => (await sink.write(new Uint8Array(1000)), sink.close()))(), StorageFull);
      assert.deepEqual(await files.read("state.json"), Uint8Array.of(1, 2, 3));
    });
  });
}

test("a file library that copies the whole file to go on at its end is asked less often the longer the file", async () => {
  const disk = new MemoryDisk(), fs = expoAsync(disk, true), { writeAsStringAsync } = fs;
  disk.folders.add("data");
  let written = 0;
  fs.writeAsStringAsync = (uri, data, o) => ((written += data.length * 3 / 4), writeAsStringAsync(uri, data, o));
  const host = await reactNativeHost({ drive: expoAsyncDrive(fs, "file:///data"), location: "file:///data", random: (n) => new Uint8Array(n),
    environment: { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout as never, fetch: (() => undefined) as never } });
  const sink = await host.files.create("big"), piece = new Uint8Array(256 << 10), size = 8 << 20;
  for (let at = 0; at < size; at += piece.length) await sink.write(piece);
  await sink.close();
  assert.equal(await host.files.size("big"), size);
  assert.ok(written < 6 * size, `${written / size} times the file is written`);
});

const put = async (files: Files, path: string, bytes: number[]) => {
  const sink = await files.create(path);
  await sink.write(Uint8Array.from(bytes));
  await sink.close();
};

/** Runs work with the power going at its nth write, for every n and every way, and judges what is there afterwards. */
async function everyCut(make: (disk: MemoryDisk) => Drive, before: (f: Files) => Promise<void>, work: (f: Files) => Promise<void>, judge: (f: Files, at: string) => Promise<void>) {
  let cuts = 0;
  for (const how of ["before", "torn", "after"] as Cut[]) {
    for (let n = 1; ; n++) {
      const disk = new MemoryDisk();
      await before(new DriveFiles(make(disk), (p) => p));
      const writes = disk.writes, files = new DriveFiles(make(disk), (p) => p);
      const gone = disk.cutAt(n, how);
      const ended = await Promise.race([work(files).then(() => "done", () => "failed"), gone.then(() => "gone")]);
      if (ended === "done" && disk.writes - writes < n) break;
      cuts++;
      disk.revive();
      const after = new DriveFiles(make(disk), (p) => p);
      await after.recover();
      await judge(after, `${how} write ${n}`);
    }
  }
  assert.ok(cuts > 5, `only ${cuts} cuts`);
}

test("replacing a file leaves the old bytes or the new ones, wherever the power goes", async () => {
  for (const make of [drives["wx"], drives["folders that do not move"], drives["react-native-fs"]]) {
    await everyCut(make, (f) => f.replace("a/state.json", Uint8Array.of(1, 1)), (f) => f.replace("a/state.json", Uint8Array.of(2, 2, 2, 2)), async (f, at) => {
      const got = [...(await f.read("a/state.json"))].join();
      assert.ok(got === "1,1" || got === "2,2,2,2", `${at}: ${got}`);
      assert.deepEqual(await f.list("a"), ["state.json"], at);
    });
  }
});

test("a file of a release may be named like our own temporary ones", async () => {
  for (const make of Object.values(drives)) {
    const files = new DriveFiles(make(new MemoryDisk()), (p) => p);
    await put(files, "staging/1/main.js~next", [1]);
    await files.rename("staging/1", "releases/abc");
    // As somebody asks who tries addresses, and as a start looks for what nobody signed.
    assert.equal(await files.size("releases/abc/main.js"), undefined);
    await assert.rejects(files.read("releases/abc/main.js"), NotFound);
    await files.remove("releases/abc/main.js");
    assert.deepEqual(await files.list("releases/abc"), ["main.js~next"]);
    assert.deepEqual(await files.read("releases/abc/main.js~next"), Uint8Array.of(1));
  }
});

test("who reads while another tab replaces sees the old bytes or the new ones, and disturbs nothing", async () => {
  let look = async () => undefined as void;
  class Busy extends PlainDrive {
    override async remove(path: string) {
      await super.remove(path);
      await look();
    }
    override async move(from: string, to: string) {
      await look();
      await super.move(from, to);
      await look();
    }
  }
  const disk = new MemoryDisk(), writer = new DriveFiles(new Busy(disk), (p) => p), reader = new DriveFiles(new PlainDrive(disk), (p) => p), seen: string[] = [];
  await writer.replace("state.json", Uint8Array.of(1));
  look = async () => {
    assert.equal(await reader.size("state.json"), 1);
    seen.push([...(await reader.read("state.json"))].join());
  };
  await writer.replace("state.json", Uint8Array.of(2));
  look = async () => undefined;
  assert.deepEqual(seen, ["2", "2", "2"]);
  assert.deepEqual(await writer.read("state.json"), Uint8Array.of(2));
});

test("a folder that another holder of the lock removed is made again", async () => {
  const disk = new MemoryDisk(), first = new DriveFiles(new PlainDrive(disk), (p) => p), second = new DriveFiles(new PlainDrive(disk), (p) => p);
  await put(first, "fetch/a.part", [1]);
  await second.remove("fetch");
  await first.recover(); // it holds the lock again
  await put(first, "fetch/b.part", [2]);
  assert.deepEqual(await second.list("fetch"), ["b.part"]);
});

test("a folder is there whole or not at all, wherever the power goes", async () => {
  const before = async (f: Files) => {
    for (const name of ["main.js", "img/a.png", "img/b.png", "pages/x/y.json"]) await put(f, "staging/1/" + name, [1, 2, 3, 4, 5]);
  };
  for (const make of [drives["wx"], drives["folders that do not move"]]) {
    await everyCut(make, before, (f) => f.rename("staging/1", "releases/abc"), async (f, at) => {
      const where = (await f.size("releases/abc/main.js")) === undefined ? "staging/1" : "releases/abc";
      for (const name of ["main.js", "img/a.png", "img/b.png", "pages/x/y.json"]) assert.equal((await f.read(`${where}/${name}`)).length, 5, `${at}: ${name}`);
      assert.deepEqual((await f.list(where)).sort(), ["img/", "main.js", "pages/"], at);
      assert.equal((await f.list(where === "staging/1" ? "releases/abc" : "staging/1")).length, 0, at);
    });
  }
});

test("base64 is what other programs have", () => {
  for (let n = 0; n < 300; n++) {
    const bytes = Uint8Array.from({ length: n }, (_, i) => (i * 7 + n) & 255);
    assert.equal(toBase64(bytes), Buffer.from(bytes).toString("base64"));
    assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
  }
  assert.throws(() => fromBase64("a*b="), /no base64/);
});
