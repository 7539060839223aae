// The options of a client with every default filled in.
import type { Crypto, Host } from "../host.js";
import type { Release } from "../trial/state.js";
import { dict, type Dict } from "../words/dict.js";
import { defaultChannel, defaultPackage, isName, platformAny, type Manifest } from "../words/documents.js";
import { digestOf } from "../verify/envelope.js";
import { utf8 } from "../verify/bytes.js";
import type { Trust } from "../verify/trust.js";
import { Refusal } from "../words/reasons.js";
import type { Options } from "./api.js";

/** Options as they hold for the client's life; only the channel moves. */
export interface Settled extends Options {
  host: Host;
  platform: string;
  runtime: string;
  packages: string[];
  spread: number;
  background: number;
  poll: number;
}

/** Fills in defaults. Names that no server would take, or a host without the parts that it must have, throw. */
export function settle(o: Options, crypto: Crypto): Settled {
  const packages = Array.from(new Set(o.packages && o.packages.length > 0 ? o.packages : [defaultPackage])).sort();
  const check = (kind: string, name: string) => {
    if (!isName(name)) throw new Error(`${kind} name "${name}" is not allowed: 1 to 64 of a-z, 0-9, ".", "_" and "-", a letter or digit first`);
  };
  check("app", o.app);
  check("channel", o.channel || defaultChannel);
  check("platform", o.platform || platformAny);
  packages.forEach((pkg) => check("package", pkg));
  const { host } = o;
  for (const part of ["files", "http", "clock", "locks"] as const) {
    if (!host || !host[part]) throw new Refusal("host_incapable", `the ${host && host.name} host`, `it lacks ${part}`);
  }
  const pause = host.pause && (() => host.pause!());
  return {
    ...o, packages, platform: o.platform || platformAny, runtime: o.runtime || "", spread: Math.max(o.spread === undefined ? 600e3 : o.spread, 0),
    background: o.background || 300e3, poll: o.poll || 0, delta: o.delta || host.delta,
    host: { name: host.name, files: host.files, http: host.http, clock: host.clock, locks: host.locks, crypto, pause },
  };
}

/** What the state machine knows of a verified manifest. */
export function describe(m: Manifest, digest: string): Release {
  return { digest, seq: m.seq, version: m.version, runtime: m.runtime, fallback: m.fallback, requires: m.requires };
}

/** Hex sha256 of app and install id: what servers know a device by. */
export const deviceId = (crypto: Crypto, app: string, install: string) => install === "" ? "" : digestOf(crypto, utf8(`${app}:${install}`));

/**
 * The releases that ship with the app, and those of their manifests that are usable. One that does not verify is as good
 * as none: the app must run all the same.
 */
export async function openEmbedded(o: Settled, root: Trust, log: (text: string, error?: unknown) => void): Promise<{ releases: Dict<Release>; manifests: Dict<Manifest> }> {
  const releases = dict<Release>(), manifests = dict<Manifest>();
  for (const pkg of o.packages) {
    releases[pkg] = { seq: 0, runtime: { range: "*" }, embedded: true };
    const raw = o.embedded && o.embedded[pkg] && o.embedded[pkg].manifest;
    if (!raw || raw.length === 0) continue;
    try {
      const { manifest, digest } = await root.manifest(raw);
      if (manifest.app !== o.app || manifest.package !== pkg) throw new Refusal("manifest_mismatch", "manifest", `it is of ${manifest.app}/${manifest.package}`);
      releases[pkg] = { ...describe(manifest, digest), embedded: true };
      manifests[pkg] = manifest;
    } catch (e) {
      log(`the embedded release's manifest of ${pkg} is not usable`, e);
    }
  }
  return { releases, manifests };
}
