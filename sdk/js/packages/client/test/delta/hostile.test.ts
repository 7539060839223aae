// Damaged containers, by seeded chance: what comes of one is the release or a refusal, in bounded time.
import { test } from "node:test";
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { withBytecode } from "../../src/delta/bytecode.js";
import { rich } from "../../src/delta/rich.js";
import type { Delta } from "../../src/device/api.js";
import { repository } from "../serve.js";
import { bytes, vectors, type Bytes } from "../vectors.js";
import { applied, chance, manifest, refused, type Tree } from "./standins.js";

interface Vectors {
  codec: string;
  base: Record<string, Bytes>;
  target: Record<string, Bytes>;
  cases: { name: string; base: boolean; container: string; expect: string }[];
}

const unpack: Delta = withBytecode(rich); // includes the others
const trees = (m: Record<string, Bytes>): Tree => Object.fromEntries(Object.entries(m).map(([p, b]) => [p, bytes(b)]));

for (const file of readdirSync(join(repository(), "testdata/vectors/containers"))) {
  const v = vectors<Vectors>(`containers/${file.replace(".json", "")}`);
  if (!unpack.can(v.codec, 16 << 20)) continue;
  const base = trees(v.base), target = trees(v.target), to = manifest(target);
  const good = v.cases.filter((c) => c.expect === "ok").map((c) => new Uint8Array(Buffer.from(c.container, "base64")));
  if (good.length === 0) continue;

  test(`${v.codec} cut short anywhere is refused (${file})`, async () => {
    for (let n = 0; n < good[0].length; n++) assert.ok(await refused(() => applied(unpack, good[0].slice(0, n), base, to)), `cut to ${n} bytes`);
  });

  test(`${v.codec} with bits turned is refused, or gives the release (${file})`, async () => {
    const next = chance(1), size = good[0].length;
    for (let i = 0; i < 8 * size; i += i < 8 * 60 || i > 8 * (size - 12) ? 1 : 1 + next(15)) {
      const b = good[0].slice();
      b[i >> 3] ^= 1 << (i & 7);
      let tree: Tree = {};
      if (!await refused(async () => { tree = await applied(unpack, b, base, to); })) assert.deepEqual(tree, target, `bit ${i}`);
    }
  });

  test(`${v.codec} damaged in several places is refused, or gives the release (${file})`, async () => {
    const next = chance(file.length);
    const started = performance.now();
    for (let i = v.codec.startsWith("rich") ? 550 : 0; i < 800; i++) { // a model takes its time
      let b = good[next(good.length)].slice();
      for (let k = 1 + next(4); k > 0; k--) {
        const at = 22 + next(b.length - 22);
        switch (next(4)) {
          case 0: b[at] = next(256); break;
          case 1: b[at] = [0, 1, 127, 128, 255][next(5)]; break;
          case 2: b = new Uint8Array([...b.subarray(0, at), ...b.subarray(Math.min(b.length, at + 1 + next(8)))]); break;
          default: { // a piece comes again
            const from = 22 + next(b.length - 22);
            b = new Uint8Array([...b.subarray(0, at), ...b.subarray(from, from + 1 + next(16)), ...b.subarray(at)]);
          }
        }
        if (b.length < 24) break;
      }
      let tree: Tree = {};
      if (!await refused(async () => { tree = await applied(unpack, b, base, to); })) assert.deepEqual(tree, target);
    }
    assert.ok(performance.now() - started < 240_000, "a damaged container takes much longer than a good one");
  });
}
