// The entry "./delta/rich": the smallest containers, which a model of the changes takes apart, and those of the entries
// "./delta/simple" and "./delta".

import type { Delta } from "../device/api.js";
import { applyPatch, type RichPatch } from "./patch.js";
import { invalid } from "./refuse.js";
import type { Job, Splitter } from "./release.js";
import { Arith } from "./rich/arith.js";
import { Model } from "./rich/model.js";
import { codecs as simple } from "./simple.js";

/** Codecs that this entry applies. Others of the family ask for more than a host that interprets its program can give. */
export const codecs: readonly string[] = [...simple, "rich/1+js"];

/** Coded decisions that a container may take: about a second of an interpreter. */
export const maxDecisions = 1 << 20;
/** Bytes of tables that rich/1+js may ask for. */
const tables = 16 << 20;

/** Unpacks containers; memory above the process is 4 MiB and the tables, 16 MiB at most, whatever the size of a file. */
export const rich: Delta = {
  can: (codec, memory) => codecs.includes(codec) && (codec !== "rich/1+js" || memory >= tables),
  apply: (a) => applyPatch(a, { rich: read }),
};

const minClass = 18, maxClass = 28, maxSize = 2 ** 30;

/** Bytes of tables of a class of memory. */
function tableBytes(c: number): number {
  return 2 ** (c - 1) + 2 ** (c - 4) + 3 * 4 * 2 ** (c > 24 ? 20 : 18) + (2 << 20);
}

async function read(a: Job, p: RichPatch, out: Splitter): Promise<void> {
  if (p.class < minClass || p.class > maxClass) throw invalid(`class of memory ${p.class} is not known`);
  const need = tableBytes(p.class), allowed = a.memory === 0 ? tables : a.memory;
  if (need > allowed) throw invalid(`it needs tables of ${need} bytes, allowed are ${allowed}`);
  if (p.old.size >= maxSize || p.newSize >= maxSize) throw invalid("sizes of 1 GiB and more are not supported");
  const arith = new Arith(a.container, p.at);
  await new Model(p.old, p.newSize, arith, out, p.class, { decisions: maxDecisions, pause: a.pause }).run();
}
