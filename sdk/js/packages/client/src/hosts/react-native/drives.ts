// The common file libraries of React Native as drives. All of them move folders in one step; all but the newest take bytes as
// base64 only. base is a folder that stands already, without a "/" at its end.
import { NotFound, StorageFull } from "../../host.js";
import { fromBase64, toBase64 } from "../base64.js";
import type { Drive } from "../drive.js";

/** Crossing the bridge as base64 costs memory: a piece is 512 KiB. */
const PIECE = 512 << 10;

function explain(e: unknown, path: string): Error {
  const { code, message } = e as { code?: unknown; message?: string };
  const said = `${String(code ?? "")} ${message ?? String(e)}`;
  if (/ENOENT|no such file|does not exist|couldn.t be opened because there is no/i.test(said)) return new NotFound(path);
  if (/ENOSPC|no space left|out of space|disk is full/i.test(said)) return new StorageFull(`${path}: ${message ?? said}`);
  return e instanceof Error ? e : new Error(`${path}: ${said}`);
}

async function said<T>(path: string, what: Promise<T> | T): Promise<T> {
  try {
    return await what;
  } catch (e) {
    throw explain(e, path);
  }
}

/** react-native-fs, and its successors with the same calls. */
export interface RNFS {
  readFile(path: string, encoding: string): Promise<string>;
  read(path: string, length: number, position: number, encoding: string): Promise<string>;
  writeFile(path: string, data: string, encoding: string): Promise<void>;
  appendFile(path: string, data: string, encoding: string): Promise<void>;
  moveFile(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  mkdir(path: string): Promise<void>;
  exists(path: string): Promise<boolean>;
  stat(path: string): Promise<{ size: number | string; isDirectory(): boolean }>;
  readDir(path: string): Promise<{ name: string; isDirectory(): boolean }[]>;
}

/** For example rnfsDrive(RNFS, RNFS.DocumentDirectoryPath). */
export function rnfsDrive(fs: RNFS, base: string): Drive {
  const at = (path: string) => (path === "" ? base : base + "/" + path);
  const drive: Drive = {
    piece: PIECE, movesFolders: true,
    async read(path, offset, length) {
      return fromBase64(await said(path, length === undefined ? fs.readFile(at(path), "base64") : fs.read(at(path), length, offset ?? 0, "base64")));
    },
    write: (path, bytes, append) => said(path, append ? fs.appendFile(at(path), toBase64(bytes), "base64") : fs.writeFile(at(path), toBase64(bytes), "base64")),
    move: (from, to) => said(from, fs.moveFile(at(from), at(to))),
    async remove(path) {
      if (await fs.exists(at(path))) await said(path, fs.unlink(at(path)));
    },
    makeFolder: (path) => said(path, fs.mkdir(at(path))),
    async list(path) {
      if (!(await fs.exists(at(path)))) return [];
      return (await said(path, fs.readDir(at(path)))).map((f) => ({ name: f.name, folder: f.isDirectory() }));
    },
    async stat(path) {
      if (!(await fs.exists(at(path)))) return undefined;
      const s = await said(path, fs.stat(at(path)));
      return { size: s.isDirectory() ? 0 : Number(s.size), folder: s.isDirectory() };
    },
  };
  return drive;
}

/** fs of react-native-blob-util. */
export interface BlobUtilFs {
  readFile(path: string, encoding: "base64"): Promise<string>;
  slice(from: string, to: string, start: number, end: number): Promise<string>;
  writeFile(path: string, data: string, encoding: "base64"): Promise<unknown>;
  appendFile(path: string, data: string, encoding: "base64"): Promise<unknown>;
  mv(from: string, to: string): Promise<unknown>;
  unlink(path: string): Promise<void>;
  mkdir(path: string): Promise<unknown>;
  exists(path: string): Promise<boolean>;
  isDir(path: string): Promise<boolean>;
  stat(path: string): Promise<{ size: number | string; type: string }>;
  ls(path: string): Promise<string[]>;
}

/** For example blobUtilDrive(ReactNativeBlobUtil.fs, ReactNativeBlobUtil.fs.dirs.DocumentDir). */
export function blobUtilDrive(fs: BlobUtilFs, base: string): Drive {
  const at = (path: string) => (path === "" ? base : base + "/" + path);
  let pieces = 0;
  const drive: Drive = {
    piece: PIECE, movesFolders: true,
    async read(path, offset = 0, length) {
      if (length === undefined) return fromBase64(await said(path, fs.readFile(at(path), "base64")));
      // It reads whole files only; a part is first copied out by the platform.
      const part = `${at(path)}~part${pieces++}`;
      try {
        await said(path, fs.slice(at(path), part, offset, offset + length));
        return fromBase64(await said(path, fs.readFile(part, "base64")));
      } catch (e) {
        // A full disk must not make what lies on it unreadable.
        if (e instanceof NotFound) throw e;
        return (await drive.read(path)).slice(offset, offset + length);
      } finally {
        if (await fs.exists(part)) await fs.unlink(part);
      }
    },
    async write(path, bytes, append) {
      await said(path, append ? fs.appendFile(at(path), toBase64(bytes), "base64") : fs.writeFile(at(path), toBase64(bytes), "base64"));
    },
    async move(from, to) {
      await said(from, fs.mv(at(from), at(to)));
    },
    async remove(path) {
      if (await fs.exists(at(path))) await said(path, fs.unlink(at(path)));
    },
    async makeFolder(path) {
      if (!(await fs.exists(at(path)))) await said(path, fs.mkdir(at(path)));
    },
    async list(path) {
      if (!(await fs.exists(at(path)))) return [];
      const out: { name: string; folder: boolean }[] = [];
      for (const name of await said(path, fs.ls(at(path)))) {
        if (/~part\d+$/.test(name)) continue;
        out.push({ name, folder: await fs.isDir(`${at(path)}/${name}`) });
      }
      return out;
    },
    async stat(path) {
      if (!(await fs.exists(at(path)))) return undefined;
      const s = await said(path, fs.stat(at(path)));
      return { size: s.type === "directory" ? 0 : Number(s.size), folder: s.type === "directory" };
    },
  };
  return drive;
}

/** The calls of expo-file-system with Async in their names (expo-file-system/legacy in newer versions). */
export interface ExpoAsync {
  readAsStringAsync(uri: string, options: { encoding: "base64"; position?: number; length?: number }): Promise<string>;
  writeAsStringAsync(uri: string, data: string, options: { encoding: "base64"; append?: boolean }): Promise<void>;
  moveAsync(options: { from: string; to: string }): Promise<void>;
  deleteAsync(uri: string, options: { idempotent: boolean }): Promise<void>;
  makeDirectoryAsync(uri: string, options: { intermediates: boolean }): Promise<void>;
  readDirectoryAsync(uri: string): Promise<string[]>;
  getInfoAsync(uri: string): Promise<{ exists: boolean; isDirectory?: boolean; size?: number }>;
}

/** For example expoAsyncDrive(FileSystem, FileSystem.documentDirectory.slice(0, -1)). */
export function expoAsyncDrive(fs: ExpoAsync, base: string): Drive {
  const at = (path: string) => (path === "" ? base : base + "/" + path.split("/").map(encodeURIComponent).join("/"));
  let appends: boolean | undefined;
  /** Older versions take append and write the file anew all the same. */
  const knowsAppend = async () => {
    if (appends === undefined) {
      const probe = at("append.probe");
      await fs.writeAsStringAsync(probe, "YQ==", { encoding: "base64" });
      await fs.writeAsStringAsync(probe, "Yg==", { encoding: "base64", append: true });
      appends = (await fs.readAsStringAsync(probe, { encoding: "base64" })) === "YWI=";
      await fs.deleteAsync(probe, { idempotent: true });
    }
    return appends;
  };
  const drive: Drive = {
    piece: PIECE, movesFolders: true,
    get copies() { return appends === false; },
    async read(path, offset, length) {
      return fromBase64(await said(path, fs.readAsStringAsync(at(path), { encoding: "base64", ...(length === undefined ? {} : { position: offset ?? 0, length }) })));
    },
    async write(path, bytes, append) {
      if (append && !(await said(path, knowsAppend()))) {
        const before = await drive.read(path), all = new Uint8Array(before.length + bytes.length);
        all.set(before);
        all.set(bytes, before.length);
        return drive.write(path, all, false);
      }
      await said(path, fs.writeAsStringAsync(at(path), toBase64(bytes), { encoding: "base64", ...(append ? { append } : {}) }));
    },
    move: (from, to) => said(from, fs.moveAsync({ from: at(from), to: at(to) })),
    remove: (path) => said(path, fs.deleteAsync(at(path), { idempotent: true })),
    makeFolder: (path) => said(path, fs.makeDirectoryAsync(at(path), { intermediates: true })),
    async list(path) {
      if (!(await drive.stat(path))) return [];
      const out: { name: string; folder: boolean }[] = [];
      for (const name of await said(path, fs.readDirectoryAsync(at(path)))) out.push({ name, folder: (await drive.stat(path === "" ? name : `${path}/${name}`))?.folder ?? false });
      return out;
    },
    async stat(path) {
      const info = await said(path, fs.getInfoAsync(at(path)));
      return info.exists ? { size: info.isDirectory ? 0 : info.size ?? 0, folder: info.isDirectory === true } : undefined;
    },
  };
  return drive;
}

interface ExpoFile {
  readonly uri: string;
  readonly exists: boolean;
  readonly size: number;
  bytes(): Promise<Uint8Array> | Uint8Array;
  create(options?: { intermediates?: boolean; overwrite?: boolean }): void;
  write(bytes: Uint8Array): Promise<void> | void;
  open(): { offset: number | null; readBytes(length: number): Promise<Uint8Array> | Uint8Array; writeBytes(bytes: Uint8Array): Promise<void> | void; close(): void };
  move(to: unknown): Promise<void> | void;
  delete(): void;
}

interface ExpoDirectory {
  readonly uri: string;
  readonly exists: boolean;
  create(options?: { intermediates?: boolean; idempotent?: boolean }): void;
  move(to: unknown): Promise<void> | void;
  delete(): void;
  list(): { name: string; uri: string }[];
}

/** File and Directory of expo-file-system. */
export interface ExpoFiles {
  File: new (...uris: string[]) => ExpoFile;
  Directory: new (...uris: string[]) => ExpoDirectory;
}

/** For example expoDrive({ File, Directory }, Paths.document.uri). Bytes cross without base64. */
export function expoDrive(fs: ExpoFiles, base: string): Drive {
  const uri = (path: string) => base.replace(/\/$/, "") + (path === "" ? "" : "/" + path.split("/").map(encodeURIComponent).join("/"));
  const file = (path: string) => new fs.File(uri(path)), folder = (path: string) => new fs.Directory(uri(path));
  const here = async <T>(path: string, what: () => Promise<T> | T) => said(path, (async () => what())());
  return {
    piece: 1 << 20, movesFolders: true,
    read: (path, offset, length) =>
      here(path, async () => {
        const f = file(path);
        if (!f.exists) throw new NotFound(path);
        if (length === undefined) return f.bytes();
        const handle = f.open();
        try {
          handle.offset = offset ?? 0;
          return await handle.readBytes(length);
        } finally {
          handle.close();
        }
      }),
    write: (path, bytes, append) =>
      here(path, async () => {
        const f = file(path);
        if (!append) {
          f.create({ overwrite: true });
          return f.write(bytes);
        }
        const handle = f.open();
        try {
          handle.offset = f.size;
          await handle.writeBytes(bytes);
        } finally {
          handle.close();
        }
      }),
    move: (from, to) => here(from, () => (folder(from).exists ? folder(from).move(folder(to)) : file(from).move(file(to)))),
    remove: (path) =>
      here(path, () => {
        if (folder(path).exists) folder(path).delete();
        else if (file(path).exists) file(path).delete();
      }),
    makeFolder: (path) => here(path, () => folder(path).create({ intermediates: true, idempotent: true })),
    list: (path) => here(path, () => (folder(path).exists ? folder(path).list().map((f) => ({ name: f.name, folder: f instanceof fs.Directory })) : [])),
    stat: (path) =>
      here(path, () => {
        if (folder(path).exists) return { size: 0, folder: true };
        const f = file(path);
        return f.exists ? { size: f.size, folder: false } : undefined;
      }),
  };
}
