// Decompresses exactly one Zstandard frame (RFC 8878), block by block, so that memory is bounded by a window of 8 MiB.

import { Decompress } from "fzstd";
import type { Source } from "../host.js";
import { Refusal } from "../words/reasons.js";

const maxWindow = 8 << 20;
const maxBlock = 128 << 10;

export function invalid(detail: string, cause?: unknown): Refusal {
  return new Refusal("container_invalid", "container", detail, cause);
}

/** Plain bytes of the one frame that stands in source from at to its end. */
export class Frame {
  private chunk: Uint8Array = new Uint8Array(0);
  private used = 0;
  private begun = false;
  private last = false;
  private sum = 0;
  private readonly made: Uint8Array[] = [];
  private readonly inner = new Decompress((b) => { if (b.length > 0) this.made.push(b); });

  constructor(private readonly source: Source, private at: number) {}

  /** Gives between 1 and most of the next bytes; none at the end of the frame. */
  async some(most: number): Promise<Uint8Array> {
    while (this.used === this.chunk.length) {
      const next = this.made.shift();
      if (next !== undefined) {
        this.chunk = next;
        this.used = 0;
      } else if (this.last) {
        return new Uint8Array(0);
      } else {
        await this.block();
      }
    }
    const part = this.chunk.subarray(this.used, Math.min(this.chunk.length, this.used + most));
    this.used += part.length;
    return part;
  }

  async byte(): Promise<number> {
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

  /** Refuses what follows the contents, inside the frame and behind it. */
  async finish(): Promise<void> {
    if ((await this.some(1)).length > 0) throw invalid("content follows the last file");
    await this.take(this.sum);
    if (this.at !== this.source.size) throw invalid("bytes follow the end");
  }

  private async take(n: number): Promise<Uint8Array> {
    if (n > this.source.size - this.at) throw invalid("it ends too early");
    const b = await this.source.read(this.at, n);
    this.at += n;
    return b;
  }

  private push(b: Uint8Array, final: boolean): void {
    try {
      this.inner.push(b, final);
    } catch (err) {
      throw invalid("its compressed bytes are damaged", err);
    }
  }

  private async block(): Promise<void> {
    if (!this.begun) {
      this.begun = true;
      await this.header();
    }
    const h = await this.take(3);
    const v = h[0] | (h[1] << 8) | (h[2] << 16);
    const kind = (v >> 1) & 3;
    if (kind === 3 || v >> 3 > maxBlock) throw invalid("a block is malformed");
    const body = await this.take(kind === 1 ? 1 : v >> 3);
    const whole = new Uint8Array(3 + body.length);
    whole.set(h);
    whole.set(body, 3);
    this.last = (v & 1) !== 0;
    this.push(whole, this.last);
  }

  private async header(): Promise<void> {
    const h = await this.take(5);
    const d = h[4];
    if (h[0] !== 0x28 || h[1] !== 0xb5 || h[2] !== 0x2f || h[3] !== 0xfd || (d & 11) !== 0) throw invalid("its frame is malformed");
    const single = (d & 0x20) !== 0;
    const sizes = [single ? 1 : 0, 2, 4, 8];
    const rest = await this.take(sizes[d >> 6] + (single ? 0 : 1));
    let window = 0;
    if (single) {
      for (let i = rest.length - 1; i >= 0; i--) window = window * 256 + rest[i];
      if (d >> 6 === 1) window += 256;
    } else {
      const base = 2 ** (10 + (rest[0] >> 3));
      window = base + (base / 8) * (rest[0] & 7);
    }
    if (window > maxWindow) throw invalid(`it needs a window of ${window} bytes, allowed are ${maxWindow}`);
    this.sum = (d & 4) !== 0 ? 4 : 0;
    const whole = new Uint8Array(5 + rest.length);
    whole.set(h);
    whole.set(rest, 5);
    whole[4] &= ~4; // the signed hashes say more than its checksum
    this.push(whole, false);
  }
}
