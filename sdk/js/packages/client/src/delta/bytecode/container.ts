// Containers of codec 3: in front of the patch a list says which files are rewritten, and against which of the base.
import type { File } from "../../words/documents.js";
import type { Bytecode, Rewritten } from "../patch.js";
import { Reader, Stored } from "../plain.js";
import { invalid } from "../refuse.js";
import { headerSize, type Job } from "../release.js";
import { maxFile } from "./layout.js";
import { Old } from "./old.js";

const memoryAsUsual = 16 << 20;
const piece = 256 << 10;

/** A carried file and the one of the base that it is rewritten against, by their numbers. */
interface Pair { carried: number; old: number }

/** Reads the list and the files of the base that it names. All is checked against the signed sizes before it is allocated. */
export const bytecode: Bytecode = async (a, base, carried) => {
  const source = new Stored(a.container, headerSize), plain = new Reader(source);
  const pairs = await list(plain, base, carried), at = source.at - plain.unread;
  const need = memoryFor(pairs, base, carried), allowed = a.memory === 0 ? memoryAsUsual : a.memory;
  if (need >= allowed) throw invalid(`it needs ${need} bytes for bytecode, allowed are ${allowed}`);
  const rest = async () => { if (a.pause !== undefined) await a.pause(); };
  const olds = new Map<number, Old>(), held = new Map<number, Uint8Array>(), undo: Rewritten["undo"] = new Map();
  for (const p of pairs) {
    const old = olds.get(p.old) ?? await Old.open(await whole(a, base[p.old]), rest), file = carried[p.carried];
    if (old === undefined) throw invalid(`${file.path} is rewritten against ${base[p.old].path}, which is no bytecode that is known`);
    olds.set(p.old, old);
    held.set(p.old, old.base);
    undo.set(p.carried, async (b) => {
      if (!await old.restore(b, rest)) throw invalid(`${file.path} is no bytecode that is known`);
    });
  }
  return { at, held, undo };
};

async function list(plain: Reader, base: File[], carried: File[]): Promise<Pair[]> {
  const n = await plain.uvarint(), out: Pair[] = [];
  if (n === 0 || n > carried.length) throw invalid(`${n} files are rewritten of ${carried.length}`);
  for (let next = 0; out.length < n;) {
    const p = { carried: next + await plain.uvarint(), old: await plain.uvarint() };
    if (p.carried >= carried.length || p.old >= base.length) throw invalid("a file is rewritten that is not there");
    if (base[p.old].size > maxFile || carried[p.carried].size > maxFile) throw invalid(`${carried[p.carried].path} is too large to be rewritten`);
    out.push(p);
    next = p.carried + 1;
  }
  return out;
}

/** What undoing takes by the rule of the format: 3/2 of every file of the base that is named, and 5/2 of the largest carried one. */
function memoryFor(pairs: Pair[], base: File[], carried: File[]): number {
  let held = 0, largest = 0;
  for (const old of new Set(pairs.map((p) => p.old))) held += Math.floor((base[old].size * 3) / 2);
  for (const p of pairs) largest = Math.max(largest, Math.floor((carried[p.carried].size * 5) / 2));
  return held + largest;
}

async function whole(a: Job, f: File): Promise<Uint8Array> {
  const source = await a.base(f);
  try {
    if (source.size !== f.size) throw new Error(`${f.path} of the base has ${source.size} bytes of ${f.size}`);
    const b = new Uint8Array(f.size);
    for (let at = 0; at < f.size; at += piece) {
      b.set(await source.read(at, Math.min(piece, f.size - at)), at);
      if (a.pause !== undefined) await a.pause();
    }
    return b;
  } finally {
    await source.close();
  }
}
