// The device's directory over a platform's own file API, which knows less than the client needs: no replacing in one step,
// no folders that move in one step, no writing piece by piece.
import { NotFound, type Files, type Sink, type Source } from "../host.js";

/** A platform's file API. Paths are relative to the device's directory, "" is the directory itself. */
export interface Drive {
  /** length bytes at offset, or all. Rejects with a NotFound. */
  read(path: string, offset?: number, length?: number): Promise<Uint8Array>;
  /** Writes the whole file, or goes on at its end. The folder exists. Rejects with a StorageFull. */
  write(path: string, bytes: Uint8Array, append: boolean): Promise<void>;
  /** Moves one file, or a folder where movesFolders says so. The new name is free. */
  move(from: string, to: string): Promise<void>;
  /** Removes a file or a whole folder; what is not there is removed already. */
  remove(path: string): Promise<void>;
  /** Makes one folder, whose parent exists. One that is there already is fine. */
  makeFolder(path: string): Promise<void>;
  /** What is in a folder; nothing when there is none. */
  list(path: string): Promise<{ name: string; folder: boolean }[]>;
  stat(path: string): Promise<{ size: number; folder: boolean } | undefined>;
  /** Bytes that are gathered before a piece is written: writing a piece has its price. */
  readonly piece: number;
  /** Going on at the end of a file copies all of it: pieces grow with the file, so that all copying together is four times its size. */
  readonly copies?: boolean;
  /** A folder moves in one step. Without it the move is written down first and finished after a crash. */
  readonly movesFolders: boolean;
}

/** A file that takes the place of another one, until it has its name. */
const NEXT = "~next";
/** The folder move that is under way. */
const MOVING = "moving.json";
/** Whether a path is of a file in a release: its name is the publisher's choice, also one that ends like ours. */
const released = (path: string) => /^(releases|staging)\/[^/]+\/./.test(path);

export class DriveFiles implements Files {
  private folders = new Set<string>([""]);

  constructor(private readonly drive: Drive, private readonly find: (path: string) => string) {}

  /** Finishes what a crash cut off. Called by whoever holds the lock, before anything else. */
  async recover(): Promise<void> {
    this.folders = new Set([""]); // whoever held the lock before may have removed some
    if (this.drive.movesFolders || !(await this.drive.stat(MOVING))) return;
    let move: { from?: unknown; to?: unknown } = {};
    try {
      move = JSON.parse(text(await this.drive.read(MOVING))) as typeof move;
    } catch (e) {
      // A torn note was written before anything moved.
    }
    if (typeof move.from === "string" && typeof move.to === "string") await this.moveAll(move.from, move.to);
    await this.drive.remove(MOVING);
  }

  async read(path: string): Promise<Uint8Array> {
    for (const at of this.places(path)) {
      try {
        return await this.drive.read(at);
      } catch (e) {
        if (!(e instanceof NotFound)) throw e;
      }
    }
    throw new NotFound(path);
  }

  async open(path: string): Promise<Source> {
    const found = await this.look(path);
    if (!found) throw new NotFound(path);
    const { at, size } = found;
    return {
      size,
      read: async (offset, length) => {
        if (length === 0) return new Uint8Array(0);
        const bytes = await this.drive.read(at, offset, length);
        if (bytes.length !== length) throw new Error(`${path} has no ${length} bytes at ${offset}`);
        return bytes;
      },
      close: () => Promise.resolve(),
    };
  }

  async create(path: string, options?: { append?: boolean; executable?: boolean }): Promise<Sink> {
    await this.above(path);
    const before = options?.append === true ? await this.drive.stat(path) : undefined;
    let written = before?.size ?? 0, pending: Uint8Array[] = [], size = 0;
    if (!before) await this.drive.write(path, new Uint8Array(0), false);
    const flush = async () => {
      if (size === 0) return;
      const bytes = join(pending, size);
      pending = [];
      size = 0;
      await this.drive.write(path, bytes, true);
      written += bytes.length;
    };
    return {
      write: async (bytes) => {
        pending.push(bytes.slice());
        size += bytes.length;
        if (size >= Math.max(this.drive.piece, this.drive.copies ? written / 4 : 0)) await flush();
      },
      close: flush,
    };
  }

