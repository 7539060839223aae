// What the instructions of each version of the bytecode look like.
import { alike, instructions, recent } from "./tables.js";

/** Kinds of operands, as the tables name them. */
export const stringID = 115, functionID = 102, arrayAt = 97, keysAt = 107, valuesAt = 118, literals = 110, jumpTableAt = 106, shapeID = 111, casesAt = 119;

export interface Version {
  /** Bytes of an instruction with its opcode; 0: not known. */
  lengths: Uint8Array;
  /** Of the operands that matter: kind, place in the instruction and width, one behind the other. */
  operands: (Uint8Array | undefined)[];
  /** The file is laid out as from 98 on. */
  recent: boolean;
}

/** Gives the description of a version of the bytecode, or nothing. */
export function versionOf(n: number): Version | undefined {
  const table: string | undefined = instructions[alike[n] ?? n];
  if (table === undefined) return undefined;
  const v: Version = { lengths: new Uint8Array(256), operands: new Array<Uint8Array | undefined>(256).fill(undefined), recent: recent.includes(n) };
  table.split(",").forEach((entry, code) => {
    if (entry === "") return;
    v.lengths[code] = parseInt(entry[0], 36);
    if (entry.length === 1) return;
    const o = new Uint8Array(entry.length - 1);
    for (let i = 0; i < o.length; i++) o[i] = i % 3 === 0 ? entry.charCodeAt(i + 1) : parseInt(entry[i + 1], 36);
    v.operands[code] = o;
  });
  return v;
}
