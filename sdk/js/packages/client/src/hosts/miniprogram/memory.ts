// A mini-program platform in memory: callbacks on a later turn, errMsg and errno, folders that must exist, 200 MB of files,
// 10 MB of storage, a network that is gone in the background, no eval. It runs the client in tests and examples; the network
// it is given is real.
import { DiskError, MemoryDisk, PowerCut, type DiskCode } from "./disk.js";
import type { FileSystemManager, MiniProgramApi, RequestResult, Stats, Task } from "./api.js";

export { MemoryDisk, type Cut } from "./disk.js";

/** Limits of the platforms, in bytes; a mini-program of tt has 10 MB of files. */
export const USER_LIMIT = 200 << 20, FILE_LIMIT = 100 << 20, TT_USER_LIMIT = 10 << 20, STORAGE_LIMIT = 10 << 20, ENTRY_LIMIT = 1 << 20;

interface FetchLike {
  (url: string, init: Record<string, unknown>): Promise<{ status: number; headers: { forEach(each: (value: string, name: string) => void): void }; arrayBuffer(): Promise<ArrayBuffer> }>;
}

export interface PlatformOptions {
  disk?: MemoryDisk;
  dialect?: "wx" | "my" | "tt";
  fetch: FetchLike;
  /** Base library without what came later: part reads, getRandomValues, restart, headers of a download. */
  old?: boolean;
  later(then: () => void): void;
  random(length: number): Uint8Array;
  /** Files of the mini-program's own package, by their path in it: what was reviewed, and what ships inside. */
  code?(path: string): Uint8Array | undefined;
  /** Called when the mini-program asks to be started anew; by then nothing comes to it any more. */
  restarted?(): void;
}

type Listener = (res: { level?: number }) => void;

/** The platform's object, and what a test can make it do. */
export interface MemoryPlatform extends MiniProgramApi {
  readonly disk: MemoryDisk;
  /** How often the mini-program was started anew. */
  readonly restarts: number;
  getFileSystemManager(): FileSystemManager;
  /** The user leaves it, comes back, or the phone runs out of memory. */
  hide(): void;
  show(): void;
  warn(level: number): void;
  /** Five seconds in the background have passed: what is under way is interrupted, nothing new begins until show. */
  cutNetwork(): void;
  /** The platform ends the mini-program: no callback comes any more. */
  kill(): void;
  setStorageSync(key: string, data: unknown): void;
  getStorageSync(key: string): unknown;
  removeStorageSync(key: string): void;
  getStorageInfoSync(): { keys: string[]; currentSize: number; limitSize: number };
}

const USER = "wxfile://usr", TMP = "wxfile://tmp";
const ERRNO: Record<DiskCode, number> = { ENOENT: 1300002, EEXIST: 1301005, ENOTDIR: 1300020, EISDIR: 1300021, ENOTEMPTY: 1300066, ENOSPC: 1300202 };
const WORDS: Record<DiskCode, string> = {
  ENOENT: "no such file or directory", EEXIST: "file already exists", ENOTDIR: "not a directory", EISDIR: "illegal operation on a directory",
  ENOTEMPTY: "directory not empty", ENOSPC: "the maximum size of the file storage limit is exceeded",
};

export function memoryPlatform(options: PlatformOptions): MemoryPlatform {
  return new Platform(options);
}

type Callbacks = { success?(res: never): void; fail?(res: never): void; complete?(res: never): void };

class Platform implements MemoryPlatform {
  readonly disk: MemoryDisk;
  readonly env = { USER_DATA_PATH: USER };
  restarts = 0;
  private dead = false;
  private offline = false;
  private readonly underWay = new Set<() => void>();
  private temporary = 0;
  private readonly on: Record<"hide" | "show" | "warn", Listener[]> = { hide: [], show: [], warn: [] };
  getRandomValues?: MiniProgramApi["getRandomValues"];
  restartMiniProgram?: MiniProgramApi["restartMiniProgram"];

  constructor(private readonly options: PlatformOptions) {
    this.disk = options.disk ?? new MemoryDisk(options.dialect === "tt" ? TT_USER_LIMIT : USER_LIMIT);
    for (const folder of [USER, TMP]) if (!this.disk.folders.has(folder)) this.disk.folders.add(folder);
    if (options.old) return;
    this.getRandomValues = (o) => this.answer("getRandomValues", o, () => ({ randomValues: new Uint8Array(options.random(o.length)).buffer }));
    this.restartMiniProgram = (o = {}) => this.answer("restartMiniProgram", o, () => {
      this.restarts++;
      if (options.restarted) options.later(() => ((this.dead = true), options.restarted?.()));
      return {};
    });
  }

  canIUse(name: string): boolean {
    return typeof (this as unknown as Record<string, unknown>)[name.split(".")[0]] === "function";
  }

