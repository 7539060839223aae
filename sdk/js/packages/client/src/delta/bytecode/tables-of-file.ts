// The tables of a file of bytecode: offsets that are distances in the rewritten form, and names of functions.
import { setU32, u32, type Layout } from "./layout.js";
import { slice, sliced, type Rest } from "./slices.js";
import { shortIDs, type Texts } from "./texts.js";

const offsetBits = 0x1ffffff, stringBits = 0x7fffff;
const flagLarge = 0x20; // in the last byte of a header: the rest is elsewhere, where the offsets say
const largeHeader = 32;

/** A number that renumbers a string; numbers beyond stay. */
export const renumbered = (ids: Uint32Array, v: number): number => (v < ids.length ? ids[v] : v);

/** The tables of one file, whose bytes change in place. */
export class Tables {
  readonly headerSize: number;
  /** How many bits of a header's second word say the size of the instructions; those of the name follow. */
  private readonly sizeBits: number;
  private readonly nameBits: number;
  /** Where a large header has the size of the instructions and the name. */
  private readonly sizeInLarge: number;
  private readonly nameInLarge: number;

  constructor(readonly b: Uint8Array, readonly l: Layout) {
    const recent = l.version.recent;
    this.headerSize = recent ? 12 : 16;
    this.sizeBits = recent ? 14 : 15;
    this.nameBits = recent ? 8 : 17;
    this.sizeInLarge = recent ? 12 : 8;
    this.nameInLarge = recent ? 16 : 12;
  }

  private large(header: number): boolean {
    return (this.b[header + this.headerSize - 1] & flagLarge) !== 0;
  }

  /** Bytes of instructions of a function whose header is not large. */
  private codeSize(header: number): number {
    return u32(this.b, header + 4) & ((1 << this.sizeBits) - 1);
  }

  /** Where the large header of a function is; -1 when it is not in the file. */
  private largeAt(header: number): number {
    const low = u32(this.b, header) & offsetBits;
    return this.largePlace(this.l.version.recent ? low : ((u32(this.b, header + 8) & offsetBits) | (low >>> 16)) * 65536 + (low & 0xffff));
  }

  private largePlace(at: number): number {
    return at < this.l.code.at || at > this.l.code.end - largeHeader ? -1 : at;
  }

  /** Makes the offset in the word at a place a distance to from, or undoes that, and gives the offset. */
  private move(at: number, from: number, undo: boolean): number {
    const word = u32(this.b, at), v = word & offsetBits, other = (undo ? v + from : v - from) & offsetBits;
    setU32(this.b, at, (word & ~offsetBits) | other);
    return undo ? other : v;
  }

  /** Makes the number at a place a distance to last, or undoes that, and gives the number. */
  private step(at: number, last: number, undo: boolean): number {
    const v = u32(this.b, at), other = (undo ? v + last : v - last) >>> 0;
    setU32(this.b, at, other);
    return undo ? other : v;
  }

  /** Makes offsets of functions distances to the end of the one before, or undoes that. */
  async offsets(undo: boolean, rest: Rest): Promise<void> {
    const { l, headerSize: size } = this, recent = l.version.recent;
    let end = 0, last = 0; // of what else is known; from 98 on, of large headers
    await sliced(l.functions, rest, (from, to) => {
      for (let i = from, at = l.headers.at + size * from; i < to; i++, at += size) {
        if (!this.large(at)) {
          end = this.move(at, end, undo) + this.codeSize(at);
          if (!recent) last = this.move(at + 8, last, undo);
        } else if (recent) {
          last = this.move(at, last, undo);
          const large = this.largePlace(last);
          if (large >= 0) end = (this.step(large, end, undo) + u32(this.b, large + this.sizeInLarge)) >>> 0;
        }
      }
    });
  }

  /** Makes offsets of strings and shapes distances to the one before, or undoes that. */
  async entries(undo: boolean, rest: Rest): Promise<void> {
    const { b, l } = this;
    let last = 0;
    await sliced(l.strings, rest, (from, to) => {
      for (let at = l.small.at + 4 * from, end = l.small.at + 4 * to; at < end; at += 4) {
        const v = u32(b, at);
        if (v >>> 24 === 255) continue;
        const offset = (v >>> 1) & stringBits, other = (undo ? offset + last : offset - last) & stringBits;
        last = undo ? other : offset;
        setU32(b, at, (v & ~(stringBits << 1)) | (other << 1));
      }
    });
    for (const table of [l.overflow, l.shapes]) {
      last = 0;
      await sliced((table.end - table.at) / 8, rest, (from, to) => {
        for (let i = from; i < to; i++) last = this.step(table.at + 8 * i, last, undo);
      });
    }
  }

