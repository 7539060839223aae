// Reads one byte string coded as the difference to another by context mixing, in integers only. How it works is said in
// publish/delta/rich; this is that model, and any change of it is another format.

import type { Pages } from "../pages.js";
import { invalid } from "../refuse.js";
import type { Splitter } from "../release.js";
import { Arith } from "./arith.js";
import { Bytes, changedKind, textKind } from "./bytes.js";
import { hash3 } from "./cells.js";
import { crc32 } from "./checksum.js";
import { newCurves } from "./curves.js";
import { Guesser } from "./guesser.js";
import { History } from "./history.js";
import { Numbers, kindChange, kindGap, kindHit, kindText, kindType, log } from "./numbers.js";
import { Tracker, wordBytes } from "./tracker.js";

const keep = 64;
const outSize = 64 << 10;
const viewSize = 16 << 10;
const viewPad = 64;
/** Decisions after which others have their turn: some 20 ms of an interpreter. */
const slice = 1024;
/** The probability of a change, in 1/65536, below which a quick guess is good enough to code with. */
const rare = 150;

/** Why places() came back. */
enum Stop { end, structure, flush, input, view, pause }

export interface Limits {
  /** Coded decisions beyond which it is refused. */
  decisions: number;
  pause?: () => Promise<void>;
}

const impossible = () => invalid("its coded bytes are impossible");

export class Model {
  // what was made: the last bytes of new, keep of them at least
  readonly out = new Uint8Array(keep + outSize);
  n = keep;
  np = 0;
  private op = 0; // aligned place in old
  private sum = 0; // CRC-32 of new so far
  private readonly view = new Uint8Array(viewSize); // a piece of old around op, with zeros where there is nothing
  private viewAt = -2 * viewSize;
  private o = 0; // op in the view

  private readonly track = new Tracker();
  private readonly numbers: Numbers;
  private readonly guesser = new Guesser();
  private readonly bytes: Bytes;
  private readonly history: History;
  private readonly quick = new Uint16Array(1 << 12).fill(8192); // how often a byte changes, by little
  private readonly delta = new Int32Array(2); // by how much words grew last
  private expectedByte = 0;

  private quiet = 0; // quiet places before the next change at one
  private lastGap = 0;
  private hist = 0; // the last places: ones are changes
  private prevAt = 0; // np of the last change
  private lastStep = 0; // from the change before to it
  private types = 0; // the last events: ones are structural
  private hits = 0; // the last guesses: ones were right
  private jumped = 0; // np behind the last structural event, plus one
  private gapAfter = false; // a gap follows the structural event
  private right = 0; // in new text: the byte of old that follows it
  private textLength = 0;
  private textLeft = 0;
  private sliceEnd = slice;

  constructor(
    private readonly old: Pages, private readonly newSize: number, private readonly arith: Arith,
    private readonly sink: Splitter, memoryClass: number, private readonly limits: Limits,
  ) {
    const curves = newCurves(), learning = new Uint16Array(1 << 17);
    this.numbers = new Numbers(arith, curves, learning, memoryClass - 6);
    this.bytes = new Bytes(arith, curves, learning, memoryClass - 6);
    this.history = new History(old, this, Math.max(Math.min(log(old.size), memoryClass > 24 ? 20 : 18), 10));
  }

  async run(): Promise<void> {
    await this.arith.start();
    this.newGap();
    for (let stop = this.places(); stop !== Stop.end; stop = this.places()) {
      switch (stop) {
        case Stop.structure:
          await this.structure();
          if (this.gapAfter) this.newGap();
          this.gapAfter = false;
          break;
        case Stop.flush: await this.flush(); break;
        case Stop.input: await this.arith.refill(); break;
        case Stop.view: await this.load(); break;
        default: await this.pause();
      }
    }
    await this.flush();
    if (this.arith.failed) throw invalid("it ends too early");
    for (let i = 0; i < 16; i++) {
      if (this.arith.bit(32768) !== ((this.sum >> i) & 1)) throw impossible();
    }
    if (this.arith.failed || !this.arith.finished()) throw invalid("its coded bytes do not end where it does");
  }

  private async pause(): Promise<void> {
    this.sliceEnd = this.arith.decisions + slice;
    if (this.arith.decisions > this.limits.decisions) throw invalid(`it takes more than ${this.limits.decisions} decisions`);
    if (this.limits.pause !== undefined) await this.limits.pause();
  }

