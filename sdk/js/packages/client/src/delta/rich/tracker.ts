// Where a change is likely. It follows from where changes were and to what, not from how that was coded.

const memoryBits = 15;
const shift = 32 - memoryBits;
const afterChange = 12;
const golden = 0x9e3779b1 | 0, spread = 0x85ebca6b | 0;
/** A change was among the last three times. */
const hotPast = 7;

/** What happened at places that look alike. */
export class Memory {
  /** Place of the last change. */
  readonly when = new Int32Array(1 << memoryBits);
  /** The last eight times: ones are changes. */
  readonly past = new Uint8Array(1 << memoryBits);
  /** What it changed to. */
  readonly is = new Uint8Array(1 << memoryBits);
  /** At how many of them something changed among the last eight times. */
  marked = 0;

  same(k: number): void {
    const past = this.past[k];
    if (past === 0) return;
    this.past[k] = past << 1;
    if (this.past[k] === 0) this.marked--;
  }

  changed(k: number, op: number, to: number): void {
    if (this.past[k] === 0) this.marked++;
    this.past[k] = (this.past[k] << 1) | 1;
    this.is[k] = to;
    this.when[k] = op;
  }
}

/** 1 for letters, digits, _, $ and all from 128 on. */
export const wordBytes = Uint8Array.from({ length: 256 }, (_, b) => (b >= 128 || /[A-Za-z0-9_$]/.test(String.fromCharCode(b)) ? 1 : 0));

export class Tracker {
  readonly words = new Memory();
  readonly triples = new Memory();
  private hotTo = 0; // place of old up to which a change is likely, because one was just before
  // the present place
  word = 0;
  triple = 0;
  /** The word as a hash, 0: it is no word. */
  token = 0;
  private tokenAt = 0; // place of the word's first byte
  private tokenEnd = -1; // place behind the word
  private placed = 0; // which place all this is of, plus one

  /** Moves to a place of old and tells whether a change is likely there. */
  hot(v: Uint8Array, o: number, op: number): boolean {
    if (this.placed !== op + 1) this.place(v, o, op);
    return op < this.hotTo || (this.triples.past[this.triple] & hotPast) !== 0 || (this.token !== 0 && (this.words.past[this.word] & hotPast) !== 0);
  }

  private place(v: Uint8Array, o: number, op: number): void {
    this.placed = op + 1;
    this.triple = Math.imul(v[o - 1] | (v[o] << 8) | (v[o + 1] << 16), golden) >>> shift;
    if (op >= this.tokenEnd || op < this.tokenAt) this.enter(v, o, op);
    this.word = Math.imul(this.token + Math.imul(op - this.tokenAt, spread), golden) >>> shift;
  }

  private enter(v: Uint8Array, o: number, op: number): void {
    this.token = 0;
    this.tokenAt = op;
    this.tokenEnd = op + 1;
    if (wordBytes[v[o]] !== 0) this.findToken(v, o, op);
  }

  /** Finds the word around a place, of which it looks at 16 bytes. */
  private findToken(v: Uint8Array, o: number, op: number): void {
    let i = o;
    while (i > o - 12 && wordBytes[v[i - 1]] !== 0) i--;
    let h = v[i - 1] === 46 ? 2 : 1;
    this.tokenAt = op - (o - i);
    let n = 0;
    for (; n < 16 && wordBytes[v[i + n]] !== 0; n++) {
      h = Math.imul(h + v[i + n], 0x2f0b4c47);
      h ^= h >>> 15;
    }
    this.tokenEnd = Math.max(op + 1, this.tokenAt + n);
    this.token = h | 1;
  }

  /** Counts the places from op on, n at most, that have no past. They are quiet, and passing them changes nothing. */
  cold(v: Uint8Array, o: number, op: number, n: number): number {
    if (n <= 0 || op < this.hotTo) return 0;
    if (this.words.marked === 0) {
      n = this.triples.marked === 0 ? n : this.coldTriples(v, o, n);
      this.pass(v, o, op, n);
      return n;
    }
    const words = this.words.past, triples = this.triples.past;
    let near = (v[o - 1] << 8) | (v[o] << 16);
    for (let k = 0; k < n;) {
      if (op + k >= this.tokenEnd || op + k < this.tokenAt) this.enter(v, o + k, op + k);
      const end = Math.min(n, this.tokenEnd - op);
      if (this.token === 0) {
        for (; k < end; k++) {
          near = (near >>> 8) | (v[o + k + 1] << 16);
          if (triples[Math.imul(near, golden) >>> shift] !== 0) return k;
        }
      } else {
        let word = (this.token + Math.imul(op + k - this.tokenAt, spread)) | 0;
        for (; k < end; k++) {
          near = (near >>> 8) | (v[o + k + 1] << 16);
          if (triples[Math.imul(near, golden) >>> shift] !== 0 || words[Math.imul(word, golden) >>> shift] !== 0) return k;
          word = (word + spread) | 0;
        }
      }
    }
    return n;
  }

  /** cold where no word has a past. */
  private coldTriples(v: Uint8Array, o: number, n: number): number {
    const triples = this.triples.past;
    let near = (v[o - 1] << 8) | (v[o] << 16);
    for (let k = 0; k < n; k++) {
      near = (near >>> 8) | (v[o + k + 1] << 16);
      if (triples[Math.imul(near, golden) >>> shift] !== 0) return k;
    }
    return n;
  }

  /** Moves over n places. Where a long word is cut depends on where it was entered. */
  private pass(v: Uint8Array, o: number, op: number, n: number): void {
    if (wordBytes[v[o + n]] === 0) return;
    let k = n;
    while (k > 0 && wordBytes[v[o + k - 1]] !== 0) k--;
    for (; k < n; k = this.tokenEnd - op) {
      if (op + k >= this.tokenEnd || op + k < this.tokenAt) this.enter(v, o + k, op + k);
    }
  }

  same(): void {
    this.triples.same(this.triple);
    if (this.token !== 0) this.words.same(this.word);
  }

  changed(op: number, to: number): void {
    this.triples.changed(this.triple, op, to);
    this.words.changed(this.word, op, to);
    this.hotTo = op + 1 + afterChange;
  }

  jumped(op: number): void {
    this.hotTo = Math.min(this.hotTo, op);
    this.tokenEnd = -1;
    this.placed = 0;
  }
}
