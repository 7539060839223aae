// The old side of a patch: the contents of all files of the base, one behind the other, read at random places through a
// few cached pieces.

import type { Source } from "../host.js";
import type { File } from "../words/documents.js";
import { invalid } from "./refuse.js";

export const pageLog = 15;
const pageSize = 1 << pageLog;
const pageCount = 64; // a bundle of 2 MB is read once
const maxOpen = 16;
const maxSize = 2 ** 31 - 1;

export class Pages {
  readonly size: number;
  private readonly starts: number[];
  private readonly open = new Map<number, Source>(); // the latest used last
  private readonly pages = new Map<number, Uint8Array>(); // the latest loaded last
  private number = -1; // the page used last
  private page: Uint8Array = new Uint8Array(0);

  /** held: files, by their numbers, whose bytes are these and not those that base opens. */
  constructor(private readonly files: File[], private readonly base: (f: File) => Promise<Source>, private readonly held?: Map<number, Uint8Array>) {
    this.starts = [0];
    for (const f of files) this.starts.push(this.starts[this.starts.length - 1] + f.size);
    this.size = this.starts[files.length];
    if (this.size > maxSize) throw invalid("sizes of 2 GiB and more are not supported");
  }

  /** Bytes from pos, which lies inside, to the end of its page; undefined when it must be loaded first. */
  at(pos: number): Uint8Array | undefined {
    const n = pos >> pageLog;
    if (n !== this.number) {
      const page = this.pages.get(n);
      if (page === undefined) return undefined;
      this.page = page;
      this.number = n;
    }
    return this.page.subarray(pos & (pageSize - 1));
  }

  /** The byte at pos, which lies inside; -1 when its page must be loaded first. */
  byte(pos: number): number {
    const n = pos >> pageLog;
    if (n !== this.number) {
      const page = this.pages.get(n);
      if (page === undefined) return -1;
      this.page = page;
      this.number = n;
    }
    return this.page[pos & (pageSize - 1)];
  }

  /** Loads the page of pos. The last few that were loaded stay. */
  async load(pos: number): Promise<Uint8Array> {
    const n = pos >> pageLog;
    let page = this.pages.get(n);
    if (page === undefined) {
      if (this.pages.size >= pageCount) this.pages.delete(this.pages.keys().next().value as number);
      page = await this.read(n << pageLog, Math.min(pageSize, this.size - (n << pageLog)));
    } else {
      this.pages.delete(n);
    }
    this.pages.set(n, page);
    return page.subarray(pos & (pageSize - 1));
  }

  private async read(at: number, length: number): Promise<Uint8Array> {
    const out = new Uint8Array(length);
    let i = this.fileAt(at);
    for (let done = 0; done < length; i++) {
      const n = Math.min(length - done, this.starts[i + 1] - at - done);
      if (n <= 0) continue; // an empty file
      const held = this.held?.get(i), from = at + done - this.starts[i];
      if (held !== undefined) {
        out.set(held.subarray(from, from + n), done);
        done += n;
        continue;
      }
      const source = await this.file(i);
      if (source.size !== this.files[i].size) throw new Error(`${this.files[i].path} of the base has ${source.size} bytes of ${this.files[i].size}`);
      out.set(await source.read(from, n), done);
      done += n;
    }
    return out;
  }

  private fileAt(at: number): number {
    let low = 0, high = this.files.length;
    while (high - low > 1) {
      const mid = (low + high) >> 1;
      if (this.starts[mid] <= at) low = mid;
      else high = mid;
    }
    return low;
  }

  private async file(i: number): Promise<Source> {
    let source = this.open.get(i);
    if (source === undefined) {
      if (this.open.size >= maxOpen) {
        const [first, oldest] = this.open.entries().next().value as [number, Source];
        this.open.delete(first);
        await oldest.close();
      }
      source = await this.base(this.files[i]);
    } else {
      this.open.delete(i);
    }
    this.open.set(i, source);
    return source;
  }

  async close(): Promise<void> {
    const sources = [...this.open.values()];
    this.open.clear();
    for (const s of sources) await s.close();
  }
}
