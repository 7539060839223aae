// Version 1: full/1 and changed/1. Every count is checked against the two signed lists of files.

import type { File } from "../words/documents.js";
import { Frame } from "./frame.js";
import { Reader, signed } from "./plain.js";
import { invalid } from "./refuse.js";
import {
  carried, carries, checkTags, copies, duplicate, duplicates, headerSize, keep, keeps, readHeader, sameContent, streamOrder, type Job, type Step,
} from "./release.js";

const overhead = 1 << 20;
const maxWindow = 8 << 20;

/** Applies a container of version 1; others are not known. */
export async function applyWhole(a: Job): Promise<void> {
  const target = a.to.files;
  const signed = target.reduce((n, f) => n + f.size, 0);
  if (a.container.size > signed + overhead) throw invalid("it is larger than the signed sizes allow");
  const h = await readHeader(a);
  if (h.version !== 1 || h.codec > 1) throw invalid(`format version ${h.version} with codec ${h.codec} is not known`);
  if (h.codec === 1 && a.from === undefined) throw invalid("it needs a base");
  const base = h.codec === 1 && a.from !== undefined ? a.from.files : [];
  checkTags(h, h.codec === 1 ? base : undefined, target);
  const plain = new Reader(new Frame(a.container, headerSize, maxWindow, a.pause));
  const steps = await readSteps(plain, base, target);
  await keep(a, steps, base);
  const files = streamOrder(target, steps);
  let left = files.reduce((n, f) => n + f.size, 0);
  await carried(a, files, async (out) => {
    while (left > 0) {
      const b = await plain.some(left);
      if (b.length === 0) throw invalid("it ends too early");
      await out.write(b);
      left -= b.length;
      if (a.pause !== undefined) await a.pause();
    }
    await plain.finish("content follows the last file");
  });
  await duplicate(a, steps);
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
      first = copyEnd + signed(await frame.uvarint());
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
      if (op !== carries && (of === undefined || !sameContent(of, f))) throw invalid(`${f.path} is not the same as what it is taken from`);
      steps.push({ op, arg: op === carries || arg === undefined ? 0 : arg });
    }
  }
  return steps;
}
