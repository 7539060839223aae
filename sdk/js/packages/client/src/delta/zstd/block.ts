// One compressed block of Zstandard (RFC 8878, §3.1.1.2 and §3.1.1.3). What a block may make is known before it is begun,
// and every step that makes something is counted against that, so a hostile block costs no more than an honest one.

import { Damaged, beginOf, constant, readCodes, readStates, spread, type Codes, type States } from "./tables.js";

export const maxBlock = 128 << 10;
/** Zeros in front of a block's bytes, so that reading backwards stays inside before it is found out. */
export const margin = 16;

const lengthsOfLiterals = spread([4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1], 6);
const lengthsOfMatches = spread([1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1], 6);
const places = spread([1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1], 5);

const literalBits = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
const matchBits = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
const literalBase = bases(literalBits, 0), matchBase = bases(matchBits, 3);
// Of places only so many bits are read as a window of 8 MiB can need.
const maxPlace = 24;

function bases(bits: Uint8Array, first: number): Int32Array {
  const out = new Int32Array(bits.length);
  for (let i = 0, v = first; i < bits.length; v += 1 << bits[i++]) out[i] = v;
  return out;
}

/** Decodes the blocks of one frame into a buffer that also holds the window. */
export class Blocks {
  /** What was made, the window in front, and room for a block's literals at the end. */
  buffer: Uint8Array;
  /** Bytes made, of the buffer. */
  end = 0;
  private codes: Codes | undefined;
  private tables: (States | undefined)[] = [undefined, undefined, undefined];
  private repeat = [1, 4, 8];
  private room: number;
  // literals of the block: in the buffer behind its room
  private literals = 0;

  /** A window of so many bytes, and blocks of at most most bytes. */
  constructor(private readonly window: number, private readonly most: number) {
    this.room = most;
    this.buffer = new Uint8Array(this.room + most);
  }

  /** Makes room for n bytes more, which may move what is there; the answer is by how much it moved. */
  makeRoom(n: number): number {
    if (this.end + n <= this.room) return 0;
    const full = this.window + Math.max(maxBlock, Math.min(this.window, 8 * maxBlock));
    let moved = 0;
    if (this.room < full) {
      this.room = Math.min(full, Math.max(2 * this.room, this.end + n));
      const grown = new Uint8Array(this.room + this.most);
      grown.set(this.buffer.subarray(0, this.end));
      this.buffer = grown;
    }
    if (this.end + n > this.room) {
      moved = Math.max(0, this.end - this.window);
      this.buffer.copyWithin(0, moved, this.end);
      this.end -= moved;
    }
    return moved;
  }

  raw(b: Uint8Array): void {
    this.buffer.set(b, this.end);
    this.end += b.length;
  }

  run(byte: number, n: number): void {
    this.buffer.fill(byte, this.end, this.end + n);
    this.end += n;
  }

  /** Decodes the block in b[margin:end]; room for a whole block must have been made. */
  compressed(b: Uint8Array, end: number): void {
    this.sequences(b, this.readLiterals(b, margin, end), end);
  }

  private readLiterals(b: Uint8Array, at: number, end: number): number {
    if (at >= end) throw new Damaged("a block is empty");
    const kind = b[at] & 3, format = (b[at] >> 2) & 3;
    if (at + (kind < 2 ? [1, 2, 1, 3] : [3, 3, 4, 5])[format] > end) throw new Damaged("literals are cut off");
    if (kind < 2) {
      let size = b[at] >> 3, head = 1;
      if (format === 1) { size = (b[at] >> 4) | (b[at + 1] << 4); head = 2; }
      if (format === 3) { size = (b[at] >> 4) | (b[at + 1] << 4) | (b[at + 2] << 12); head = 3; }
      at += head;
      if (size > this.most || at + (kind === 0 ? size : 1) > end) throw new Damaged("literals are too long");
      this.literals = size;
      if (kind === 0) this.buffer.set(b.subarray(at, at + size), this.room);
      else this.buffer.fill(b[at], this.room, this.room + size);
      return at + (kind === 0 ? size : 1);
    }
    const low = (b[at] >> 4) | (b[at + 1] << 4) | (b[at + 2] << 12); // 20 bits
    let size = low & 0x3ff, coded = low >> 10, head = 3;
    if (format === 2) { size = low & 0x3fff; coded = (low >> 14) | (b[at + 3] << 6); head = 4; }
    if (format === 3) { size = low & 0x3ffff; coded = (low >> 18) | (b[at + 3] << 2) | (b[at + 4] << 10); head = 5; }
    at += head;
    if (size > this.most || coded > end - at) throw new Damaged("literals are too long");
    this.literals = size;
    const stop = at + coded;
    if (kind === 2) {
      const read = readCodes(b, at, stop);
      this.codes = read.codes;
      at = read.at;
    }
    if (this.codes === undefined) throw new Damaged("there are no codes to repeat");
    if (format === 0) this.stream(b, at, stop, this.room, size);
    else this.streams(b, at, stop, size);
    return stop;
  }

