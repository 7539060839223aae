// What a container holds behind its header, decompressed, in the order in which it stands there.

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

  async uvarint(): Promise<number> {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 42; scale *= 128) {
      const b = await this.byte();
      value += (b & 127) * scale;
      if (b < 128) return value;
    }
    throw invalid("a number is too large");
  }

  /** Refuses whatever is left. */
  async finish(what: string): Promise<void> {
    if ((await this.some(1)).length > 0) throw invalid(what);
    await this.plain.finish();
  }
}

const chunkSize = 64 << 10;
