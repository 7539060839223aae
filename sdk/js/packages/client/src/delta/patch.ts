// Version 2: one patch that makes the carried contents of those of the base. How each file comes into being follows from
// the two signed lists alone.

import type { File } from "../words/documents.js";
import { Frame } from "./frame.js";
import { Inflate } from "./inflate.js";
import { Pages } from "./pages.js";
import { Reader, Stored, signed, type Plain } from "./plain.js";
import { invalid } from "./refuse.js";
import {
  carried, carries, checkTags, copies, duplicate, duplicates, headerSize, keep, keeps, readHeader, sameContent, streamOrder,
  type Job, type Splitter, type Step, type Undo,
} from "./release.js";
import { Steps } from "./steps.js";
import { applyWhole } from "./whole.js";

const maxInput = 2 ** 31 - 1;
const maxWindow = 2 << 20;
const mark = 0x50;
const methods = ["stored", "deflate", "zstd", "brotli"] as const;

/** A patch of the profile rich, its beginning read. */
export interface RichPatch {
  /** Class of memory, and where in the container the coded bytes begin. */
  class: number;
  at: number;
  old: Pages;
  newSize: number;
}

/** Reads coded bytes of the profile rich into out. */
export type Rich = (a: Job, p: RichPatch, out: Splitter) => Promise<void>;

/** What comes of the list of rewritten files. */
export interface Rewritten {
  /** Where in the container the patch begins. */
  at: number;
  /** Rewritten forms of files of the base, by their numbers. */
  held: Map<number, Uint8Array>;
  /** What makes carried files of their rewritten forms, in place, by their numbers. */
  undo: Undo;
}

/** Reads that list, and the files of the base that it names. */
export type Bytecode = (a: Job, base: File[], carried: File[]) => Promise<Rewritten>;

/** Applies any container; without rich no patches of that profile, and without bytecode none that is rewritten. */
export async function applyPatch(a: Job, more: { rich?: Rich; bytecode?: Bytecode } = {}): Promise<void> {
  const h = await readHeader(a);
  if (h.version !== 2) return applyWhole(a);
  if (a.from === undefined) throw invalid("it needs a base");
  if (h.codec !== 2 && (h.codec !== 3 || more.bytecode === undefined)) throw invalid(`codec ${h.codec} is not known`);
  const base = a.from.files, target = a.to.files;
  checkTags(h, base, target);
  const steps = plan(base, target);
  await keep(a, steps, base);
  const files = streamOrder(target, steps);
  const code = h.codec === 3 && more.bytecode !== undefined ? await more.bytecode(a, base, files) : undefined;
  const old = new Pages(base, a.base, code?.held);
  try {
    await carried(a, files, (out) => patched(a, old, files.reduce((n, f) => n + f.size, 0), out, code?.at ?? headerSize, more.rich), code?.undo);
  } finally {
    await old.close();
  }
  await duplicate(a, steps);
}

/** Chooses for every target file the first way that its content can be had. */
function plan(base: File[], target: File[]): Step[] {
  const byPath = new Map<string, number>(), byContent = new Map<string, number>(), carriedBefore = new Map<string, number>();
  base.forEach((f, i) => {
    byPath.set(f.path, i);
    if (!byContent.has(f.sha256)) byContent.set(f.sha256, i);
  });
  return target.map((f, i) => {
    const kept = byPath.get(f.path), copied = byContent.get(f.sha256), again = carriedBefore.get(f.sha256);
    if (kept !== undefined && sameContent(base[kept], f)) return { op: keeps, arg: kept };
    if (copied !== undefined && sameContent(base[copied], f)) return { op: copies, arg: copied };
    if (again !== undefined && sameContent(target[again], f)) return { op: duplicates, arg: again };
    carriedBefore.set(f.sha256, i);
    return { op: carries, arg: 0 };
  });
}

async function patched(a: Job, old: Pages, newSize: number, out: Splitter, begin: number, rich?: Rich): Promise<void> {
  const c = a.container;
  if (newSize > maxInput) throw invalid("sizes of 2 GiB and more are not supported");
  if (c.size - begin > newSize + Math.floor(newSize / 32) + 4096) throw invalid("it is larger than what it makes");
  const head = await c.read(begin, Math.min(16, c.size - begin));
  const method = head.length === 0 ? -1 : head[0] - mark;
  if (method < 0 || method > methods.length) throw invalid("it does not begin like a patch");
  let at = method === 0 ? 2 : 1, grown = 0, scale = 1;
  for (let more = true; more; scale *= 128) {
    if (at === head.length) throw invalid("it ends too early");
    grown += (head[at] & 127) * scale;
    more = head[at++] >= 128;
  }
  if (signed(grown) !== newSize - old.size) throw invalid(`it makes ${old.size + signed(grown)} bytes of ${old.size}, signed are ${newSize}`);
  if (method === 0) {
    if (rich === undefined) throw invalid("patches of the profile rich are not applied here");
    return rich(a, { class: head[1], at: begin + at, old, newSize }, out);
  }
  const plain = new Reader(stream(a, methods[method - 1], begin + at));
  await new Steps(a, old, plain, out).run(newSize);
  await plain.finish("bytes follow the last step");
}

function stream(a: Job, method: (typeof methods)[number], at: number): Plain {
  switch (method) {
    case "stored": return new Stored(a.container, at);
    case "deflate": return new Inflate(a.container, at, a.pause);
    case "zstd": return new Frame(a.container, at, maxWindow, a.pause);
    default: throw invalid(`a patch in a stream of ${method} is not applied here`);
  }
}
