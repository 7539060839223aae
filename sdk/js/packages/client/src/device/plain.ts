// Hosts that have random bytes but no SHA-256 or Ed25519 of their own.
import type { Crypto, Host } from "../host.js";

/** A host whose crypto may have random bytes alone. */
export type PlainHost = Omit<Host, "crypto"> & { readonly crypto: Pick<Crypto, "random"> & Partial<Crypto> };

/** The host with standIn where its crypto lacks something. */
export function completed(host: PlainHost, standIn: Omit<Crypto, "random">): Host {
  const { name, files, http, clock, locks, delta, crypto: own } = host;
  // Key checks and signatures come from one place: they must agree on what a point is.
  const { verifyEd25519, isPoint } = own.verifyEd25519 ? own : standIn;
  const crypto: Crypto = {
    sha256: () => (own.sha256 ? own.sha256() : standIn.sha256()), random: (n) => own.random(n),
    verifyEd25519: verifyEd25519!.bind(own), isPoint: isPoint && isPoint.bind(own),
  };
  return { name, files, http, clock, locks, delta, crypto, pause: host.pause && (() => host.pause!()) };
}
