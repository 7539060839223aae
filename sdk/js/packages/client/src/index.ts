// The client. Where the host has no Ed25519 or SHA-256 of its own, the noble libraries stand in; hosts without BigInt take
// the entry "./tweetnacl" instead.
import type { Client, Options } from "./device/api.js";
import { createClient as create } from "./device/client.js";
import type { Crypto, Host } from "./host.js";
import { isPoint, sha256, verifyEd25519 } from "./verify/noble.js";

export * from "./device/api.js";
export { NotFound, StorageFull, type AbortLike, type Clock, type Crypto, type Files, type Hash, type Host, type Http, type HttpRequest, type HttpResponse, type Locks, type Sink, type Source } from "./host.js";
export { Refusal, reasonOf, type Reason, type Verdict } from "./words/reasons.js";
export type * from "./words/documents.js";

/** A host whose crypto may have random bytes alone. */
export type PlainHost = Omit<Host, "crypto"> & { readonly crypto: Pick<Crypto, "random"> & Partial<Crypto> };

/** Opens the client of one app on one device. Throws when the options or the shipped root are not usable. */
export function createClient(options: Omit<Options, "host"> & { host: PlainHost }): Promise<Client> {
  const { host } = options, own = host.crypto;
  // Key checks and signatures come from one place: they must agree on what a point is.
  const signatures = own.verifyEd25519 ? { verifyEd25519: own.verifyEd25519.bind(own), isPoint: own.isPoint && own.isPoint.bind(own) } : { verifyEd25519, isPoint };
  const crypto: Crypto = { sha256: own.sha256 ? () => own.sha256!() : sha256, random: (n) => own.random(n), ...signatures };
  const pause = host.pause && (() => host.pause!());
  return create({ ...options, host: { name: host.name, files: host.files, http: host.http, clock: host.clock, locks: host.locks, crypto, pause } });
}
