// Immutable objects, named by their SHA-256, in fetch/<sha256>.part: an attempt goes on where an earlier one stopped, also
// after a restart of the process.
import type { AbortLike, Files, Host, HttpHead, Sink } from "../host.js";
import { totalSize, type Digest } from "../words/documents.js";
import { Refusal } from "../words/reasons.js";
import type { Progress } from "./api.js";
import type { Wanted } from "./download.js";
import { during, several } from "./failure.js";
import { retryable, type Network } from "./transport.js";
import { partPath, type Trees } from "./trees.js";

export interface ObjectOptions {
  host: Pick<Host, "files" | "crypto" | "pause">;
  net: Network;
  trees: Trees;
  progress?(p: Progress): void;
}

export class Objects {
  private readonly files: Files;
  private parts = new Set<Digest>();
  private trees = new Set<Digest>();

  constructor(private readonly o: ObjectOptions) {
    this.files = o.host.files;
  }

  /** Remembers that a half-built tree will be gone on with. */
  askedFor(tree: Digest): void {
    this.trees.add(tree);
  }

  /** The objects and trees that were asked for since the last call. */
  takeAsked(): { parts: Set<Digest>; staged: Set<Digest> } {
    const asked = { parts: this.parts, staged: this.trees };
    this.parts = new Set();
    this.trees = new Set();
    return asked;
  }

  /** Gives the path of the file that holds the object, once its bytes are those that sum names. */
  async fetch(w: Wanted, path: string, sum: Digest, size: number, signal?: AbortLike): Promise<string> {
    this.parts.add(sum);
    const part = partPath(sum), { net, trees } = this.o;
    for (let attempt = 0; ; attempt++) {
      try {
        await this.fill(w, path, part, sum, size, signal);
      } catch (e) {
        throw during(`download ${path}`, e);
      }
      let wrong: unknown;
      try {
        await trees.verify({ path: part, size, sha256: sum }, await this.files.open(part), undefined, signal);
        return part;
      } catch (e) {
        wrong = e;
      }
      if (signal && signal.aborted) throw wrong;
      net.demote(net.answered()); // another server may have the right bytes
      await this.files.remove(part);
      if (attempt >= Math.max(1, net.servers.length - 1)) throw wrong;
    }
  }

  /** Downloads until part holds size bytes. An attempt that brought something does not count as a failure. */
  private async fill(w: Wanted, path: string, part: string, sum: Digest, size: number, signal?: AbortLike): Promise<void> {
    const { net } = this.o, pace = net.pace(size, signal);
    const spend = (n: number) => {
      pace.count(n);
      w.received += n;
      if (w.received > w.budget) throw new Refusal("too_large", path, `${w.received} bytes came for a release of ${totalSize(w.manifest)}`);
    };
    try {
      for (;;) {
        const before = await this.size(part, size);
        if (before === size) return;
        const pour = new Pour({
          files: this.files, part, sum, size, spend, have: () => net.host.http.streams ? this.size(part, size) : Promise.resolve(0),
          tell: (received) => this.tell(w, received, size),
        });
        let failed: unknown;
        try {
          await net.ask({
            path, limit: size, accept: [200, 206], signal: pace.stop,
            headers: () => pour.ask(),
            stream: { ms: net.deadline(size), head: (h) => pour.begin(h), bytes: (b) => pour.write(b) },
          }, () => pour.done());
        } catch (e) {
          failed = e;
        }
        failed = several(`download ${path}`, [failed, await pour.close()]);
        if (failed !== undefined && (pace.stop.aborted || !retryable(failed) || await this.size(part, size) <= before)) throw failed;
      }
    } finally {
      pace.end();
    }
  }

  private tell(w: Wanted, received: number, total: number): void {
    if (this.o.progress) this.o.progress({ package: w.offer.package, release: w.offer.release.digest, received, total });
  }

  /** How much of a download is there; more than all of it is as good as nothing. */
  private async size(part: string, size: number): Promise<number> {
    const n = await this.files.size(part) || 0;
    return n > size ? 0 : n;
  }
}

interface Pouring {
  files: Files;
  part: string;
  sum: Digest;
  size: number;
  /** Bytes of part that an answer may go on behind. */
  have(): Promise<number>;
  spend(n: number): void;
  tell(received: number): void;
}

/** Writes the bodies of one question's answers, one after the other, behind what part has. */
class Pour {
  private sink: Sink | undefined;
  private have = 0;
  private at = 0;

  constructor(private readonly o: Pouring) {}

  async ask(): Promise<Record<string, string>> {
    await this.finish();
    this.have = await this.o.have();
    return this.have > 0 ? { range: `bytes=${this.have}-`, "if-range": `"${this.o.sum}"` } : {};
  }

  /** Opens part behind what it has, or anew when the server begins anew. */
  async begin(head: HttpHead): Promise<void> {
    const range = head.headers["content-range"] || "";
    if (head.status === 200) this.have = 0;
    else if (range.indexOf(`bytes ${this.have}-`) !== 0) throw new Refusal("container_invalid", this.o.part, `the answer is another range: ${range.slice(0, 80)}`);
    this.at = this.have;
    this.sink = await this.o.files.create(this.o.part, { append: this.have > 0 });
  }

  async write(b: Uint8Array): Promise<void> {
    this.o.spend(b.length);
    if (this.at + b.length > this.o.size) {
      await this.finish();
      await this.o.files.remove(this.o.part);
      throw new Refusal("too_large", this.o.part, `more than ${this.o.size} bytes`);
    }
    await this.sink!.write(b);
    this.at += b.length;
    this.o.tell(this.at);
  }

  done(): void {
    if (this.at < this.o.size) throw new Refusal("network", this.o.part, `${this.o.size - this.at} bytes short`);
  }

  /** Gives what went wrong while the file was closed. */
  async close(): Promise<unknown> {
    try {
      await this.finish();
    } catch (e) {
      return e;
    }
    return undefined;
  }

  private async finish(): Promise<void> {
    const { sink } = this;
    this.sink = undefined;
    if (sink) await sink.close();
  }
}
