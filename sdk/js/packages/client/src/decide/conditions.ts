// Conditions: all of a rollout's must hold. One that is not well formed never holds: a device must not take a release
// because it failed to understand whom it is for.
import { isDigest, parseTime, type Condition, type DeviceFacts } from "../words/documents.js";
import { parseRange, rangeFits } from "./ranges.js";
import { parseVersion } from "./version.js";
import { hashValue, type HashCrypto } from "./position.js";

type Attribute = string | number | boolean | undefined;
/** Present, but of a type that no operator but exists understands. */
const other = Symbol("other");

function attribute(d: DeviceFacts, name: string, seq: number): Attribute | typeof other {
  switch (name) {
    case "device": return d.id || undefined;
    case "platform": return d.platform || undefined;
    case "runtime": return d.runtime || undefined;
    case "os": return d.os || undefined;
    case "model": return d.model || undefined;
    case "locale": return d.locale || undefined;
    case "seq": return seq;
  }
  const own = d.attributes && Object.prototype.hasOwnProperty.call(d.attributes, name) ? d.attributes[name] : undefined;
  if (own === undefined || own === null) return undefined;
  if (typeof own === "string" || typeof own === "boolean") return own;
  return typeof own === "number" && Number.isSafeInteger(own) ? own + 0 : other;
}

const hashed = (attr: string) => attr === "device" || attr.startsWith("custom.");

/** Asks a condition about a device that runs the release with this seq. */
export function holds(crypto: HashCrypto, c: Condition, d: DeviceFacts, seq: number, salt: string): boolean {
  const test = parse(crypto, c, salt);
  if (!test) return false;
  const a = attribute(d, c.attr, seq);
  if (c.op === "exists") return c.value === (a !== undefined);
  return a !== undefined && a !== other && test(a as string | number | boolean);
}

function parse(crypto: HashCrypto, c: Condition, salt: string): ((a: string | number | boolean) => boolean) | undefined {
  const v = c.value;
  switch (c.op) {
    case "in":
    case "not_in":
      return Array.isArray(v) ? parseList(crypto, c.attr, v, c.op === "in", salt) : undefined;
    case "semver": {
      const r = typeof v === "string" ? parseRange(v) : undefined;
      return r && ((a) => typeof a === "string" && rangeFits(r, parseVersion(a)));
    }
    case "gte":
    case "lt":
      if (typeof v !== "number" || !Number.isSafeInteger(v)) return undefined;
      return (a) => typeof a === "number" && (c.op === "gte" ? a >= v : a < v);
    case "before":
    case "after": {
      const at = typeof v === "string" ? parseTime(v) : undefined;
      if (at === undefined) return undefined;
      return (a) => {
        const t = typeof a === "string" ? parseTime(a) : undefined;
        return t !== undefined && (c.op === "before" ? t < at : t > at);
      };
    }
    case "exists":
      return typeof v === "boolean" ? () => true : undefined;
  }
  return undefined;
}

function parseList(crypto: HashCrypto, attr: string, list: unknown[], wanted: boolean, salt: string): ((a: string | number | boolean) => boolean) | undefined {
  if (hashed(attr)) {
    if (!list.every(isDigest)) return undefined;
    return (a) => (list.indexOf(hashValue(crypto, salt, String(a))) >= 0) === wanted;
  }
  if (!list.every((x) => typeof x === "string" || typeof x === "number" && Number.isSafeInteger(x))) return undefined;
  return (a) => typeof a === (attr === "seq" ? "number" : "string") && (list.indexOf(a) >= 0) === wanted;
}
