// What a key, a point and an S must be before any library sees them; hex compares, so no big integers are needed.
import { hex } from "./bytes.js";

// y of the points whose order divides 8, without the sign bit: 1, -1, 0, and the two of the points of order 8.
const smallOrder = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];
const order = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";
const prime = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed";

function plainY(b: Uint8Array): Uint8Array {
  const y = b.slice();
  y[31] &= 0x7f;
  return y;
}

/** The canonical encoding of a y that is not of small order. Whether it lies on the curve is not asked. */
export function acceptable(point: Uint8Array): boolean {
  if (point.length !== 32) return false;
  const y = plainY(point);
  return smallOrder.indexOf(hex(y)) < 0 && hex(y.reverse()) < prime;
}

/** S < L. */
export function reduced(s: Uint8Array): boolean {
  return hex(s.slice().reverse()) < order;
}

/** All that can be said of a key and a signature before the mathematics. */
export function wellFormed(key: Uint8Array, signature: Uint8Array): boolean {
  return signature.length === 64 && acceptable(key) && acceptable(signature.subarray(0, 32)) && reduced(signature.subarray(32));
}
