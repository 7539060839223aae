// Hermes bytecode is rewritten before it is compared, so that what changes at every compile for reasons of layout alone stays
// the same: strings are numbered as in the old file, offsets and ids are distances, hashes are zero. Here the rewriting is
// undone. Nothing moves, so a rewritten file is as long as the file.
import { Instructions } from "./instructions.js";
import { layoutOf, type Layout } from "./layout.js";
import type { Rest } from "./slices.js";
import { Tables } from "./tables-of-file.js";
import { align, Finder, textsOf } from "./texts.js";

/** A file of the base that others are rewritten against. */
export class Old {
  private constructor(/** Its rewritten form. */ readonly base: Uint8Array, private readonly texts: Finder) {}

  /** Takes a file over and turns it into its rewritten form; gives nothing when it is not bytecode that is known. */
  static async open(file: Uint8Array, rest: Rest): Promise<Old | undefined> {
    const l = layoutOf(file), texts = l && await textsOf(file, l, rest);
    if (l === undefined || texts === undefined) return undefined;
    const finder = await Finder.of(texts, rest), tables = new Tables(file, l);
    await new Instructions(tables).run(rest);
    await tables.entries(false, rest);
    await tables.offsets(false, rest);
    file.fill(0, l.hashes.at, l.hashes.end);
    file.fill(0, l.footer);
    return new Old(file, finder);
  }

  /**
   * Turns a rewritten file into what it was, in place, but for the hash at its end, which stays as it came. It takes any bytes:
   * what comes of those that nobody rewrote is for the signed hash to tell. False: they are no bytecode that is known.
   */
  async restore(rewritten: Uint8Array, rest: Rest): Promise<boolean> {
    const l: Layout | undefined = layoutOf(rewritten);
    if (l === undefined) return false;
    const tables = new Tables(rewritten, l);
    await tables.offsets(true, rest);
    await tables.entries(true, rest);
    const texts = await textsOf(rewritten, l, rest);
    if (texts === undefined) return false;
    const ids = await align(this.texts, texts, rest);
    await tables.names(ids, rest);
    const instructions = new Instructions(tables, ids);
    await instructions.run(rest);
    await instructions.literals(rest);
    await tables.rehash(texts, rest);
    return true;
  }
}
