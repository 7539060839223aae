import { test } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { delta } from "../../src/delta/index.js";
import type { Manifest } from "../../src/words/documents.js";
import { repositoryFile } from "./standins.js";
import { Refusal } from "../../src/words/reasons.js";

const old = { "app.js": "console.log('one')\n", "img/logo.svg": "<svg/>", "lib/a.js": "a", "lib/b.js": "b" };
const next = { "app.js": "console.log('two')\n", "copy.js": "console.log('two')\n", "img/logo.svg": "<svg/>", "vendor/a.js": "a", "vendor/b.js": "b" };
type Tree = Record<string, string>;

const manifest = (t: Tree) => ({
  files: Object.keys(t).sort().map((path) => ({ path, size: t[path].length, sha256: createHash("sha256").update(t[path]).digest("hex") })),
}) as unknown as Manifest;
const source = (b: Uint8Array) => ({ size: b.length, read: async (at: number, n: number) => b.subarray(at, at + n), close: async () => {} });
const golden = (name: string) => new Uint8Array(Buffer.from(repositoryFile(`publish/delta/testdata/${name}.hex`).toString().trim(), "hex"));

async function applied(c: Uint8Array, from: Tree | undefined): Promise<Tree> {
  const out: Tree = {};
  await delta.apply({
    container: source(c), from: from && manifest(from), to: manifest(next), memory: 16 << 20,
    base: async (f) => source(Buffer.from(old[f.path as keyof typeof old])),
    sink: {
      create: async (f) => ({ write: async (b) => { out[f.path] = (out[f.path] ?? "") + Buffer.from(b).toString(); }, close: async () => {} }),
      keep: async (f, o) => { out[f.path] = old[o.path as keyof typeof old]; },
      duplicate: async (f, of) => { out[f.path] = out[of.path]; },
    },
  });
  return out;
}

for (const [name, from] of [["full", undefined], ["changed", old]] as const) {
  test(`the golden container ${name} gives the release`, async () => {
    assert.deepEqual(await applied(golden(name), from), next);
  });

  test(`${name} with any bit turned, cut short or made longer is refused, or gives the release`, async () => {
    const c = golden(name);
    const refused = async (b: Uint8Array) => {
      try {
        assert.deepEqual(await applied(b, from), next);
        return false;
      } catch (err) {
        assert.ok(err instanceof Refusal && ["container_invalid", "file_mismatch"].includes(err.reason), String(err));
        return true;
      }
    };
    for (let i = 0; i < 8 * c.length; i++) {
      const b = c.slice();
      b[i >> 3] ^= 1 << (i & 7);
      await refused(b);
    }
    for (let n = 0; n < c.length; n++) assert.ok(await refused(c.slice(0, n)), `cut to ${n} bytes`);
    assert.ok(await refused(new Uint8Array([...c, 0])), "made longer");
  });
}