  /** Four streams, each of a quarter. */
  private streams(b: Uint8Array, at: number, stop: number, size: number): void {
    if (stop - at < 6) throw new Damaged("literals are cut off");
    const part = (size + 3) >> 2;
    let from = at + 6, to = this.room;
    for (let i = 0; i < 4; i++) {
      const next = i < 3 ? from + (b[at + 2 * i] | (b[at + 2 * i + 1] << 8)) : stop;
      const n = i < 3 ? part : size - 3 * part;
      if (next > stop || n < 0) throw new Damaged("literals are cut off");
      this.stream(b, from, next, to, n);
      from = next;
      to += n;
    }
  }

  private stream(b: Uint8Array, start: number, end: number, to: number, n: number): void {
    const { log, entries } = this.codes as Codes;
    const out = this.buffer, mask = (1 << log) - 1, stop = to + n, first = start * 8;
    let pos = beginOf(b, start, end) - log; // of the lowest bit that is looked at
    // Bits below the stream's first one are of no meaning: the code that is found does not reach down to them. A piece of
    // the stream has two codes at least.
    const pairs = stop - 1;
    while (to < pairs) {
      const low = pos - 11, i = low >> 3, v = (b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24)) >>> (low & 7);
      let e = entries[(v >>> 11) & mask];
      out[to++] = e;
      const n = e >> 8;
      e = entries[(v >>> (11 - n)) & mask];
      out[to++] = e;
      pos -= n + (e >> 8);
      if (pos + log < first) throw new Damaged("literals are cut off");
    }
    if (to < stop) {
      const i = pos >> 3, e = entries[((b[i] | (b[i + 1] << 8) | (b[i + 2] << 16)) >> (pos & 7)) & mask];
      out[to] = e;
      pos -= e >> 8;
    }
    if (pos + log !== first) throw new Damaged("literals are left over");
  }

  private sequences(b: Uint8Array, at: number, end: number): void {
    if (at >= end) throw new Damaged("sequences are missing");
    let count = b[at++];
    if (count >= 128) {
      const wide = count === 255;
      if (at + (wide ? 2 : 1) > end) throw new Damaged("sequences are cut off");
      count = wide ? b[at] + (b[at + 1] << 8) + 0x7f00 : ((count - 128) << 8) + b[at];
      at += wide ? 2 : 1;
    }
    if (count === 0) {
      if (at !== end) throw new Damaged("bytes follow the literals");
      this.rest(this.room, this.literals);
      return;
    }
    if (at >= end || (b[at] & 3) !== 0) throw new Damaged("sequences are malformed");
    const modes = b[at++];
    for (let k = 0; k < 3; k++) {
      const known = [lengthsOfLiterals, places, lengthsOfMatches][k], most = [35, 31, 52][k];
      switch ((modes >> (6 - 2 * k)) & 3) {
        case 0: this.tables[k] = known; break;
        case 1:
          if (at >= end || b[at] > most) throw new Damaged("a symbol is not known");
          this.tables[k] = constant(b[at++]);
          break;
        case 2: {
          const read = readStates(b, at, end, most, [9, 8, 9][k]);
          this.tables[k] = read.table;
          at = read.at;
          break;
        }
        default:
          if (this.tables[k] === undefined) throw new Damaged("there is no table to repeat");
      }
    }
    this.execute(b, at, end, count);
  }

  private execute(b: Uint8Array, start: number, end: number, count: number): void {
    const l = this.tables[0] as States, o = this.tables[1] as States, m = this.tables[2] as States;
    const first = start * 8, out = this.buffer, limit = this.end + this.most, window = this.window;
    let pos = beginOf(b, start, end) - l.log - o.log - m.log;
    if (pos < first) throw new Damaged("sequences are cut off");
    let ls = bitsAt(b, pos + o.log + m.log, l.log), os = bitsAt(b, pos + m.log, o.log), ms = bitsAt(b, pos, m.log);
    const le = l.entries, oe = o.entries, me = m.entries;
    let [r0, r1, r2] = this.repeat;
    let lit = this.room, to = this.end;
    const litEnd = lit + this.literals;
    for (let left = count; left > 0; left--) {
      const lv = le[ls], ov = oe[os], mv = me[ms];
      const place = ov >> 24, mc = mv >> 24, lc = lv >> 24;
      if (place > maxPlace) throw new Damaged("a place is out of reach");
      let value = 1 << place, n = matchBase[mc], literals = literalBase[lc];
      pos -= place;
      let i = pos >> 3;
      value += ((b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24)) >>> (pos & 7)) & (value - 1);
      const mb = matchBits[mc], lb = literalBits[lc];
      if (mb > 0) n += bitsAt(b, pos -= mb, mb);
      if (lb > 0) literals += bitsAt(b, pos -= lb, lb);
      let from = 0;
      if (value > 3) {
        from = value - 3;
        r2 = r1; r1 = r0; r0 = from;
      } else {
        const which = literals === 0 ? value : value - 1;
        if (which === 0) {
          from = r0;
        } else {
          from = which === 1 ? r1 : which === 2 ? r2 : r0 - 1;
          if (which !== 1) r2 = r1;
          r1 = r0; r0 = from;
        }
      }
      if (left > 1) {
        const lm = (lv >> 16) & 255, mm = (mv >> 16) & 255, om = (ov >> 16) & 255;
        pos -= lm + mm;
        i = pos >> 3;
        const v = (b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24)) >>> (pos & 7);
        ls = (lv & 0xffff) + ((v >>> mm) & ((1 << lm) - 1));
        ms = (mv & 0xffff) + (v & ((1 << mm) - 1));
        os = (ov & 0xffff) + bitsAt(b, pos -= om, om);
      }
      if (pos < first) throw new Damaged("sequences are cut off");
      if (literals > litEnd - lit || literals + n > limit - to) throw new Damaged("a block makes too much");
      if (literals < 24) for (let k = 0; k < literals; k++) out[to + k] = out[lit + k];
      else out.copyWithin(to, lit, lit + literals);
      to += literals;
      lit += literals;
      if (from < 1 || from > to || from > window) throw new Damaged("a place is out of reach");
      copy(out, to, from, n);
      to += n;
    }
    if (pos !== first) throw new Damaged("sequences are left over");
    this.repeat = [r0, r1, r2];
    this.end = to;
    if (litEnd - lit > limit - to) throw new Damaged("a block makes too much");
    this.rest(lit, litEnd - lit);
  }

  private rest(from: number, n: number): void {
    this.buffer.copyWithin(this.end, from, from + n);
    this.end += n;
  }
}

/** n bits of a stream from pos on, 25 at most. */
function bitsAt(b: Uint8Array, pos: number, n: number): number {
  const i = pos >> 3;
  return ((b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24)) >>> (pos & 7)) & ((1 << n) - 1);
}

/** Repeats n bytes of out that lie distance before to; they may reach into themselves. */
export function copy(out: Uint8Array, to: number, distance: number, n: number): void {
  const from = to - distance;
  if (n < 24) {
    for (let k = 0; k < n; k++) out[to + k] = out[from + k];
    return;
  }
  for (let done = 0; done < n;) { // what is there doubles each time
    const part = Math.min(distance + done, n - done);
    out.copyWithin(to + done, from, from + part);
    done += part;
  }
}
