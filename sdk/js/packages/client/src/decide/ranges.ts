// Ranges: = < <= > >= ~ ^, x-ranges, space = and, || = or; "*" fits everything, even what does not parse.
import type { Runtime } from "../words/documents.js";
import { utf8Length } from "../verify/bytes.js";
import { compareVersions, parseParts, parseVersion, type Version } from "./version.js";

/** same is how many leading parts must be equal. */
interface Comparator {
  op: string;
  v: Version;
  same: number;
}

export interface Range {
  everything: boolean;
  any: Comparator[][];
}

/** Undefined for what is not a range. */
export function parseRange(s: string): Range | undefined {
  if (utf8Length(s) > 512) return undefined;
  const r: Range = { everything: false, any: [] };
  for (const alternative of s.split("||")) {
    const all = parseAlternative(alternative);
    if (!all) return undefined;
    r.everything = r.everything || all.every((c) => c.op === "x" && c.same === 0);
    r.any.push(all);
  }
  return r;
}

function parseAlternative(text: string): Comparator[] | undefined {
  const all: Comparator[] = [];
  let s = text.replace(/^ +| +$/g, "");
  if (s === "") return undefined;
  while (s !== "") {
    const op = (/^(<=|>=|<|>|=|~|\^)/.exec(s) || [""])[0];
    s = s.slice(op.length).replace(/^ +/, "");
    const end = s.indexOf(" ") < 0 ? s.length : s.indexOf(" ");
    const c = parseComparator(op, s.slice(0, end));
    if (!c) return undefined;
    all.push(c);
    s = s.slice(end).replace(/^ +/, "");
  }
  return all;
}

function parseComparator(op: string, text: string): Comparator | undefined {
  const p = parseParts(text);
  if (!p) return undefined;
  if (p.wild > 0) return op === "" || op === "=" ? { op: "x", v: p.v, same: 3 - p.wild } : undefined;
  let same = op === "~" ? 2 : op === "^" ? 1 : 0;
  while (op === "^" && same < 3 && p.v.part[same - 1] === 0) same++;
  return { op, v: p.v, same };
}

/** v is undefined for what does not parse as a version. */
export function rangeFits(r: Range, v: Version | undefined): boolean {
  return r.everything || !!v && r.any.some((all) => all.every((c) => holds(c, v)));
}

function holds(c: Comparator, v: Version): boolean {
  for (let i = 0; i < c.same; i++) if (v.part[i] !== c.v.part[i]) return false;
  if (c.op === "x") return true;
  const order = compareVersions(v, c.v);
  switch (c.op) {
    case "": case "=": return order === 0;
    case "<": return order < 0;
    case "<=": return order <= 0;
    case ">": return order > 0;
  }
  return order >= 0;
}

/** Whether a shell, its version or fingerprint, is one that rt means. A range that does not parse fits nothing. */
export function fits(rt: Runtime | undefined, shell: string): boolean {
  if (rt && rt.fingerprint) return rt.fingerprint === shell;
  const r = parseRange(rt && rt.range || "");
  return !!r && rangeFits(r, parseVersion(shell));
}
