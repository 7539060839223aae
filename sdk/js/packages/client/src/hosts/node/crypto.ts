// Node's own Ed25519 and SHA-256; the checks of keys, points and S come first.
import { createHash, createPublicKey, randomBytes, verify } from "node:crypto";
import type { Crypto } from "../../host.js";
import { wellFormed } from "../../verify/points.js";
import { isPoint } from "../../verify/noble.js";

// The ASN.1 in front of a raw Ed25519 key (RFC 8410).
const prefix = Buffer.from("302a300506032b6570032100", "hex");

export function nodeCrypto(): Crypto {
  return {
    sha256() {
      const h = createHash("sha256");
      return { update: (b) => { h.update(b); }, digest: () => new Uint8Array(h.digest()) };
    },
    verifyEd25519(publicKey, message, signature) {
      if (!wellFormed(publicKey, signature)) return false;
      try {
        const key = createPublicKey({ key: Buffer.concat([prefix, publicKey]), format: "der", type: "spki" });
        return verify(null, message, key, signature);
      } catch {
        return false; // not a point of the curve
      }
    },
    isPoint,
    random: (length) => new Uint8Array(randomBytes(length)),
  };
}
