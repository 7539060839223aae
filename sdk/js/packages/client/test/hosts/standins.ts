// React Native's file libraries in memory: the calls, results and refusals of react-native-fs 2.20, react-native-blob-util
// 0.25 and expo-file-system 58 (new and legacy), as their native sides have them on Android.
import { DiskError, MemoryDisk } from "../../src/hosts/miniprogram/disk.js";
import type { BlobUtilFs, ExpoAsync, ExpoFiles, RNFS } from "../../src/hosts/react-native/drives.js";

const b64 = (b: Uint8Array) => Buffer.from(b).toString("base64");
const raw = (s: string) => new Uint8Array(Buffer.from(s, "base64"));
const coded = (code: string, message: string) => Object.assign(new Error(message), { code });

/** When a native module answers: on a later turn, or (where a test's clock stands still meanwhile) as soon as can be. */
export type Turn = () => Promise<unknown>;
export const later: Turn = () => new Promise((done) => setImmediate(done)), atOnce: Turn = async () => undefined;

/** Runs the work on the native module's turn, and words its failure like the library. */
async function native<T>(work: () => T, word: (e: DiskError) => Error, turn: Turn): Promise<T> {
  await turn();
  try {
    return work();
  } catch (e) {
    throw e instanceof DiskError ? word(e) : e;
  }
}

function removeAll(disk: MemoryDisk, path: string): void {
  if (disk.isFolder(path)) disk.rmdir(path, true);
  else disk.unlink(path);
}

function makeAll(disk: MemoryDisk, path: string): void {
  const parts = path.split("/");
  for (let n = 1; n <= parts.length; n++) {
    const folder = parts.slice(0, n).join("/");
    if (!disk.isFolder(folder)) disk.mkdir(folder);
  }
}

function put(disk: MemoryDisk, path: string, bytes: Uint8Array, append: boolean): void {
  disk.write(path, bytes, append && disk.exists(path));
}

export function rnfs(disk: MemoryDisk, turn = later): RNFS {
  const word = (e: DiskError) =>
    e.code === "ENOENT" ? coded("ENOENT", `ENOENT: no such file or directory, open '${e.path}'`)
    : e.code === "ENOSPC" ? coded("EUNSPECIFIED", "write failed: ENOSPC (No space left on device)")
    : e.code === "EISDIR" ? coded("EISDIR", "EISDIR: illegal operation on a directory, read") : coded("EUNSPECIFIED", e.message);
  const run = <T>(work: () => T) => native(work, word, turn);
  return {
    readFile: (path) => run(() => b64(disk.read(path))),
    read: (path, length, position) => run(() => b64(disk.read(path).slice(position, position + length))),
    writeFile: (path, data) => run(() => put(disk, path, raw(data), false)),
    appendFile: (path, data) => run(() => put(disk, path, raw(data), true)),
    moveFile: (from, to) => run(() => disk.rename(from, to)),
    unlink: (path) => run(() => removeAll(disk, path)),
    mkdir: (path) => run(() => makeAll(disk, path)),
    exists: (path) => run(() => disk.exists(path)),
    stat: (path) => run(() => {
      const folder = disk.isFolder(path), size = folder ? 4096 : disk.read(path).length;
      return { size, isDirectory: () => folder };
    }),
    readDir: (path) => run(() => disk.list(path).map((name) => ({ name, isDirectory: () => disk.isFolder(`${path}/${name}`) }))),
  };
}

export function blobUtil(disk: MemoryDisk, turn = later): BlobUtilFs {
  const word = (e: DiskError) =>
    e.code === "ENOENT" ? coded("ENOENT", `No such file '${e.path}'; `)
    : e.code === "EEXIST" ? coded("EEXIST", `Folder '${e.path}' already exists`)
    : e.code === "ENOSPC" ? coded("EUNSPECIFIED", "write failed: ENOSPC (No space left on device)") : coded("EUNSPECIFIED", e.message);
  const run = <T>(work: () => T) => native(work, word, turn);
  return {
    readFile: (path) => run(() => b64(disk.read(path))),
    slice: (from, to, start, end) => run(() => (disk.write(to, disk.read(from).slice(start, end)), to)),
    writeFile: (path, data) => run(() => (put(disk, path, raw(data), false), data.length)),
    appendFile: (path, data) => run(() => (put(disk, path, raw(data), true), data.length)),
    mv: (from, to) => run(() => {
      // Android deletes a file that is in the way.
      if (disk.files.has(to)) disk.unlink(to);
      disk.rename(from, to);
      return true;
    }),
    unlink: (path) => run(() => removeAll(disk, path)),
    mkdir: (path) => run(() => {
      if (disk.exists(path)) throw new DiskError("EEXIST", path);
      makeAll(disk, path);
      return true;
    }),
    exists: (path) => run(() => disk.exists(path)),
    isDir: (path) => run(() => disk.isFolder(path)),
    stat: (path) => run(() => (disk.isFolder(path) ? { size: "4096", type: "directory" } : { size: String(disk.read(path).length), type: "file" })),
    ls: (path) => run(() => disk.list(path)),
  };
}

const pathOf = (uri: string) => {
  if (!uri.startsWith("file:///")) throw coded("ERR_FILESYSTEM", `'${uri}' is not a file URI`);
  return decodeURIComponent(uri.slice("file:///".length)).replace(/\/$/, "");
};

