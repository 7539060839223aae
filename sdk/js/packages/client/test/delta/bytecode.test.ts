// Bytecode is rewritten and restored as in Go, byte for byte, whatever became of it, and in slices.
import { test } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { inflateRawSync } from "node:zlib";
import { bytecode, codecs, withBytecode } from "../../src/delta/bytecode.js";
import { Old } from "../../src/delta/bytecode/old.js";
import { slice } from "../../src/delta/bytecode/slices.js";
import { alike, instructions } from "../../src/delta/bytecode/tables.js";
import { delta } from "../../src/delta/index.js";
import { rich } from "../../src/delta/rich.js";
import { bytes, outcome, vectors, type Bytes } from "../vectors.js";
import { applied, chance, manifest, refused, repositoryFile, source, type Tree } from "./standins.js";

interface Case { edits: [number, number][]; expect: string }
interface Pair { old: string; new: string; base: string; rewritten: string; bases: Case[]; restores: Case[] }

const pairs = vectors<Pair[]>("bytecode");
const file = (name: string) => Uint8Array.from(repositoryFile(`publish/delta/hermes/testdata/${name}`));
const sum = (b: Uint8Array) => createHash("sha256").update(b.subarray(0, b.length - 20)).digest("hex");
const rest = async () => {};

function edited(b: Uint8Array, c: Case): Uint8Array {
  const out = b.slice(), view = new DataView(out.buffer);
  for (const [at, v] of c.edits) view.setUint32(at, v, true);
  return out;
}

async function restored(old: Uint8Array, rewritten: Uint8Array): Promise<string> {
  const o = await Old.open(old.slice(), rest);
  assert.ok(o !== undefined);
  return await o.restore(rewritten, rest) ? sum(rewritten) : "";
}

for (const p of pairs) {
  test(`${p.new} is restored, and what becomes of damaged files is what Go makes of them`, async () => {
    const old = file(p.old), rewritten = new Uint8Array(inflateRawSync(Buffer.from(p.rewritten, "base64")));
    const base = async (b: Uint8Array) => { const o = await Old.open(b, rest); return o === undefined ? "" : sum(o.base); };
    assert.equal(await base(old.slice()), p.base);
    assert.equal(await restored(old, rewritten.slice()), sum(file(p.new)));
    for (const [i, c] of p.bases.entries()) assert.equal(await base(edited(old, c)), c.expect, `base, change ${i}`);
    for (const [i, c] of p.restores.entries()) assert.equal(await restored(old, edited(rewritten, c)), c.expect, `restore, change ${i}`);
  });
}

test("every version that is known has its vectors", () => {
  const version = (name: string) => new DataView(file(name).buffer).getUint32(8, true);
  const known = [...Object.keys(instructions), ...Object.keys(alike)].map(Number).sort((a, b) => a - b);
  assert.deepEqual(pairs.map((p) => version(p.old)).sort((a, b) => a - b), known);
});

test("any bytes are restored to something or refused, and nothing is written beside them", async () => {
  const next = chance(7);
  for (let i = 0; i < 300; i++) {
    const p = pairs[next(pairs.length)], b = new Uint8Array(inflateRawSync(Buffer.from(p.rewritten, "base64")));
    for (let k = 1 + next(200); k > 0; k--) b[next(3) === 0 ? 32 + next(96) : next(b.length)] = next(256);
    const o = await Old.open(file(p.old), rest), before = sum(o!.base);
    await o!.restore(b, rest);
    assert.equal(sum(o!.base), before);
  }
});

/** A file with one function, whose instructions fill it, and nothing else. */
function oneFunction(size: number, opcode: number): Uint8Array {
  const out = new Uint8Array(size).fill(opcode), view = new DataView(out.buffer), begin = 144, large = size - 20 - 64;
  out.set(file("one.hbc").subarray(0, 128));
  for (const at of [40, 44, 48, 52, 56, 60, 64, 68, 72, 76, 80, 84, 88, 92, 96, 100]) view.setUint32(at, 0, true);
  view.setUint32(32, size, true);
  view.setUint32(40, 1, true);
  view.setUint32(128, large & 0xffff, true); // its header says that it is elsewhere, and where
  view.setUint32(136, large >>> 16, true);
  view.setUint32(140, 0x20 << 24, true);
  view.setUint32(large, begin, true);
  view.setUint32(large + 8, large - begin, true);
  return out;
}

