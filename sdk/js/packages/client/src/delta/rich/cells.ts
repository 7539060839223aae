// Adaptive probabilities: a counter has 4 bits of how often it was used, and below them 12 of
// probability.

export const fresh = 2048;
/** Counters below were never used, and have no opinion. */
export const firstUse = 1 << 12;
const uses = 0xf000;

// What a counter learns from a decision, in 1/65536, by how often it was used.
const rates = [32768, 21845, 16384, 13107, 10922, 9362, 8192, 7281, 6553, 5957, 5461, 5041, 4681];

/** What counters become: by value, and above it the decision. It fills as it is used, 0 is not known yet. */
export type Learning = Uint16Array;

export function learn(known: Learning, v: number, bit: number): number {
  const n = v >> 12, p = v & 4095;
  const after = v + ((((bit === 0 ? 0 : 4095) - p) * rates[n]) >> 16) + (n < 12 ? firstUse : 0);
  known[(bit << 16) | v] = after;
  return after;
}

export function hash2(a: number, b: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return h ^ (h >>> 13);
}

export function hash3(a: number, b: number, c: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 13), 0x9e3779b1) ^ Math.imul(c + 0x5bd1e995, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return h ^ (h >>> 13);
}

/** Counters of half a byte in a context: a check and 15 counters, 16 numbers in all. */
export class Lines {
  readonly cells: Uint16Array;
  private readonly mask: number;

  constructor(log: number) {
    this.cells = new Uint16Array(16 << log);
    this.mask = (1 << log) - 1;
  }

  /** The lines of n contexts, which are begun when they are not there. */
  find(h: Int32Array, n: number, at: Int32Array): void {
    for (let k = 0; k < n; k++) at[k] = this.settle(((Math.imul(h[k], 0x2c1b3c6d) >>> 3) & this.mask) << 4, h[k]);
  }

  /** The lines of the second half of a byte. They lie in the same pieces of memory as the first ones. */
  second(h: Int32Array, n: number, node: number, at: Int32Array): void {
    for (let k = 0; k < n; k++) {
      const v = hash2(h[k], node);
      at[k] = this.settle((at[k] & ~2047) | (((v >>> 3) << 4) & 2047), v);
    }
  }

  private settle(i: number, h: number): number {
    const cells = this.cells, check = (h >>> 16) | 1, here = cells[i];
    if (here === check) return i;
    const j = i ^ 16, there = cells[j];
    if (there === check) return j;
    if (here !== 0 && (there === 0 || (cells[i + 1] & uses) > (cells[j + 1] & uses))) i = j;
    cells[i] = check;
    cells.fill(fresh, i + 1, i + 16);
    return i;
  }
}

/** Checked counters of one decision each: pairs of counter and check. */
export class Singles {
  readonly cells: Uint16Array;
  private readonly mask: number;

  constructor(log: number) {
    this.cells = new Uint16Array(2 << log);
    this.mask = (1 << log) - 1;
  }

  /** Where the counters of n contexts are. */
  find(h: Int32Array, n: number, at: Int32Array): void {
    const cells = this.cells;
    for (let k = 0; k < n; k++) {
      let i = ((Math.imul(h[k], 0x2c1b3c6d) >>> 7) & this.mask) << 1;
      const check = h[k] >>> 16;
      if (cells[i + 1] !== check) {
        const j = i ^ 2;
        if (cells[j + 1] === check) {
          i = j;
        } else {
          if ((cells[i] & uses) > (cells[j] & uses)) i = j;
          cells[i] = fresh;
          cells[i + 1] = check;
        }
      }
      at[k] = i;
    }
  }
}

/** The learnt meaning of counters: for each of n contexts, by the upper nine bits of a counter. */
export function newMeanings(n: number): Uint16Array {
  return new Uint16Array(n * 512).map((_, i) => (i & 31) * 2048 + 1024);
}
