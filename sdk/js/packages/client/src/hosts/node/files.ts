/// <reference types="node" />
// The device's directory on a real disk.
import { randomBytes } from "node:crypto";
import { constants, promises as fs } from "node:fs";
import * as path from "node:path";
import { NotFound, StorageFull, type Files, type Sink, type Source } from "../../host.js";
import { Refusal } from "../../words/reasons.js";

/** Whole files on their way to their names. Nothing in it outlives the process that made it. */
const TEMP = ".temp";
/** Small writes are gathered up to so many bytes. */
const PIECE = 64 * 1024;
// A link is never followed; Windows has no such flag and makes no links without asking.
const NOFOLLOW = constants.O_NOFOLLOW ?? 0;

type FileHandle = Awaited<ReturnType<typeof fs.open>>;

export const codeOf = (e: unknown): string => String((e as { code?: unknown } | undefined)?.code ?? "");

/** What the operating system says, in the words of a host. */
export function worded(e: unknown, what: string): unknown {
  switch (codeOf(e)) {
    case "ENOENT":
    case "ENOTDIR":
      return new NotFound(what);
    case "ENOSPC":
    case "EDQUOT":
      return new StorageFull(`${what}: the disk is full (${codeOf(e)})`);
    case "EROFS":
    case "EACCES":
    case "EPERM":
      return new Refusal("read_only", what, `this process may not write or read it (${codeOf(e)})`, e);
    case "ELOOP":
      return new Error(`${what} is a link: links are not followed`);
  }
  return e;
}

/**
 * A folder of the file system, given by its real path. What close or replace has acknowledged survives a power cut on file
 * systems that keep their word to fsync; on Windows, where folders cannot be flushed, a name may be lost but never a part
 * of a file. A path that leads out of the folder, also by a symbolic link, is refused.
 */
export class NodeFiles implements Files {
  private readonly folders = new Set<string>();

  constructor(private readonly root: string) {}

  /** Removes what a crash left on its way. Called by whoever holds the lock. */
  async recover(): Promise<void> {
    await fs.rm(path.join(this.root, TEMP), { recursive: true, force: true });
    this.folders.delete(path.join(this.root, TEMP));
  }

  async read(name: string): Promise<Uint8Array> {
    const { handle, size } = await this.look(name);
    try {
      return await readExactly(handle, name, 0, size);
    } finally {
      await handle.close();
    }
  }

  async open(name: string): Promise<Source> {
    const { handle, size } = await this.look(name);
    return { size, read: (offset, length) => readExactly(handle, name, offset, length), close: () => handle.close() };
  }

  async create(name: string, options?: { append?: boolean; executable?: boolean }): Promise<Sink> {
    const file = await this.place(name), mode = options?.executable ? 0o755 : 0o644;
    const flags = constants.O_WRONLY | constants.O_CREAT | NOFOLLOW | (options?.append ? constants.O_APPEND : constants.O_TRUNC);
    const handle = await doing(name, () => fs.open(file, flags, mode));
    try {
      // The mode of a file that was there already, and what the umask took away.
      if (options?.executable) await handle.chmod(mode);
      return new NodeSink(handle, name, () => syncFolder(path.dirname(file)));
    } catch (e) {
      await handle.close();
      throw worded(e, name);
    }
  }

  async replace(name: string, bytes: Uint8Array): Promise<void> {
    const file = await this.place(name), temp = await this.place(`${TEMP}/${randomBytes(8).toString("hex")}`);
    await doing(name, async () => {
      try {
        const handle = await fs.open(temp, "wx", 0o644);
        try {
          await writeAll(handle, bytes);
          await handle.sync();
        } finally {
          await handle.close();
        }
        await renamed(temp, file);
      } catch (e) {
        await fs.rm(temp, { force: true }).catch(() => undefined);
        throw e;
      }
      await syncFolder(path.dirname(file));
    });
  }

  async rename(from: string, to: string): Promise<void> {
    const old = await this.inside(from);
    const what = await doing(from, () => fs.lstat(old));
    const target = await this.place(to);
    await doing(to, async () => {
      if (await fs.lstat(target).catch(absent)) throw new Error(`${to} is there already`);
      this.forget(old);
      if (what.isDirectory()) await syncTree(old);
      await renamed(old, target);
      await syncFolder(path.dirname(target));
      if (path.dirname(old) !== path.dirname(target)) await syncFolder(path.dirname(old));
    });
  }

  async remove(name: string): Promise<void> {
    const file = await this.inside(name);
    if (file === this.root) throw new Error("the device's directory itself stays");
    this.forget(file);
    await doing(name, async () => {
      await fs.rm(file, { recursive: true, force: true, maxRetries: 3 });
      await syncFolder(path.dirname(file)).catch(absent);
    });
  }

  async list(name: string): Promise<string[]> {
    const folder = await this.inside(name);
    await this.stays(folder, name);
    const entries = await fs.readdir(folder, { withFileTypes: true }).catch((e: unknown) => {
      if (codeOf(e) === "ENOENT") return [];
      throw worded(e, name);
    });
    return entries.filter((e) => name !== "" || e.name !== TEMP).map((e) => (e.isDirectory() ? e.name + "/" : e.name));
  }

  async size(name: string): Promise<number | undefined> {
    const file = await this.inside(name);
    const what = await fs.lstat(file).catch(absent).catch((e: unknown) => {
      throw worded(e, name);
    });
    return what?.isFile() ? what.size : undefined;
  }