  /** Hands on what is complete and keeps the last bytes. */
  private async flush(): Promise<void> {
    const b = this.out.subarray(keep, this.n);
    this.sum = crc32(this.sum, b);
    await this.sink.write(b);
    this.out.copyWithin(0, this.n - keep, this.n);
    this.n = keep;
    await this.pause();
  }

  /** Brings the bytes around op into the view. */
  private async load(): Promise<void> {
    this.viewAt = this.op - viewPad;
    const start = Math.max(0, this.viewAt), end = Math.min(this.old.size, this.viewAt + viewSize);
    this.view.fill(0);
    for (let at = start; at < end;) {
      const b = this.old.at(at) ?? await this.old.load(at);
      const part = b.length > end - at ? b.subarray(0, end - at) : b;
      this.view.set(part, at - this.viewAt);
      at += part.length;
    }
    this.o = this.op - this.viewAt;
  }

  private far(): boolean {
    this.o = this.op - this.viewAt;
    return this.o < viewPad / 2 || this.o >= viewSize - viewPad;
  }

  /** Goes from place to place until something must be waited for. */
  private places(): Stop {
    for (;;) {
      if (this.np >= this.newSize || this.arith.failed) return Stop.end;
      if (this.op >= this.old.size) return Stop.structure;
      if (this.n === this.out.length) return Stop.flush;
      if (this.arith.hungry()) return Stop.input;
      if (this.far()) return Stop.view;
      if (this.arith.decisions >= this.sliceEnd) return Stop.pause;
      if (this.skip()) continue;
      if (!this.track.hot(this.view, this.o, this.op)) {
        if (this.event(1)) {
          this.gapAfter = true;
          return Stop.structure;
        }
        this.newGap();
      } else if (this.flag() !== 0) {
        if (this.event(0)) return Stop.structure;
      } else {
        this.track.same();
        this.out[this.n++] = this.view[this.o];
        this.np++;
        this.op++;
        this.hist <<= 1;
      }
    }
  }

  /** Copies quiet bytes. It tells whether it copied any. */
  private skip(): boolean {
    const v = this.view, o = this.o, op = this.op, track = this.track;
    const limit = Math.min(this.out.length - this.n, this.newSize - this.np, this.old.size - op, viewSize - viewPad - o, this.quiet);
    let n = track.cold(v, o, op, limit);
    while (n < limit && !track.hot(v, o + n, op + n)) {
      track.same();
      n++;
      n += track.cold(v, o + n, op + n, limit - n);
    }
    if (n === 0) return false;
    this.out.set(v.subarray(o, o + n), this.n);
    this.n += n;
    this.np += n;
    this.op += n;
    this.hist = n < 32 ? this.hist << n : 0;
    this.quiet -= n;
    return true;
  }

  /** How many quiet places there are before the next change at one. */
  private newGap(): void {
    this.quiet = this.numbers.number(kindGap, log(this.lastGap), this.types & 15);
    this.lastGap = this.quiet;
  }

  /** A change at the present place: another byte, or (true) that something is inserted or left out. */
  private event(quiet: number): boolean {
    const structural = this.eventType(quiet);
    this.types = (this.types << 1) | structural;
    if (structural !== 0) return true;
    const b = this.changedByte();
    this.track.changed(this.op, b);
    this.out[this.n++] = b;
    this.np++;
    this.learnDelta();
    this.op++;
    this.hist = (this.hist << 1) | 1;
    return false;
  }

  /** New text, and where in old it goes on. */
  private async structure(): Promise<void> {
    const n = this.numbers.number(kindText, Math.min(log(this.textLength), 7), this.hist & 3);
    if (n > this.newSize - this.np) throw impossible();
    const jump = n < this.newSize - this.np ? this.numbers.jump(this.op, this.np, n, this.textLength) : 0;
    const to = this.op + jump;
    if (to < 0 || to > this.old.size) throw impossible();
    if (n === 0 && (jump === 0 || this.jumped === this.np + 1)) throw impossible(); // nothing is gained, maybe for ever
    this.jumped = this.np + n + 1;
    this.textLength = n;
    if (n > 0) await this.insert(n, to);
    this.op = to;
    this.hist <<= 1;
    this.track.jumped(this.op);
    if (this.arith.hungry()) await this.arith.refill();
  }

