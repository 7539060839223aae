// Shapes: what a strict value must look like to become a document. Unknown names are passed over.
import { Refusal } from "../words/reasons.js";
import { parseTime } from "../words/documents.js";
import { parseStrict, type Value } from "./json.js";

export type Shape = (v: Value) => unknown;
/** A field: its shape, and what stands for it when it is missing; required without that. */
type Field = [Shape] | [Shape, unknown];
export type Fields = Record<string, Field>;

export const text: Shape = (v) => typeof v === "string" ? v : wrong("string");
export const integer: Shape = (v) => typeof v === "number" ? v : wrong("integer");
export const truth: Shape = (v) => typeof v === "boolean" ? v : wrong("boolean");
export const time: Shape = (v) => typeof v === "string" && parseTime(v) !== undefined ? v : wrong("time");
export const list = (of: Shape): Shape => (v) => Array.isArray(v) ? v.map(of) : wrong("array");
export const either = (a: Shape, b: Shape): Shape => (v) => Array.isArray(v) ? b(v) : a(v);

/** Any value, objects without a prototype. */
export const anything: Shape = (v) => {
  if (Array.isArray(v)) return v.map(anything);
  return v instanceof Map ? dictionary(anything)(v) : v;
};

export const dictionary = (of: Shape): Shape => (v) => {
  if (!(v instanceof Map)) return wrong("object");
  const out = Object.create(null) as Record<string, unknown>;
  v.forEach((item, name) => { out[name] = of(item); });
  return out;
};

export const record = (fields: Fields): Shape => (v) => {
  if (!(v instanceof Map)) return wrong("object");
  const out: Record<string, unknown> = {};
  for (const name of Object.keys(fields)) {
    const field = fields[name], item = v.get(name);
    if (item !== undefined) out[name] = field[0](item);
    else if (field.length < 2) throw new Error(`${name} is missing`);
    else if (field[1] !== undefined) out[name] = field[1];
  }
  return out;
};

function wrong(kind: string): never {
  throw new Error(`not a ${kind}`);
}

/** Reads a document; refuses as unknown_critical what it must know and does not, as malformed what is wrong otherwise. */
export function decode<T>(what: string, data: Uint8Array, fields: Fields): T {
  return guarded(what, () => {
    const v = parseStrict(data);
    // Before anything else: a document of a later version may well look malformed to this one.
    const crit = v instanceof Map && fields.crit ? v.get("crit") : undefined;
    if (crit !== undefined) {
      for (const name of list(text)(crit) as string[]) {
        if (!Object.prototype.hasOwnProperty.call(fields, name)) throw new Refusal("unknown_critical", what, `the document needs ${name}, which this version does not know`);
      }
    }
    return record(fields)(v) as T;
  });
}

/** Turns what goes wrong inside into a refusal as malformed. */
export function guarded<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (err) {
    throw err instanceof Refusal ? err : new Refusal("malformed", what, (err as Error).message, err);
  }
}
