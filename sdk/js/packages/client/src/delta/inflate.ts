// Decompresses exactly one deflate stream (RFC 1951), a piece at a time: memory is some 200 KiB, and the work of a step is
// bounded by what it makes.

import type { Source } from "../host.js";
import type { Plain } from "./plain.js";
import { invalid } from "./refuse.js";

const window = 32 << 10;
const piece = 64 << 10;
const inputSize = 32 << 10;
/** More than the longest header of a block. */
const enough = 1 << 10;
const quickBits = 10;
/** Blocks after which others have their turn: they may be empty. */
const restAfter = 32;

/** Codes: by the next bits symbol·16 + length, 0 where the code is longer; those by their counts and symbols in order. */
interface Codes {
  quick: Uint16Array;
  counts: Uint16Array;
  symbols: Uint16Array;
}

const lengthBase = Uint16Array.of(3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258);
const lengthBits = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0);
const order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

const damaged = (what: string) => invalid(`its compressed bytes are damaged: ${what}`);

function codesOf(lengths: Uint8Array): Codes {
  const c: Codes = { quick: new Uint16Array(1 << quickBits), counts: new Uint16Array(16), symbols: new Uint16Array(lengths.length) };
  let longest = 0;
  for (const n of lengths) {
    c.counts[n]++;
    if (n > longest) longest = n;
  }
  c.counts[0] = 0;
  const at = new Uint16Array(16), next = new Uint16Array(16);
  let code = 0;
  for (let n = 1; n < 16; n++) {
    at[n] = at[n - 1] + c.counts[n - 1];
    code = (code + c.counts[n - 1]) << 1;
    next[n] = code;
    if (code + c.counts[n] > 1 << n) throw damaged("codes overlap");
  }
  // a code of its own may be alone; none at all is an error only when it is used
  const sum = longest === 0 ? 0 : next[longest] + c.counts[longest];
  if (longest > 0 && sum !== 1 << longest && !(longest === 1 && sum === 1)) throw damaged("codes are missing");
  lengths.forEach((n, symbol) => {
    if (n === 0) return;
    c.symbols[at[n]++] = symbol;
    let turned = 0;
    for (let i = 0, v = next[n]++; i < n; i++, v >>= 1) turned = (turned << 1) | (v & 1);
    for (let i = turned; i < 1 << quickBits && n <= quickBits; i += 1 << n) c.quick[i] = (symbol << 4) | n;
  });
  return c;
}

function fixed(): [Codes, Codes] {
  const lengths = new Uint8Array(288).fill(8, 0, 144).fill(9, 144, 256).fill(7, 256, 280).fill(8, 280);
  return [codesOf(lengths), codesOf(new Uint8Array(32).fill(5))];
}

/** Plain bytes of the one stream that stands in source from at to its end. */
export class Inflate implements Plain {
  private input: Uint8Array = new Uint8Array(0);
  private inputAt = 0;
  private hold = 0;
  private bits = 0;
  private readonly out = new Uint8Array(window + 2 * piece);
  private end = 0;
  private used = 0;
  private last = false;
  private done = false;
  private stored = 0; // bytes of a stored block still to come
  private codes: [Codes, Codes] | undefined; // of the block that is being read
  // a copy that did not fit into its piece
  private copyLeft = 0;
  private distance = 0;

  private blocks = 0;
  private both: [Codes, Codes] | undefined; // those that need no description

  constructor(private readonly source: Source, private at: number, private readonly pause?: () => Promise<void>) {}

  async some(most: number): Promise<Uint8Array> {
    while (this.used === this.end) {
      if (this.done) return new Uint8Array(0);
      if (this.end > window + piece) {
        this.out.copyWithin(0, this.end - window, this.end);
        this.used = this.end = window;
      }
      const target = this.end + piece;
      while (this.end < target && !this.done) {
        if (this.input.length - this.inputAt < enough && this.at < this.source.size) await this.refill();
        this.run(target);
        if (this.blocks > restAfter && this.pause !== undefined) await this.pause();
        if (this.blocks > restAfter) this.blocks = 0;
      }
    }
    const part = this.out.subarray(this.used, Math.min(this.end, this.used + most));
    this.used += part.length;
    return part;
  }

  async finish(): Promise<void> {
    if (this.at - (this.input.length - this.inputAt) - (this.bits >> 3) !== this.source.size) throw invalid("bytes follow the end");
  }

  private async refill(): Promise<void> {
    const rest = this.input.subarray(this.inputAt);
    const b = await this.source.read(this.at, Math.min(inputSize, this.source.size - this.at));
    this.at += b.length;
    const joined = new Uint8Array(rest.length + b.length);
    joined.set(rest);
    joined.set(b, rest.length);
    this.input = joined;
    this.inputAt = 0;
  }

