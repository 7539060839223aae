// Ed25519 by tweetnacl, for hosts without BigInt. Its own check lacks S < L and the point checks: they are added here.
import nacl from "tweetnacl";
import { sha256 as nobleSha256 } from "@noble/hashes/sha2.js";
import type { Crypto } from "../host.js";
import { acceptable, wellFormed } from "./points.js";

type Field = Float64Array;
interface Low {
  gf(init?: number[]): Field;
  D: Field;
  A(o: Field, a: Field, b: Field): void;
  Z(o: Field, a: Field, b: Field): void;
  M(o: Field, a: Field, b: Field): void;
  S(o: Field, a: Field): void;
  pack25519(o: Uint8Array, n: Field): void;
  unpack25519(o: Field, n: Uint8Array): void;
  pow2523(o: Field, i: Field): void;
}

/** Whether some x has -x² + y² = 1 + d·x²·y²: with u = y²-1 and v = d·y²+1, whether u/v is a square. */
function isPoint(publicKey: Uint8Array): boolean {
  if (!acceptable(publicKey)) return false;
  const f = (nacl as unknown as { lowlevel: Low }).lowlevel;
  const one = f.gf([1]), y2 = f.gf(), u = f.gf(), v = f.gf(), t = f.gf();
  f.unpack25519(y2, publicKey);
  f.S(y2, y2);
  f.Z(u, y2, one);
  f.M(v, f.D, y2);
  f.A(v, v, one);
  // u·v to the power (p-1)/2 = ((p-5)/8)·4 + 2 is 1 exactly for squares, 0 for 0.
  f.M(u, u, v);
  f.pow2523(t, u);
  f.S(t, t);
  f.S(t, t);
  f.M(t, t, u);
  f.M(t, t, u);
  const packed = new Uint8Array(32);
  f.pack25519(packed, t);
  return packed[0] <= 1 && packed.subarray(1).every((b) => b === 0);
}

/** random gives so many random bytes, from what the host has. */
export function tweetnaclCrypto(random: (length: number) => Uint8Array): Crypto {
  return {
    sha256() {
      const h = nobleSha256.create();
      return { update: (b) => { h.update(b); }, digest: () => h.digest() };
    },
    verifyEd25519: (publicKey, message, signature) => wellFormed(publicKey, signature) && nacl.sign.detached.verify(message, signature, publicKey),
    isPoint,
    random,
  };
}
