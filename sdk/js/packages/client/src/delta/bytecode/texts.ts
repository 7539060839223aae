// The strings of a file of bytecode, and which of them another file has too.
import type { Layout } from "./layout.js";
import { u32 } from "./layout.js";
import { slice, sliced, type Rest } from "./slices.js";

/** Bytes of all strings together at most, in multiples of the file: strings may share their bytes. */
const textFactor = 4;

/** Contents of all strings. Their bytes are the file's, which rewriting leaves as they are. */
export interface Texts {
  storage: Uint8Array;
  offsets: Uint32Array;
  /** In bytes, twice, and one more when a character has two. */
  sizes: Uint32Array;
}

/** Finds the content of every string; nothing when one does not lie in the file. */
export async function textsOf(b: Uint8Array, l: Layout, rest: Rest): Promise<Texts | undefined> {
  const n = l.strings, storage = b.subarray(l.storage.at, l.storage.end), offsets = new Uint32Array(n), sizes = new Uint32Array(n);
  let left = textFactor * b.length, fits = true;
  await sliced(n, rest, (from, to) => {
    for (let i = from; i < to && fits; i++) {
      const v = u32(b, l.small.at + 4 * i), wide = v & 1;
      let offset = (v >>> 1) & 0x7fffff, length = v >>> 24;
      if (length === 255) {
        const at = l.overflow.at + 8 * offset;
        if (at + 8 > l.overflow.end) {
          fits = false;
          return;
        }
        offset = u32(b, at);
        length = u32(b, at + 4);
      }
      const size = length * (1 + wide);
      left -= size;
      fits = offset + size <= storage.length && left >= 0;
      offsets[i] = offset;
      sizes[i] = 2 * size + wide;
    }
  });
  return fits ? { storage, offsets, sizes } : undefined;
}

/** How many bytes of a long content tell it from others, at its begin and at its end. */
const head = 96, tail = 32;

function mix(h: number, b: Uint8Array, from: number, to: number): number {
  for (let i = from; i < to; i++) h = Math.imul(h ^ b[i], 0x01000193);
  return h;
}

function sum(t: Texts, i: number): number {
  const from = t.offsets[i], size = t.sizes[i], to = from + (size >>> 1);
  let h = Math.imul(size, 0x9e3779b1);
  if (to - from <= head + tail) h = mix(h, t.storage, from, to);
  else h = mix(mix(h, t.storage, from, from + head), t.storage, to - tail, to);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  return (h ^ (h >>> 13)) >>> 0;
}

function same(a: Texts, i: number, b: Texts, k: number): boolean {
  const size = a.sizes[i];
  if (size !== b.sizes[k]) return false;
  const x = a.storage, y = b.storage, end = a.offsets[i] + (size >>> 1);
  for (let p = a.offsets[i], q = b.offsets[k]; p < end; p++, q++) if (x[p] !== y[q]) return false;
  return true;
}

/** Finds the first string of a content. The strings are those of a signed file, so nobody chooses where they meet. */
export class Finder {
  private readonly rows: Uint32Array; // number of a string plus one, 0: free
  private readonly sums: Uint32Array;

  private constructor(readonly texts: Texts) {
    let size = 1;
    while (size <= 1.5 * texts.sizes.length) size *= 2;
    this.rows = new Uint32Array(size);
    this.sums = new Uint32Array(texts.sizes.length);
  }

  static async of(texts: Texts, rest: Rest): Promise<Finder> {
    const f = new Finder(texts);
    await sliced(texts.sizes.length, rest, (from, to) => {
      for (let i = from; i < to; i++) {
        f.sums[i] = sum(texts, i);
        const row = f.row(texts, i, f.sums[i]);
        if (f.rows[row] === 0) f.rows[row] = i + 1;
      }
    });
    return f;
  }

  /** The number of the first string that is like the string i of another file; -1 when there is none. */
  first(t: Texts, i: number): number {
    return this.rows[this.row(t, i, sum(t, i))] - 1;
  }

  private row(t: Texts, i: number, h: number): number {
    const mask = this.rows.length - 1;
    for (let row = h & mask; ; row = (row + 1) & mask) {
      const v = this.rows[row];
      if (v === 0 || (this.sums[v - 1] === h && same(this.texts, v - 1, t, i))) return row;
    }
  }
}

/** Ids that an instruction with one byte for a string can name. They stay among themselves. */
export const shortIDs = 256;
const none = 0xffffffff;

/**
 * The strings of new get the numbers that the old file gave to the same contents, and the others what is left, in order; short
 * ids stay short. Given is the way back: for every such number the one in new.
 */
export async function align(old: Finder, fresh: Texts, rest: Rest): Promise<Uint32Array> {
  const n = fresh.sizes.length, all = Math.max(n, old.texts.sizes.length);
  const back = new Uint32Array(all).fill(none), placed = new Uint8Array(all);
  let looked = 0, i = 0;
  const some = () => {
    for (; i < n && looked < 16 * slice; i++) {
      looked += 16 + (fresh.sizes[i] >>> 1);
      const o = old.first(fresh, i);
      if (o < 0 || o < shortIDs !== i < shortIDs || back[o] !== none) continue;
      back[o] = i;
      placed[i] = 1;
    }
  };
  for (; i < n; await rest(), looked = 0) some();
  let short = 0, long = shortIDs;
  await sliced(all, rest, (from, to) => {
    for (let k = from; k < to; k++) {
      if (placed[k] !== 0) continue;
      let free = k < shortIDs ? short : long;
      while (back[free] !== none) free++;
      back[free] = k;
      if (k < shortIDs) short = free;
      else long = free;
    }
  });
  return back;
}
