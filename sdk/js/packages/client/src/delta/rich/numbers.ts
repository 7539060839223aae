// Codes what happens: whether a byte changes, what kind of change it is, how far, and whether a guess is right.

import { invalid } from "../refuse.js";
import type { Arith } from "./arith.js";
import { Singles, hash3, type Learning } from "./cells.js";
import type { Curves } from "./curves.js";
import { Decider } from "./decider.js";

/** Kinds of decisions and numbers, part of their contexts. */
export const kindChange = 1, kindType = 2, kindGap = 3, kindText = 4, kindJump = 5, kindWay = 6, kindHit = 7;

/** The gap behind the last change. All other numbers are below 2^30. */
export const never = 2 ** 31 - 1;

/** The bits of a number; 32 stands for all negative ones. */
export const log = (v: number): number => (v < 0 ? 32 : 32 - Math.clz32(v));

// Ways to tell where old goes on.
const jumpBack = 1, jumpRecent = 2, recents = 4;

export class Numbers {
  /** Contexts of the next decision. */
  readonly h = new Int32Array(14);
  readonly big: Decider; // whether a byte changes
  readonly small: Decider; // kinds of events, and numbers
  readonly guess: Decider; // whether a guess is right
  private readonly recent = new Int32Array(recents); // shifts between old and new that were left
  private readonly lastClass = new Int32Array(8); // of the numbers of a kind
  private readonly classBefore = new Int32Array(8);

  constructor(private readonly arith: Arith, curves: Curves, learning: Learning, log: number) {
    const cells = new Singles(log);
    this.big = new Decider(12, [256, 64, 32], arith, cells, curves, learning);
    this.small = new Decider(6, [32, 32, 8], arith, cells, curves, learning);
    this.guess = new Decider(14, [32, 1024, 32], arith, cells, curves, learning);
  }

  private part(kind: number, node: number, extra: number, a: number, b: number): number {
    const h = this.h, k = (kind << 8) | (extra << 16), last = this.lastClass[kind];
    h[0] = hash3(k, node, 1);
    h[1] = hash3(k, node, 2 | (a << 8));
    h[2] = hash3(k, node, 3 | (b << 8));
    h[3] = hash3(k, node, 4 | (a << 8) | (b << 16));
    h[4] = hash3(k, node, 5 | (last << 8));
    h[5] = hash3(k, node, 6 | (last << 8) | (this.classBefore[kind] << 16));
    return this.small.decide(h, node & 31, extra & 31, kind, kind);
  }

  /** A number below 2^30, or never, given two small facts that it may depend on. */
  number(kind: number, a: number, b: number): number {
    let node = 1;
    for (let i = 0; i < 5; i++) node = (node << 1) | this.part(kind, node, 0, a, b);
    const size = node & 31;
    this.classBefore[kind] = this.lastClass[kind];
    this.lastClass[kind] = size;
    if (size < 2) return size;
    if (size === 31) return never;
    let v = 1;
    for (let i = 0; i < size - 1; i++) v = (v << 1) | (i < 3 ? this.part(kind, v | 32, size, a, b) : this.arith.bit(32768));
    return v;
  }

  /** How far old goes on from op, where it was left; n bytes of new text from np on come before. */
  jump(op: number, np: number, n: number, textLength: number): number {
    const a = Math.min(log(n), 7), recent = this.recent;
    const way = this.number(kindWay, a, 0);
    if (way >= jumpRecent + recents) throw invalid("its coded bytes are impossible");
    let jump = 0;
    if (way >= jumpRecent) {
      const i = way - jumpRecent;
      jump = recent[i] - op + np + n;
      recent.copyWithin(1, 0, i);
    } else {
      jump = this.number(kindJump, a, Math.min(log(textLength), 3));
      if (way === jumpBack) jump = -jump;
      recent.copyWithin(1, 0, recents - 1);
    }
    recent[0] = op - np;
    return jump;
  }
}
