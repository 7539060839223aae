// What all containers share: which release they are for, in which order contents come, and how those reach the disk. No
// file is written beyond its signed size, and what is made has its signed hash.

import type { Delta, DeltaSink } from "../device/api.js";
import type { Hash } from "../host.js";
import type { File } from "../words/documents.js";
import { Refusal } from "../words/reasons.js";
import { compareBytes, hex, sameBytes, utf8 } from "../verify/bytes.js";
import { invalid } from "./refuse.js";
import { Sha256 } from "./sha256.js";

/** What the unpacking of one container is given. */
export type Job = Parameters<Delta["apply"]>[0];

export const headerSize = 22;

export interface Header {
  version: number;
  codec: number;
}

/** Reads the header, which says what kind of container it is. */
export async function readHeader(a: Job): Promise<Header & { base: Uint8Array; target: Uint8Array }> {
  if (a.container.size < headerSize) throw invalid("it ends too early");
  const h = await a.container.read(0, headerSize);
  if (String.fromCharCode(h[0], h[1], h[2], h[3]) !== "SLPC") throw invalid('it does not begin with "SLPC"');
  return { version: h[4], codec: h[5], base: h.slice(6, 14), target: h.slice(14) };
}

/** Refuses a container for another base (undefined: it needs none) or another release. */
export function checkTags(h: { base: Uint8Array; target: Uint8Array }, base: File[] | undefined, target: File[]): void {
  if (!sameBytes(h.base, base === undefined ? new Uint8Array(8) : tag(base))) throw invalid("it was made for another base");
  if (!sameBytes(h.target, tag(target))) throw invalid("it was made for another release");
}

/** How a file of the target comes into being. arg: index of the base file (kept, copied), of the target file (duplicate). */
export interface Step { op: number; arg: number }
export const keeps = 1, carries = 2, copies = 3, duplicates = 4;

export const sameContent = (a: File, b: File): boolean => a.sha256 === b.sha256 && a.size === b.size;

/** Takes over what the base has. */
export async function keep(a: Job, steps: Step[], base: File[]): Promise<void> {
  for (let i = 0; i < steps.length; i++) {
    if (steps[i].op === keeps || steps[i].op === copies) await a.sink.keep(a.to.files[i], base[steps[i].arg]);
  }
}

/** Makes the files whose content was carried for another one. */
export async function duplicate(a: Job, steps: Step[]): Promise<void> {
  for (let i = 0; i < steps.length; i++) {
    if (steps[i].op === duplicates) await a.sink.duplicate(a.to.files[i], a.to.files[steps[i].arg]);
  }
}

/** The carried files in the order of their contents in the container. */
export function streamOrder(files: File[], steps: Step[]): File[] {
  const carried = files.filter((_, i) => steps[i].op === carries);
  return carried.sort((a, b) => compareBytes(extension(a.path), extension(b.path)) || compareBytes(a.path, b.path));
}

function extension(path: string): string {
  const dot = path.lastIndexOf(".");
  return dot > path.lastIndexOf("/") ? path.slice(dot) : "";
}

function tag(files: File[]): Uint8Array {
  const h = new Sha256();
  for (const f of files) h.update(utf8(`${f.path}\0${f.size}\0${f.sha256}\n`));
  return h.digest().subarray(0, 8);
}

/** By the numbers of carried files: what must be done with a whole one before it is the file. It changes the bytes in place. */
export type Undo = Map<number, (b: Uint8Array) => Promise<void>>;
const piece = 64 << 10;

/** Cuts the bytes that come into the carried files. */
export class Splitter {
  private at = 0;
  private out: Awaited<ReturnType<DeltaSink["create"]>> | undefined;
  private hash: Hash | undefined;
  private left = 0;
  private held: Uint8Array | undefined; // the open file, when it is not yet what it will be

  constructor(private readonly a: Job, private readonly files: File[], private readonly undo: Undo = new Map()) {}

  /** Takes the next bytes, which may be used again when the answer has come. */
  async write(b: Uint8Array): Promise<void> {
    for (let done = 0; done < b.length;) {
      if (this.out === undefined) await this.open();
      if (this.out === undefined) throw invalid("content follows the last file");
      const part = b.subarray(done, done + this.left);
      if (this.held !== undefined) this.held.set(part, this.held.length - this.left);
      else await this.put(part.slice()); // whoever takes it may keep it
      this.left -= part.length;
      done += part.length;
      if (this.left === 0) await this.close();
    }
  }

  private async put(part: Uint8Array): Promise<void> {
    (this.hash as Hash).update(part);
    await (this.out as NonNullable<typeof this.out>).write(part);
  }

  /** Makes the empty files at the end, and refuses when content is missing. */
  async finish(): Promise<void> {
    if (this.out === undefined) await this.open();
    if (this.out !== undefined) throw invalid(`${this.files[this.at].path} is not complete`);
  }

  /** Closes what an error left open. */
  async abandon(): Promise<void> {
    const out = this.out;
    this.out = undefined;
    if (out !== undefined) await out.close();
  }

  /** Opens the next file that has content, and makes the empty ones before it. */
  private async open(): Promise<void> {
    while (this.out === undefined && this.at < this.files.length) {
      const f = this.files[this.at];
      this.out = await this.a.sink.create(f);
      this.hash = this.a.sha256 !== undefined ? this.a.sha256() : new Sha256();
      this.left = f.size;
      this.held = this.undo.has(this.at) ? new Uint8Array(f.size) : undefined;
      if (f.size === 0) await this.close();
    }
  }

  private async close(): Promise<void> {
    const f = this.files[this.at], out = this.out, held = this.held, undo = this.undo.get(this.at);
    if (held !== undefined && undo !== undefined) {
      await undo(held);
      for (let at = 0; at < held.length; at += piece) {
        await this.put(held.slice(at, at + piece));
        if (this.a.pause !== undefined) await this.a.pause();
      }
      this.held = undefined;
    }
    if (hex((this.hash as Hash).digest()) !== f.sha256) throw new Refusal("file_mismatch", `file ${f.path}`, "its hash is not the signed one");
    this.out = undefined;
    this.at++;
    if (out !== undefined) await out.close();
  }
}

/** Runs fill, which writes all carried contents, and sees to it that no file stays open. */
export async function carried(a: Job, files: File[], fill: (out: Splitter) => Promise<void>, undo?: Undo): Promise<void> {
  const out = new Splitter(a, files, undo);
  try {
    await fill(out);
    await out.finish();
  } finally {
    await out.abandon();
  }
}
