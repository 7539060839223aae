// The two kinds of tables of Zstandard (RFC 8878, §4.1 and §4.2). Every number that a table is built from is checked, so
// that whatever comes of a table stays within it.

/** Says that compressed bytes are none. */
export class Damaged extends Error {}

/** Finite states: where one leads on to in the low 16 bits, by how many bits in the 8 above, what it stands for on top. */
export interface States {
  log: number;
  entries: Int32Array;
}

/** One symbol for ever. */
export function constant(symbol: number): States {
  return { log: 0, entries: Int32Array.of(symbol << 24) };
}

/** Spreads symbols over the states by their counts; -1 stands for less than one. */
export function spread(counts: ArrayLike<number>, log: number): States {
  const size = 1 << log;
  const symbols = new Uint8Array(size), entries = new Int32Array(size);
  const seen = new Uint16Array(counts.length);
  let end = size;
  for (let s = 0; s < counts.length; s++) {
    if (counts[s] === -1) {
      symbols[--end] = s;
      seen[s] = 1;
    } else {
      seen[s] = counts[s];
    }
  }
  const step = (size >> 1) + (size >> 3) + 3, mask = size - 1;
  let at = 0;
  for (let s = 0; s < counts.length; s++) {
    for (let i = 0; i < counts[s]; i++) {
      symbols[at] = s;
      do at = (at + step) & mask; while (at >= end);
    }
  }
  if (at !== 0) throw new Damaged("counts do not fill their table");
  for (let i = 0; i < size; i++) {
    const n = seen[symbols[i]]++;
    const bits = log - (31 - Math.clz32(n));
    entries[i] = (symbols[i] << 24) | (bits << 16) | ((n << bits) - size);
  }
  return { log, entries };
}

/** Reads the counts of a table from its bytes in b[at:end] and gives the table and where it ended. */
export function readStates(b: Uint8Array, at: number, end: number, maxSymbol: number, maxLog: number): { table: States; at: number } {
  if (at >= end) throw new Damaged("a table is missing");
  const log = (b[at] & 15) + 5;
  if (log > maxLog) throw new Damaged("a table is too large");
  let pos = at * 8 + 4;
  const last = end * 8;
  const peek = (n: number) => {
    const i = pos >> 3;
    const v = (i < end ? b[i] : 0) | (i + 1 < end ? b[i + 1] << 8 : 0) | (i + 2 < end ? b[i + 2] << 16 : 0);
    return (v >> (pos & 7)) & ((1 << n) - 1);
  };
  const counts = new Int16Array(maxSymbol + 1);
  let left = (1 << log) + 1, symbol = 0;
  while (left > 1) {
    if (symbol > maxSymbol) throw new Damaged("a table has too many symbols");
    const bits = 32 - Math.clz32(left);
    const short = (1 << bits) - 1 - left;
    let v = peek(bits - 1);
    if (v < short) {
      pos += bits - 1;
    } else {
      v = peek(bits);
      if (v >= 1 << (bits - 1)) v -= short;
      pos += bits;
    }
    const n = v - 1;
    left -= n < 0 ? 1 : n;
    counts[symbol++] = n;
    if (left < 1 || pos > last) throw new Damaged("a table is malformed");
    for (let more = n === 0; more;) {
      const zeros = peek(2);
      pos += 2;
      symbol += zeros;
      more = zeros === 3;
      if (symbol > maxSymbol + 1 || pos > last) throw new Damaged("a table is malformed");
    }
  }
  return { table: spread(counts.subarray(0, symbol), log), at: (pos + 7) >> 3 };
}

/** Codes of literals: by the next bits, the symbol in the low byte and its length above. */
export interface Codes {
  log: number;
  entries: Uint16Array;
}

const maxCode = 11;

/** Builds codes from weights; the last symbol's weight follows from the others. */
function codesOf(weights: Uint8Array, count: number): Codes {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    if (weights[i] > maxCode) throw new Damaged("a code is too long");
    if (weights[i] > 0) sum += 1 << (weights[i] - 1);
  }
  if (sum === 0) throw new Damaged("there are no codes");
  const log = 32 - Math.clz32(sum);
  const rest = (1 << log) - sum;
  if (log > maxCode || (rest & (rest - 1)) !== 0) throw new Damaged("codes do not fill their table");
  weights[count] = 32 - Math.clz32(rest);
  const entries = new Uint16Array(1 << log);
  let at = 0;
  for (let w = 1; w <= log; w++) {
    const span = 1 << (w - 1), bits = (log + 1 - w) << 8;
    for (let s = 0; s <= count; s++) {
      if (weights[s] === w) {
        entries.fill(bits | s, at, at + span);
        at += span;
      }
    }
  }
  return { log, entries };
}

/** Reads the description of codes in b[at:end]. */
export function readCodes(b: Uint8Array, at: number, end: number): { codes: Codes; at: number } {
  if (at >= end) throw new Damaged("codes are missing");
  const head = b[at++];
  const weights = new Uint8Array(256);
  if (head >= 128) {
    const count = head - 127, size = (count + 1) >> 1;
    if (size > end - at) throw new Damaged("codes are cut off");
    for (let i = 0; i < count; i++) weights[i] = (i & 1) === 0 ? b[at + (i >> 1)] >> 4 : b[at + (i >> 1)] & 15;
    return { codes: codesOf(weights, count), at: at + size };
  }
  if (head > end - at) throw new Damaged("codes are cut off");
  return { codes: codesOf(weights, readWeights(b, at, at + head, weights)), at: at + head };
}

/** Reads weights coded by two interleaved states, and gives how many there are. */
function readWeights(b: Uint8Array, at: number, end: number, weights: Uint8Array): number {
  const { table, at: start } = readStates(b, at, end, maxCode + 1, 6);
  const first = start * 8;
  let pos = beginOf(b, start, end);
  const take = (n: number) => {
    pos -= n;
    let v = 0;
    for (let i = n - 1; i >= 0; i--) {
      const p = pos + i;
      v = (v << 1) | (p >= first ? (b[p >> 3] >> (p & 7)) & 1 : 0);
    }
    return v;
  };
  const state = [take(table.log), take(table.log)];
  if (pos < first) throw new Damaged("weights are cut off");
  for (let n = 0, turn = 0; ; turn ^= 1) {
    if (n >= 254) throw new Damaged("there are too many weights");
    const e = table.entries[state[turn]];
    weights[n++] = e >> 24;
    state[turn] = (e & 0xffff) + take((e >> 16) & 255);
    if (pos < first) {
      weights[n++] = table.entries[state[turn ^ 1]] >> 24;
      return n;
    }
  }
}

/** Where the bits of a stream that is read from its end begin: below the highest one of its last byte. */
export function beginOf(b: Uint8Array, start: number, end: number): number {
  if (end <= start || b[end - 1] === 0) throw new Damaged("a stream has no end");
  return (end - 1) * 8 + 31 - Math.clz32(b[end - 1]);
}
