// The client for hosts without BigInt: what the host's crypto lacks is tweetnacl's.
import type { Client, Options } from "./device/api.js";
import { createClient as create } from "./device/client.js";
import { completed, type PlainHost } from "./device/plain.js";
import { tweetnaclCrypto } from "./verify/tweetnacl.js";

export { tweetnaclCrypto } from "./verify/tweetnacl.js";

/** Opens the client of one app on one device, as the main entry does. */
export function createClient(options: Omit<Options, "host"> & { host: PlainHost }): Promise<Client> {
  return create({ ...options, host: completed(options.host, tweetnaclCrypto((n) => options.host.crypto.random(n))) });
}
