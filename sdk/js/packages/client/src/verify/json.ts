// The strict subset of RFC 8259 that documents are written in: no repeated names, floats, null, lone surrogates,
// integers beyond 2^53-1, invalid UTF-8 or data after the value.

/** A parsed value: text, integer, boolean, array, or object as a Map without repeated names. */
export type Value = string | number | boolean | Value[] | Map<string, Value>;

const maxDepth = 32;

export function parseStrict(data: Uint8Array): Value {
  const p = new Parser(data);
  p.space();
  const v = p.value(0);
  p.space();
  if (p.pos !== data.length) throw p.fail("data after the value");
  return v;
}

class Parser {
  pos = 0;
  constructor(private readonly data: Uint8Array) {}

  fail(why: string): Error {
    return new Error(`offset ${this.pos}: ${why}`);
  }

  space(): void {
    for (let c = this.data[this.pos]; c === 32 || c === 9 || c === 10 || c === 13; c = this.data[++this.pos]);
  }

  private word(w: string): boolean {
    for (let i = 0; i < w.length; i++) if (this.data[this.pos + i] !== w.charCodeAt(i)) return false;
    this.pos += w.length;
    return true;
  }

  value(depth: number): Value {
    const c = this.data[this.pos];
    if (c === 0x7b) return this.object(depth + 1);
    if (c === 0x5b) return this.array(depth + 1);
    if (c === 0x22) return this.string();
    if (c === 0x2d || c >= 0x30 && c <= 0x39) return this.integer();
    if (this.word("true")) return true;
    if (this.word("false")) return false;
    throw this.fail(this.word("null") ? "null is not allowed" : "not a JSON value");
  }

  private array(depth: number): Value[] {
    if (depth > maxDepth) throw this.fail(`nested deeper than ${maxDepth}`);
    this.pos++;
    this.space();
    const out: Value[] = [];
    if (this.data[this.pos] === 0x5d) return this.pos++, out;
    do out.push(this.value(depth)); while (this.more(0x5d));
    return out;
  }

  private object(depth: number): Map<string, Value> {
    if (depth > maxDepth) throw this.fail(`nested deeper than ${maxDepth}`);
    this.pos++;
    this.space();
    const out = new Map<string, Value>();
    if (this.data[this.pos] === 0x7d) return this.pos++, out;
    do {
      if (this.data[this.pos] !== 0x22) throw this.fail("expected a name");
      const name = this.string();
      if (out.has(name)) throw this.fail(`name "${name}" is repeated`);
      this.space();
      if (this.data[this.pos] !== 0x3a) throw this.fail("expected ':'");
      this.pos++;
      this.space();
      out.set(name, this.value(depth));
    } while (this.more(0x7d));
    return out;
  }

  private more(closing: number): boolean {
    this.space();
    const c = this.data[this.pos];
    if (c !== closing && c !== 0x2c) throw this.fail("expected ',' or the end");
    this.pos++;
    if (c === closing) return false;
    this.space();
    return true;
  }

  private integer(): number {
    let text = "";
    if (this.data[this.pos] === 0x2d) (text = "-", this.pos++);
    const from = this.pos;
    for (let c = this.data[this.pos]; c >= 0x30 && c <= 0x39; c = this.data[++this.pos]) text += String.fromCharCode(c);
    const digits = this.pos - from;
    if (digits === 0) throw this.fail("digits expected");
    if (digits > 1 && this.data[from] === 0x30) throw this.fail("number with a leading zero");
    const c = this.data[this.pos];
    if (c === 0x2e || c === 0x65 || c === 0x45) throw this.fail("only integers are allowed");
    if (text === "-0") throw this.fail("-0 is not allowed");
    const n = Number(text);
    if (!Number.isSafeInteger(n)) throw this.fail("integer beyond 2^53-1");
    return n;
  }

  private string(): string {
    this.pos++;
    let out = "";
    for (;;) {
      const from = this.pos;
      let c = this.data[this.pos];
      while (c >= 0x20 && c < 0x80 && c !== 0x22 && c !== 0x5c) c = this.data[++this.pos];
      for (let i = from; i < this.pos; i += 8192) {
        out += String.fromCharCode.apply(null, this.data.subarray(i, Math.min(i + 8192, this.pos)) as unknown as number[]);
      }
      if (c === undefined) throw this.fail("string without an end");
      if (c === 0x22) return this.pos++, out;
      if (c < 0x20) throw this.fail("control character in a string");
      out += c === 0x5c ? this.escape() : this.rune(c);
    }
  }

  /** Reads one character of two to four bytes; overlong ones, surrogates and what lies beyond Unicode are refused. */
  private rune(c: number): string {
    const n = c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (n === 0) throw this.fail("string is not UTF-8");
    let r = c & 0xff >> n + 1;
    for (let i = 1; i < n; i++) {
      const d = this.data[this.pos + i];
      if (d === undefined || (d & 0xc0) !== 0x80) throw this.fail("string is not UTF-8");
      r = r << 6 | d & 63;
    }
    if (r < [0, 0, 0x80, 0x800, 0x10000][n] || r >= 0xd800 && r < 0xe000 || r > 0x10ffff) throw this.fail("string is not UTF-8");
    this.pos += n;
    return String.fromCodePoint(r);
  }

  private escape(): string {
    const c = String.fromCharCode(this.data[++this.pos] || 0);
    this.pos++;
    if (c === "u") {
      const r = this.hex4();
      if (r < 0xd800 || r >= 0xe000) return String.fromCharCode(r);
      if (r >= 0xdc00 || !this.word("\\u")) throw this.fail("lone surrogate");
      const low = this.hex4();
      if (low < 0xdc00 || low >= 0xe000) throw this.fail("lone surrogate");
      return String.fromCharCode(r, low);
    }
    const at = '"\\/bfnrt'.indexOf(c);
    if (at < 0) throw this.fail("unknown escape");
    return '"\\/\b\f\n\r\t'[at];
  }

  private hex4(): number {
    let r = 0;
    for (let i = 0; i < 4; i++) {
      const d = parseInt(String.fromCharCode(this.data[this.pos++] || 0), 16);
      if (isNaN(d)) throw this.fail("bad \\u escape");
      r = r << 4 | d;
    }
    return r;
  }
}
