// Module ids that depend on nothing but the package and the path inside the project: the same on every machine and
// untouched by what is added or removed elsewhere.
import { createHash } from "node:crypto";
import { isAbsolute, relative, sep } from "node:path";

/** The path as ids and messages know it: relative to root, with "/" between parts. */
export function projectPath(root: string, file: string): string {
  const path = isAbsolute(file) ? relative(root, file) : file;
  return sep === "/" ? path : path.split(sep).join("/");
}

/** The first 53 bits of sha256(package NUL path): an integer that every JavaScript engine holds exactly. */
export function moduleId(pkg: string, path: string): number {
  const hash = createHash("sha256").update(pkg).update("\0").update(path).digest();
  return hash.readUInt32BE(0) * 0x200000 + (hash.readUInt32BE(4) >>> 11);
}

/** Gives ids and remembers them, so that two paths can never share one unnoticed. */
export class Ids {
  private readonly taken = new Map<number, string>();

  of(pkg: string, path: string): number {
    const id = moduleId(pkg, path);
    this.claim(id, pkg + ":" + path);
    return id;
  }

  /** Notes that an id stands for this name. */
  claim(id: number, name: string): void {
    const other = this.taken.get(id);
    if (other !== undefined && other !== name) {
      throw new Error(`the modules ${other} and ${name} have the same id ${id}: rename one of the two files`);
    }
    this.taken.set(id, name);
  }
}
