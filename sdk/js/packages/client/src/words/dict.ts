// Maps by names that others choose: no name, not even "constructor", is found in one that nobody put there.

export type Dict<T> = Record<string, T>;

/** A map without a prototype, filled from another one. */
export function dict<T>(from?: Record<string, T>): Dict<T> {
  return Object.assign(Object.create(null), from) as Dict<T>;
}

/** The names in it, sorted. */
export function names(of: Record<string, unknown> | undefined): string[] {
  return Object.keys(of || {}).sort();
}

/** A copy with one entry set. */
export function withEntry<T>(of: Record<string, T> | undefined, name: string, value: T): Dict<T> {
  const out = dict(of);
  out[name] = value;
  return out;
}

/** A copy with the entries that keep says. */
export function only<T>(of: Record<string, T> | undefined, keep: (name: string) => boolean): Dict<T> {
  const out = dict<T>();
  for (const name of Object.keys(of || {})) if (keep(name)) out[name] = of![name];
  return out;
}

/** The same value with every object in it without a prototype: what JSON.parse made of a file is safe to look into. */
export function bare(v: unknown): unknown {
  if (Array.isArray(v)) return v.map(bare);
  if (typeof v !== "object" || !v) return v;
  const out = dict<unknown>();
  for (const name of Object.keys(v)) out[name] = bare((v as Record<string, unknown>)[name]);
  return out;
}
