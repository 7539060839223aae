// The body of a patch of the profile simple: steps, each of which has a bounded number of covers (pieces of old), changes
// of their bytes, and new text between them.

import type { Pages } from "./pages.js";
import { signed, type Reader } from "./plain.js";
import { invalid } from "./refuse.js";
import type { Job, Splitter } from "./release.js";

/** Bytes of columns of a step at most, and so what is held at a time. */
const maxStep = 512 << 10;
const maxInput = 2 ** 31 - 1;
const outSize = 64 << 10;

export class Steps {
  private readonly out = new Uint8Array(outSize);
  private filled = 0;
  private left = 0;
  private end = 0; // of the last cover in old
  private columns = new Uint8Array(0);
  // where in the columns of the step the gaps, changes and text that are still to come begin
  private gapAt = 0;
  private gapEnd = 0;
  private changeAt = 0;
  private changeEnd = 0;
  private textAt = 0;
  private textEnd = 0;
  private gap = 0; // until the next changed byte; -1 when there is none

  constructor(private readonly a: Job, private readonly old: Pages, private readonly plain: Reader, private readonly sink: Splitter) {}

  async run(newSize: number): Promise<void> {
    this.left = newSize;
    while (this.left > 0) await this.step();
    await this.flush();
  }

  private async step(): Promise<void> {
    const numbers = await this.read();
    const n = numbers.length / 3;
    this.nextGap();
    for (let i = 0; i < n; i++) {
      const text = numbers[i], length = numbers[2 * n + i], from = this.end + numbers[n + i];
      if (text > this.textEnd - this.textAt || text > this.left) throw invalid("new text is longer than announced");
      if (text > 0) await this.put(text);
      if (length === 0 && text === 0) throw invalid("a cover that makes nothing"); // or the patch could go on for ever
      if (length > this.left) throw invalid("it makes more bytes than signed");
      if (from < 0 || from > this.old.size || length > this.old.size - from) throw invalid(`cover of ${length} bytes at ${from} of ${this.old.size}`);
      if (length > 0) await this.cover(from, length);
      this.end = from + length;
    }
    if (this.gap >= 0 || this.gapAt < this.gapEnd || this.changeAt < this.changeEnd || this.textAt < this.textEnd) throw invalid("a step has bytes left over");
  }

  /** Reads a step: for every cover its text, then for every one its jump, then its length; and the columns. */
  private async read(): Promise<Int32Array> {
    const head = [0, 0, 0, 0];
    for (let i = 0; i < 4; i++) {
      head[i] = await this.plain.uvarint();
      if (head[i] > maxStep) throw invalid(`a step of more than ${maxStep} bytes`);
    }
    const [covers, gaps, changes, text] = head;
    if (covers === 0 || 3 * covers + gaps + changes + text > maxStep) throw invalid(`a step of ${covers} covers`);
    const numbers = new Int32Array(3 * covers);
    for (let i = 0; i < numbers.length; i++) {
      let v = this.plain.quick();
      if (v < 0) v = await this.plain.uvarint();
      if (i >= covers && i < 2 * covers) v = signed(v);
      if (v > maxInput || v < -maxInput) throw invalid("a cover out of range");
      numbers[i] = v;
    }
    const size = gaps + changes + text;
    if (this.columns.length < size) this.columns = new Uint8Array(size);
    await this.plain.fill(this.columns.subarray(0, size));
    this.gapAt = 0;
    this.gapEnd = this.changeAt = gaps;
    this.changeEnd = this.textAt = gaps + changes;
    this.textEnd = size;
    return numbers;
  }

  private nextGap(): void {
    if (this.gapAt === this.gapEnd) {
      this.gap = -1;
      return;
    }
    let v = 0, scale = 1;
    for (let i = 0, more = true; more; i++, scale *= 128) {
      if (this.gapAt === this.gapEnd || i === 10) throw invalid("a malformed gap");
      const b = this.columns[this.gapAt++];
      v += (b & 127) * scale;
      more = b >= 128;
    }
    if (v > maxInput || this.changeAt === this.changeEnd) throw invalid("a malformed gap");
    this.gap = v;
  }

  /** Writes new text. */
  private async put(n: number): Promise<void> {
    this.left -= n;
    while (n > 0) {
      const k = Math.min(n, outSize - this.filled);
      this.out.set(this.columns.subarray(this.textAt, this.textAt + k), this.filled);
      this.textAt += k;
      this.filled += k;
      n -= k;
      if (this.filled === outSize) await this.flush();
    }
  }

  /** Writes n bytes of old with their changes. */
  private async cover(from: number, n: number): Promise<void> {
    this.left -= n;
    while (n > 0) {
      const b = this.old.at(from) ?? await this.old.load(from);
      const k = Math.min(n, b.length, outSize - this.filled);
      this.out.set(k < b.length ? b.subarray(0, k) : b, this.filled);
      this.change(this.filled, k);
      this.filled += k;
      from += k;
      n -= k;
      if (this.filled === outSize) await this.flush();
    }
  }

  /** Changes the bytes of out[at:at+n] that are to be changed. */
  private change(at: number, n: number): void {
    while (this.gap >= 0 && this.gap < n) {
      at += this.gap;
      this.out[at++] += this.columns[this.changeAt++];
      n -= this.gap + 1;
      this.nextGap();
    }
    if (this.gap >= 0) this.gap -= n;
  }

  private async flush(): Promise<void> {
    if (this.filled === 0) return;
    await this.sink.write(this.out.subarray(0, this.filled));
    this.filled = 0;
    if (this.a.pause !== undefined) await this.a.pause();
  }
}
