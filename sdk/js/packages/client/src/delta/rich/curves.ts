// The two functions between probabilities in 1/65536 and the logistic domain, where x stands for 1/(1+e^(-x/256)). They are
// computed in integers of 16 bits and their products, so that they are the same everywhere.

/** The largest x: a probability of about 6e-6. */
export const limit = 3071;

export interface Curves {
  /** From x + limit. */
  squash: Uint16Array;
  /** From p / 16. */
  stretch: Int16Array;
}

// e^(1/256) in 1/2^60, in parts of 16 bits, the lowest first.
const step = [0x777d, 0xab55, 0x0802, 0x1010];

/** (a·step) >> 60 of four parts of 16 bits each. */
function grow(a: number[]): number[] {
  const sum = new Array<number>(9).fill(0);
  for (let i = 0; i < 4; i++) {
    for (let k = 0, carry = 0; k < 5; k++) {
      const v = sum[i + k] + carry + (k < 4 ? a[i] * step[k] : 0);
      sum[i + k] = v % 65536;
      carry = Math.floor(v / 65536);
    }
  }
  return [0, 1, 2, 3].map((i) => ((sum[i + 3] >> 12) | (sum[i + 4] << 4)) & 0xffff);
}

/** 2^56 / (e + 2^40) without its fraction, e of four parts. */
function share(e: number[]): number {
  const low = e[0] + (e[1] & 15) * 65536; // 20 bits
  const high = (e[1] >> 4) + e[2] * 2 ** 12 + e[3] * 2 ** 28 + 2 ** 20;
  let q = Math.floor(2 ** 56 / (high * 2 ** 20 + low));
  const rest = () => (2 ** 36 - q * high) * 2 ** 20 - q * low;
  while (rest() < 0) q--;
  while (rest() >= high * 2 ** 20 + low) q++;
  return q;
}

export function newCurves(): Curves {
  const squash = new Uint16Array(2 * limit + 1), stretch = new Int16Array(1 << 12);
  for (let x = 0, e = [0, 0, 256, 0]; x <= limit; x++, e = grow(e)) { // e^(x/256) in 1/2^40
    const p = Math.min(Math.max(65536 - share(e), 1), 65535);
    squash[limit + x] = p;
    squash[limit - x] = 65536 - p;
  }
  for (let p = 0, x = 0; p < stretch.length; p++) {
    while (x < 2 * limit && squash[x] < ((p << 4) | 8)) x++;
    stretch[p] = x - limit;
  }
  return { squash, stretch };
}
