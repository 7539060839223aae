// A React Native device takes new bytecode from a real server, with Node as its engine: which way it came, and how many bytes.
import { test } from "node:test";
import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import type { Delta } from "../../src/device/api.js";
import { bytecode } from "../../src/delta/bytecode.js";
import { simple } from "../../src/delta/simple.js";
import { MemoryDisk } from "../../src/hosts/miniprogram/memory.js";
import { reactNativeHost, rnfsDrive } from "../../src/hosts/react-native/index.js";
import { createClient } from "../../src/index.js";
import type { Container, Event } from "../../src/words/documents.js";
import { repositoryFile } from "../delta/standins.js";
import { realServer } from "../serve.js";
import { rnfs } from "./standins.js";

const file = (name: string) => Uint8Array.from(repositoryFile(`publish/delta/hermes/testdata/${name}`));
const releases: Record<string, Record<string, Uint8Array>> = {
  "1.0.0": { "index.android.bundle": file("one.hbc"), "cart.bundle": file("one-98.hbc") },
  "1.1.0": { "index.android.bundle": file("two.hbc"), "cart.bundle": file("two-98.hbc") },
};

test("new bytecode comes as a simple patch over its rewritten form", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  const publish = async (version: string, from: string, codec: string): Promise<{ digest: string; list: Container[] }> => {
    server.publish(version, releases[version], "--entry", "index.android.bundle", "--platform", "android");
    const { digest } = JSON.parse(server.run("release", "show", version, "--app", "shop", "--json")) as { digest: string };
    for (let i = 0; i < 300; i++) {
      const list = (await (await fetch(`${server.url}/v1/releases/${digest}/containers?from=${from}`)).json()) as Container[];
      if (list.some((k) => k.codec === codec)) return { digest, list };
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error(`${codec} was not made in 30 s`);
  };
  const phone = () => {
    const disk = new MemoryDisk(), told: Event[] = [];
    disk.folders.add("data");
    const start = async (delta?: Delta) => {
      const host = await reactNativeHost({ drive: rnfsDrive(rnfs(disk), "data"), location: "file:///data", random: (n) => randomFillSync(new Uint8Array(n)) });
      return createClient({ host, delta, app: "shop", servers: [server.url], platform: "android", root: server.root, hooks: { onEvent: (e) => void told.push(e) } });
    };
    /** A start that takes what is offered, and one that runs it. */
    const update = async (delta?: Delta): Promise<Event> => {
      await (await start(delta)).update();
      const launch = await (await start(delta)).start();
      await launch.confirm();
      return told.filter((e) => e.kind === "fetched").pop()!;
    };
    const holds = (files: Record<string, Uint8Array>, digest: string) => {
      for (const [path, want] of Object.entries(files)) {
        const [, got] = [...disk.files].find(([name]) => name.includes(digest) && name.endsWith("/" + path))!;
        assert.ok(Buffer.from(got).equals(Buffer.from(want)), path);
      }
    };
    return { update, holds };
  };
  const first = await publish("1.0.0", "", "full/1"), device = phone(), other = phone();
  for (const d of [device, other]) {
    assert.equal((await d.update()).codec, "full/1");
    d.holds(releases["1.0.0"], first.digest);
  }
  const second = await publish("1.1.0", first.digest, "simple/1+zstd+hbc");
  const size = (codec: string) => second.list.find((k) => k.codec === codec && (codec === "full/1" || k.from === first.digest))!.size;

  const got = await device.update();
  assert.deepEqual([got.codec, got.bytes], ["simple/1+zstd+hbc", size("simple/1+zstd+hbc")]);
  device.holds(releases["1.1.0"], second.digest);
  const plain = await other.update(simple);
  assert.deepEqual([plain.codec, plain.bytes], ["simple/1+zstd", size("simple/1+zstd")]);
  other.holds(releases["1.1.0"], second.digest);
  assert.ok(got.bytes! * 2 < plain.bytes!, `${got.bytes} bytes rewritten, ${plain.bytes} plain`);
  t.diagnostic(`${got.codec}: ${got.bytes} bytes, ${plain.codec}: ${plain.bytes}, full: ${size("full/1")}`);
  assert.ok(bytecode.can(got.codec!, 16 << 20));
});
