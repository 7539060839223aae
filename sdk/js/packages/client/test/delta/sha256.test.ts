import { test } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Sha256 } from "../../src/delta/sha256.js";
import { chance } from "./standins.js";

test("SHA-256 of any length, given in any pieces, is that of the system", () => {
  const next = chance(5);
  for (let n = 0; n < 400; n++) {
    const b = Uint8Array.from({ length: n < 200 ? n : next(5000) }, () => next(256));
    const h = new Sha256();
    for (let at = 0; at < b.length;) {
      const k = 1 + next(150);
      h.update(b.subarray(at, at + k));
      at += k;
    }
    assert.equal(Buffer.from(h.digest()).toString("hex"), createHash("sha256").update(b).digest("hex"), `${n}`);
  }
});
