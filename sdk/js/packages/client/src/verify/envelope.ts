// The DSSE envelope, and how many different keys signed it.
import type { Crypto } from "../host.js";
import type { Root } from "../words/documents.js";
import { Refusal } from "../words/reasons.js";
import { concat, decodeBase64, hex, utf8 } from "./bytes.js";
import { decode } from "./shape.js";
import { envelope } from "./shapes.js";
import { acceptable } from "./points.js";

export const typeRoot = "application/vnd.slipstream.root.v1+json";
export const typeManifest = "application/vnd.slipstream.manifest.v1+json";
export const typeState = "application/vnd.slipstream.state.v1+json";
export const typeDecision = "application/vnd.slipstream.decision.v1+json";

const maxSignatures = 64;

/** payload is the decoded document, byte for byte as signed. */
export interface Envelope {
  type: string;
  payload: Uint8Array;
  signatures: { keyid: string; sig: Uint8Array }[];
}

/** Opens an envelope of at most max bytes whose type is exactly the wanted one. Verifies no signature. */
export function openEnvelope(raw: Uint8Array, type: string, max: number): Envelope {
  if (raw.length > max) throw new Refusal("too_large", "envelope", `${raw.length} bytes, at most ${max} are allowed`);
  const w = decode<{ payloadType: string; payload: string; signatures: { keyid: string; sig: string }[] }>("envelope", raw, envelope);
  const malformed = (why: string) => new Refusal("malformed", "envelope", why);
  if (w.signatures.length > maxSignatures) throw malformed(`more than ${maxSignatures} signatures`);
  const payload = decodeBase64(w.payload);
  if (!payload) throw malformed("payload is not canonical base64");
  const signatures = w.signatures.map((s) => {
    const sig = decodeBase64(s.sig);
    if (!sig) throw malformed("a signature is not canonical base64");
    return { keyid: s.keyid, sig };
  });
  if (w.payloadType !== type) throw malformed(`payload type "${w.payloadType}" instead of "${type}"`);
  return { type, payload, signatures };
}

/** The bytes that a signature is over. */
export function pae(type: string, body: Uint8Array): Uint8Array {
  const t = utf8(type);
  return concat(utf8(`DSSEv1 ${t.length} `), t, utf8(` ${body.length} `), body);
}

export function digestOf(crypto: Crypto, b: Uint8Array): string {
  const h = crypto.sha256();
  h.update(b);
  return hex(h.digest());
}

export const keyID = (crypto: Crypto, key: Uint8Array) => digestOf(crypto, key).slice(0, 16);

/** Reads a public key; what is not the canonical encoding of a point, or of small order, is refused. */
export function readPublic(crypto: Crypto, base64: string): Uint8Array {
  const key = decodeBase64(base64);
  if (!key || !acceptable(key) || crypto.isPoint && !crypto.isPoint(key)) throw new Refusal("malformed", "public key", "not the canonical encoding of a usable point");
  return key;
}

/** The usable keys of a role by id, and how many different ones must sign. */
export interface KeySet {
  keys: Map<string, Uint8Array>;
  threshold: number;
}

export async function checkSigned(crypto: Crypto, set: KeySet, e: Envelope, what: string, role: string): Promise<void> {
  const message = pae(e.type, e.payload);
  const valid = new Set<string>();
  for (const s of e.signatures) {
    const key = set.keys.get(s.keyid);
    if (key && !valid.has(s.keyid) && await crypto.verifyEd25519(key, message, s.sig)) valid.add(s.keyid);
  }
  if (valid.size < set.threshold) throw new Refusal("signature_invalid", what, `${valid.size} of ${set.threshold} needed signatures by the ${role} role are valid`);
}

/** The usable key sets of a root; a key of an unknown algorithm is as good as not listed. */
export function keySets(crypto: Crypto, r: Root): Record<"root" | "release" | "state", KeySet> {
  const usable = new Map<string, Uint8Array>();
  for (const id of Object.keys(r.keys)) {
    if (r.keys[id].alg !== "ed25519") continue;
    const key = readPublic(crypto, r.keys[id].public);
    if (keyID(crypto, key) !== id) throw new Error(`key ${id} has another id`);
    usable.set(id, key);
  }
  const roleSet = (name: "root" | "release" | "state"): KeySet => {
    const set: KeySet = { keys: new Map(), threshold: r.roles[name].threshold };
    const listed = new Set<string>();
    for (const id of r.roles[name].keys) {
      if (listed.has(id)) throw new Error(`role ${name}: key ${id} is listed twice`);
      listed.add(id);
      if (!Object.prototype.hasOwnProperty.call(r.keys, id) && !(id in r.keys)) throw new Error(`role ${name}: key ${id} is not among the keys`);
      const key = usable.get(id);
      if (key) set.keys.set(id, key);
    }
    if (set.threshold < 1) throw new Error(`role ${name}: threshold is below 1`);
    if (set.threshold > set.keys.size) throw new Error(`role ${name}: threshold cannot be reached`);
    return set;
  };
  return { root: roleSet("root"), release: roleSet("release"), state: roleSet("state") };
}
