// A disk in memory for tests: folders that must exist, a size that is kept, and power that can go at any write.

export type DiskCode = "ENOENT" | "EEXIST" | "ENOTDIR" | "EISDIR" | "ENOTEMPTY" | "ENOSPC";

export class DiskError extends Error {
  constructor(readonly code: DiskCode, readonly path: string) {
    super(`${code}: ${path}`);
    this.name = "DiskError";
  }
}

/** What is left of the write at which the power goes: nothing, a part, or all of it. */
export type Cut = "before" | "torn" | "after";

/** Thrown at every access after the power is gone. */
export class PowerCut extends Error {}

export class MemoryDisk {
  readonly files = new Map<string, Uint8Array>();
  readonly folders = new Set<string>([""]);
  /** Key-value storage, for platforms that have it; its bytes count on their own. */
  readonly storage = new Map<string, string>();
  /** Writes so far. */
  writes = 0;
  private at = 0;
  private how: Cut = "before";
  private dead = false;
  private onCut: () => void = () => undefined;

  /** limit: most bytes of all files. */
  constructor(public limit = Infinity) {}

  /** The power goes at the nth write from now (1 is the next one). The answer resolves when it has gone. */
  cutAt(n: number, how: Cut): Promise<void> {
    this.at = this.writes + n;
    this.how = how;
    return new Promise((gone) => (this.onCut = gone));
  }

  /** The power is back; what was written is there. */
  revive(): void {
    this.dead = false;
    this.at = 0;
    this.onCut = () => undefined;
  }

  get used(): number {
    let n = 0;
    for (const f of this.files.values()) n += f.length;
    return n;
  }

  read(path: string): Uint8Array {
    this.alive();
    const bytes = this.files.get(path);
    if (!bytes) throw new DiskError(this.folders.has(path) ? "EISDIR" : "ENOENT", path);
    return bytes;
  }

  write(path: string, bytes: Uint8Array, append = false): void {
    this.alive();
    this.parent(path);
    if (this.folders.has(path)) throw new DiskError("EISDIR", path);
    const before = this.files.get(path);
    if (append && !before) throw new DiskError("ENOENT", path);
    if (this.used - (append || !before ? 0 : before.length) + bytes.length > this.limit) throw new DiskError("ENOSPC", path);
    const put = (part: Uint8Array) => {
      const all = new Uint8Array((append && before ? before.length : 0) + part.length);
      if (append && before) all.set(before);
      all.set(part, all.length - part.length);
      this.files.set(path, all);
    };
    this.step(() => put(bytes), () => put(bytes.slice(0, bytes.length >> 1)));
  }

  rename(from: string, to: string): void {
    this.alive();
    this.parent(to);
    if (!this.exists(from)) throw new DiskError("ENOENT", from);
    if (this.exists(to)) throw new DiskError("EEXIST", to);
    this.step(() => {
      for (const [path, bytes] of [...this.files]) {
        if (path !== from && !path.startsWith(from + "/")) continue;
        this.files.delete(path);
        this.files.set(to + path.slice(from.length), bytes);
      }
      for (const path of [...this.folders]) {
        if (path !== from && !path.startsWith(from + "/")) continue;
        this.folders.delete(path);
        this.folders.add(to + path.slice(from.length));
      }
    });
  }

  unlink(path: string): void {
    this.alive();
    if (this.folders.has(path)) throw new DiskError("EISDIR", path);
    if (!this.files.has(path)) throw new DiskError("ENOENT", path);
    this.step(() => this.files.delete(path));
  }

  mkdir(path: string): void {
    this.alive();
    this.parent(path);
    if (this.exists(path)) throw new DiskError("EEXIST", path);
    this.step(() => this.folders.add(path));
  }

  rmdir(path: string, recursive: boolean): void {
    this.alive();
    if (!this.folders.has(path)) throw new DiskError(this.files.has(path) ? "ENOTDIR" : "ENOENT", path);
    const below = [...this.files.keys(), ...this.folders].filter((p) => p.startsWith(path + "/"));
    if (!recursive && below.length > 0) throw new DiskError("ENOTEMPTY", path);
    const drop = (paths: string[]) => paths.forEach((p) => void (this.files.delete(p), this.folders.delete(p)));
    this.step(() => drop([...below, path]), () => drop(below.filter((p, i) => this.files.has(p) && i % 2 === 0)));
  }

  list(path: string): string[] {
    this.alive();
    if (!this.folders.has(path)) throw new DiskError(this.files.has(path) ? "ENOTDIR" : "ENOENT", path);
    const start = path === "" ? "" : path + "/", names = new Set<string>();
    for (const p of [...this.files.keys(), ...this.folders]) if (p !== "" && p.startsWith(start)) names.add(p.slice(start.length).split("/")[0]);
    return [...names].sort();
  }

  exists(path: string): boolean {
    this.alive();
    return this.files.has(path) || this.folders.has(path);
  }

  isFolder(path: string): boolean {
    return this.folders.has(path);
  }

  /** One write of any kind, also of the storage. */
  step(whole: () => void, part: () => void = () => undefined): void {
    this.alive();
    this.writes++;
    if (this.writes !== this.at) return whole();
    if (this.how === "after") whole();
    if (this.how === "torn") part();
    this.dead = true;
    this.onCut();
    throw new PowerCut("the power is gone");
  }

  private alive(): void {
    if (this.dead) throw new PowerCut("the power is gone");
  }

  private parent(path: string): void {
    const folder = path.slice(0, Math.max(path.lastIndexOf("/"), 0));
    if (!this.folders.has(folder)) throw new DiskError("ENOENT", path);
  }
}
