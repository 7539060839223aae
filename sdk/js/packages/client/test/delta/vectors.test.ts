// The containers that every implementation must judge alike.
import { test } from "node:test";
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { bytecode, withBytecode } from "../../src/delta/bytecode.js";
import { delta } from "../../src/delta/index.js";
import { rich } from "../../src/delta/rich.js";
import { simple } from "../../src/delta/simple.js";
import type { Delta } from "../../src/device/api.js";
import { repository } from "../serve.js";
import { bytes, outcome, vectors, type Bytes } from "../vectors.js";
import { applied, manifest, type Tree } from "./standins.js";

interface Vectors {
  codec: string;
  base: Record<string, Bytes>;
  target: Record<string, Bytes>;
  cases: { name: string; base: boolean; held?: Record<string, Bytes>; memory?: number; container: string; expect: string }[];
}

const trees = (m: Record<string, Bytes> | undefined): Tree => Object.fromEntries(Object.entries(m ?? {}).map(([p, b]) => [p, bytes(b)]));
const entries: Record<string, Delta> = { "./delta": delta, "./delta/simple": simple, "./delta/rich": rich, "./delta/bytecode": bytecode, "both": withBytecode(rich) };
const memory = 16 << 20;

for (const file of readdirSync(join(repository(), "testdata/vectors/containers"))) {
  const v = vectors<Vectors>(`containers/${file.replace(".json", "")}`);
  const base = trees(v.base), target = trees(v.target);
  for (const [entry, unpack] of Object.entries(entries)) {
    if (unpack.can(v.codec, memory)) {
      for (const c of v.cases) {
        test(`${entry}, ${v.codec}: ${c.name} (${file})`, async () => {
          let tree: Tree = {};
          const got = await outcome(async () => {
            tree = await applied(unpack, Buffer.from(c.container, "base64"), c.base ? base : undefined, manifest(target), c.memory, { ...base, ...trees(c.held) });
          });
          assert.equal(got, c.expect);
          if (c.expect === "ok") assert.deepEqual(tree, target);
        });
      }
    } else {
      test(`${entry} refuses ${v.codec} (${file})`, async () => {
        for (const c of v.cases) {
          const got = await outcome(() => applied(unpack, Buffer.from(c.container, "base64"), c.base ? base : undefined, manifest(target), c.memory));
          // a codec that may be another one in disguise is applied where it is that
          if (c.name === "good") assert.equal(got, "container_invalid");
          else if (c.expect !== "ok") assert.ok(["container_invalid", "file_mismatch"].includes(got));
        }
      });
    }
  }
}