  async replace(path: string, bytes: Uint8Array): Promise<void> {
    await this.above(path);
    await this.settle(path);
    await this.drive.write(path + NEXT, bytes, false);
    await this.drive.remove(path);
    await this.drive.move(path + NEXT, path);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.above(to);
    const what = await this.drive.stat(from);
    if (!what) throw new NotFound(from);
    if (await this.drive.stat(to)) throw new Error(`${to} is there already`);
    this.forget(from);
    if (!what.folder || this.drive.movesFolders) return this.drive.move(from, to);
    await this.drive.write(MOVING, bytesOf(JSON.stringify({ from, to })), false);
    await this.moveAll(from, to);
    await this.drive.remove(MOVING);
  }

  async remove(path: string): Promise<void> {
    this.forget(path);
    if (!released(path)) await this.drive.remove(path + NEXT);
    await this.drive.remove(path);
  }

  async list(path: string): Promise<string[]> {
    const names = new Set<string>();
    for (const { name, folder } of await this.drive.list(path)) {
      if (path === "" && name === MOVING) continue;
      names.add(folder ? name + "/" : name.endsWith(NEXT) && !released(`${path}/${name}`) ? name.slice(0, -NEXT.length) : name);
    }
    return [...names];
  }

  async size(path: string): Promise<number | undefined> {
    return (await this.look(path))?.size;
  }

  locate(path: string): string {
    return this.find(path);
  }

  /**
   * Where a file may stand: between the two steps of a replacement, or after a crash there, under its next name. Looking
   * moves nothing, because another tab may be in the middle of it, and that one holds the lock.
   */
  private places(path: string): string[] {
    return released(path) ? [path] : [path, path + NEXT, path];
  }

  private async look(path: string): Promise<{ at: string; size: number } | undefined> {
    for (const at of this.places(path)) {
      const what = await this.drive.stat(at);
      if (what) return what.folder ? undefined : { at, size: what.size };
    }
    return undefined;
  }

  /** Gives the file its name when a crash came between removing the old one and that. */
  private async settle(path: string): Promise<void> {
    if (released(path)) return;
    if (!(await this.drive.stat(path)) && (await this.drive.stat(path + NEXT))) await this.drive.move(path + NEXT, path);
  }

  /** Goes on where it was: what moved already is no longer under from. */
  private async moveAll(from: string, to: string): Promise<void> {
    await this.above(to + "/x");
    for (const { name, folder } of await this.drive.list(from)) {
      if (folder) await this.moveAll(`${from}/${name}`, `${to}/${name}`);
      else {
        await this.drive.remove(`${to}/${name}`);
        await this.drive.move(`${from}/${name}`, `${to}/${name}`);
      }
    }
    await this.drive.remove(from);
  }

  private async above(path: string): Promise<void> {
    const parts = path.split("/").slice(0, -1);
    for (let n = 1; n <= parts.length; n++) {
      const folder = parts.slice(0, n).join("/");
      if (this.folders.has(folder)) continue;
      await this.drive.makeFolder(folder);
      this.folders.add(folder);
    }
  }

  private forget(path: string): void {
    for (const folder of [...this.folders]) if (folder === path || folder.startsWith(path + "/")) this.folders.delete(folder);
  }
}

function join(parts: Uint8Array[], size: number): Uint8Array {
  if (parts.length === 1) return parts[0];
  const out = new Uint8Array(size);
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

// File names and the note are ASCII JSON of our own: the client's paths escape to it.
function bytesOf(json: string): Uint8Array {
  const ascii = json.replace(/[\u0080-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  return Uint8Array.from(ascii, (c) => c.charCodeAt(0));
}

function text(bytes: Uint8Array): string {
  let out = "";
  for (const b of bytes) out += String.fromCharCode(b);
  return out;
}
