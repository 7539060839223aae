// Bytes and texts without what only some hosts have.

/** Length of a text in UTF-8. */
export function utf8Length(s: string): number {
  let n = 0;
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    n += c < 0x80 ? 1 : c < 0x800 ? 2 : c >= 0xd800 && c < 0xdc00 ? (i++, 4) : 3;
  }
  return n;
}

export function utf8(s: string): Uint8Array {
  const out = new Uint8Array(utf8Length(s));
  let n = 0;
  for (let i = 0; i < s.length; i++) {
    let c = s.charCodeAt(i);
    if (c < 0x80) out[n++] = c;
    else if (c < 0x800) (out[n++] = 0xc0 | c >> 6, out[n++] = 0x80 | c & 63);
    else if (c >= 0xd800 && c < 0xdc00) {
      c = 0x10000 + ((c & 0x3ff) << 10) + (s.charCodeAt(++i) & 0x3ff);
      out.set([0xf0 | c >> 18, 0x80 | c >> 12 & 63, 0x80 | c >> 6 & 63, 0x80 | c & 63], n);
      n += 4;
    } else (out[n++] = 0xe0 | c >> 12, out[n++] = 0x80 | c >> 6 & 63, out[n++] = 0x80 | c & 63);
  }
  return out;
}

/** The text of UTF-8 bytes; wrong ones throw. */
export function fromUtf8(b: Uint8Array): string {
  let out = "";
  for (let i = 0; i < b.length;) {
    let part = "";
    // A piece never ends inside a character, whose later bytes are 10xxxxxx.
    for (const end = i + 8192; i < b.length && (i < end || (b[i] & 0xc0) === 0x80); i++) {
      part += b[i] < 0x80 && b[i] !== 37 ? String.fromCharCode(b[i]) : "%" + (b[i] + 256).toString(16).slice(1);
    }
    try {
      out += decodeURIComponent(part);
    } catch (e) {
      throw new Error("it is not UTF-8");
    }
  }
  return out;
}

/** Orders texts by their UTF-8 bytes. */
export function compareBytes(a: string, b: string): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    let x = a.charCodeAt(i), y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for code points above all others.
    if (x >= 0xd800 && x < 0xe000) x += 0x10000;
    if (y >= 0xd800 && y < 0xe000) y += 0x10000;
    return x - y;
  }
  return a.length - b.length;
}

export function hex(b: Uint8Array): string {
  let s = "";
  for (let i = 0; i < b.length; i++) s += (b[i] < 16 ? "0" : "") + b[i].toString(16);
  return s;
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) (out.set(p, at), at += p.length);
  return out;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

export function encodeBase64(b: Uint8Array): string {
  let s = "";
  for (let i = 0; i < b.length; i += 3) {
    const v = b[i] << 16 | (b[i + 1] || 0) << 8 | (b[i + 2] || 0);
    s += alphabet[v >> 18] + alphabet[v >> 12 & 63] + (i + 1 < b.length ? alphabet[v >> 6 & 63] : "=") + (i + 2 < b.length ? alphabet[v & 63] : "=");
  }
  return s;
}

const values = (() => {
  const t = new Int16Array(128).fill(-1);
  for (let i = 0; i < 64; i++) t[alphabet.charCodeAt(i)] = i;
  return t;
})();

/** Reads the standard alphabet, padded and canonical; undefined for anything else. */
export function decodeBase64(s: string): Uint8Array | undefined {
  if (s.length % 4 !== 0) return undefined;
  const pad = s.endsWith("==") ? 2 : s.endsWith("=") ? 1 : 0;
  const out = new Uint8Array(s.length / 4 * 3 - pad);
  let at = 0;
  for (let i = 0; i < s.length; i += 4) {
    let v = 0;
    const digits = i + 4 === s.length ? 4 - pad : 4;
    for (let k = 0; k < 4; k++) {
      const c = s.charCodeAt(i + k);
      const d = k >= digits ? 0 : c < 128 ? values[c] : -1;
      if (d < 0) return undefined;
      v = v << 6 | d;
    }
    if (digits === 2 && v & 0xffff || digits === 3 && v & 0xff) return undefined;
    for (let k = 0; k < digits - 1; k++) out[at++] = v >> 16 - 8 * k & 255;
  }
  return out;
}
