// The checksum of a Zstandard frame: XXH64 with seed 0, of which the low half counts. In halves of 32 bits, since not
// every host has 64-bit integers.

type Half = number;

/** Low and high half of 64 bits. */
class Word {
  constructor(public lo: Half, public hi: Half) {}
  clone(): Word { return new Word(this.lo, this.hi); }

  add(b: Word): this {
    const lo = (this.lo + b.lo) | 0;
    const carry = (lo >>> 0) < (b.lo >>> 0) ? 1 : 0;
    this.hi = (this.hi + b.hi + carry) | 0;
    this.lo = lo;
    return this;
  }

  xor(b: Word): this {
    this.lo ^= b.lo;
    this.hi ^= b.hi;
    return this;
  }

  times(b: Word): this {
    const a0 = this.lo & 0xffff, a1 = this.lo >>> 16, b0 = b.lo & 0xffff, b1 = b.lo >>> 16;
    const low = Math.imul(a0, b0), left = Math.imul(a1, b0), right = Math.imul(a0, b1);
    const middle = (low >>> 16) + (left & 0xffff) + (right & 0xffff);
    const top = Math.imul(a1, b1) + (left >>> 16) + (right >>> 16) + (middle >>> 16);
    this.hi = (top + Math.imul(this.lo, b.hi) + Math.imul(this.hi, b.lo)) | 0;
    this.lo = (low & 0xffff) | (middle << 16);
    return this;
  }

  turn(n: number): this {
    const { lo, hi } = this;
    const [a, b] = n < 32 ? [lo, hi] : [hi, lo];
    const k = n & 31;
    this.lo = k === 0 ? a : (a << k) | (b >>> (32 - k));
    this.hi = k === 0 ? b : (b << k) | (a >>> (32 - k));
    return this;
  }

  fold(n: number): this {
    const { lo, hi } = this;
    if (n < 32) {
      this.lo ^= (lo >>> n) | (hi << (32 - n));
      this.hi ^= hi >>> n;
    } else {
      this.lo ^= hi >>> (n - 32);
    }
    return this;
  }
}

const p1 = new Word(0x85ebca87 | 0, 0x9e3779b1 | 0);
const p2 = new Word(0x27d4eb4f, 0xc2b2ae3d | 0);
const p3 = new Word(0x9e3779f9 | 0, 0x165667b1);
const p4 = new Word(0xc2b2ae63 | 0, 0x85ebca77 | 0);
const p5 = new Word(0x165667c5, 0x27d4eb2f);

function at(b: Uint8Array, i: number): Word {
  return new Word(b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24), b[i + 4] | (b[i + 5] << 8) | (b[i + 6] << 16) | (b[i + 7] << 24));
}

const round = (a: Word, b: Word): Word => a.add(b.times(p2)).turn(31).times(p1);

export class Checksum {
  private readonly lanes = [p1.clone().add(p2), p2.clone(), new Word(0, 0), new Word(-0x85ebca87 | 0, ~(0x9e3779b1 | 0))];
  private readonly kept = new Uint8Array(32);
  private keptBytes = 0;
  private total = 0;

  update(b: Uint8Array): void {
    this.total += b.length;
    let i = 0;
    if (this.keptBytes > 0) {
      i = Math.min(32 - this.keptBytes, b.length);
      this.kept.set(b.subarray(0, i), this.keptBytes);
      this.keptBytes += i;
      if (this.keptBytes < 32) return;
      this.stripe(this.kept, 0);
    }
    for (; i + 32 <= b.length; i += 32) this.stripe(b, i);
    this.keptBytes = b.length - i;
    this.kept.set(b.subarray(i));
  }

  private stripe(b: Uint8Array, i: number): void {
    for (let k = 0; k < 4; k++) round(this.lanes[k], at(b, i + 8 * k));
  }

  /** The low 32 bits. */
  low(): number {
    let h: Word;
    if (this.total >= 32) {
      h = new Word(0, 0);
      [1, 7, 12, 18].forEach((n, k) => h.add(this.lanes[k].clone().turn(n)));
      for (const lane of this.lanes) h.xor(round(new Word(0, 0), lane.clone())).times(p1).add(p4);
    } else {
      h = p5.clone();
    }
    h.add(new Word(this.total | 0, (this.total / 2 ** 32) | 0));
    let i = 0;
    for (; i + 8 <= this.keptBytes; i += 8) h.xor(round(new Word(0, 0), at(this.kept, i))).turn(27).times(p1).add(p4);
    if (i + 4 <= this.keptBytes) {
      h.xor(new Word(at(this.kept, i).lo, 0).times(p1)).turn(23).times(p2).add(p3);
      i += 4;
    }
    for (; i < this.keptBytes; i++) h.xor(new Word(this.kept[i], 0).times(p5)).turn(11).times(p1);
    return h.fold(33).times(p2).fold(29).times(p3).fold(32).lo;
  }
}
