// Law 2: after any crash, kill or power cut at any instant a device is exactly on the old release or exactly on the new one,
// and can be updated.
import { test } from "node:test";
import assert from "node:assert/strict";
import { cut, device } from "./cuts.js";

for (const movesFolders of [true, false]) {
  for (const how of ["before", "torn", "after"] as const) {
    test(`the power goes at every write of an update, a start and a confirm: ${movesFolders ? "folders move in one step" : "folders move file by file"}, ${how}`, async () => {
      const seen = new Set<string>(), d = await device({ movesFolders });
      let n = 1;
      for (let ran = await cut(d, n, how); ran; ran = await cut(d, ++n, how)) seen.add(ran);
      assert.ok(n > 40, `${n} writes`);
      assert.deepEqual([...seen].sort(), ["1.0.0", "2.0.0"], "some cuts leave the old one, some the new one");
    });
  }
}
