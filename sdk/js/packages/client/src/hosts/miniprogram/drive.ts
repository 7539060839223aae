// The user directory of a mini-program: at most 200 MB for everything, callbacks, and folders that move in one step.
import { NotFound, StorageFull } from "../../host.js";
import type { Drive } from "../drive.js";
import { call, type FileSystemManager } from "./api.js";

export class UserDirectory implements Drive {
  // A call crosses from the script's thread to the platform's: pieces are neither tiny nor a memory warning.
  readonly piece = 1 << 20;
  readonly movesFolders = true;

  constructor(private readonly fs: FileSystemManager, private readonly base: string) {}

  async read(path: string, offset = 0, length?: number): Promise<Uint8Array> {
    const whole = offset === 0 && length === undefined;
    const { data } = await call<{ data: ArrayBuffer | string }>((c) => this.fs.readFile({ filePath: this.at(path), ...(whole ? {} : { position: offset, length }), ...c }), explain(path));
    if (typeof data === "string") throw new Error(`${path}: the platform gave text instead of bytes`);
    const bytes = new Uint8Array(data);
    // Older platforms do not know position and length and give the whole file.
    return length !== undefined && bytes.length > length ? bytes.subarray(offset, offset + length) : bytes;
  }

  async write(path: string, bytes: Uint8Array, append: boolean): Promise<void> {
    const data = new Uint8Array(bytes).buffer, filePath = this.at(path);
    await call((c) => (append ? this.fs.appendFile({ filePath, data, ...c }) : this.fs.writeFile({ filePath, data, ...c })), explain(path));
  }

  async move(from: string, to: string): Promise<void> {
    await call((c) => this.fs.rename({ oldPath: this.at(from), newPath: this.at(to), ...c }), explain(from));
  }

  async remove(path: string): Promise<void> {
    const what = await this.stat(path);
    if (what?.folder) await call((c) => this.fs.rmdir({ dirPath: this.at(path), recursive: true, ...c }), explain(path));
    else if (what) await call((c) => this.fs.unlink({ filePath: this.at(path), ...c }), explain(path));
  }

  async makeFolder(path: string): Promise<void> {
    try {
      await call((c) => this.fs.mkdir({ dirPath: this.at(path), recursive: false, ...c }), explain(path));
    } catch (e) {
      if (!(await this.stat(path))?.folder) throw e;
    }
  }

  async list(path: string): Promise<{ name: string; folder: boolean }[]> {
    let names: string[];
    try {
      names = (await call<{ files: string[] }>((c) => this.fs.readdir({ dirPath: this.at(path), ...c }), explain(path))).files;
    } catch (e) {
      if (e instanceof NotFound) return [];
      throw e;
    }
    const out: { name: string; folder: boolean }[] = [];
    for (const name of names) {
      const what = await this.stat(path === "" ? name : `${path}/${name}`);
      if (what) out.push({ name, folder: what.folder });
    }
    return out;
  }

  async stat(path: string): Promise<{ size: number; folder: boolean } | undefined> {
    try {
      const { stats } = await call<{ stats: { size: number; isDirectory(): boolean } }>((c) => this.fs.stat({ path: this.at(path), ...c }), explain(path));
      return { size: stats.size, folder: stats.isDirectory() };
    } catch (e) {
      if (e instanceof NotFound) return undefined;
      throw e;
    }
  }

  private at(path: string): string {
    return path === "" ? this.base : this.base + "/" + path;
  }
}

// Numbers of wx (1300…) and tt (107…, 211…) as their documents list them.
const MISSING = [1300002, 107002, 21102], FULL = [1300202, 21103];

/** The platforms say what is wrong by a number or in words; these are what wx, my and tt say for a missing file and a full disk. */
function explain(path: string): (said: string, code?: number) => Error {
  return (said, code = 0) => {
    if (MISSING.includes(code) || /no such file|not exist|not found|ENOENT|文件不存在|目录不存在/i.test(said)) return new NotFound(path);
    if (FULL.includes(code) || /maximum size|exceed|no space|ENOSPC|quota|存储空间|超出/i.test(said)) return new StorageFull(`${path}: ${said}`);
    return new Error(`${path}: ${said}`);
  };
}