/** old: a version that takes append and does not know it. */
export function expoAsync(disk: MemoryDisk, old = false, turn = later): ExpoAsync {
  const word = (e: DiskError) =>
    e.code === "ENOENT" ? coded("ERR_FILESYSTEM_CANNOT_READ_FILE", `File 'file:///${e.path}' does not exist`)
    : e.code === "ENOSPC" ? coded("ERR_FILESYSTEM_CANNOT_WRITE_TO_FILE", "write failed: ENOSPC (No space left on device)") : coded("ERR_FILESYSTEM", e.message);
  const run = <T>(work: () => T) => native(work, word, turn);
  return {
    readAsStringAsync: (uri, o) => run(() => {
      const bytes = disk.read(pathOf(uri));
      return b64(o.length === undefined ? bytes : bytes.slice(o.position ?? 0, (o.position ?? 0) + o.length));
    }),
    writeAsStringAsync: (uri, data, o) => run(() => put(disk, pathOf(uri), raw(data), !old && o.append === true)),
    moveAsync: ({ from, to }) => run(() => disk.rename(pathOf(from), pathOf(to))),
    deleteAsync: (uri, { idempotent }) => run(() => {
      if (disk.exists(pathOf(uri))) return removeAll(disk, pathOf(uri));
      if (!idempotent) throw new DiskError("ENOENT", pathOf(uri));
    }),
    makeDirectoryAsync: (uri, o) => run(() => {
      if (disk.exists(pathOf(uri)) && !o.intermediates) throw new DiskError("EEXIST", pathOf(uri));
      makeAll(disk, pathOf(uri));
    }),
    readDirectoryAsync: (uri) => run(() => disk.list(pathOf(uri))),
    getInfoAsync: (uri) => run(() => {
      const path = pathOf(uri);
      if (!disk.exists(path)) return { exists: false, isDirectory: false };
      const isDirectory = disk.isFolder(path);
      return { exists: true, isDirectory, size: isDirectory ? 4096 : disk.read(path).length };
    }),
  };
}

/** sync: SDK 54, whose calls answered at once; newer ones give promises. */
export function expo(disk: MemoryDisk, sync = false, turn = later): ExpoFiles {
  const word = (e: unknown) =>
    !(e instanceof DiskError) ? (e as Error)
    : e.code === "ENOENT" ? coded("ERR_UNABLE_TO_READ", `The file 'file:///${e.path}' does not exist`)
    : e.code === "ENOSPC" ? coded("ERR_UNABLE_TO_WRITE", "ENOSPC (No space left on device)") : coded("ERR_DESTINATION", e.message);
  const now = <T>(work: () => T): T => {
    try {
      return work();
    } catch (e) {
      throw word(e);
    }
  };
  const run = <T>(work: () => T): Promise<T> | T => (sync ? now(work) : native(work, word, turn));
  class Entry {
    readonly path: string;
    constructor(readonly uri: string) {
      this.path = pathOf(uri);
    }
    get name(): string {
      return this.path.slice(this.path.lastIndexOf("/") + 1);
    }
    move(to: unknown): Promise<void> | void {
      return run(() => disk.rename(this.path, (to as Entry).path));
    }
  }
  class File extends Entry {
    get exists(): boolean {
      return disk.exists(this.path) && !disk.isFolder(this.path);
    }
    get size(): number {
      return this.exists ? disk.read(this.path).length : 0;
    }
    bytes() {
      return run(() => disk.read(this.path).slice());
    }
    create(o: { overwrite?: boolean } = {}): void {
      now(() => {
        if (this.exists && !o.overwrite) throw new DiskError("EEXIST", this.path);
        disk.write(this.path, new Uint8Array(0));
      });
    }
    write(bytes: Uint8Array) {
      return run(() => put(disk, this.path, bytes.slice(), false));
    }
    open() {
      const path = this.path;
      now(() => disk.read(path));
      const handle = {
        offset: 0 as number | null,
        readBytes: (length: number) => run(() => disk.read(path).slice(handle.offset ?? 0, (handle.offset ?? 0) + length)),
        writeBytes: (bytes: Uint8Array) => run(() => {
          if (handle.offset !== disk.read(path).length) throw new Error("the stand-in writes at a file's end only");
          put(disk, path, bytes.slice(), true);
        }),
        close: () => undefined,
      };
      return handle;
    }
    delete(): void {
      now(() => disk.unlink(this.path));
    }
  }
  class Directory extends Entry {
    get exists(): boolean {
      return disk.isFolder(this.path);
    }
    create(o: { intermediates?: boolean; idempotent?: boolean } = {}): void {
      now(() => {
        if (this.exists && !o.idempotent) throw new DiskError("EEXIST", this.path);
        makeAll(disk, this.path);
      });
    }
    delete(): void {
      now(() => disk.rmdir(this.path, true));
    }
    list() {
      return now(() => disk.list(this.path).map((name) => {
        const uri = `file:///${encodeURI(this.path)}/${encodeURIComponent(name)}`;
        return disk.isFolder(`${this.path}/${name}`) ? new Directory(uri) : new File(uri);
      }));
    }
  }
  return { File, Directory } as unknown as ExpoFiles;
}
