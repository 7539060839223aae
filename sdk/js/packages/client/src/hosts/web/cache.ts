// Cache Storage as a directory, for browsers whose private file system cannot be written from a page. A file is an answer
// under an address; a folder is what addresses have in common.
import { NotFound, StorageFull } from "../../host.js";
import type { Drive } from "../drive.js";

interface Blobby {
  size: number;
  arrayBuffer(): Promise<ArrayBuffer>;
  slice(from: number, to: number): Blobby;
}

/** The parts of Cache that are used. */
export interface CacheLike {
  match(url: string): Promise<{ blob(): Promise<Blobby> } | undefined>;
  put(url: string, answer: unknown): Promise<void>;
  delete(url: string): Promise<boolean>;
  keys(): Promise<readonly { url: string }[]>;
}

export class CacheDrive implements Drive {
  readonly piece = 1 << 20;
  readonly copies = true;
  readonly movesFolders = false;

  /** base is an address ending in "/" of this origin that nothing else uses; answer makes a Response. */
  constructor(private readonly cache: CacheLike, private readonly base: string, private readonly answer: (parts: unknown[]) => unknown) {}

  async read(path: string, offset = 0, length?: number): Promise<Uint8Array> {
    const blob = await this.blob(path);
    if (!blob) throw new NotFound(path);
    const part = offset === 0 && length === undefined ? blob : blob.slice(offset, length === undefined ? blob.size : offset + length);
    return new Uint8Array(await part.arrayBuffer());
  }

  async write(path: string, bytes: Uint8Array, append: boolean): Promise<void> {
    const before = append ? await this.blob(path) : undefined;
    await this.put(path, before ? [before, bytes] : [bytes]);
  }

  async move(from: string, to: string): Promise<void> {
    const blob = await this.blob(from);
    if (!blob) throw new NotFound(from);
    await this.put(to, [blob]);
    await this.cache.delete(this.url(from));
  }

  async remove(path: string): Promise<void> {
    await this.cache.delete(this.url(path));
    for (const name of await this.below(path)) await this.cache.delete(this.url(path + "/" + name));
  }

  makeFolder(): Promise<void> {
    return Promise.resolve();
  }

  async list(path: string): Promise<{ name: string; folder: boolean }[]> {
    const seen = new Map<string, boolean>();
    for (const name of await this.below(path)) seen.set(name.split("/")[0], name.includes("/"));
    return [...seen].map(([name, folder]) => ({ name, folder }));
  }

  async stat(path: string): Promise<{ size: number; folder: boolean } | undefined> {
    const blob = await this.blob(path);
    if (blob) return { size: blob.size, folder: false };
    return (await this.below(path)).length > 0 ? { size: 0, folder: true } : undefined;
  }

  private async blob(path: string): Promise<Blobby | undefined> {
    return (await this.cache.match(this.url(path)))?.blob();
  }

  private async put(path: string, parts: unknown[]): Promise<void> {
    try {
      await this.cache.put(this.url(path), this.answer(parts));
    } catch (e) {
      if ((e as { name?: string }).name === "QuotaExceededError") throw new StorageFull(`${path}: the browser's storage is full`);
      throw e;
    }
  }

  /** What stands below a folder, relative to it. */
  private async below(path: string): Promise<string[]> {
    const start = this.url(path) + (path === "" ? "" : "/");
    return (await this.cache.keys()).filter((k) => k.url.startsWith(start)).map((k) => decodeURIComponent(k.url.slice(start.length)));
  }

  private url(path: string): string {
    return this.base + path.split("/").map(encodeURIComponent).join("/");
  }
}
