// Codes bytes, bit by bit: changed ones and those of new text.

import type { Arith } from "./arith.js";
import { Lines, firstUse, hash3, learn, newMeanings, type Learning } from "./cells.js";
import { limit, type Curves } from "./curves.js";
import { Weights, narrow } from "./decider.js";

/** Contexts with counters; the other inputs are matches and a constant. */
export const maxContexts = 15;
const matches = 3;
const inputsOf = maxContexts + matches; // with meanings
const inputsAll = inputsOf + 1;
const smallError = 8;

// Last corrections: steps of the probability, and the logarithm of the contexts of the second one.
const apmSteps = 25;
const apmLog = 14;

/** Kinds of bytes. */
export const changedKind = 0, textKind = 1;

export class Bytes {
  // set before code
  readonly matchByte = new Int32Array(matches);
  readonly matchLength = new Int32Array(matches);
  select1 = 0;
  select2 = 0;
  before = 0;

  private readonly h = new Int32Array(maxContexts);
  private readonly at = new Int32Array(maxContexts);
  private readonly slots = new Int32Array(maxContexts);
  private readonly inputs = new Int32Array(inputsAll);
  private readonly lengths = new Int32Array(matches);
  private readonly trust = new Uint16Array(matches * 64);
  private readonly lines: Lines;
  private readonly weights = new Weights(inputsAll, [512, 640, 256], 2);
  private readonly meanings = newMeanings(2 * inputsOf);
  private readonly apm0: Uint16Array;
  private readonly apm1: Uint16Array;
  private kind = 0;
  private n = 0;

  constructor(private readonly arith: Arith, private readonly curves: Curves, private readonly learning: Learning, log: number) {
    this.lines = new Lines(log);
    for (let i = 0; i < this.trust.length; i++) this.trust[i] = 65535 - Math.floor(32768 / ((i & 31) + 2));
    const row = new Uint16Array(apmSteps);
    for (let i = 0; i < apmSteps; i++) row[i] = curves.squash[limit + Math.min(Math.max((i - 12) * 256, -limit), limit)];
    const rows = (n: number) => {
      const out = new Uint16Array(n * apmSteps);
      out.set(row);
      for (let done = apmSteps; done < out.length; done *= 2) out.copyWithin(done, 0, Math.min(done, out.length - done));
      return out;
    };
    this.apm0 = rows(512);
    this.apm1 = rows(1 << apmLog);
    this.inputs[inputsOf] = 256;
  }

  /** Makes room for the contexts of a byte. */
  begin(kind: number): void {
    this.kind = kind;
    this.n = 0;
  }

  /** The next context. */
  add(a: number, b: number): void {
    this.h[this.n] = hash3((this.kind << 8 | this.n) + 0x100, a, b);
    this.n++;
  }

  /** Codes a byte in the contexts that were set. */
  code(): number {
    let node = 1;
    this.lines.find(this.h, this.n, this.at);
    for (let i = 7; i >= 0; i--) {
      if (i === 3) this.lines.second(this.h, this.n, node, this.at);
      node = (node << 1) | this.bit(node, i);
    }
    return node & 255;
  }