test("an endless function is gone through in slices", async () => {
  let turns = 0;
  const size = 2 << 20, o = await Old.open(oneFunction(size, 97), async () => { turns++; }); // Debugger: one byte
  assert.ok(o !== undefined);
  assert.ok(turns > size / slice && turns < 2 * size / slice + 50, `${turns} turns`);
});

test("what is listed is what there is memory for", () => {
  assert.deepEqual(codecs.filter((c) => bytecode.can(c, 16 << 20)), ["full/1", "changed/1", "simple/1+deflate", "simple/1+zstd", "simple/1+zstd+hbc"]);
  assert.ok(!bytecode.can("simple/1+zstd+hbc", (16 << 20) - 1));
  assert.ok(bytecode.can("simple/1+zstd+hbc+64m", 64 << 20) && !bytecode.can("simple/1+zstd+hbc+64m", (64 << 20) - 1));
  for (const other of ["rich/1+hbc", "rich/1+js", "simple/1+brotli", "constructor"]) assert.ok(!bytecode.can(other, 1 << 30), other);
  assert.ok(withBytecode(rich).can("rich/1+js", 16 << 20) && withBytecode(rich).can("simple/1+zstd+hbc", 16 << 20));
});

interface Containers { base: Record<string, Bytes>; target: Record<string, Bytes>; cases: { name: string; container: string }[] }
const trees = (m: Record<string, Bytes>): Tree => Object.fromEntries(Object.entries(m).map(([p, b]) => [p, bytes(b)]));
const containers = vectors<Containers>("containers/simple-hbc");
const good = new Uint8Array(Buffer.from(containers.cases.find((c) => c.name === "good")!.container, "base64"));

test("a bundle beyond the memory is refused before anything of it is read", async () => {
  const base = trees(containers.base), target = trees(containers.target);
  const need = Math.floor(base["index.hbc"].length * 1.5) + Math.floor(target["index.hbc"].length * 2.5);
  assert.deepEqual(await applied(bytecode, good, base, manifest(target), need + 1), target);
  for (const memory of [1, 100_000, need]) {
    const job = applied(bytecode, good, base, manifest(target), memory, new Proxy(base, { get: () => assert.fail("the base is read") }));
    assert.equal(await outcome(() => job), "container_invalid", `in ${memory} bytes`);
  }
});

test("entries without it refuse rewritten bytecode, each by its name", async () => {
  const base = trees(containers.base), target = trees(containers.target);
  for (const other of [delta, rich]) {
    await assert.rejects(applied(other, good, base, manifest(target)), /codec 3 (is|with)|format version 2 with codec 3/);
  }
});

test("a damaged base gives the release or a refusal", async () => {
  const base = trees(containers.base), target = trees(containers.target), next = chance(3);
  for (let i = 0; i < 120; i++) {
    const held = { ...base, "index.hbc": base["index.hbc"].slice() };
    for (let k = 1 + next(6); k > 0; k--) held["index.hbc"][next(held["index.hbc"].length)] = next(256);
    let got: Tree = {};
    if (!await refused(async () => { got = await applied(bytecode, good, base, manifest(target), undefined, held); })) assert.deepEqual(got, target);
  }
});

test("a base that is cut short or gone is an error of the host, not of the container", async () => {
  const base = trees(containers.base), to = manifest(trees(containers.target));
  const job = (open: () => Promise<ReturnType<typeof source>>) => bytecode.apply({
    container: source(good), from: manifest(base), to, memory: 0, base: open,
    sink: { create: async () => ({ write: async () => {}, close: async () => {} }), keep: async () => {}, duplicate: async () => {} },
  });
  await assert.rejects(job(async () => source(base["index.hbc"].slice(1))), /index\.hbc of the base has \d+ bytes of/);
  await assert.rejects(job(async () => { throw new Error("no such file"); }), /no such file/);
});
