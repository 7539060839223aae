// The reader of the arithmetic coder over 32 bits: the interval [low, high] is split by the probability of a one, and
// bytes that both ends share leave it.

import type { Source } from "../../host.js";

const least = 0x80000000 | 0; // turns the order of signed numbers into that of unsigned ones
const inputSize = 32 << 10;
/** More bytes than the decisions between two looks at the input can take. */
const enough = 1 << 10;

export class Arith {
  private low = 0;
  private high = -1;
  private code = 0;
  private shifts = 0; // bytes that left the interval
  private taken = 0; // bytes taken from the input
  private over = false; // the input has ended
  private input: Uint8Array = new Uint8Array(0);
  private used = 0;
  /** More was read than there is. */
  failed = false;
  /** Coded so far. */
  decisions = 0;

  constructor(private readonly source: Source, private at: number) {}

  async start(): Promise<void> {
    await this.refill();
    for (let i = 0; i < 4; i++) this.code = (this.code << 8) | this.next();
  }

  /** Whether more input must be read before the next step. */
  hungry(): boolean {
    return this.input.length - this.used < enough && this.at < this.source.size;
  }

  async refill(): Promise<void> {
    const rest = this.input.subarray(this.used);
    const b = await this.source.read(this.at, Math.min(inputSize, this.source.size - this.at));
    this.at += b.length;
    const joined = new Uint8Array(rest.length + b.length);
    joined.set(rest);
    joined.set(b, rest.length);
    this.input = joined;
    this.used = 0;
  }

  /** The next byte. The writer leaves out zeros among the last four, so these may be missing; more may not. */
  private next(): number {
    if (this.used < this.input.length) {
      this.taken++;
      return this.input[this.used++];
    }
    this.over = true;
    return 0;
  }

  /** One decision; p in 1 … 65535 is the probability of a one in 1/65536. */
  bit(p: number): number {
    this.decisions++;
    let low = this.low, high = this.high;
    const range = (high - low) | 0;
    const mid = (low + Math.imul(range >>> 16, p) + (Math.imul(range & 0xffff, p) >>> 16)) | 0;
    let bit = 0;
    if ((this.code ^ least) <= (mid ^ least)) {
      bit = 1;
      high = mid;
    } else {
      low = (mid + 1) | 0;
    }
    while (((low ^ high) >>> 24) === 0) {
      low <<= 8;
      high = (high << 8) | 255;
      this.code = (this.code << 8) | this.next();
      if (++this.shifts > this.taken) this.failed = true;
    }
    this.low = low;
    this.high = high;
    return bit;
  }

  /** The number that ends the stream: the one of the interval with the most zeros at its end. */
  private last(): number {
    if (this.low === 0) return 0;
    for (let n = 24; n > 0; n -= 8) {
      const v = (this.high >>> n) << n;
      if ((v ^ least) >= (this.low ^ least)) return v;
    }
    return this.low;
  }

  /** Whether the stream ends here, and as the writer ends it. A byte lost, added or turned shows. */
  finished(): boolean {
    let n = this.shifts;
    for (let v = this.last(); v !== 0; v <<= 8) n++;
    if (this.code !== this.last() || this.taken !== n) return false;
    this.next();
    return this.over && this.at === this.source.size;
  }
}