  private bit(node: number, i: number): number {
    const n = this.n, kind = this.kind, at = this.at, slots = this.slots, inputs = this.inputs, meanings = this.meanings, lengths = this.lengths;
    const cells = this.lines.cells, { squash, stretch } = this.curves, { first: w, final, at1, at2 } = this.weights;
    const sub = i < 4 ? (node & ((1 << (3 - i)) - 1)) | (1 << (3 - i)) : node;
    this.compare(node, i);
    const long = lengths[0] < 15 ? lengths[0] : 15;
    const w0 = (kind << 8 | node) * inputsAll;
    const w1 = at1 + (this.select1 << 3 | (7 - i)) * inputsAll;
    const w2 = at2 + (this.select2 << 5 | long << 1 | (lengths[1] > 0 ? 1 : 0)) * inputsAll;
    let d0 = 0, d1 = 0, d2 = 0;
    const base = (kind * inputsOf) << 9;
    for (let k = 0, row = base; k < n; k++, row += 512) {
      const v = cells[at[k] + sub];
      if (v < firstUse) {
        slots[k] = -1;
        inputs[k] = 0;
        continue;
      }
      const slot = slots[k] = row + (v >> 7);
      const x = inputs[k] = stretch[meanings[slot] >> 4];
      d0 += x * w[w0 + k];
      d1 += x * w[w1 + k];
      d2 += x * w[w2 + k];
    }
    // an input beyond the contexts keeps what it was: the format counts on it
    for (let k = n; k < inputsAll; k++) {
      const x = inputs[k];
      if (x !== 0) {
        d0 += x * w[w0 + k];
        d1 += x * w[w1 + k];
        d2 += x * w[w2 + k];
      }
    }
    const m0 = narrow(d0), m1 = narrow(d1), m2 = narrow(d2), f = 3 * kind;
    const p = squash[limit + narrow(m0 * final[f] + m1 * final[f + 1] + m2 * final[f + 2])];
    const bit = this.correct(node, p);
    // learn
    const target = bit << 16;
    const e0 = ((target - squash[limit + m0]) * 50) >> 10, e1 = ((target - squash[limit + m1]) * 50) >> 10, e2 = ((target - squash[limit + m2]) * 50) >> 10;
    const wrong = e0 >= smallError || e1 >= smallError || e2 >= smallError || e0 <= -smallError || e1 <= -smallError || e2 <= -smallError;
    const goal = bit === 0 ? 0 : 65535, known = this.learning;
    for (let k = 0; k < n; k++) {
      const slot = slots[k], c = at[k] + sub, v = cells[c];
      if (slot >= 0) {
        const m = meanings[slot];
        meanings[slot] = m + ((goal - m) >> 6);
      }
      cells[c] = known[target | v] || learn(known, v, bit);
    }
    if (wrong) {
      for (let k = 0; k < inputsAll; k++) {
        const x = inputs[k];
        if (x !== 0) {
          w[w0 + k] += (x * e0 + 8192) >> 14;
          w[w1 + k] += (x * e1 + 8192) >> 14;
          w[w2 + k] += (x * e2 + 8192) >> 14;
        }
      }
    }
    const err = (target - p) >> 2;
    final[f] += (m0 * err + 32768) >> 16;
    final[f + 1] += (m1 * err + 32768) >> 16;
    final[f + 2] += (m2 * err + 32768) >> 16;
    for (let k = 0; k < matches; k++) if (lengths[k] > 0) this.judge(k, i, bit);
    return bit;
  }

  /** What the matches say: those that agree with the byte so far. */
  private compare(node: number, i: number): void {
    for (let k = 0; k < matches; k++) {
      const byte = this.matchByte[k], length = this.matchLength[k];
      let x = 0;
      this.lengths[k] = 0;
      if (length > 0 && (byte | 256) >> (i + 1) === node) {
        this.lengths[k] = length;
        x = this.curves.stretch[this.trust[(k << 6) | length | (this.kind << 5)] >> 4];
        if (((byte >> i) & 1) === 0) x = -x;
      }
      this.inputs[maxContexts + k] = x;
    }
  }

  /** Codes the decision after two last corrections: by what the byte is so far, and by the byte before. */
  private correct(node: number, p: number): number {
    const apm0 = this.apm0, apm1 = this.apm1;
    let st = this.curves.stretch[p >> 4] + 3072;
    st = st < 0 ? 0 : st > 6143 ? 6143 : st;
    const j = st >> 8, part = st & 255;
    const r0 = (this.kind << 8 | node) * apmSteps + j;
    const r1 = ((Math.imul(this.before, 0x9e3779b1) + Math.imul(node, 0x85ebca6b)) >>> (32 - apmLog)) * apmSteps + j;
    const p0 = (apm0[r0] * (256 - part) + apm0[r0 + 1] * part) >> 8, p1 = (apm1[r1] * (256 - part) + apm1[r1 + 1] * part) >> 8;
    const q = (2 * p + p0 + p1) >> 2;
    const bit = this.arith.bit(q < 16 ? 16 : q > 65520 ? 65520 : q);
    const goal = bit === 0 ? 0 : 65535;
    apm0[r0] += (goal - apm0[r0]) >> 6;
    apm0[r0 + 1] += (goal - apm0[r0 + 1]) >> 6;
    apm1[r1] += (goal - apm1[r1]) >> 6;
    apm1[r1 + 1] += (goal - apm1[r1 + 1]) >> 6;
    return bit;
  }

  /** Learns how far a match is to be trusted; one that was wrong is over. */
  private judge(k: number, i: number, bit: number): void {
    const at = (k << 6) | this.lengths[k] | (this.kind << 5), t = this.trust[at];
    if (((this.matchByte[k] >> i) & 1) === bit) {
      this.trust[at] = t + ((65535 - t) >> 6);
    } else {
      this.trust[at] = t - (t >> 6);
      this.matchLength[k] = 0;
    }
  }
}
