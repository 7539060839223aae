// The instructions of a file of bytecode, and the literals that they name.
import { setU32, u32, type Span } from "./layout.js";
import { slice, sliced, type Rest } from "./slices.js";
import { renumbered, type Tables } from "./tables-of-file.js";
import { shortIDs } from "./texts.js";
import { arrayAt, casesAt, functionID, jumpTableAt, keysAt, literals, shapeID, stringID, valuesAt } from "./versions.js";

/** Of a run of literals: where it begins in the file, times this, and how many it has. */
const runCount = 2 ** 27;

/** Makes ids of functions and places of literals distances to the one before, or undoes that and renumbers strings too. */
export class Instructions {
  private readonly b: Uint8Array;
  private readonly last = new Uint32Array(256); // by kind of operand
  private count = 0; // of literals
  private cases: number; // of switches that may be looked at: an honest file has far fewer
  private readonly runs: number[] = [];
  // the run of literals that is walked
  private at = 0;
  private end = 0;
  private more = 0;
  private left: number; // literals that may be looked at

  /** ids: those of strings, to undo the rewriting; nothing: the file gets its own rewritten form, in which strings stay. */
  constructor(private readonly tables: Tables, private readonly ids?: Uint32Array) {
    this.b = tables.b;
    this.cases = this.left = tables.b.length;
  }

  async run(rest: Rest): Promise<void> {
    const { l } = this.tables, { lengths, operands, recent } = l.version, b = this.b, bodies = await this.tables.bodies(rest);
    let next = 0, at = 0, end = 0;
    const some = (): boolean => {
      for (let left = slice; left > 0; left--) {
        if (at >= end) {
          if (next === bodies.count) return false;
          at = bodies.at[next];
          end = bodies.end[next];
          if (!recent) this.last[functionID] = bodies.id[next]; // functions are numbered in the order in which they are made
          next++;
          continue;
        }
        const code = b[at], length = lengths[code];
        if (length === 0 || at + length > end) {
          at = end; // nothing behind it is known
          continue;
        }
        const o = operands[code];
        if (o !== undefined) {
          const before = this.cases;
          end = this.operands(at, end, o);
          left -= (before - this.cases) + (o.length >> 1);
        }
        at += length;
      }
      return true;
    };
    while (some()) await rest();
  }

  /** Goes through the operands of the instruction at a place, and gives where the instructions of its function end. */
  private operands(at: number, end: number, o: Uint8Array): number {
    const recent = this.tables.l.version.recent;
    for (let i = 0; i < o.length; i += 3) {
      const kind = o[i], place = at + o[i + 1], width = o[i + 2];
      if (kind === stringID) {
        if (this.ids !== undefined) this.renumber(this.ids, place, width);
      } else if (kind === jumpTableAt) {
        const table = aligned(at + this.number(place, width));
        if (table > at && table < end) end = table;
      } else if (kind === casesAt) {
        if (this.ids !== undefined) this.renumberCases(this.ids, at, place);
      } else if (kind === literals) {
        this.count = this.number(place, width);
      } else if (kind === arrayAt && recent) { // literals lie in another order there than the instructions that name them
        this.note(kind, this.number(place, width));
      } else {
        const v = this.step(place, width, this.last[kind]);
        this.last[kind] = v;
        if (kind === shapeID) this.count = this.shapeSize(v);
        else this.note(kind, v);
      }
    }
    return end;
  }

  /** A number of 1, 2 or 4 bytes. */
  private number(at: number, width: number): number {
    return width === 1 ? this.b[at] : width === 2 ? this.b[at] | (this.b[at + 1] << 8) : u32(this.b, at);
  }

  private setNumber(at: number, width: number, v: number): void {
    this.b[at] = v;
    if (width > 1) this.b[at + 1] = v >>> 8;
    if (width > 2) setU32(this.b, at, v);
  }

  /** Makes a number a distance to last, or undoes that, and gives the number. */
  private step(at: number, width: number, last: number): number {
    const v = this.number(at, width);
    if (this.ids === undefined) {
      this.setNumber(at, width, v - last);
      return v;
    }
    this.setNumber(at, width, v + last);
    return this.number(at, width);
  }

  /** Puts the other id for a string at a place, if it fits. */
  private renumber(ids: Uint32Array, at: number, width: number): void {
    const v = this.number(at, width), n = renumbered(ids, v);
    if (width === 2 && (n > 0xffff || ids.length > 0x10000) || width === 1 && v >= shortIDs) return;
    this.setNumber(at, width, n);
  }

  /** Renumbers the strings that the switch at a place tells apart: 8 bytes for each, string and distance. */
  private renumberCases(ids: Uint32Array, at: number, place: number): void {
    const code = this.tables.l.code;
    let table = aligned(at + u32(this.b, place));
    for (let n = Math.min(u32(this.b, place + 8), this.cases); n > 0 && table >= code.at && table + 8 <= code.end; n--, table += 8) {
      this.renumber(ids, table, 4);
      this.cases--;
    }
  }

