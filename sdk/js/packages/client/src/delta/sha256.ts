// SHA-256 written for engines that interpret their program: few steps a round, no calls. Where there is a compiler it is
// about as fast as the library's.

import type { Hash } from "../host.js";

const k = new Int32Array(64), start = new Int32Array(8);

/** The first 32 bits behind the point of a root of a prime. */
function fraction(v: number): number {
  return ((v - Math.floor(v)) * 2 ** 32) | 0;
}

for (let n = 2, i = 0; i < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) prime = prime && n % d !== 0;
  if (!prime) continue;
  if (i < 8) start[i] = fraction(Math.sqrt(n));
  k[i++] = fraction(Math.cbrt(n));
}

export class Sha256 implements Hash {
  private readonly state = Int32Array.from(start);
  private readonly w = new Int32Array(64);
  private readonly kept = new Uint8Array(64);
  private n = 0; // bytes kept
  private total = 0;

  update(b: Uint8Array): void {
    this.total += b.length;
    let at = 0;
    if (this.n > 0) {
      at = Math.min(64 - this.n, b.length);
      this.kept.set(at < b.length ? b.subarray(0, at) : b, this.n);
      this.n += at;
      if (this.n < 64) return;
      this.blocks(this.kept, 0, 64);
      this.n = 0;
    }
    const end = at + ((b.length - at) & ~63);
    this.blocks(b, at, end);
    if (end < b.length) this.kept.set(b.subarray(end));
    this.n = b.length - end;
  }

  digest(): Uint8Array {
    const bits = this.total * 8, tail = new Uint8Array(this.n < 56 ? 64 : 128);
    tail.set(this.kept.subarray(0, this.n));
    tail[this.n] = 0x80;
    for (let i = 0, v = bits; i < 7; i++, v = Math.floor(v / 256)) tail[tail.length - 1 - i] = v % 256;
    this.blocks(tail, 0, tail.length);
    const out = new Uint8Array(32);
    for (let i = 0; i < 32; i++) out[i] = this.state[i >> 2] >>> (24 - 8 * (i & 3));
    return out;
  }

  private blocks(p: Uint8Array, at: number, end: number): void {
    const w = this.w, s = this.state;
    let s0 = s[0], s1 = s[1], s2 = s[2], s3 = s[3], s4 = s[4], s5 = s[5], s6 = s[6], s7 = s[7];
    for (; at < end; at += 64) {
      let a = s0, b = s1, c = s2, d = s3, e = s4, f = s5, g = s6, h = s7;
      for (let i = 0, q = at; i < 64; i++) {
        let x: number;
        if (i < 16) {
          x = (p[q] << 24) | (p[q + 1] << 16) | (p[q + 2] << 8) | p[q + 3];
          q += 4;
        } else {
          const y = w[i - 15], z = w[i - 2];
          x = (w[i - 16] + w[i - 7]
            + (((y >>> 7) | (y << 25)) ^ ((y >>> 18) | (y << 14)) ^ (y >>> 3))
            + (((z >>> 17) | (z << 15)) ^ ((z >>> 19) | (z << 13)) ^ (z >>> 10))) | 0;
        }
        w[i] = x;
        const t = (h + (((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) + (g ^ (e & (f ^ g))) + k[i] + x) | 0;
        const u = ((((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) + ((a & b) | (c & (a | b)))) | 0;
        h = g;
        g = f;
        f = e;
        e = (d + t) | 0;
        d = c;
        c = b;
        b = a;
        a = (t + u) | 0;
      }
      s0 = (s0 + a) | 0; s1 = (s1 + b) | 0; s2 = (s2 + c) | 0; s3 = (s3 + d) | 0;
      s4 = (s4 + e) | 0; s5 = (s5 + f) | 0; s6 = (s6 + g) | 0; s7 = (s7 + h) | 0;
    }
    s[0] = s0; s[1] = s1; s[2] = s2; s[3] = s3; s[4] = s4; s[5] = s5; s[6] = s6; s[7] = s7;
  }
}
