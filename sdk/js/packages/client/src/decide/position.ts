// Where a device stands in [0, 10000) under a salt.
import type { Crypto } from "../host.js";
import { hex, utf8 } from "../verify/bytes.js";

export type HashCrypto = Pick<Crypto, "sha256">;

function salted(crypto: HashCrypto, salt: string, value: string): Uint8Array {
  const h = crypto.sha256();
  h.update(utf8(`${salt}:${value}`));
  return h.digest();
}

/** The first 8 bytes, big endian, of sha256(salt + ":" + device), modulo 10000. */
export function position(crypto: HashCrypto, salt: string, device: string): number {
  const sum = salted(crypto, salt, device);
  let at = 0;
  for (let i = 0; i < 8; i++) at = (at * 256 + sum[i]) % 10000;
  return at;
}

/** How a device id or a custom attribute stands in a public state. */
export function hashValue(crypto: HashCrypto, salt: string, value: string): string {
  return hex(salted(crypto, salt, value));
}