  /** How many names the objects of a shape have. */
  private shapeSize(id: number): number {
    const { shapes } = this.tables.l;
    return id < (shapes.end - shapes.at) / 8 ? u32(this.b, shapes.at + 8 * id + 4) : 0;
  }

  /** Keeps the run of literals that an operand names. */
  private note(kind: number, place: number): void {
    if (this.ids === undefined) return;
    const { l } = this.tables, buffer = kind === keysAt ? l.keys : kind === valuesAt ? l.values : kind === arrayAt ? l.arrays : undefined;
    if (buffer !== undefined) this.keep(buffer, place, this.count);
  }

  private keep(buffer: Span, place: number, count: number): void {
    if (place < buffer.end - buffer.at) this.runs.push((buffer.at + place) * runCount + Math.min(count, runCount - 1));
  }

  /**
   * Renumbers the strings among the literals. Runs may share bytes: an id that shares a byte with anything else stays as it
   * is, so kinds and counts always stay, and what stays is found again from them.
   */
  async literals(rest: Rest): Promise<void> {
    const { l } = this.tables, ids = this.ids as Uint32Array;
    await sliced((l.shapes.end - l.shapes.at) / 8, rest, (from, to) => {
      for (let at = l.shapes.at + 8 * from, end = l.shapes.at + 8 * to; at < end; at += 8) this.keep(l.keys, u32(this.b, at), u32(this.b, at + 4));
    });
    const runs = Float64Array.from(this.runs).sort(), begin = l.arrays.at, use = new Uint8Array(l.values.end - begin);
    this.runs.length = 0;
    let next = 0;
    const some = (): boolean => {
      for (let left = slice; left > 0 && this.left > 0; left--) {
        if (this.more === 0 || this.at >= this.end) {
          while (next > 0 && next < runs.length && runs[next] === runs[next - 1]) next++; // named more than once
          if (next >= runs.length) return false;
          this.at = Math.floor(runs[next] / runCount);
          this.more = runs[next] - this.at * runCount;
          this.end = this.at < l.arrays.end ? l.arrays.end : this.at < l.keys.end ? l.keys.end : l.values.end;
          next++;
        } else {
          left -= this.group(use, begin);
        }
      }
      return this.left > 0;
    };
    while (some()) await rest();
    await sliced(use.length, rest, (from, to) => {
      for (let i = from; i < to; i++) {
        const v = use[i];
        if (v < first) continue;
        if (v === codeOf(1)) this.renumber(ids, begin + i, 1);
        else if (v === codeOf(2) && use[i + 1] === v + 1) this.renumber(ids, begin + i, 2);
        else if (v === codeOf(4) && use[i + 1] === v + 1 && use[i + 2] === v + 2 && use[i + 3] === v + 3) this.renumber(ids, begin + i, 4);
      }
    });
  }

  /** Walks one group of literals of the same kind, and gives how many there are. */
  private group(use: Uint8Array, begin: number): number {
    const { b, end } = this, tag = b[this.at], kind = (tag >> 4) & 7, long = (tag & 0x80) !== 0;
    if (long && this.at + 1 >= end) {
      this.more = 0;
      return 0;
    }
    let count = long ? ((tag & 15) << 8) | b[this.at + 1] : tag & 15;
    const id = kind === 4 ? 4 : kind === 5 ? 2 : kind === 6 && !this.tables.l.version.recent ? 1 : 0;
    const width = kind === 3 ? 8 : kind === 7 ? 4 : id;
    claim(use, this.at - begin, long ? 2 : 1, 0);
    this.at += long ? 2 : 1;
    count = Math.min(count, this.more, this.left);
    this.more -= count;
    this.left -= count;
    if (count === 0) this.more = 0;
    for (let i = 0; i < count; i++, this.at += width) {
      if (this.at + width > end) {
        this.more = 0;
        break;
      }
      if (width > 0) claim(use, this.at - begin, width, id);
    }
    return count;
  }
}

const aligned = (at: number): number => Math.ceil(at / 4) * 4;

/** What a byte of the literals is for: 0 nothing, 1 no id or more than one thing, else a byte of an id; which one is told by its width. */
const first = 2;
const codeOf = (width: number): number => (width === 1 ? first : width === 2 ? first + 1 : first + 3);

/** Says what bytes are for; id: the width of the id that they are, or 0. */
function claim(use: Uint8Array, at: number, size: number, id: number): void {
  const code = id > 0 ? codeOf(id) : 1;
  if (id > 0 && use[at] === code) return; // the same id, which another run names too
  for (let k = 0; k < size; k++) use[at + k] = use[at + k] !== 0 ? 1 : id > 0 ? code + k : 1;
}
