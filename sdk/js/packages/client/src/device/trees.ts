// Releases in the device's directory: releases/<digest>/ and the manifest beside it, visible by one rename when everything
// in it is there, and hidden by one rename before it is deleted.
import { NotFound, type AbortLike, type Files, type Host, type Source } from "../host.js";
import { hex } from "../verify/bytes.js";
import { checkManifest } from "../verify/check.js";
import { digestOf, openEnvelope, typeManifest } from "../verify/envelope.js";
import { decode } from "../verify/shape.js";
import * as shapes from "../verify/shapes.js";
import { isDigest, maxManifestBytes, type Digest, type File, type Manifest } from "../words/documents.js";
import { Refusal } from "../words/reasons.js";
import { causes, during } from "./failure.js";
import { check } from "./stop.js";

/** Bytes that are read and hashed between two pauses. */
const slice = 128 << 10;

/** A release that the device has: its verified manifest, and where its files are. */
export interface Held {
  digest: Digest;
  manifest: Manifest;
  open(path: string): Promise<Source>;
}

export const treePath = (digest: Digest) => `releases/${digest}`;
export const manifestPath = (digest: Digest) => `releases/${digest}.manifest.json`;
export const partPath = (sha256: Digest) => `fetch/${sha256}.part`;
export const stagingPath = (digest: Digest) => `staging/${digest}`;
const hiddenPath = (digest: Digest) => `staging/old-${digest}`;

export class Trees {
  private readonly files: Files;
  /** Bytes since the last pause: many small files are no reason for many pauses, which browsers make long. */
  private hashed = 0;

  constructor(readonly host: Pick<Host, "files" | "crypto" | "pause">) {
    this.files = host.files;
  }

  /** Bytes of a file of at most limit bytes; undefined when there is none, or more. */
  async readSmall(path: string, limit: number): Promise<Uint8Array | undefined> {
    const size = await this.files.size(path);
    if (size === undefined || size > limit) return undefined;
    try {
      return await this.files.read(path);
    } catch (e) {
      if (causes(e).some((c) => c instanceof NotFound)) return undefined;
      throw e;
    }
  }

  /**
   * The release under releases/ by its digest alone; undefined when its manifest is gone or damaged. The digest comes from
   * the state, which only verified manifests enter, so no signature is asked for again: the key may have been rotated since.
   */
  async holding(digest: Digest): Promise<Held | undefined> {
    const raw = await this.readSmall(manifestPath(digest), maxManifestBytes);
    if (!raw) return undefined;
    try {
      const e = openEnvelope(raw, typeManifest, maxManifestBytes);
      if (digestOf(this.host.crypto, e.payload) !== digest) return undefined;
      const manifest = decode<Manifest>("manifest", e.payload, shapes.manifest);
      checkManifest(manifest);
      return { digest, manifest, open: (path) => this.files.open(`${treePath(digest)}/${path}`) };
    } catch (e) {
      return undefined;
    }
  }

  /** The bytes of a release's manifest envelope, if they are there. */
  manifestEnvelope(digest: Digest): Promise<Uint8Array | undefined> {
    return this.readSmall(manifestPath(digest), maxManifestBytes);
  }

  /** Whether anything of the release is visible. */
  async exists(digest: Digest): Promise<boolean> {
    return (await this.files.list(treePath(digest))).length > 0;
  }

  /** Reads a whole release and rejects with a Refusal file_mismatch, or a NotFound inside, when it is not as it was signed. */
  async inspect(t: Held, options: { signal?: AbortLike } = {}): Promise<void> {
    for (const f of t.manifest.files) await this.verify(f, await this.opened(t, f.path), undefined, options.signal);
  }

  /** Copies the file f, of in t, to a new file; what is copied is verified on the way. */
  async copy(t: { open(path: string): Promise<Source> }, f: File, of: string, to: string, signal?: AbortLike): Promise<void> {
    const source = await this.opened(t, of);
    const out = await closing(source, () => this.files.create(to, { executable: f.exec }));
    let done = false;
    try {
      await this.verify(f, source, (b) => out.write(b), signal);
      done = true;
    } finally {
      if (!done) await out.close().catch(() => undefined);
    }
    await out.close();
  }

  /** Hashes a source to its end, gives its bytes on, closes it, and refuses what is not f. */
  async verify(f: { path: string; size: number; sha256: Digest }, source: Source, give?: (b: Uint8Array) => Promise<void>, signal?: AbortLike): Promise<void> {
    const { crypto, pause } = this.host;
    await closing(source, async () => {
      if (source.size !== f.size) throw new Refusal("file_mismatch", `file ${f.path}`, `it has ${source.size} bytes, not ${f.size}`);
      const hash = crypto.sha256();
      for (let at = 0; at < f.size; at += slice) {
        check(signal);
        const b = await source.read(at, Math.min(slice, f.size - at));
        hash.update(b);
        if (give) await give(b);
        this.hashed += b.length;
        if (!pause || this.hashed < slice) continue;
        this.hashed = 0;
        await pause.call(this.host);
      }
      const got = hex(hash.digest());
      if (got !== f.sha256) throw new Refusal("file_mismatch", `file ${f.path}`, `its hash is ${got.slice(0, 12)}`);
    });
    await source.close();
  }

  /** Makes what was built in staging/ visible. Its manifest is there before it; a damaged tree of that name goes. */
  async publish(digest: Digest, envelope: Uint8Array): Promise<void> {
    await this.files.replace(manifestPath(digest), envelope);
    if (await this.exists(digest)) await this.hide(digest);
    await this.files.rename(stagingPath(digest), treePath(digest));
    await this.files.remove(hiddenPath(digest));
  }

  /** Deletes a release's tree, so that half of one is never seen. Its manifest stays. */
  async discard(digest: Digest): Promise<void> {
    if (await this.exists(digest)) await this.hide(digest);
    await this.files.remove(hiddenPath(digest));
  }

  async discardManifest(digest: Digest): Promise<void> {
    await this.files.remove(manifestPath(digest));
  }

  /** Digests of the releases whose trees, and of those whose manifests are there. */
  async all(): Promise<{ trees: Digest[]; manifests: Digest[] }> {
    const names = await this.files.list("releases"), of = (end: string) => names.filter((n) => n.slice(64) === end && isDigest(n.slice(0, 64))).map((n) => n.slice(0, 64));
    return { trees: of("/"), manifests: of(".manifest.json") };
  }

  /** Removes what a crash left half deleted. Called by whoever takes the lock, before anything else. */
  async leftovers(): Promise<void> {
    for (const name of await this.files.list("staging")) if (name.startsWith("old-")) await this.files.remove(`staging/${name.replace(/\/$/, "")}`);
  }

  private async hide(digest: Digest): Promise<void> {
    await this.files.remove(hiddenPath(digest));
    await this.files.rename(treePath(digest), hiddenPath(digest));
  }

  private async opened(t: { open(path: string): Promise<Source> }, path: string): Promise<Source> {
    try {
      return await t.open(path);
    } catch (e) {
      throw during(`open ${path}`, e);
    }
  }
}

/** Runs work and closes source when it fails. */
async function closing<T>(source: Source, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (e) {
    await source.close().catch(() => undefined);
    throw e;
  }
}