  getFileSystemManager(): FileSystemManager {
    const disk = this.disk;
    return {
      readFile: (o) => this.answer("readFile", o, () => this.readFile(o), `open '${o.filePath}'`),
      writeFile: (o) => this.answer("writeFile", o, () => this.writeFile(o.filePath, bytesOf(o.data), false), `open '${o.filePath}'`),
      appendFile: (o) => this.answer("appendFile", o, () => this.writeFile(o.filePath, bytesOf(o.data), true), `open '${o.filePath}'`),
      rename: (o) => this.answer("rename", o, () => void disk.rename(o.oldPath, o.newPath), `rename '${o.oldPath}' -> '${o.newPath}'`),
      unlink: (o) => this.answer("unlink", o, () => void disk.unlink(o.filePath), `unlink '${o.filePath}'`),
      mkdir: (o) => this.answer("mkdir", o, () => void this.mkdir(o.dirPath, o.recursive === true), `mkdir '${o.dirPath}'`),
      rmdir: (o) => this.answer("rmdir", o, () => void disk.rmdir(o.dirPath, o.recursive === true), `rmdir '${o.dirPath}'`),
      readdir: (o) => this.answer("readdir", o, () => ({ files: disk.list(o.dirPath) }), `scandir '${o.dirPath}'`),
      stat: (o) => this.answer("stat", o, () => ({ stats: this.stats(o.path) }), `stat '${o.path}'`),
    };
  }

  request(o: Parameters<NonNullable<MiniProgramApi["request"]>>[0]): Task {
    const binary = o.responseType === "arraybuffer" || o.dataType === "arraybuffer", my = this.options.dialect === "my";
    return this.transfer("request", o, async (res) => {
      const data = await res.arrayBuffer();
      const headers = headersOf(res), body = binary ? data : text(new Uint8Array(data));
      return (my ? { data: body, status: res.status, headers } : { data: body, statusCode: res.status, header: headers }) as RequestResult;
    });
  }

  downloadFile(o: Parameters<NonNullable<MiniProgramApi["downloadFile"]>>[0]): Task {
    const told: { headers?: (res: { header: Record<string, unknown> }) => void; progress?: (res: { totalBytesWritten: number }) => void } = {};
    const task = this.transfer("downloadFile", o, async (res) => {
      const header = headersOf(res), data = new Uint8Array(await res.arrayBuffer()), tempFilePath = `${TMP}/${this.temporary++}`;
      if (!this.options.old) told.headers?.({ header });
      told.progress?.({ totalBytesWritten: data.length });
      this.disk.write(tempFilePath, data);
      return this.options.dialect === "my" ? { apFilePath: tempFilePath } : { tempFilePath, statusCode: res.status, ...(this.options.old ? {} : { header }) };
    });
    return { ...task, onHeadersReceived: (then) => void (told.headers = then), onProgressUpdate: (then) => void (told.progress = then) };
  }

  onAppHide(then: () => void): void {
    this.on.hide.push(then);
  }
  onAppShow(then: () => void): void {
    this.on.show.push(then);
  }
  onMemoryWarning(then: Listener): void {
    this.on.warn.push(then);
  }
  hide(): void {
    for (const then of this.on.hide) then({});
  }
  cutNetwork(): void {
    this.offline = true;
    for (const interrupt of [...this.underWay]) interrupt();
  }
  show(): void {
    this.offline = false;
    for (const then of this.on.show) then({});
  }
  warn(level: number): void {
    for (const then of this.on.warn) then({ level });
  }
  kill(): void {
    this.dead = true;
  }

  setStorageSync(key: string, data: unknown): void {
    const value = JSON.stringify({ data }), storage = this.disk.storage, rest = this.storageSize() - (storage.get(key)?.length ?? 0);
    if (value.length > ENTRY_LIMIT) throw { errMsg: "setStorageSync:fail entry size limit reached" };
    if (rest + value.length > STORAGE_LIMIT) throw { errMsg: "setStorageSync:fail exceed storage max size 10Mb" };
    this.disk.step(() => void storage.set(key, value));
  }
  getStorageSync(key: string): unknown {
    const value = this.disk.storage.get(key);
    return value === undefined ? "" : (JSON.parse(value) as { data: unknown }).data;
  }
  removeStorageSync(key: string): void {
    this.disk.step(() => void this.disk.storage.delete(key));
  }
  getStorageInfoSync(): { keys: string[]; currentSize: number; limitSize: number } {
    return { keys: [...this.disk.storage.keys()], currentSize: Math.ceil(this.storageSize() / 1024), limitSize: STORAGE_LIMIT >> 10 };
  }

  private storageSize(): number {
    let n = 0;
    for (const v of this.disk.storage.values()) n += v.length;
    return n;
  }

  private readFile(o: { filePath: string; position?: number; length?: number; encoding?: string }): { data: ArrayBuffer } {
    const ours = /^\w+:\/\//.test(o.filePath), bytes = ours ? this.disk.read(o.filePath) : this.options.code?.(o.filePath.replace(/^\//, ""));
    if (!bytes) throw new DiskError("ENOENT", o.filePath);
    if (this.options.old || o.length === undefined) return { data: new Uint8Array(bytes).buffer };
    const from = o.position ?? 0;
    if (from < 0 || from > bytes.length) throw { errMsg: 'readFile:fail the value of "position" is out of range' };
    if (o.length < 1 || from + o.length > bytes.length) throw { errMsg: 'readFile:fail the value of "length" is out of range' };
    return { data: new Uint8Array(bytes.subarray(from, from + o.length)).buffer };
  }

