import assert from "node:assert/strict";
import { test } from "node:test";
import { Tracker } from "../../src/delta/rich/tracker.js";
import { chance } from "./standins.js";

/** What cold promises, place by place; no change is likely before hotTo. */
function oneByOne(t: Tracker, v: Uint8Array, o: number, n: number, hotTo: number): number {
  for (let k = 0; k < n; k++) {
    t.hot(v, o + k, o + k);
    if (o + k < hotTo || t.triples.past[t.triple] !== 0 || (t.token !== 0 && t.words.past[t.word] !== 0)) return k;
  }
  return n;
}

test("quiet places are passed as one by one", () => {
  const upTo = chance(9);
  const pad = 64, some = [..." .;_aZ9\xff"].map((c) => c.charCodeAt(0));
  for (let round = 0; round < 60; round++) {
    const letters = 2 + upTo(60); // of which few make long words
    const v = Uint8Array.from({ length: 3000 }, () => (upTo(letters) > 0 ? 97 + upTo(5) : some[upTo(8)]));
    const fast = new Tracker(), slow = new Tracker();
    for (let o = pad, hotTo = 0; o < v.length - pad; o++) {
      const n = upTo(v.length - pad - o + 1);
      const passed = fast.cold(v, o, o, n);
      assert.equal(passed, oneByOne(slow, v, o, n, hotTo), `round ${round}, from ${o} on`);
      o += passed;
      if (o >= v.length - pad) break;
      const change = upTo(20) === 0, jump = upTo(20) === 0;
      for (const t of [fast, slow]) {
        t.hot(v, o, o);
        if (change) t.changed(o, 120);
        else t.same();
        if (jump) t.jumped(o + 1);
      }
      if (change) hotTo = o + 13;
      if (jump) hotTo = Math.min(hotTo, o + 1);
      assert.deepEqual([fast.token, fast.word, fast.triple, fast.words.marked, fast.triples.marked], [slow.token, slow.word, slow.triple, slow.words.marked, slow.triples.marked], `round ${round}, place ${o}`);
    }
    for (const kind of ["words", "triples"] as const) assert.equal(fast[kind].marked, fast[kind].past.filter((p) => p !== 0).length);
  }
});