  /** Renumbers the names of functions. */
  async names(ids: Uint32Array, rest: Rest): Promise<void> {
    const { b, l, headerSize: size } = this, shift = this.sizeBits, bits = 2 ** this.nameBits, mask = (bits - 1) << shift;
    const fits = ids.length <= bits || bits === shortIDs;
    await sliced(l.functions, rest, (from, to) => {
      for (let i = from, at = l.headers.at + size * from; i < to; i++, at += size) {
        if (this.large(at)) {
          const large = this.largeAt(at);
          if (large >= 0) setU32(b, large + this.nameInLarge, renumbered(ids, u32(b, large + this.nameInLarge)));
          continue;
        }
        const word = u32(b, at + 4), name = renumbered(ids, (word & mask) >>> shift);
        if (name < bits && fits) setU32(b, at + 4, (word & ~mask) | (name << shift));
      }
    });
    await sliced((l.sources.end - l.sources.at) / 8, rest, (from, to) => {
      for (let i = from; i < to; i++) {
        const at = l.sources.at + 8 * i + 4;
        setU32(b, at, renumbered(ids, u32(b, at)));
      }
    });
  }

  /**
   * The instructions of all functions in the order of the file, those that several functions share once: where they begin,
   * where they end, and the number of the function.
   */
  async bodies(rest: Rest): Promise<{ at: Uint32Array; end: Uint32Array; id: Uint32Array; count: number }> {
    const { b, l, headerSize: size } = this, order = new Float64Array(l.functions);
    const lengths = new Uint32Array(l.functions);
    let n = 0, sorted = true;
    await sliced(l.functions, rest, (from, to) => {
      for (let i = from, h = l.headers.at + size * from; i < to; i++, h += size) {
        let at = u32(b, h) & offsetBits, length = this.codeSize(h);
        if (this.large(h)) {
          const large = this.largeAt(h);
          if (large < 0) continue;
          at = u32(b, large);
          length = u32(b, large + this.sizeInLarge);
        }
        if (at < l.code.at || at > l.code.end || length > l.code.end - at) continue;
        lengths[i] = length;
        order[n] = at * functionsMost + i;
        sorted = sorted && (n === 0 || order[n - 1] < order[n]);
        n++;
      }
    });
    const inOrder = sorted ? order : order.subarray(0, n).sort();
    const out = { at: new Uint32Array(n), end: new Uint32Array(n), id: new Uint32Array(n), count: 0 };
    let end = 0;
    await sliced(n, rest, (from, to) => {
      for (let k = from; k < to; k++) {
        const at = Math.floor(inOrder[k] / functionsMost), id = inOrder[k] - at * functionsMost;
        if (at < end) continue;
        end = at + lengths[id];
        out.at[out.count] = at;
        out.end[out.count] = end;
        out.id[out.count++] = id;
      }
    });
    return out;
  }

  /** Puts the hashes of identifiers back, as the engine computes them: Jenkins's, without its last steps. */
  async rehash(texts: Texts, rest: Rest): Promise<void> {
    const { b, l } = this, n = texts.sizes.length;
    let at = l.hashes.at, i = 0, left = slice;
    for (let k = l.kinds.at; k < l.kinds.end; k += 4) {
      const v = u32(b, k), stop = Math.min(n, i + (v & 0x7fffffff));
      if (--left < 0) {
        await rest();
        left = slice;
      }
      if (v >>> 31 === 0) i = stop;
      while (i < stop && at < l.hashes.end) {
        const from = texts.offsets[i], size = texts.sizes[i] >>> 1, wide = texts.sizes[i] & 1;
        let h = 0;
        for (let p = 0; p < size;) { // a string may be as long as the file
          const to = Math.min(size, p + 2 * slice);
          h = jenkins(h, texts.storage, from + p, from + to, wide !== 0);
          left -= 8 + to - p;
          p = to;
          if (left < 0) {
            await rest();
            left = slice;
          }
        }
        setU32(b, at, h);
        at += 4;
        i++;
      }
      if (i === n || at === l.hashes.end && v >>> 31 === 1 && i < stop) return;
    }
  }
}

/** More than the functions of a file; times a place in it, a number that a double has exactly. */
const functionsMost = 2 ** 26;

/** Goes on with the hash over characters of one byte or two; from an even place on where they have two. */
function jenkins(h: number, b: Uint8Array, from: number, to: number, wide: boolean): number {
  for (let p = from; p < to; p++) {
    let c = b[p];
    if (wide && p + 1 < to) c |= b[++p] << 8;
    h = (h + c) | 0;
    h = (h + (h << 10)) | 0;
    h ^= h >>> 6;
  }
  return h >>> 0;
}