  locate(name: string): string {
    return path.join(this.root, ...this.parts(name));
  }

  private parts(name: string): string[] {
    const parts = name === "" ? [] : name.split("/");
    for (const part of parts) {
      const odd = part === "" || part === "." || part === ".." || part.includes("\0") || (path.sep === "\\" && /[\\:]/.test(part));
      if (odd) throw new Error(`${JSON.stringify(name)} leads out of the device's directory or is no path of a file in it`);
    }
    return parts;
  }

  /** The path on disk, all of whose folders lie inside. */
  private async inside(name: string): Promise<string> {
    const file = this.locate(name);
    if (file !== this.root) await this.stays(path.dirname(file), name);
    return file;
  }

  /** Refuses a folder whose real path is outside; one that is missing is judged by what is above it. */
  private async stays(folder: string, name: string): Promise<void> {
    for (let at = folder; at !== this.root && !this.folders.has(at); at = path.dirname(at)) {
      const real = await fs.realpath(at).catch(absent);
      if (real !== undefined) {
        if (real !== this.root && !real.startsWith(this.root + path.sep)) throw new Error(`${JSON.stringify(name)} leads out of the device's directory, to ${real}`);
        return;
      }
      // A link to nowhere is missing too, yet something stands there.
      if (await fs.lstat(at).catch(() => undefined)) throw new Error(`${JSON.stringify(name)} goes through ${at}, a link to nowhere`);
    }
  }

  /** The path on disk, with all folders above it made. */
  private async place(name: string): Promise<string> {
    const file = await this.inside(name), folder = path.dirname(file);
    if (file === this.root) throw new Error("the device's directory itself is no file");
    if (!this.folders.has(folder)) {
      await doing(name, async () => {
        const first = await fs.mkdir(folder, { recursive: true });
        for (let at = folder; first && at.length >= first.length; at = path.dirname(at)) await syncFolder(path.dirname(at));
      });
      this.folders.add(folder);
    }
    return file;
  }

  private forget(file: string): void {
    for (const folder of [...this.folders]) if (folder === file || folder.startsWith(file + path.sep)) this.folders.delete(folder);
  }

  private async look(name: string): Promise<{ handle: FileHandle; size: number }> {
    const file = await this.inside(name);
    const handle = await doing(name, () => fs.open(file, constants.O_RDONLY | NOFOLLOW | (constants.O_NONBLOCK ?? 0)));
    try {
      const what = await handle.stat();
      if (!what.isFile()) throw new NotFound(`${name} is no file`);
      return { handle, size: what.size };
    } catch (e) {
      await handle.close();
      throw worded(e, name);
    }
  }
}

/** Gathers small pieces; what does not fit is written at once. */
class NodeSink implements Sink {
  private readonly pending = Buffer.allocUnsafe(PIECE);
  private held = 0;
  private broken = false;

  constructor(private readonly handle: FileHandle, private readonly name: string, private readonly syncFolder: () => Promise<void>) {}

  async write(bytes: Uint8Array): Promise<void> {
    if (this.held + bytes.length > PIECE) await this.flush();
    if (bytes.length >= PIECE) return this.put(bytes);
    this.pending.set(bytes, this.held);
    this.held += bytes.length;
  }

  async close(): Promise<void> {
    try {
      if (this.broken) return;
      await this.flush();
      await doing(this.name, () => this.handle.sync());
    } finally {
      await this.handle.close();
    }
    await doing(this.name, this.syncFolder);
  }

  private async flush(): Promise<void> {
    const bytes = this.pending.subarray(0, this.held);
    this.held = 0;
    if (bytes.length > 0) await this.put(bytes);
  }

  private async put(bytes: Uint8Array): Promise<void> {
    try {
      await writeAll(this.handle, bytes);
    } catch (e) {
      this.broken = true;
      throw worded(e, this.name);
    }
  }
}

async function doing<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (e) {
    throw worded(e, name);
  }
}

function absent(e: unknown): undefined {
  if (codeOf(e) !== "ENOENT" && codeOf(e) !== "ENOTDIR") throw e;
  return undefined;
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
}

async function readExactly(handle: FileHandle, name: string, offset: number, length: number): Promise<Uint8Array> {
  const out = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await handle.read(out, at, length - at, offset + at);
    if (bytesRead === 0) throw new Error(`${name} has no ${length} bytes at ${offset}`);
    at += bytesRead;
  }
  return out;
}

/** Makes creations, renames and removals in a folder durable. File systems that cannot are tolerated. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await fs.open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } catch (e) {
    if (!["EINVAL", "ENOTSUP", "EOPNOTSUPP"].includes(codeOf(e))) throw e;
  } finally {
    await handle.close();
  }
}

/** The folders of a tree, before the tree gets its name; its files were flushed when they were closed. */
async function syncTree(folder: string): Promise<void> {
  for (const e of await fs.readdir(folder, { withFileTypes: true })) if (e.isDirectory()) await syncTree(path.join(folder, e.name));
  await syncFolder(folder);
}

/** On Windows a scanner may hold a file for a moment. */
async function renamed(from: string, to: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await fs.rename(from, to);
    } catch (e) {
      if (process.platform !== "win32" || tries === 10 || !["EPERM", "EACCES", "EBUSY"].includes(codeOf(e))) throw e;
      await new Promise((done) => setTimeout(done, 10 * tries));
    }
  }
}
