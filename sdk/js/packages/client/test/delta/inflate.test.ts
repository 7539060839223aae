import { test } from "node:test";
import assert from "node:assert/strict";
import { constants, deflateRawSync, inflateRawSync } from "node:zlib";
import { Inflate } from "../../src/delta/inflate.js";
import { chance, refused, repositoryFile, source } from "./standins.js";

async function inflated(b: Uint8Array, most = Infinity): Promise<Buffer> {
  const stream = new Inflate(source(b), 0, async () => {}), parts: Buffer[] = [];
  for (let n = 0; n <= most;) {
    const part = await stream.some(50_000);
    if (part.length === 0) {
      await stream.finish();
      return Buffer.concat(parts);
    }
    parts.push(Buffer.from(part.slice()));
    n += part.length;
  }
  return Buffer.concat(parts);
}

const next = chance(2);
const inputs: Record<string, Buffer> = {
  nothing: Buffer.alloc(0),
  zeros: Buffer.alloc(700_000),
  noise: Buffer.from(Uint8Array.from({ length: 200_000 }, () => next(256))),
  text: repositoryFile("docs/PROTOCOL.md"),
  bytecode: repositoryFile("publish/delta/hermes/testdata/one.hbc"),
  "much text": repositoryFile("sdk/js/package-lock.json"),
};

for (const [name, input] of Object.entries(inputs)) {
  test(`streams of zlib give back ${name}`, async () => {
    for (const level of [0, 1, 6, 9]) {
      for (const strategy of [constants.Z_DEFAULT_STRATEGY, constants.Z_FIXED, constants.Z_HUFFMAN_ONLY, constants.Z_RLE]) {
        assert.ok((await inflated(deflateRawSync(input, { level, strategy }))).equals(input), `level ${level}, strategy ${strategy}`);
      }
    }
  });
}

test("what is cut short or goes on is refused", async () => {
  const c = deflateRawSync(inputs.text.subarray(0, 9000));
  for (let n = 0; n < c.length; n++) assert.ok(await refused(() => inflated(c.subarray(0, n))), `cut to ${n} bytes`);
  assert.ok(await refused(() => inflated(Buffer.concat([c, Buffer.alloc(1)]))), "made longer");
});

test("damage is taken or refused as zlib does", async () => {
  const streams = [deflateRawSync(inputs.text.subarray(0, 3000)), deflateRawSync(inputs.bytecode, { strategy: constants.Z_FIXED }), deflateRawSync(inputs.noise.subarray(0, 500))];
  for (let i = 0; i < 3000; i++) {
    const b = Buffer.from(streams[next(streams.length)]);
    for (let k = 1 + next(3); k > 0; k--) b[next(b.length)] = next(256);
    let want: Buffer | undefined;
    try {
      want = inflateRawSync(b, { maxOutputLength: 1 << 20 });
    } catch {
      want = undefined;
    }
    if (want === undefined) {
      await refused(() => inflated(b, 1 << 20));
    } else if (!await refused(() => inflated(b, 1 << 20))) {
      assert.ok((await inflated(b, 1 << 20)).equals(want));
    }
  }
});

test("a stream of empty blocks pauses and ends", async () => {
  const b = Buffer.alloc(300_000, Buffer.from([0, 0, 0, 255, 255]));
  let pauses = 0;
  const stream = new Inflate(source(b), 0, async () => { pauses++; });
  assert.ok(await refused(() => stream.some(1)));
  assert.ok(pauses > 1000);
});
