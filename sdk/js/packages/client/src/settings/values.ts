// Reading values out of a JSON document by keys, and telling two documents apart. Pure.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

function own(of: Json | undefined, name: string): Json | undefined {
  if (typeof of !== "object" || of === null || !Object.prototype.hasOwnProperty.call(of, name)) return undefined;
  if (Array.isArray(of)) return /^(0|[1-9]\d*)$/.test(name) ? of[Number(name)] : undefined;
  return of[name];
}

/** The value under "a.b.0.c". A name that itself has dots is found whole before it is taken apart. */
export function lookUp(of: Json | undefined, key: string): Json | undefined {
  const whole = own(of, key);
  if (whole !== undefined) return whole;
  for (let dot = key.indexOf("."); dot >= 0; dot = key.indexOf(".", dot + 1)) {
    const next = own(of, key.slice(0, dot));
    const found = next === undefined ? undefined : lookUp(next, key.slice(dot + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}

export function equal(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((n) => Object.prototype.hasOwnProperty.call(b, n) && equal(own(a, n), own(b, n)));
}

/** Keys of the values that differ, down to what is no object. */
export function differences(a: Json | undefined, b: Json | undefined, at = ""): string[] {
  if (equal(a, b)) return [];
  const plain = (v: Json | undefined): v is { [name: string]: Json } => typeof v === "object" && v !== null && !Array.isArray(v);
  if (!plain(a) || !plain(b)) return [at];
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
  return names.reduce<string[]>((all, n) => all.concat(differences(own(a, n), own(b, n), at === "" ? n : at + "." + n)), []);
}

/** Nobody changes what everybody reads. */
export function freeze<T extends Json>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const v of Object.values(value)) freeze(v as Json);
    Object.freeze(value);
  }
  return value;
}