  /** Codes n bytes of new text, behind which old goes on at to. */
  private async insert(n: number, to: number): Promise<void> {
    const left = this.op;
    this.op = to;
    if (this.far()) await this.load();
    this.right = this.view[this.o];
    this.op = left;
    if (this.far()) await this.load();
    await this.history.prime(this.limits.pause);
    await this.history.begin();
    for (this.textLeft = n; this.textLeft > 0 && !this.arith.failed; this.textLeft--) {
      if (this.n === this.out.length) await this.flush();
      if (this.arith.hungry()) await this.arith.refill();
      if (this.arith.decisions >= this.sliceEnd) await this.pause();
      const b = this.textByte(n - this.textLeft);
      this.out[this.n++] = b;
      this.np++;
      for (let missing = this.history.add(b); missing >= 0; missing = this.history.again(b)) await this.old.load(missing);
    }
  }

  /** The word of four bytes of old that op is in. */
  private dword(): number {
    const i = this.o - (this.op & 3), v = this.view;
    return v[i] | (v[i + 1] << 8) | (v[i + 2] << 16) | (v[i + 3] << 24);
  }

  /** Sets what the byte becomes when its word grows by as much as the one changed last, and gives how well the bytes of the word so far agree. */
  private expected(): number {
    const k = this.op & 3, w = this.dword(), bits = 8 * k;
    let got = 0;
    for (let i = 0; i < k; i++) got |= this.out[this.n - k + i] << (8 * i);
    const mask = (1 << bits) - 1;
    for (let i = 0; i < 2; i++) {
      const e = (w + this.delta[i]) | 0;
      if ((e & mask) === got) {
        this.expectedByte = (e >>> bits) & 255;
        return i;
      }
    }
    this.expectedByte = (w >>> bits) & 255;
    return 2;
  }

  /** Remembers by how much the word of the changed byte, the last one made, grew. */
  private learnDelta(): void {
    this.lastStep = this.np - this.prevAt;
    this.prevAt = this.np;
    const k = this.op & 3;
    let got = 0;
    for (let i = 0; i <= k; i++) got |= this.out[this.n - 1 - (k - i)] << (8 * i);
    const high = k < 3 ? (1 << (8 * (k + 1))) - 1 : -1;
    let d = (got - this.dword()) & high;
    if (k < 3 && d >>> (8 * k + 7) !== 0) d |= ~high; // a sign that the bytes so far suggest
    if (d !== this.delta[0]) {
      const mask = (1 << (8 * k)) - 1;
      if ((this.delta[0] & mask) !== (d & mask) || k === 0) this.delta[1] = this.delta[0];
      this.delta[0] = d;
    }
  }

  /** Whether the byte at a likely place changes. */
  private flag(): number {
    const near = this.hist, track = this.track;
    const dist = Math.min(this.np - this.prevAt, 63);
    const wordPast = track.words.past[track.word], triplePast = track.triples.past[track.triple];
    const agree = this.expected();
    let likely = agree < 2 && this.expectedByte !== this.view[this.o] ? 1 : 0;
    if ((((near >>> 3) | (near >>> 7) | (near >>> 15)) & 1) !== 0) likely |= 2;
    const at = (wordPast & 7) | ((triplePast & 7) << 3) | (Math.min(dist, 15) << 6) | (likely << 10);
    const q = this.quick[at];
    const bit = q < rare ? this.arith.bit(Math.max(q, 8)) : this.slowFlag(wordPast, triplePast, dist, agree);
    this.quick[at] = q + (((bit === 0 ? 0 : 65535) - q) >> 5);
    return bit;
  }

  /** flag by all that is known. */
  private slowFlag(wordPast: number, triplePast: number, dist: number, agree: number): number {
    const v = this.view, o = this.o, track = this.track, near = this.hist, h = this.numbers.h;
    const o0 = v[o], o1 = v[o + 1], b1 = v[o - 1];
    const word = this.op & 3;
    const es = (agree << 1) | (this.expectedByte === o0 ? 1 : 0);
    const inside = wordBytes[b1] | (wordBytes[o1] << 1);
    const k = kindChange << 8;
    h[0] = hash3(k, near & 0xff, dist);
    h[1] = hash3(k + 1, b1 | (o0 << 8) | (o1 << 16), near & 1);
    h[2] = hash3(k + 13, o0 | (inside << 8), near & 7);
    h[3] = hash3(k + 3, track.token, near & 1);
    h[4] = hash3(k + 4, ((near >>> 3) & 0x11) | (((near >>> 11) & 0x11) << 1) | ((near & 3) << 8) | (((near >>> 19) & 0x11) << 10), word);
    h[5] = hash3(k + 5, dist, Math.min(this.lastStep, 255));
    h[6] = hash3(k + 6, es, word | ((near & 7) << 2));
    h[7] = hash3(k + 7, o0 | (o1 << 8) | (v[o + 2] << 16) | (v[o + 3] << 24), near & 1);
    h[8] = hash3(k + 8, o0 | (this.out[this.n - 1] << 8) | (this.out[this.n - 2] << 16), 0);
    h[9] = hash3(k + 12, triplePast, log(this.op - track.triples.when[track.triple]));
    h[10] = hash3(k + 10, wordPast, log(this.op - track.words.when[track.word]));
    h[11] = hash3(k + 11, wordPast | (triplePast << 8), inside);
    return this.numbers.big.decide(h, near & 255, word | (((es << 2) & 15) << 2), Math.min(dist, 31), 0);
  }

