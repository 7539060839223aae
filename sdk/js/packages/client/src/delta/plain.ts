// What a container holds behind its header, decompressed, in the order in which it stands there.

import type { Source } from "../host.js";
import { invalid } from "./refuse.js";

/** Bytes that come one after another. */
export interface Plain {
  /** Gives between 1 and most of the next bytes, none at the end. They are valid until the next call. */
  some(most: number): Promise<Uint8Array>;
  /** At the end of the bytes: refuses what follows behind it. */
  finish(): Promise<void>;
}

export class Reader {
  private chunk: Uint8Array = new Uint8Array(0);
  private used = 0;

  constructor(private readonly plain: Plain) {}

  /** Gives between 1 and most of the next bytes, none at the end. They are valid until the next call. */
  async some(most: number): Promise<Uint8Array> {
    if (this.used === this.chunk.length) {
      this.chunk = await this.plain.some(chunkSize);
      this.used = 0;
    }
    const part = this.chunk.subarray(this.used, Math.min(this.chunk.length, this.used + most));
    this.used += part.length;
    return part;
  }

  async byte(): Promise<number> {
    if (this.used < this.chunk.length) return this.chunk[this.used++];
    const b = await this.some(1);
    if (b.length === 0) throw invalid("it ends too early");
    return b[0];
  }

  /** A number of 7 bits a byte; one that no size can have is refused. */
  async uvarint(): Promise<number> {
    let value = 0, scale = 1;
    for (let i = 0; i < 10; i++, scale *= 128) {
      const b = this.used < this.chunk.length ? this.chunk[this.used++] : await this.byte();
      value += (b & 127) * scale;
      if (b < 128) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
    }
    throw invalid("a number is too large");
  }

  /** The same where it takes at most four bytes that are at hand, else -1. */
  quick(): number {
    const c = this.chunk;
    let i = this.used;
    if (i + 4 > c.length) return -1;
    let b = c[i++], v = b & 127;
    for (let shift = 7; b >= 128; shift += 7) {
      if (shift > 21) return -1;
      b = c[i++];
      v |= (b & 127) << shift;
    }
    this.used = i;
    return v;
  }

  /** Fills b. */
  async fill(b: Uint8Array): Promise<void> {
    for (let n = 0; n < b.length;) {
      const part = await this.some(b.length - n);
      if (part.length === 0) throw invalid("it ends too early");
      b.set(part, n);
      n += part.length;
    }
  }

  /** Bytes that were taken from below and not yet from here. */
  get unread(): number {
    return this.chunk.length - this.used;
  }

  /** Refuses whatever is left. */
  async finish(what: string): Promise<void> {
    if ((await this.some(1)).length > 0) throw invalid(what);
    await this.plain.finish();
  }
}

const chunkSize = 64 << 10;

/** Bytes that stand in a source as they are. */
export class Stored implements Plain {
  /** at: where the next bytes are in source. */
  constructor(private readonly source: Source, public at: number) {}

  async some(most: number): Promise<Uint8Array> {
    const n = Math.min(most, this.source.size - this.at);
    if (n <= 0) return new Uint8Array(0);
    const b = await this.source.read(this.at, n);
    this.at += n;
    return b;
  }

  async finish(): Promise<void> {}
}

/** The number that a signed one stands for: 0, -1, 1, -2 … */
export const signed = (v: number): number => (v % 2 === 0 ? v / 2 : -(v + 1) / 2);