  /** Goes on until out has target bytes, the input runs low while there is more of it, or the end. */
  private run(target: number): void {
    const low = this.at < this.source.size ? this.input.length - enough : this.input.length;
    while (this.end < target && !this.done) {
      if (this.copyLeft > 0) this.copy(target);
      else if (this.stored > 0) this.raw(target);
      else if (this.codes !== undefined) this.symbols(this.codes, target, low);
      else if (this.last) this.done = true;
      else this.block();
      if (this.inputAt > low && this.at < this.source.size || this.blocks > restAfter) return;
    }
  }

  private take(n: number): number {
    while (this.bits < n) {
      if (this.inputAt === this.input.length) throw invalid("it ends too early");
      this.hold |= this.input[this.inputAt++] << this.bits;
      this.bits += 8;
    }
    const v = this.hold & ((1 << n) - 1);
    this.hold >>>= n;
    this.bits -= n;
    return v;
  }

  private symbol(c: Codes): number {
    while (this.bits < 15 && this.inputAt < this.input.length) {
      this.hold |= this.input[this.inputAt++] << this.bits;
      this.bits += 8;
    }
    const e = c.quick[this.hold & ((1 << quickBits) - 1)];
    let n = e & 15, symbol = e >> 4;
    if (n === 0) {
      let code = 0, first = 0, index = 0;
      for (n = 1; ; n++) {
        if (n > 15) throw damaged("a code is not known");
        code |= (this.hold >> (n - 1)) & 1;
        const count = c.counts[n];
        if (code - first < count) {
          symbol = c.symbols[index + code - first];
          break;
        }
        index += count;
        first = (first + count) << 1;
        code <<= 1;
      }
    }
    if (n > this.bits) throw invalid("it ends too early");
    this.hold >>>= n;
    this.bits -= n;
    return symbol;
  }

  private block(): void {
    this.blocks++;
    this.last = this.take(1) === 1;
    switch (this.take(2)) {
      case 0: {
        this.take(this.bits & 7);
        const n = this.take(16);
        if ((n ^ 0xffff) !== this.take(16)) throw damaged("a length");
        this.stored = n;
        break;
      }
      case 1: this.codes = this.both = this.both ?? fixed(); break;
      case 2: this.codes = this.dynamic(); break;
      default: throw damaged("a block of no kind");
    }
  }

  private dynamic(): [Codes, Codes] {
    const literals = this.take(5) + 257, distances = this.take(5) + 1, count = this.take(4) + 4;
    if (literals > 286 || distances > 30) throw damaged("too many codes");
    const lengths = new Uint8Array(19);
    for (let i = 0; i < count; i++) lengths[order[i]] = this.take(3);
    const codes = codesOf(lengths);
    const all = new Uint8Array(literals + distances);
    for (let i = 0; i < all.length;) {
      const s = this.symbol(codes);
      if (s < 16) {
        all[i++] = s;
        continue;
      }
      if (s === 16 && i === 0) throw damaged("nothing to repeat");
      const value = s === 16 ? all[i - 1] : 0;
      const n = s === 16 ? 3 + this.take(2) : s === 17 ? 3 + this.take(3) : 11 + this.take(7);
      if (i + n > all.length) throw damaged("too many lengths");
      all.fill(value, i, i + n);
      i += n;
    }
    return [codesOf(all.slice(0, literals)), codesOf(all.slice(literals))];
  }

  private symbols([literals, distances]: [Codes, Codes], target: number, low: number): void {
    const out = this.out;
    while (this.end < target && (this.inputAt <= low || this.at === this.source.size)) {
      const s = this.symbol(literals);
      if (s < 256) {
        out[this.end++] = s;
      } else if (s === 256) {
        this.codes = undefined;
        return;
      } else {
        if (s > 285) throw damaged("a length is not known");
        this.copyLeft = lengthBase[s - 257] + this.take(lengthBits[s - 257]);
        const d = this.symbol(distances);
        if (d > 29) throw damaged("a distance is not known");
        const more = d < 4 ? 0 : (d >> 1) - 1;
        this.distance = d < 4 ? d + 1 : ((2 + (d & 1)) << more) + 1 + this.take(more);
        if (this.distance > this.end) throw damaged("a distance is out of reach");
        this.copy(target);
      }
    }
  }

  private copy(target: number): void {
    const n = Math.min(this.copyLeft, target - this.end), out = this.out;
    for (let to = this.end, from = to - this.distance, stop = to + n; to < stop;) out[to++] = out[from++];
    this.end += n;
    this.copyLeft -= n;
  }

  private raw(target: number): void {
    while (this.stored > 0 && this.bits > 0 && this.end < target) { // whole bytes that were looked at already
      this.out[this.end++] = this.take(8);
      this.stored--;
    }
    const n = Math.min(this.stored, target - this.end, this.input.length - this.inputAt);
    if (n === 0 && this.stored > 0 && this.end < target && this.at === this.source.size) throw invalid("it ends too early");
    this.out.set(this.input.subarray(this.inputAt, this.inputAt + n), this.end);
    this.inputAt += n;
    this.end += n;
    this.stored -= n;
  }
}
