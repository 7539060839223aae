// One measurement of delta.mjs, in an engine of its own: applies every container of a folder and compares each file.
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from "node:zlib";
import { withBytecode } from "../dist/esm/delta/bytecode.js";
import { rich } from "../dist/esm/delta/rich.js";
import { Sha256 } from "../dist/esm/delta/sha256.js";

const [pairDir, oldPath, newPath, runs] = process.argv.slice(2);
const pair = JSON.parse(readFileSync(join(pairDir, "pair.json"), "utf8"));
const isFile = statSync(oldPath).isFile();
const unpack = withBytecode(rich);
const file = (root, path) => readFileSync(isFile ? root : join(root, path));
const source = (b) => ({ size: b.length, read: async (at, n) => b.subarray(at, at + n), close: async () => {} });
const base = new Map(pair.from.map((f) => [f.path, file(oldPath, f.path)]));
/** ms of this process alone: others on the machine do not count. */
const cpu = () => { const u = process.cpuUsage(); return (u.user + u.system) / 1000; };
const turn = () => new Promise((then) => setImmediate(then));

async function apply(container) {
  const made = new Map();
  let longest = 0, last = cpu();
  await unpack.apply({
    container: source(container), from: { files: pair.from }, to: { files: pair.to }, memory: 16 << 20,
    base: async (f) => source(base.get(f.path)),
    sink: {
      create: async (f) => { const parts = []; made.set(f.path, parts); return { write: async (b) => { parts.push(b); }, close: async () => {} }; },
      keep: async (f, old) => { made.set(f.path, [base.get(old.path)]); },
      duplicate: async (f, of) => { made.set(f.path, made.get(of.path)); },
    },
    sha256: () => { const h = createHash("sha256"); return { update: (b) => void h.update(b), digest: () => new Uint8Array(h.digest()) }; },
    pause: async () => { longest = Math.max(longest, cpu() - last); await turn(); last = cpu(); },
  });
  return { made, longest };
}

const median = (t) => t.slice().sort((a, b) => a - b)[t.length >> 1];
const out = {};
for (const c of pair.containers) {
  if (!unpack.can(c.codec, 16 << 20)) continue;
  const container = new Uint8Array(readFileSync(join(pairDir, c.file)));
  const times = [], slices = [];
  for (let i = 0; i < Number(runs); i++) {
    const start = cpu();
    const { made, longest } = await apply(container);
    times.push(cpu() - start);
    slices.push(longest);
    for (const f of pair.to) {
      const sum = createHash("sha256");
      for (const b of made.get(f.path)) sum.update(b);
      if (sum.digest("hex") !== f.sha256 || !Buffer.concat(made.get(f.path)).equals(file(newPath, f.path))) throw new Error(`${c.codec} gives another ${f.path}`);
    }
  }
  out[c.codec] = { first: times[0], median: median(times), slice: median(slices) };
}
const whole = Buffer.concat(pair.to.map((f) => file(newPath, f.path)));
const natively = (f, b) => median(Array.from({ length: 7 }, () => { const s = cpu(); f(b); return cpu() - s; }));
const brotli = brotliCompressSync(whole, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }), gzip = gzipSync(whole, { level: 9 });
out.brotli = { median: natively(brotliDecompressSync, brotli), size: brotli.length };
out.gunzip = { median: natively(gunzipSync, gzip), size: gzip.length };
const sums = new Uint8Array(whole);
out.hash = { median: natively((b) => { const h = new Sha256(); h.update(b); h.digest(); }, sums) };
console.log(JSON.stringify(out));
