// A device's life on every phone-like host's own file API: the power cut at its writes, spoilt storage, a full disk. What
// these hosts cannot do (replace a file in one step, flush) must not cost a release.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Drive } from "../../src/hosts/drive.js";
import type { MemoryDisk } from "../../src/hosts/miniprogram/disk.js";
import { UserDirectory } from "../../src/hosts/miniprogram/drive.js";
import { memoryPlatform } from "../../src/hosts/miniprogram/memory.js";
import { blobUtilDrive, expoAsyncDrive, expoDrive, rnfsDrive } from "../../src/hosts/react-native/drives.js";
import { App, refusedAs, whole } from "../device/app.js";
import { cut, device } from "../device/cuts.js";
import { atOnce, blobUtil, expo, expoAsync, rnfs } from "./standins.js";

const platform = (dialect: "wx" | "my" | "tt") => (disk: MemoryDisk) =>
  new UserDirectory(memoryPlatform({ disk, dialect, fetch, later: queueMicrotask, random: (n) => new Uint8Array(n) }).getFileSystemManager(), "wxfile://usr");
const library = (make: (disk: MemoryDisk) => Drive) => (disk: MemoryDisk) => {
  disk.folders.add("data");
  return make(disk);
};

const drives: Record<string, (disk: MemoryDisk) => Drive> = {
  wx: platform("wx"), my: platform("my"), tt: platform("tt"),
  "react-native-fs": library((disk) => rnfsDrive(rnfs(disk, atOnce), "data")),
  "react-native-blob-util": library((disk) => blobUtilDrive(blobUtil(disk, atOnce), "data")),
  "expo-file-system/legacy": library((disk) => expoAsyncDrive(expoAsync(disk, false, atOnce), "file:///data")),
  "expo-file-system": library((disk) => expoDrive(expo(disk, false, atOnce), "file:///data/")),
};

for (const [name, drive] of Object.entries(drives)) {
  // Every write on one host; what the others have in common with it is looked at less often.
  const step = name === "wx" ? 1 : 3;
  test(`${name}: the power goes at ${step === 1 ? "every" : "every third"} write of an update, a start and a confirm, and tears it`, async () => {
    const seen = new Set<string>(), d = await device({ drive });
    let n = 1;
    for (let ran = await cut(d, n, "torn"); ran; ran = await cut(d, (n += step), "torn")) seen.add(ran);
    assert.ok(n > 40, `${n} writes`);
    assert.deepEqual([...seen].sort(), ["1.0.0", "2.0.0"], "some cuts leave the old one, some the new one");
  });

  test(`${name}: spoilt storage costs a generation, then all but the embedded release, and a full disk costs updates alone`, async () => {
    const app = new App({ drive }), { shop, disk } = app;
    const one = shop.release("1.0.0", { "index.json": "one" }), two = shop.release("2.0.0", { "index.json": "two" });
    for (const release of [one, two]) {
      app.offerMain(release);
      await app.install();
    }
    const runs = async () => {
      const client = await app.process(), launch = await client.start();
      return { ran: await whole(client, launch, [one, two]), launch, client };
    };
    assert.equal((await runs()).ran, "2.0.0");

    app.offerMain(shop.release("3.0.0", { "index.json": "three".repeat(1000) }));
    disk.limit = disk.used;
    const full = await runs();
    assert.deepEqual([full.ran, full.launch.reason], ["2.0.0", "disk_full"]);
    await assert.rejects(app.run(full.client.update()), refusedAs("disk_full"));
    disk.limit = Infinity;

    const spoil = (file: string) => {
      const [path, bytes] = [...disk.files].find(([path]) => path.endsWith("/" + file))!;
      disk.files.set(path, bytes.slice(0, bytes.length >> 1));
    };
    spoil("state.json");
    assert.equal((await runs()).ran, "2.0.0", "the generation before");
    spoil("state.json");
    spoil("state.previous.json");
    const { ran, client } = await runs();
    assert.equal(ran, "embedded");
    assert.equal(client.status().packages.main.anchor.version, "2.0.0");
  });
}