  private writeFile(path: string, bytes: Uint8Array, append: boolean): void {
    const before = append && this.disk.files.has(path) ? this.disk.read(path).length : 0;
    if (before + bytes.length > FILE_LIMIT) throw new DiskError("ENOSPC", path);
    this.disk.write(path, bytes, append);
  }

  private mkdir(path: string, recursive: boolean): void {
    if (!recursive) return this.disk.mkdir(path);
    const rest = path.slice(USER.length).split("/").filter((p) => p);
    for (let n = 1; n <= rest.length; n++) {
      const folder = USER + "/" + rest.slice(0, n).join("/");
      if (!this.disk.folders.has(folder)) this.disk.mkdir(folder);
    }
  }

  private stats(path: string): Stats {
    const folder = this.disk.exists(path) && this.disk.isFolder(path);
    const size = folder ? 4096 : this.disk.read(path).length;
    return { size, isFile: () => !folder, isDirectory: () => folder };
  }

  /** Works now, tells later: the result is what the disk was when the call was made. */
  private answer(name: string, callbacks: Callbacks, work: () => unknown, what = ""): void {
    let res: Record<string, unknown>, ok = false;
    try {
      res = { ...(work() as object), errMsg: name + ":ok" };
      ok = true;
    } catch (e) {
      if (e instanceof PowerCut) return;
      res = this.failure(name, e, what);
    }
    this.tell(callbacks, ok, res);
  }

  private tell(callbacks: Callbacks, ok: boolean, res: Record<string, unknown>): void {
    this.options.later(() => {
      if (this.dead) return;
      (ok ? callbacks.success : callbacks.fail)?.(res as never);
      callbacks.complete?.(res as never);
    });
  }

  private failure(name: string, e: unknown, what: string): Record<string, unknown> {
    const said = e instanceof DiskError ? `${WORDS[e.code]}${what ? ", " + what : ""}` : (e as { errMsg?: string }).errMsg?.replace(/^\w+:fail /, "") ?? String((e as Error).message);
    const { dialect } = this.options, known = e instanceof DiskError;
    if (dialect === "tt") return { errMsg: `${name}:fail ${known && e.code === "ENOSPC" ? "user dir saved file size limit exceeded" : said}`, errNo: known && e.code === "ENOSPC" ? 21103 : known && e.code === "ENOENT" ? 21102 : 21104 };
    if (dialect !== "my") return { errMsg: `${name}:fail ${said}`, errno: known ? ERRNO[e.code] : 1300201 };
    return { error: 10022, errorMessage: e instanceof DiskError && e.code === "ENOENT" ? "文件不存在" : e instanceof DiskError && e.code === "ENOSPC" ? "存储空间已满" : said };
  }

  private transfer(name: string, o: { url: string } & Callbacks & Record<string, unknown>, take: (res: Awaited<ReturnType<FetchLike>>) => Promise<unknown>): Task {
    let over = false;
    const end = (ok: boolean, res: Record<string, unknown>) => {
      if (over) return;
      over = true;
      this.underWay.delete(interrupt);
      this.tell(o, ok, res);
    };
    const interrupt = () => end(false, { errMsg: name + ":fail interrupted", errno: 600003 });
    if (this.offline) interrupt();
    else {
      this.underWay.add(interrupt);
      const init = { method: (o.method as string) ?? "GET", headers: (o.header ?? o.headers ?? {}) as Record<string, string>, ...(o.data ? { body: o.data } : {}) };
      void this.options.fetch(o.url, init).then(take).then(
        (res) => end(true, { ...(res as object), errMsg: name + ":ok" }),
        (e: unknown) => !(e instanceof PowerCut) && end(false, this.failure(name, e, "")),
      );
    }
    return { abort: () => end(false, { errMsg: name + ":fail abort" }) };
  }
}

function headersOf(res: { headers: { forEach(each: (value: string, name: string) => void): void } }): Record<string, string> {
  const out: Record<string, string> = {};
  // Platforms write names as they came: capitalised, as most servers send them.
  res.headers.forEach((value, name) => (out[name.replace(/(^|-)[a-z]/g, (c) => c.toUpperCase())] = value));
  return out;
}

function bytesOf(data: ArrayBuffer | string): Uint8Array {
  return typeof data === "string" ? Uint8Array.from(unescape(encodeURIComponent(data)), (c) => c.charCodeAt(0)) : new Uint8Array(data).slice();
}

function text(bytes: Uint8Array): string {
  let out = "";
  for (const b of bytes) out += String.fromCharCode(b);
  return decodeURIComponent(escape(out));
}