  private eventType(quiet: number): number {
    const v = this.view, o = this.o, h = this.numbers.h, k = kindType << 8;
    const o0 = v[o], c1 = this.out[this.n - 1];
    h[0] = hash3(kindType, quiet, this.hist & 15);
    h[1] = hash3(k, v[o - 1] | (o0 << 8) | (v[o + 1] << 16), quiet);
    h[2] = hash3(k + 1, o0, quiet);
    h[3] = hash3(k + 2, this.track.token, c1);
    h[4] = hash3(k + 3, this.types & 0xff, quiet);
    h[5] = hash3(k + 4, c1, o0);
    return this.numbers.small.decide(h, quiet, this.types & 3, kindType, 1);
  }

  /** The byte that stands for another one of old. */
  private changedByte(): number {
    const g = this.guesser, old = this.view[this.o], word = this.op & 3;
    const best = this.guess(old, word);
    const b = best >= 0 && this.hit(best) !== 0 ? g.byteOf(best) : this.otherByte(best);
    g.learn(old, word, b);
    return b;
  }

  private guess(old: number, word: number): number {
    const g = this.guesser, { words, triples, word: w, triple: t, token } = this.track;
    const agree = this.expected();
    g.say(0, this.expectedByte, old, (agree << 2) | word, true);
    g.say(1, words.is[w], old, ((words.past[w] & 7) << 5) | Math.min(log(this.op - words.when[w]), 31), words.when[w] > 0 && token !== 0);
    g.say(2, triples.is[t], old, ((triples.past[t] & 7) << 5) | Math.min(log(this.op - triples.when[t]), 31), triples.when[t] > 0);
    g.sayByOld(3, old, word);
    g.say(4, old + this.out[this.n - 4] - this.view[this.o - 4], old, word | (((this.hist >> 3) & 1) << 2) | ((this.hist & 1) << 3), true);
    return g.best();
  }

  /** Whether the guess of a source is right. */
  private hit(best: number): number {
    const g = this.guesser, v = this.view, o = this.o, out = this.out, n = this.n, h = this.numbers.h;
    const alike = g.alike(best), o0 = v[o], x = g.byteOf(best), c1 = out[n - 1], o1 = v[o + 1], word = this.op & 3;
    const by = (x - o0) & 255, k = kindHit << 8;
    h[0] = hash3(kindHit, alike, g.stateOf(best));
    h[1] = hash3(k, alike, this.hist & 7);
    h[2] = hash3(k + 1, x | (o0 << 8), word);
    h[3] = hash3(k + 2, x | (o0 << 8) | (c1 << 16) | (o1 << 24), 0);
    h[4] = hash3(k + 3, this.track.token | 1, x | (o0 << 8));
    h[5] = hash3(k + 4, v[o - 1] | (v[o - 2] << 8) | (o0 << 16) | (x << 24), 0);
    h[6] = hash3(k + 5, this.dword(), word | (x << 8));
    h[7] = hash3(k + 6, this.hits & 0xff, best);
    h[8] = hash3(k + 7, by | (this.differs(1) << 8) | (x << 16), word);
    h[9] = hash3(k + 8, by | (this.differs(4) << 8) | (this.differs(8) << 16), word);
    h[10] = hash3(k + 9, c1 | (out[n - 2] << 8) | (x << 16), 0);
    h[11] = hash3(k + 10, o0 | (o1 << 8) | (v[o + 2] << 16) | (x << 24), 0);
    h[12] = hash3(k + 11, this.delta[0], word | (by << 8));
    h[13] = hash3(k + 12, o0, g.trustOf(best) >> 12);
    const bit = this.numbers.guess.decide(h, (best << 2) | word, alike & 1023, this.hits & 31, 0);
    this.hits = (this.hits << 1) | bit;
    return bit;
  }

