import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { Frame } from "../../src/delta/frame.js";
import { chance, refused, repositoryFile, source } from "./standins.js";

const missing = spawnSync("zstd", ["--version"]).error !== undefined ? "MISSING: zstd" : false;
const packed = (b: Uint8Array, ...options: string[]) => new Uint8Array(execFileSync("zstd", ["-q", "-c", `--stream-size=${b.length}`, ...options], { input: b, maxBuffer: 1 << 28 }));

async function unpacked(b: Uint8Array, most = Infinity, window = 8 << 20): Promise<Buffer> {
  const frame = new Frame(source(b), 0, window), parts: Buffer[] = [];
  for (let n = 0; ;) {
    const part = await frame.some(100_000);
    if (part.length === 0) break;
    parts.push(Buffer.from(part.slice()));
    n += part.length;
    assert.ok(n <= most, "more comes out than a caller would take");
  }
  await frame.finish();
  return Buffer.concat(parts);
}

const next = chance(1);
const noise = Uint8Array.from({ length: 300_000 }, () => next(256));
const inputs: Record<string, Uint8Array> = {
  nothing: new Uint8Array(0),
  "one byte": Uint8Array.of(7),
  zeros: new Uint8Array(1_000_000),
  "few symbols": Uint8Array.from({ length: 400_000 }, () => next(next(3) + 1)),
  noise,
  "noise again": new Uint8Array(Buffer.concat([noise, noise, noise])),
  text: repositoryFile("sdk/js/package-lock.json"),
  bytecode: repositoryFile("publish/delta/hermes/testdata/one.hbc"),
  "a long text": new Uint8Array(Buffer.concat(Array.from({ length: 40 }, (_, i) => Buffer.concat([repositoryFile("docs/PROTOCOL.md"), noise.subarray(0, 1000 * i)])))),
};

for (const [name, input] of Object.entries(inputs)) {
  test(`frames of the zstd tool give back ${name}`, { skip: missing }, async () => {
    for (const level of ["--fast=5", "-1", "-3", "-9", "-19", "--ultra -22"]) {
      for (const more of ["--check", "--no-check --no-content-size --zstd=wlog=18"]) {
        const c = packed(input, ...level.split(" "), ...more.split(" "));
        assert.ok((await unpacked(c)).equals(input), `${level} ${more}`);
      }
    }
  });
}

test("a window beyond what is allowed is refused", { skip: missing }, async () => {
  const long = inputs["a long text"];
  const c = packed(new Uint8Array(Buffer.concat([long, long])), "-3", "--zstd=wlog=22", "--no-content-size");
  assert.ok(await refused(() => unpacked(c, Infinity, 2 << 20)));
  assert.equal(await refused(() => unpacked(c, Infinity, 4 << 20)), false);
});

test("what is cut short, goes on, or needs a dictionary is refused", { skip: missing }, async () => {
  const c = packed(repositoryFile("docs/lab-protocol.md"), "-19", "--check");
  for (let n = 0; n < c.length; n++) assert.ok(await refused(() => unpacked(c.slice(0, n))), `cut to ${n} bytes`);
  assert.ok(await refused(() => unpacked(new Uint8Array([...c, 0]))), "a byte more");
  assert.ok(await refused(() => unpacked(new Uint8Array([...c, ...c]))), "a second frame");
  const d = new Uint8Array([...c.subarray(0, 4), c[4] | 1, ...c.subarray(5)]);
  assert.ok(await refused(() => unpacked(d)), "a dictionary");
});

test("every turned bit of a frame with a checksum is refused", { skip: missing }, async () => {
  const input = repositoryFile("docs/lab-protocol.md").subarray(0, 1500);
  const c = packed(input, "-19", "--check");
  let harmless = 0;
  for (let i = 0; i < 8 * c.length; i++) {
    const b = c.slice();
    b[i >> 3] ^= 1 << (i & 7);
    if (!await refused(() => unpacked(b, 1 << 20))) {
      assert.ok((await unpacked(b)).equals(input), `bit ${i} gave other bytes`);
      harmless++;
    }
  }
  assert.ok(harmless < c.length / 20, `${harmless} bits mean nothing`); // the zstd tool takes the same ones
});

test("damage without a checksum never makes more than its blocks may, and never hangs", { skip: missing }, async () => {
  const frames = [repositoryFile("docs/PROTOCOL.md"), inputs["few symbols"].subarray(0, 60_000), inputs.bytecode]
    .flatMap((b) => [packed(b, "-19", "--no-check"), packed(b, "-1", "--no-check", "--no-content-size")]);
  const pick = chance(7);
  for (let i = 0; i < 1500; i++) {
    const b = frames[pick(frames.length)].slice();
    for (let k = 1 + pick(4); k > 0; k--) b[pick(b.length)] = pick(256);
    const blocks = b.length / 3;
    await refused(() => unpacked(b, blocks * (128 << 10)));
  }
  for (let i = 0; i < 500; i++) { // blocks of noise
    const size = 1 + pick(3000);
    const b = Uint8Array.from({ length: size + 9 }, () => pick(256));
    b.set([0x28, 0xb5, 0x2f, 0xfd, 0, 0x58, 5 | ((size << 3) & 255), (size >> 5) & 255, 0]);
    await refused(() => unpacked(b, 128 << 10));
  }
});
