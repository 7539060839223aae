import { test } from "node:test";
import assert from "node:assert/strict";
import { nodeCrypto } from "../src/hosts/node/crypto.js";
import { decide, type Local } from "../src/decide/decide.js";
import { holds } from "../src/decide/conditions.js";
import { position } from "../src/decide/position.js";
import { fits, parseRange } from "../src/decide/ranges.js";
import type { Condition, DeviceFacts, State } from "../src/words/documents.js";
import { vectors } from "./vectors.js";

const crypto = nodeCrypto();

test("positions", () => {
  for (const c of vectors<{ salt: string; device: string; position: number }[]>("positions")) assert.equal(position(crypto, c.salt, c.device), c.position);
});

test("ranges", () => {
  const v = vectors<{ fits: { range: string; shell: string; fits: boolean }[]; refused: string[] }>("ranges");
  for (const c of v.fits) assert.equal(fits({ range: c.range }, c.shell), c.fits, `${c.range} and ${c.shell}`);
  for (const r of v.refused) assert.equal(parseRange(r), undefined, r);
});

test("conditions", () => {
  const v = vectors<{ cases: (Condition & { holds: boolean })[]; device: DeviceFacts; salt: string; seq: number }>("conditions");
  for (const c of v.cases) assert.equal(holds(crypto, c, v.device, v.seq, v.salt), c.holds, JSON.stringify(c));
});

interface Case { name: string; state: State; package: string; device: DeviceFacts; local: Local; now: string; want: Record<string, unknown> }

test("decisions", () => {
  for (const c of vectors<Case[]>("decisions")) {
    const d = decide(crypto, c.state, c.package, c.device, c.local, Date.parse(c.now));
    const said: Record<string, unknown> = { ...d, release: d.target?.manifest, fallback: d.fallback?.digest, target: undefined };
    for (const k of Object.keys(said)) if (!said[k]) delete said[k];
    assert.deepEqual(said, c.want, c.name);
  }
});
