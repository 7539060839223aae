// Ed25519 and SHA-256 by the noble libraries, for hosts with BigInt.
import { Point } from "@noble/ed25519";
import { sha256 as nobleSha256, sha512 } from "@noble/hashes/sha2.js";
import type { Hash } from "../host.js";
import { concat, sameBytes } from "./bytes.js";
import { acceptable, wellFormed } from "./points.js";

const one = BigInt(1), eight = BigInt(8), zero = BigInt(0);

function littleEndian(b: Uint8Array): bigint {
  let n = zero;
  for (let i = b.length - 1; i >= 0; i--) n = (n << eight) + BigInt(b[i]);
  return n;
}

/** Cofactorless: S·B − k·A must be encoded exactly as R. */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (!wellFormed(publicKey, signature)) return false;
  try {
    const r = signature.subarray(0, 32);
    const a = Point.fromBytes(publicKey, false);
    const k = littleEndian(sha512(concat(r, publicKey, message))) % Point.CURVE().n;
    const s = littleEndian(signature.subarray(32));
    const sb = s >= one ? Point.BASE.multiply(s, false) : Point.ZERO;
    return sameBytes(sb.add(a.negate().multiply(k, false)).toBytes(), r);
  } catch {
    return false; // not a point of the curve
  }
}

export function isPoint(publicKey: Uint8Array): boolean {
  if (!acceptable(publicKey)) return false;
  try {
    Point.fromBytes(publicKey, false);
    return true;
  } catch {
    return false;
  }
}

export function sha256(): Hash {
  const h = nobleSha256.create();
  return { update: (b) => { h.update(b); }, digest: () => h.digest() };
}
