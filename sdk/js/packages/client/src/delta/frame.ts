// Decompresses exactly one Zstandard frame (RFC 8878), block by block: memory is bounded by the window that is allowed,
// and the work of a step by a block of 128 KiB.

import type { Source } from "../host.js";
import { Blocks, margin, maxBlock } from "./zstd/block.js";
import { Checksum } from "./zstd/checksum.js";
import { Damaged } from "./zstd/tables.js";
import { invalid } from "./refuse.js";
import type { Plain } from "./plain.js";

/** Blocks after which others have their turn: they may be empty. */
const restAfter = 32;

/** Plain bytes of the one frame that stands in source from at to its end. */
export class Frame implements Plain {
  private blocks: Blocks | undefined;
  private most = 0;
  private used = 0;
  private last = false;
  private done = false;
  private checksum: Checksum | undefined;
  private size: number | undefined;
  private made = 0;
  private count = 0;
  private body = new Uint8Array(0);

  constructor(private readonly source: Source, private at: number, private readonly maxWindow: number, private readonly pause?: () => Promise<void>) {}

  async some(most: number): Promise<Uint8Array> {
    while (this.blocks === undefined || this.used === this.blocks.end) {
      if (this.done) return new Uint8Array(0);
      await this.block();
    }
    const part = this.blocks.buffer.subarray(this.used, Math.min(this.blocks.end, this.used + most));
    this.used += part.length;
    return part;
  }

  async finish(): Promise<void> {
    if (this.at !== this.source.size) throw invalid("bytes follow the end");
  }

  private async take(n: number): Promise<Uint8Array> {
    if (n > this.source.size - this.at) throw invalid("it ends too early");
    const b = await this.source.read(this.at, n);
    this.at += n;
    return b;
  }

  private async block(): Promise<void> {
    const blocks = this.blocks ?? await this.header();
    if (this.last) return this.end();
    if (this.pause !== undefined && ++this.count % restAfter === 0) await this.pause();
    const h = await this.take(3);
    const v = h[0] | (h[1] << 8) | (h[2] << 16);
    const kind = (v >> 1) & 3, size = v >> 3;
    if (kind === 3 || size > this.most) throw invalid("a block is malformed");
    const body = await this.take(kind === 1 ? 1 : size);
    this.last = (v & 1) !== 0;
    this.used -= blocks.makeRoom(this.most);
    const before = blocks.end;
    if (kind === 0) blocks.raw(body);
    else if (kind === 1) blocks.run(body[0], size);
    else this.decode(blocks, body);
    this.made += blocks.end - before;
    if (this.size !== undefined && this.made > this.size) throw invalid("its frame makes more than it says");
    if (this.checksum !== undefined) this.checksum.update(blocks.buffer.subarray(before, blocks.end));
  }

  private decode(blocks: Blocks, body: Uint8Array): void {
    if (this.body.length < margin + body.length + 8) this.body = new Uint8Array(margin + 8 + Math.min(maxBlock, 2 * body.length));
    this.body.set(body, margin);
    try {
      blocks.compressed(this.body, margin + body.length);
    } catch (err) {
      if (err instanceof Damaged) throw invalid(`its compressed bytes are damaged: ${err.message}`, err);
      throw err;
    }
  }

  private async end(): Promise<void> {
    this.done = true;
    if (this.size !== undefined && this.made !== this.size) throw invalid("its frame makes less than it says");
    if (this.checksum === undefined) return;
    const b = await this.take(4);
    if ((b[0] | (b[1] << 8) | (b[2] << 16) | (b[3] << 24)) !== this.checksum.low()) throw invalid("its checksum is wrong");
  }

  private async header(): Promise<Blocks> {
    const h = await this.take(5);
    const d = h[4];
    if (h[0] !== 0x28 || h[1] !== 0xb5 || h[2] !== 0x2f || h[3] !== 0xfd || (d & 8) !== 0) throw invalid("its frame is malformed");
    if ((d & 3) !== 0) throw invalid("its frame needs a dictionary");
    const single = (d & 0x20) !== 0;
    const bytes = [single ? 1 : 0, 2, 4, 8][d >> 6];
    const rest = await this.take(bytes + (single ? 0 : 1));
    let window = 0;
    if (!single) {
      const base = 2 ** (10 + (rest[0] >> 3));
      window = base + (base / 8) * (rest[0] & 7);
    }
    if (bytes > 0) {
      this.size = bytes === 2 ? 256 : 0;
      for (let i = bytes - 1, scale = 2 ** (8 * i); i >= 0; i--, scale /= 256) this.size += rest[rest.length - bytes + i] * scale;
      if (single) window = this.size;
    }
    if (window > this.maxWindow) throw invalid(`it needs a window of ${window} bytes, allowed are ${this.maxWindow}`);
    if ((d & 4) !== 0) this.checksum = new Checksum();
    this.most = Math.min(window, maxBlock);
    this.blocks = new Blocks(window, this.most);
    return this.blocks;
  }
}
