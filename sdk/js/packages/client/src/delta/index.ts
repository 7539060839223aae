// Applies the containers full/1 and changed/1. Nothing in a container is trusted: every count is checked against the two
// signed lists of files, no file is written beyond its signed size, and what is made has its signed hash.

import { sha256 } from "@noble/hashes/sha2.js";
import { utf8ToBytes } from "@noble/hashes/utils.js";
import type { Delta } from "../device/api.js";
import type { File } from "../words/documents.js";
import { Refusal } from "../words/reasons.js";
import { Frame } from "./frame.js";
import { Reader } from "./plain.js";
import { invalid } from "./refuse.js";

/** Codecs that this build applies. */
export const codecs: readonly string[] = ["full/1", "changed/1"];

/** Unpacks containers; memory above the process is some 9 MiB, whatever the size of a file. */
export const delta: Delta = { can: (codec) => codecs.includes(codec), apply };

const overhead = 1 << 20;
const slice = 64 << 10;
const maxWindow = 8 << 20;

interface Step { op: number; arg: number }
const keeps = 1, carries = 2, copies = 3, duplicates = 4;

async function apply(a: Parameters<Delta["apply"]>[0]): Promise<void> {
  const target = a.to.files;
  const signed = target.reduce((n, f) => n + f.size, 0);
  if (a.container.size > signed + overhead) throw invalid("it is larger than the signed sizes allow");
  if (a.container.size < 22) throw invalid("it ends too early");
  const h = await a.container.read(0, 22);
  if (String.fromCharCode(h[0], h[1], h[2], h[3]) !== "SLPC") throw invalid('it does not begin with "SLPC"');
  if (h[4] !== 1 || h[5] > 1) throw invalid(`format version ${h[4]} with codec ${h[5]} is not known`);
  if (h[5] === 1 && a.from === undefined) throw invalid("it needs a base");
  const base = h[5] === 1 && a.from !== undefined ? a.from.files : [];
  const none = new Uint8Array(8);
  if (!alike(h.subarray(6, 14), h[5] === 1 ? tag(base) : none)) throw invalid("it was made for another base");
  if (!alike(h.subarray(14), tag(target))) throw invalid("it was made for another release");
  const frame = new Reader(new Frame(a.container, 22, maxWindow));
  const steps = await readSteps(frame, base, target);
  for (let i = 0; i < steps.length; i++) {
    if (steps[i].op === keeps || steps[i].op === copies) await a.sink.keep(target[i], base[steps[i].arg]);
  }
  for (const f of streamOrder(target, steps)) {
    await create(frame, f, a);
  }
  await frame.finish("content follows the last file");
  for (let i = 0; i < steps.length; i++) {
    if (steps[i].op === duplicates) await a.sink.duplicate(target[i], target[steps[i].arg]);
  }
}

async function create(frame: Reader, f: File, a: Parameters<Delta["apply"]>[0]): Promise<void> {
  const out = await a.sink.create(f);
  let closed = false;
  try {
    const hash = sha256.create();
    for (let left = f.size; left > 0;) {
      const b = await frame.some(Math.min(left, slice));
      if (b.length === 0) throw invalid(`${f.path} is not complete`);
      hash.update(b);
      await out.write(b.slice()); // whoever takes it may keep it
      left -= b.length;
      if (a.pause !== undefined) await a.pause();
    }
    if (hex(hash.digest()) !== f.sha256) throw new Refusal("file_mismatch", `file ${f.path}`, "its hash is not the signed one");
    closed = true;
    await out.close();
  } finally {
    if (!closed) await out.close();
  }
}

async function readSteps(frame: Reader, base: File[], target: File[]): Promise<Step[]> {
  const byPath = new Map<string, number>();
  base.forEach((f, i) => byPath.set(f.path, i));
  const steps: Step[] = [];
  let copyEnd = 0;
  while (steps.length < target.length) {
    const op = await frame.byte();
    const count = await frame.uvarint();
    if (count === 0 || count > target.length - steps.length) throw invalid(`run of ${count} files`);
    if (op < keeps || op > duplicates) throw invalid(`unknown operation ${op}`);
    let first = 0;
    if (op === copies) {
      const v = await frame.uvarint();
      first = copyEnd + (v % 2 === 0 ? v / 2 : -(v + 1) / 2);
      if (first < 0 || first + count > base.length) throw invalid("base files out of range");
      copyEnd = first + count;
    } else if (op === duplicates) {
      first = await frame.uvarint();
      if (count !== 1 || first >= steps.length || steps[first].op !== carries) throw invalid("a duplicate of what is not carried");
    }
    for (let k = 0; k < count; k++) {
      const f = target[steps.length];
      const arg = op === keeps ? byPath.get(f.path) : first + k;
      const of = arg === undefined ? undefined : op === duplicates ? target[arg] : base[arg];
      if (op !== carries && (of === undefined || of.sha256 !== f.sha256 || of.size !== f.size)) throw invalid(`${f.path} is not the same as what it is taken from`);
      steps.push({ op, arg: op === carries || arg === undefined ? 0 : arg });
    }
  }
  return steps;
}

function streamOrder(files: File[], steps: Step[]): File[] {
  const carried = files.filter((_, i) => steps[i].op === carries);
  return carried.sort((a, b) => compare(extension(a.path), extension(b.path)) || compare(a.path, b.path));
}

function extension(path: string): string {
  const dot = path.lastIndexOf(".");
  return dot > path.lastIndexOf("/") ? path.slice(dot) : "";
}

/** Compares by UTF-8 bytes, which is not the order of UTF-16. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  const x = utf8ToBytes(a), y = utf8ToBytes(b);
  for (let i = 0; i < x.length && i < y.length; i++) {
    if (x[i] !== y[i]) return x[i] - y[i];
  }
  return x.length - y.length;
}

function tag(files: File[]): Uint8Array {
  const h = sha256.create();
  for (const f of files) h.update(utf8ToBytes(`${f.path}\0${f.size}\0${f.sha256}\n`));
  return h.digest().subarray(0, 8);
}

function alike(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}

function hex(b: Uint8Array): string {
  return Array.from(b, (v) => v.toString(16).padStart(2, "0")).join("");
}
