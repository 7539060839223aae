// What followed the last bytes before, in old and in new text.

import type { Pages } from "../pages.js";
import { wordBytes } from "./tracker.js";

const textRing = 1 << 18;
const maxPrimed = 32 << 20;
const tables = 3;
/** The last bytes that a table goes by; the third goes by those of the word so far. */
const spans = [8, 5];
/** Places in front of one that are compared. */
const reach = 24;

// The product of the last eight bytes and a constant, modulo 2^64, rolls along: that of fewer bytes is its lower part,
// shifted up. These are the products of one byte.
const multiplier = [0x7f4a7c15, 0x9e3779b9];
const productLow = new Int32Array(256), productHigh = new Int32Array(256);
for (let b = 0; b < 256; b++) {
  const low = multiplier[0] * b;
  productLow[b] = low | 0;
  productHigh[b] = Math.floor(low / 2 ** 32) + Math.imul(multiplier[1], b);
}
const least = 0x80000000 | 0;

/** The last bytes that were made, and how many of new there are. */
export interface Made {
  out: Uint8Array;
  n: number;
  np: number;
}

export class History {
  private readonly after1 = new Int32Array(256); // by the last byte: the four bytes that followed it last
  private readonly after2 = new Int32Array(1 << 16);
  private readonly after3 = new Int32Array(1 << 16);
  private readonly index: Int32Array[] = []; // by a hash of the last bytes: the place behind them; new text lies behind old
  private readonly shift: number;
  private readonly at = new Int32Array(tables).fill(-1); // place of the expected byte, -1: none
  private readonly length = new Int32Array(tables);
  private readonly next = new Int32Array(tables); // the expected byte
  private readonly kept = new Int32Array(3 * tables);
  private readonly text = new Uint8Array(textRing); // new text, a ring
  private end = 0; // bytes of it so far
  private low = 0; // the rolling product
  private high = 0;
  word = 0;
  lastWord = 0;
  private primed = false;
  private missing = -1; // a place of old whose page must be loaded

  constructor(private readonly old: Pages, private readonly made: Made, indexLog: number) {
    for (let k = 0; k < tables; k++) this.index.push(new Int32Array(1 << indexLog));
    this.shift = 32 - indexLog;
  }

  /** Learns all of old, when the first new text comes. */
  async prime(pause?: () => Promise<void>): Promise<void> {
    if (this.primed) return;
    this.primed = true;
    for (let at = 0, last = 0; at < Math.min(this.old.size, maxPrimed);) {
      const b = this.old.at(at) ?? await this.old.load(at);
      last = this.learn(b, at, last);
      at += b.length;
      if (pause !== undefined) await pause();
    }
  }

  private learn(b: Uint8Array, pos: number, last: number): number {
    const after1 = this.after1, after2 = this.after2, after3 = this.after3;
    const [long, short, word] = this.index, shift = this.shift;
    let low = this.low, high = this.high;
    for (let i = 0; i < b.length; i++) {
      const c = b[i];
      const a1 = last & 255, a2 = last & 65535, a3 = Math.imul(last & 0xffffff, 0x9e3779b1) >>> 16;
      after1[a1] = (after1[a1] << 8) | c;
      after2[a2] = (after2[a2] << 8) | c;
      after3[a3] = (after3[a3] << 8) | c;
      last = (last << 8) | c;
      const more = productLow[c], shifted = low << 8, sum = (shifted + more) | 0;
      high = (((high << 8) | (low >>> 24)) + productHigh[c] + ((sum ^ least) < (more ^ least) ? 1 : 0)) | 0;
      low = sum;
      pos++;
      long[high >>> shift] = pos;
      short[((high << 24) | (low >>> 8)) >>> shift] = pos;
      const span = pos & 3;
      if (span >= 2) word[(span === 2 ? low << 16 : low << 8) >>> shift] = pos;
    }
    this.low = low;
    this.high = high;
    return last;
  }

  private roll(c: number): void {
    const more = productLow[c], sum = ((this.low << 8) + more) | 0;
    this.high = (((this.high << 8) | (this.low >>> 24)) + productHigh[c] + ((sum ^ least) < (more ^ least) ? 1 : 0)) | 0;
    this.low = sum;
  }

  private key(span: number): number {
    switch (span) {
      case 8: return this.high >>> this.shift;
      case 5: return ((this.high << 24) | (this.low >>> 8)) >>> this.shift;
      case 3: return (this.low << 8) >>> this.shift;
      default: return (this.low << 16) >>> this.shift;
    }
  }

