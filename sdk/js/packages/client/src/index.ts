// The client. Where the host has no Ed25519 or SHA-256 of its own, the noble libraries stand in; hosts without BigInt take
// the entry "./tweetnacl" instead.
import type { Client, Options } from "./device/api.js";
import { createClient as create } from "./device/client.js";
import { completed, type PlainHost } from "./device/plain.js";
import { isPoint, sha256, verifyEd25519 } from "./verify/noble.js";

export * from "./device/api.js";
export { NotFound, StorageFull, type AbortLike, type Clock, type Crypto, type Files, type Hash, type Host, type Http, type HttpRequest, type HttpResponse, type Locks, type Sink, type Source } from "./host.js";
export { Refusal, reasonOf, type Reason, type Verdict } from "./words/reasons.js";
export type * from "./words/documents.js";

export type { PlainHost } from "./device/plain.js";

/** Opens the client of one app on one device. Throws when the options or the shipped root are not usable. */
export function createClient(options: Omit<Options, "host"> & { host: PlainHost }): Promise<Client> {
  return create({ ...options, host: completed(options.host, { sha256, verifyEd25519, isPoint }) });
}
