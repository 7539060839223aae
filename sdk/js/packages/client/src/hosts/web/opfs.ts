// The origin private file system of a browser. Names are those of the client; writing a file is atomic when it is closed.
import { NotFound, StorageFull } from "../../host.js";
import type { Drive } from "../drive.js";

/** The parts of the File System API that are used. */
export interface FileHandle {
  readonly kind: "file";
  readonly name: string;
  getFile(): Promise<{ size: number; arrayBuffer(): Promise<ArrayBuffer>; slice(from: number, to: number): { arrayBuffer(): Promise<ArrayBuffer> } }>;
  createWritable(options?: { keepExistingData?: boolean }): Promise<{ seek(at: number): Promise<void>; write(bytes: Uint8Array): Promise<void>; close(): Promise<void>; abort(): Promise<void> }>;
  move?(to: DirectoryHandle, name: string): Promise<void>;
}

export interface DirectoryHandle {
  readonly kind: "directory";
  readonly name: string;
  getDirectoryHandle(name: string, options?: { create?: boolean }): Promise<DirectoryHandle>;
  getFileHandle(name: string, options?: { create?: boolean }): Promise<FileHandle>;
  removeEntry(name: string, options?: { recursive?: boolean }): Promise<void>;
  values(): AsyncIterableIterator<FileHandle | DirectoryHandle>;
}

/** Browsers say what is wrong by the error's name. */
function translate(e: unknown, path: string): Error {
  const name = (e as { name?: string }).name;
  if (name === "NotFoundError" || name === "TypeMismatchError") return new NotFound(path);
  if (name === "QuotaExceededError") return new StorageFull(`${path}: the browser's storage is full`);
  return e as Error;
}

/** Bytes that always fit into what lies between a page and its browser. */
const SMALL = 64 << 10;

export class OpfsDrive implements Drive {
  readonly piece = 1 << 20;
  readonly copies = true;
  readonly movesFolders = false;

  constructor(private readonly root: DirectoryHandle) {}

  async read(path: string, offset = 0, length?: number): Promise<Uint8Array> {
    try {
      const file = await (await this.file(path, false)).getFile();
      const part = offset === 0 && length === undefined ? file : file.slice(offset, length === undefined ? file.size : offset + length);
      return new Uint8Array(await part.arrayBuffer());
    } catch (e) {
      throw translate(e, path);
    }
  }

  async write(path: string, bytes: Uint8Array, append: boolean): Promise<void> {
    try {
      await this.writeBy(bytes.length, path, bytes, append);
    } catch (e) {
      const error = translate(e, path);
      if (error instanceof NotFound || error instanceof StorageFull) throw error;
      // Chromium cuts off a large write at the quota, and the page may see the broken pipe (AbortError) before the cause. A
      // small write is in the pipe whole before the browser looks at it, so that one fails with the cause or not at all.
      await this.writeBy(SMALL, path, bytes, append).catch((again: unknown) => {
        throw translate(again, path);
      });
    }
  }

  /** Nothing of the file changes before it is closed, so a write that failed can be tried again. */
  private async writeBy(part: number, path: string, bytes: Uint8Array, append: boolean): Promise<void> {
    const handle = await this.file(path, true);
    const size = append ? (await handle.getFile()).size : 0;
    const to = await handle.createWritable({ keepExistingData: append });
    try {
      if (append) await to.seek(size);
      for (let at = 0; at < bytes.length; at += part) await to.write(bytes.subarray(at, at + part));
    } catch (e) {
      await to.abort().catch(() => undefined);
      throw e;
    }
    await to.close();
  }

  async move(from: string, to: string): Promise<void> {
    try {
      const handle = await this.file(from, false);
      const [folder, name] = split(to);
      if (handle.move) return await handle.move(await this.folder(folder, false), name);
      await this.write(to, await this.read(from), false);
      await this.remove(from);
    } catch (e) {
      throw translate(e, from);
    }
  }

  async remove(path: string): Promise<void> {
    const [folder, name] = split(path);
    try {
      await (await this.folder(folder, false)).removeEntry(name, { recursive: true });
    } catch (e) {
      if (!(translate(e, path) instanceof NotFound)) throw e;
    }
  }

  async makeFolder(path: string): Promise<void> {
    try {
      await this.folder(path, true);
    } catch (e) {
      throw translate(e, path);
    }
  }

  async list(path: string): Promise<{ name: string; folder: boolean }[]> {
    const out: { name: string; folder: boolean }[] = [];
    try {
      const values = (await this.folder(path, false)).values();
      for (let next = await values.next(); !next.done; next = await values.next()) out.push({ name: next.value.name, folder: next.value.kind === "directory" });
    } catch (e) {
      if (!(translate(e, path) instanceof NotFound)) throw e;
    }
    return out;
  }

  async stat(path: string): Promise<{ size: number; folder: boolean } | undefined> {
    const [folder, name] = split(path);
    try {
      const parent = await this.folder(folder, false);
      try {
        return { size: (await (await parent.getFileHandle(name)).getFile()).size, folder: false };
      } catch (e) {
        if ((e as { name?: string }).name !== "TypeMismatchError") throw e;
        return { size: 0, folder: true };
      }
    } catch (e) {
      if (translate(e, path) instanceof NotFound) return undefined;
      throw e;
    }
  }

  private async file(path: string, create: boolean): Promise<FileHandle> {
    const [folder, name] = split(path);
    return (await this.folder(folder, false)).getFileHandle(name, { create });
  }

  private async folder(path: string, create: boolean): Promise<DirectoryHandle> {
    let at = this.root;
    for (const part of path === "" ? [] : path.split("/")) at = await at.getDirectoryHandle(part, { create });
    return at;
  }
}

function split(path: string): [string, string] {
  const i = path.lastIndexOf("/");
  return [path.slice(0, Math.max(i, 0)), path.slice(i + 1)];
}
