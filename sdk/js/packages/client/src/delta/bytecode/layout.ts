// Where the tables of a file of bytecode are: a header of 128 bytes, the tables in their order, each from a multiple of four
// bytes on, the instructions and what else is known of functions, and a SHA-1 of all before. Little end first.
import { versionOf, type Version } from "./versions.js";

const headerSize = 128, footerSize = 20;
const magic = [0xc6, 0x1f, 0xbc, 0x03, 0xc1, 0x03, 0x19, 0x1f];

/** Bytes of a file that may be rewritten at most. */
export const maxFile = 64 << 20;

/** A part of the file. */
export interface Span { at: number; end: number }

export interface Layout {
  number: number;
  version: Version;
  functions: number;
  strings: number;
  /** Runs of strings: 31 bits count, 1 bit "identifiers". */
  kinds: Span;
  /** 16 bytes for a function, 12 from version 98 on. */
  headers: Span;
  /** 4 bytes for an identifier. */
  hashes: Span;
  /** 4 bytes for a string: 1 bit UTF-16, 23 bits offset, 8 bits length. */
  small: Span;
  /** 8 bytes for a string that does not fit: offset, length. */
  overflow: Span;
  storage: Span;
  arrays: Span;
  keys: Span;
  values: Span;
  /** 8 bytes: place in keys, and how many names. */
  shapes: Span;
  /** 8 bytes: function, string. */
  sources: Span;
  code: Span;
  footer: number;
}

export const u32 = (b: Uint8Array, at: number): number => (b[at] | (b[at + 1] << 8) | (b[at + 2] << 16) | (b[at + 3] << 24)) >>> 0;

export function setU32(b: Uint8Array, at: number, v: number): void {
  b[at] = v;
  b[at + 1] = v >>> 8;
  b[at + 2] = v >>> 16;
  b[at + 3] = v >>> 24;
}

/** Finds the tables, all of them within the file; nothing when it is not a file that is known. */
export function layoutOf(b: Uint8Array): Layout | undefined {
  if (b.length < headerSize + footerSize || b.length > maxFile || magic.some((v, i) => b[i] !== v)) return undefined;
  const field = (at: number) => u32(b, at);
  const number = field(8), version = versionOf(number);
  if (version === undefined || field(32) !== b.length) return undefined;
  let at = headerSize, fits = true;
  const next = (count: number, size: number): Span => {
    const s = { at, end: at };
    if (count > b.length || count * size > b.length - at) {
      fits = false;
      return s;
    }
    s.end = at + count * size;
    at = Math.min((s.end + 3) & ~3, b.length);
    return s;
  };
  const headers = next(field(40), version.recent ? 12 : 16), kinds = next(field(44), 4), hashes = next(field(48), 4);
  const small = next(field(52), 4), overflow = next(field(56), 8), storage = next(field(60), 1);
  const arrays = next(field(80), 1), keys = next(field(84), 1);
  const none = { at: keys.end, end: keys.end }, more = version.recent ? 100 : 96;
  const values = version.recent ? none : next(field(88), 1), shapes = version.recent ? next(field(88), 8) : none;
  next(field(64), 8); // big integers, and their digits
  next(field(68), 1);
  next(field(72), 8); // regular expressions, and their patterns
  next(field(76), 1);
  next(field(more), 8); // modules
  const sources = next(field(more + 4), 8);
  const footer = b.length - footerSize;
  if (!fits || at > footer) return undefined;
  return {
    number, version, functions: field(40), strings: field(52), kinds, headers, hashes, small, overflow, storage, arrays, keys, values, shapes,
    sources, code: { at, end: footer }, footer,
  };
}