  /** Looks up the text in front of a new piece. */
  async begin(): Promise<void> {
    const { out, n } = this.made;
    let i = n;
    while (i > n - 16 && wordBytes[out[i - 1]] !== 0) i--;
    this.word = 0;
    for (let k = i; k < n; k++) this.word = Math.imul(this.word + out[k] + 1, 0x2f0b4c47);
    this.lastWord = out[i - 1];
    this.low = this.high = 0;
    for (let k = n - 8; k < n; k++) this.roll(out[k]);
    for (;;) {
      this.at.fill(-1);
      this.length.fill(0);
      this.missing = -1;
      this.lookup();
      if (this.missing < 0) return;
      await this.old.load(this.missing);
    }
  }

  /** Reads from old or from new text. */
  private byteAt(at: number): number {
    if (at >= this.old.size) return this.text[(at - this.old.size) & (textRing - 1)];
    const b = this.old.byte(at);
    if (b < 0) {
      this.missing = at;
      return 0;
    }
    return b;
  }

  private lookup(): void {
    const oldSize = this.old.size, end = this.end;
    for (let k = 0; k < tables; k++) {
      if (this.length[k] > 0 && this.at[k] >= 0) continue;
      const span = k < 2 ? spans[k] : this.made.np & 3;
      if (span < 2) continue;
      const at = this.index[k][this.key(span)];
      this.at[k] = -1;
      this.length[k] = 0;
      if (at === 0 || at >= oldSize + end) continue;
      if (at > oldSize && at - oldSize < end - textRing + 64) continue;
      const n = this.alike(at);
      if (n >= Math.min(span, 7)) {
        this.at[k] = at;
        this.length[k] = n;
        this.next[k] = this.byteAt(at);
      }
    }
  }

  /** Counts how many of the last bytes are the same in front of a place, up to 24. */
  private alike(at: number): number {
    const { out, n: end } = this.made, first = at <= this.old.size ? 0 : this.old.size;
    let n = 0;
    while (n < reach && at - 1 - n >= first && this.byteAt(at - 1 - n) === out[end - 1 - n]) n++;
    return n;
  }

  /** Learns a byte of new text, the last one that was made. It gives a place of old that must be loaded before again() is called, or -1. */
  add(b: number): number {
    const { out, n } = this.made;
    const c1 = out[n - 2], c2 = out[n - 3], c3 = out[n - 4];
    const a2 = c1 | (c2 << 8), a3 = Math.imul(a2 | (c3 << 16), 0x9e3779b1) >>> 16;
    this.after1[c1] = (this.after1[c1] << 8) | b;
    this.after2[a2] = (this.after2[a2] << 8) | b;
    this.after3[a3] = (this.after3[a3] << 8) | b;
    if (wordBytes[b] !== 0) {
      this.word = Math.imul(this.word + b + 1, 0x2f0b4c47);
    } else if (this.word !== 0) {
      this.lastWord = this.word;
      this.word = 0;
    }
    this.text[this.end & (textRing - 1)] = b;
    this.end++;
    this.roll(b);
    for (let k = 0; k < tables; k++) {
      this.kept[k] = this.at[k];
      this.kept[tables + k] = this.length[k];
      this.kept[2 * tables + k] = this.next[k];
    }
    return this.follow(b);
  }

  /** Goes on with add when the place is loaded. */
  again(b: number): number {
    for (let k = 0; k < tables; k++) {
      this.at[k] = this.kept[k];
      this.length[k] = this.kept[tables + k];
      this.next[k] = this.kept[2 * tables + k];
    }
    return this.follow(b);
  }

  private follow(b: number): number {
    this.missing = -1;
    const oldSize = this.old.size, behind = oldSize + this.end;
    for (let k = 0; k < tables; k++) {
      if (this.at[k] < 0) continue;
      if (this.next[k] === b) {
        this.length[k]++;
        const at = ++this.at[k];
        if (at !== oldSize && at < behind) {
          this.next[k] = this.byteAt(at);
          continue;
        }
      }
      this.at[k] = -1;
      this.length[k] = 0;
    }
    this.lookup();
    if (this.missing >= 0) return this.missing;
    this.index[0][this.key(spans[0])] = behind;
    this.index[1][this.key(spans[1])] = behind;
    return -1;
  }

  /** The expected byte and, above it, a class of how long the match is. */
  expect(k: number): number {
    if (this.at[k] < 0) return 0;
    let n = this.length[k];
    if (n > 15) n = 15 + Math.min((n - 15) >> 3, 15);
    return this.next[k] | (Math.min(n + 1, 31) << 8);
  }

  /** The four bytes that followed the last one, two, three. */
  followers1(c1: number): number { return this.after1[c1]; }
  followers2(c1: number, c2: number): number { return this.after2[c1 | (c2 << 8)]; }
  followers3(order4: number): number { return this.after3[Math.imul(order4 & 0xffffff, 0x9e3779b1) >>> 16]; }
}
