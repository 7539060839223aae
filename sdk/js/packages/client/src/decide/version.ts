// Versions: one to three numbers, "-prerelease", "+build"; SemVer 2 precedence, the build dropped.

export interface Version {
  part: [number, number, number];
  pre: string;
}

/** Whether a dot-separated list of [0-9A-Za-z-]+. */
const identifiers = (s: string) => /^[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*$/.test(s);

function number(s: string): number | undefined {
  if (!/^[0-9]+$/.test(s)) return undefined;
  const n = Number(s);
  return Number.isSafeInteger(n) ? n : undefined;
}

function cut(s: string, at: string): [string, string, boolean] {
  const i = s.indexOf(at);
  return i < 0 ? [s, "", false] : [s.slice(0, i), s.slice(i + at.length), true];
}

/** Also reads x, X and * in place of trailing parts; wild is how many of the three parts are such. */
export function parseParts(text: string): { v: Version; wild: number } | undefined {
  const v: Version = { part: [0, 0, 0], pre: "" };
  let s = text.startsWith("v") ? text.slice(1) : text, build: string, found: boolean;
  [s, build, found] = cut(s, "+");
  if (found && !identifiers(build)) return undefined;
  [s, v.pre, found] = cut(s, "-");
  if (found && !identifiers(v.pre)) return undefined;
  const parts = s.split(".");
  let wild = 0;
  if (parts.length > 3) return undefined;
  for (let i = 0; i < parts.length; i++) {
    if (parts[i] === "x" || parts[i] === "X" || parts[i] === "*") {
      if (wild === 0) wild = 3 - i;
      continue;
    }
    const n = wild > 0 ? undefined : number(parts[i]);
    if (n === undefined) return undefined;
    v.part[i] = n;
  }
  return wild === 0 || v.pre === "" && build === "" ? { v, wild } : undefined;
}

export function parseVersion(s: string): Version | undefined {
  const p = parseParts(s);
  return p && p.wild === 0 ? p.v : undefined;
}

/** Negative when a is lower than b. */
export function compareVersions(a: Version, b: Version): number {
  for (let i = 0; i < 3; i++) if (a.part[i] !== b.part[i]) return a.part[i] < b.part[i] ? -1 : 1;
  if (a.pre === b.pre) return 0;
  if (a.pre === "") return 1;
  if (b.pre === "") return -1;
  const x = a.pre.split("."), y = b.pre.split(".");
  for (let i = 0; i < x.length && i < y.length; i++) {
    const c = compareIdentifier(x[i], y[i]);
    if (c !== 0) return c;
  }
  return x.length - y.length;
}

/** Digits by value, whatever their length, below words; words by their bytes. */
function compareIdentifier(a: string, b: string): number {
  const digits = /^[0-9]*$/, na = digits.test(a), nb = digits.test(b);
  if (na !== nb) return na ? -1 : 1;
  if (na) {
    a = a.replace(/^0+/, "");
    b = b.replace(/^0+/, "");
    if (a.length !== b.length) return a.length - b.length;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}
