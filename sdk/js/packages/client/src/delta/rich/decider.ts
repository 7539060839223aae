// Codes everything but bytes: a decision is mixed from the opinions of a number of contexts.

import type { Arith } from "./arith.js";
import { firstUse, learn, newMeanings, type Learning, type Singles } from "./cells.js";
import { limit, type Curves } from "./curves.js";

const initialWeight = 11000;
/** Errors below this change nothing. */
const smallError = 8;

/** Three sets of weights chosen by small facts, and a second layer that joins the three. */
export class Weights {
  /** The three sets one behind the other. */
  readonly first: Int32Array;
  readonly final: Int32Array;
  readonly at1: number;
  readonly at2: number;

  constructor(inputs: number, sizes: [number, number, number], kinds: number) {
    this.first = new Int32Array((sizes[0] + sizes[1] + sizes[2]) * inputs).fill(initialWeight);
    this.final = new Int32Array(3 * kinds).fill(Math.floor(65536 / 3));
    this.at1 = sizes[0] * inputs;
    this.at2 = (sizes[0] + sizes[1]) * inputs;
  }
}

/** (sum >> 16) of up to 53 bits, within the logistic domain. */
export function narrow(sum: number): number {
  return sum >= limit * 65536 ? limit : sum <= -limit * 65536 ? -limit : sum >> 16;
}

export class Decider {
  private readonly weights: Weights;
  private readonly meanings: Uint16Array;
  private readonly at: Int32Array;
  private readonly slots: Int32Array;
  private readonly inputs: Int32Array;

  constructor(
    private readonly n: number, sizes: [number, number, number],
    private readonly arith: Arith, private readonly cells: Singles, private readonly curves: Curves, private readonly learning: Learning,
  ) {
    this.weights = new Weights(n, sizes, 8);
    this.meanings = newMeanings(n);
    this.at = new Int32Array(n);
    this.slots = new Int32Array(n);
    this.inputs = new Int32Array(n);
  }

  /** Codes one decision in the contexts h[:n]; s0, s1, s2 and kind choose the weights. */
  decide(h: Int32Array, s0: number, s1: number, s2: number, kind: number): number {
    const n = this.n, at = this.at, slots = this.slots, inputs = this.inputs, meanings = this.meanings;
    const cells = this.cells.cells, { squash, stretch } = this.curves, { first: w, final, at1, at2 } = this.weights;
    this.cells.find(h, n, at);
    const w0 = s0 * n, w1 = at1 + s1 * n, w2 = at2 + s2 * n;
    let d0 = 0, d1 = 0, d2 = 0;
    for (let k = 0; k < n; k++) {
      const v = cells[at[k]];
      if (v < firstUse) {
        slots[k] = -1;
        inputs[k] = 0;
        continue;
      }
      const slot = slots[k] = (k << 9) | (v >> 7);
      const x = inputs[k] = stretch[meanings[slot] >> 4];
      d0 += x * w[w0 + k];
      d1 += x * w[w1 + k];
      d2 += x * w[w2 + k];
    }
    const m0 = narrow(d0), m1 = narrow(d1), m2 = narrow(d2), f = 3 * kind;
    const p = squash[limit + narrow(m0 * final[f] + m1 * final[f + 1] + m2 * final[f + 2])];
    const bit = this.arith.bit(p < 4 ? 4 : p > 65532 ? 65532 : p);
    const target = bit << 16;
    const e0 = ((target - squash[limit + m0]) * 50) >> 10, e1 = ((target - squash[limit + m1]) * 50) >> 10, e2 = ((target - squash[limit + m2]) * 50) >> 10;
    const wrong = e0 >= smallError || e1 >= smallError || e2 >= smallError || e0 <= -smallError || e1 <= -smallError || e2 <= -smallError;
    const goal = bit === 0 ? 0 : 65535, known = this.learning;
    for (let k = 0; k < n; k++) {
      const slot = slots[k], c = at[k], v = cells[c];
      if (slot >= 0) {
        const m = meanings[slot];
        meanings[slot] = m + ((goal - m) >> 6);
      }
      cells[c] = known[target | v] || learn(known, v, bit);
    }
    if (wrong) {
      for (let k = 0; k < n; k++) {
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
    return bit;
  }
}