  /** How the k-th last byte of new differs from the one of old beside it. */
  private differs(k: number): number {
    return (this.out[this.n - k] - this.view[this.o - k]) & 255;
  }

  /** A changed byte that was not guessed. */
  private otherByte(best: number): number {
    const l = this.bytes, v = this.view, o = this.o, out = this.out, n = this.n, track = this.track;
    const not = best >= 0 ? this.guesser.byteOf(best) : 256;
    const o0 = v[o], o1 = v[o + 1], b1 = v[o - 1], c1 = out[n - 1], c2 = out[n - 2];
    const word = this.op & 3, agree = this.expected(), e = this.expectedByte;
    const { words, triples, word: w, triple: t } = track;
    l.begin(changedKind);
    l.add(o0, not);
    l.add(o0 | (b1 << 8) | (o1 << 16), 2);
    l.add(o0 | (o1 << 8) | (c1 << 16) | (c2 << 24), 4);
    l.add(track.token, c1);
    l.add(e | (agree << 8), word);
    l.add(o0 | (this.differs(1) << 8), word);
    l.add(o0 | (this.differs(4) << 8), this.differs(1));
    l.add(o0 | (this.differs(8) << 8) | (this.differs(16) << 16), word);
    l.add(c1 | (c2 << 8), 5);
    l.add(c1 | (c2 << 8) | (out[n - 3] << 16) | (out[n - 4] << 24), 6);
    l.add(not, word);
    l.add(o0 | (o1 << 8) | (v[o + 2] << 16) | (v[o + 3] << 24), 7);
    l.add(this.delta[0], o0 | (word << 8));
    l.add(words.is[w] | (triples.is[t] << 8), (words.past[w] & 3) | ((triples.past[t] & 3) << 2));
    l.before = o0;
    l.matchByte[0] = e;
    l.matchLength[0] = o0 !== e ? 1 + agree : 0;
    l.matchLength[1] = l.matchLength[2] = 0;
    l.select1 = word | (agree << 2);
    l.select2 = 0;
    return l.code();
  }

  /** A byte of new text, the k-th of its piece. */
  private textByte(k: number): number {
    const l = this.bytes, t = this.history, out = this.out, n = this.n;
    const c1 = out[n - 1], c2 = out[n - 2], c3 = out[n - 3], c4 = out[n - 4], c8 = out[n - 8];
    const beside = k < 24 ? this.view[this.o + k] + 1 : 0;
    const order4 = c1 | (c2 << 8) | (c3 << 16) | (c4 << 24);
    const left = Math.min(this.textLeft, 3), pos = this.np & 3;
    const e0 = t.expect(0), e1 = t.expect(1), e2 = t.expect(2);
    const after2 = t.followers2(c1, c2);
    l.begin(textKind);
    l.add(e2, pos);
    l.add(c1 | (c2 << 8), 1);
    l.add(c4 | (c8 << 8), pos);
    l.add(order4 & ((1 << (8 * pos)) - 1), pos); // the bytes of the word so far
    l.add(order4, out[n - 5] | (out[n - 6] << 8) | (1 << 16));
    l.add(c4 | (c1 << 8), pos);
    l.add(t.word, t.lastWord);
    l.add(t.followers1(c1), c1);
    l.add(after2, c1);
    l.add(e0, c1);
    l.add(e1 | (e0 << 16), 5);
    l.add(beside, c1);
    l.add(this.right | (left << 8), c1);
    l.add(c2 | (c3 << 8), 6);
    l.add(t.followers3(order4) & 0xffff, after2 & 0xff);
    l.before = c1;
    l.matchByte[0] = e0 & 255;
    l.matchByte[1] = e1 & 255;
    l.matchByte[2] = e2 & 255;
    l.matchLength[0] = e0 >> 8;
    l.matchLength[1] = e1 >> 8;
    l.matchLength[2] = e2 >> 8;
    l.select1 = 16 + Math.min(e1 >> 8, 15) + (left << 4);
    l.select2 = 1 + classOf(c1);
    return l.code();
  }
}

/** What kind of character a byte is. */
function classOf(b: number): number {
  if (b >= 97 && b <= 122) return 0;
  if (b >= 65 && b <= 90) return 1;
  if (b >= 48 && b <= 57) return 2;
  if (b < 32) return 3;
  if (b >= 128) return 4;
  return b === 32 || b === 46 || b === 95 ? 5 : 6;
}
