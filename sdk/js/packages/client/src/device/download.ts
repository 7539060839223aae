// Brings a release into the device's directory: it is there already, or comes by the smallest container that can be
// applied, or file by file. All roads end in the same hashes.
import type { AbortLike, Files, Host } from "../host.js";
import { integer, list as listOf, record, text } from "../verify/shape.js";
import type { ExpectManifest, Trust } from "../verify/trust.js";
import { containerOverhead, isDigest, maxManifestBytes, totalSize, type Container, type Digest, type File, type Manifest } from "../words/documents.js";
import { reasonOf } from "../words/reasons.js";
import type { Delta, Offer, Progress } from "./api.js";
import { during, hopeless, several } from "./failure.js";
import { Objects } from "./objects.js";
import { check } from "./stop.js";
import { decodeAnswer, type Network } from "./transport.js";
import { stagingPath, type Held, type Trees } from "./trees.js";

const maxContainerList = 256 << 10;
/** Bytes above twice the signed sizes that single files may bring. */
const blobSlack = 64 << 10;
/** How many containers from what runs are tried before the full one. */
const maxCandidates = 2;

/** An offer with its verified manifest, and how it came. */
export interface Wanted {
  offer: Offer;
  manifest: Manifest;
  /** As it was signed; stored beside the tree. */
  envelope: Uint8Array;
  /** Bytes that came over the network for it. */
  received: number;
  /** How many may. */
  budget: number;
  /** What it came by: a container's codec, or "blobs"; "" when the tree was there already. */
  codec: string;
}

/** What of a package is on the device. */
export interface Having {
  /** What runs, when it has a manifest: the base of containers. */
  base?: Held;
  /** What else is held; its files need not come again. */
  others?: Held[];
  /** The release is staged: it was verified then. */
  staged?: boolean;
}

export interface DownloadOptions {
  host: Pick<Host, "files" | "crypto" | "pause">;
  net: Network;
  trees: Trees;
  /** Without it releases come as single files. */
  delta?: Delta;
  progress?(p: Progress): void;
  log?(text: string, error?: unknown): void;
}

export class Downloads {
  private readonly files: Files;
  private readonly objects: Objects;

  constructor(private readonly o: DownloadOptions) {
    this.files = o.host.files;
    this.objects = new Objects(o);
  }

  /**
   * Gets and verifies the manifest of an offer: the one on disk when it is still good, else the servers'. When no signature
   * is of the known release role, newer roots are walked to once. trust gives what is trusted at that moment.
   */
  async manifest(offer: Offer, expect: Pick<ExpectManifest, "app" | "platform" | "fits">, trust: () => Trust, walkRoots: () => Promise<void>, signal?: AbortLike): Promise<Wanted> {
    const want: ExpectManifest = { ...expect, package: offer.package, release: offer.release, runtime: offer.runtime };
    const wanted = (manifest: Manifest, envelope: Uint8Array): Wanted => ({ offer, manifest, envelope, received: 0, budget: 0, codec: "" });
    const stored = await this.o.trees.manifestEnvelope(offer.release.digest);
    if (stored) {
      try {
        return wanted(await trust().acceptManifest(stored, want), stored);
      } catch (e) {
        // The servers may have one that is signed by the newest keys.
      }
    }
    for (let walked = false; ; walked = true) {
      let out: Wanted | undefined;
      try {
        await this.o.net.document(`/v1/manifests/${offer.release.digest}`, maxManifestBytes, async (raw) => {
          out = wanted(await trust().acceptManifest(raw, want), raw);
        }, { signal });
      } catch (e) {
        const err = during(`manifest of ${offer.package} ${offer.release.version}`, e);
        if (walked || reasonOf(err, "") !== "signature_invalid") throw err;
        try {
          await walkRoots();
        } catch (e2) {
          throw several("manifest", [err, e2]);
        }
      }
      if (out) return out;
    }
  }

  /** Puts the tree of w under releases/. Rejects when no way leads there; what came stays for the next attempt. */
  async obtain(w: Wanted, having: Having, signal?: AbortLike): Promise<void> {
    const digest = w.offer.release.digest;
    if (having.staged && await this.o.trees.exists(digest) || await this.intact(digest, signal)) return;
    const errs: unknown[] = [];
    w.budget = 2 * (totalSize(w.manifest) + containerOverhead);
    for (const k of await this.candidates(w, having.base, signal)) {
      try {
        await this.byContainer(w, having.base, k, signal);
        return;
      } catch (e) {
        if (hopeless(e) || signal && signal.aborted) throw e;
        this.log(`the container ${k.codec} of ${w.offer.package} ${w.offer.release.version} is of no use`, e);
        errs.push(e);
      }
    }
    w.budget = w.received + 2 * totalSize(w.manifest) + blobSlack;
    try {
      await this.byFiles(w, having, signal);
    } catch (e) {
      throw several(`release ${digest.slice(0, 12)}`, errs.concat([e]));
    }
  }

  /**
   * Removes partial downloads and half-built trees that nobody will go on with: those that obtain was not asked for since
   * the last tidy, or all.
   */
  async tidy(all: boolean): Promise<void> {
    const { parts, staged } = this.objects.takeAsked();
    for (const name of await this.files.list("fetch")) {
      if (all || !parts.has(name.replace(/\.part$/, ""))) await this.files.remove(`fetch/${name.replace(/\/$/, "")}`);
    }
    for (const name of await this.files.list("staging")) {
      const digest = name.replace(/\/$/, "");
      if (all || !staged.has(digest)) await this.files.remove(`staging/${digest}`);
    }
  }

  private log(what: string, error?: unknown): void {
    if (this.o.log) this.o.log(what, error);
  }

  private async intact(digest: Digest, signal?: AbortLike): Promise<boolean> {
    if (!await this.o.trees.exists(digest)) return false;
    const t = await this.o.trees.holding(digest);
    if (!t) return false;
    try {
      await this.o.trees.inspect(t, { signal });
      return true;
    } catch (e) {
      check(signal);
      this.log(`the release ${digest.slice(0, 12)} on disk is damaged`, e);
      return false;
    }
  }

  /**
   * The containers that can be applied here: from what runs, smallest first, then the full one. The list says where from,
   * so that the server makes one when there is none; it is a hint that nobody signed.
   */
  private async candidates(w: Wanted, base: Held | undefined, signal?: AbortLike): Promise<Container[]> {
    const { delta, net } = this.o;
    if (!delta) return [];
    const path = `/v1/releases/${w.offer.release.digest}/containers${base ? `?from=${base.digest}` : ""}`;
    let offered: Container[] = [];
    try {
      await net.document(path, maxContainerList, (raw) => {
        offered = decodeAnswer<Container[]>(raw, "list of containers", containers);
      }, { signal });
    } catch (e) {
      check(signal);
      this.log("no list of containers", e);
    }
    const limit = totalSize(w.manifest) + containerOverhead;
    const from: Container[] = [], full: Container[] = [];
    for (const k of offered) {
      if (k.size <= 0 || k.size > limit || !isDigest(k.sha256) || !delta.can(k.codec, net.limits.memory)) continue;
      if (!k.from && k.codec === "full/1") full.push(k);
      else if (base && k.from === base.digest) from.push(k);
    }
    const bySize = (a: Container, b: Container) => a.size - b.size;
    full.sort(bySize);
    // What was damaged under one codec's name is not asked for under another's; one that brings more than the full one is no help.
    const different = from.sort(bySize).filter((k, i) => from.findIndex((other) => other.sha256 === k.sha256) === i);
    const near = different.slice(0, maxCandidates).filter((k) => full.length === 0 || k.size < full[0].size);
    return near.concat(full.slice(0, 1));
  }

  private async byContainer(w: Wanted, base: Held | undefined, k: Container, signal?: AbortLike): Promise<void> {
    const { delta, trees, host } = this.o, digest = w.offer.release.digest, dir = stagingPath(digest), files = this.files;
    const part = await this.objects.fetch(w, `/v1/containers/${k.sha256}`, k.sha256, k.size, signal);
    try {
      await files.remove(dir);
      const container = await files.open(part);
      try {
        await delta!.apply({
          container, from: k.from ? base!.manifest : undefined, to: w.manifest, memory: this.o.net.limits.memory, pause: host.pause && (() => host.pause!()),
          sha256: () => host.crypto.sha256(),
          base: (f) => base!.open(f.path),
          sink: {
            create: async (f) => (check(signal), files.create(`${dir}/${f.path}`, { executable: f.exec })),
            keep: (f, old) => trees.copy(base!, f, old.path, `${dir}/${f.path}`, signal),
            duplicate: (f, of) => trees.copy({ open: (p) => files.open(`${dir}/${p}`) }, f, of.path, `${dir}/${f.path}`, signal),
          },
        });
      } finally {
        await container.close();
      }
      await trees.publish(digest, w.envelope);
    } catch (e) {
      const err = during(`assemble ${w.offer.package}`, e);
      await files.remove(dir).catch(() => undefined);
      // Its bytes are those that were named: they would make the same of it again.
      if (!hopeless(err) && !(signal && signal.aborted)) await files.remove(part);
      throw err;
    }
    w.codec = k.codec;
    await files.remove(part);
  }

  /** Builds the tree from what the device holds and single files. What an earlier attempt got is still in staging/. */
  private async byFiles(w: Wanted, having: Having, signal?: AbortLike): Promise<void> {
    const { trees } = this.o, digest = w.offer.release.digest, dir = stagingPath(digest);
    const held = new Map<Digest, { tree: Held; path: string }>();
    for (const tree of (having.others || []).concat(having.base ? [having.base] : [])) {
      for (const f of tree.manifest.files) held.set(f.sha256, { tree, path: f.path });
    }
    this.objects.askedFor(digest);
    const here = { open: (p: string) => this.files.open(`${dir}/${p}`) }, done = new Map<Digest, File>();
    for (const f of w.manifest.files) {
      check(signal);
      const to = `${dir}/${f.path}`, same = done.get(f.sha256), from = held.get(f.sha256);
      if (await this.staged(f, to, signal)) {
        // It is there already.
      } else if (same) {
        await trees.copy(here, f, same.path, to, signal);
      } else if (!from || !await this.copied(f, from, to, signal)) {
        await this.single(w, f, to, signal);
      }
      done.set(f.sha256, f);
    }
    await trees.publish(digest, w.envelope);
    w.codec = "blobs";
  }

  private async staged(f: File, path: string, signal?: AbortLike): Promise<boolean> {
    if (await this.files.size(path) !== f.size) return false;
    try {
      await this.o.trees.verify(f, await this.files.open(path), undefined, signal);
      return true;
    } catch (e) {
      check(signal);
      return false;
    }
  }

  /** Copies a file that is held; one that is damaged comes over the network. */
  private async copied(f: File, from: { tree: Held; path: string }, to: string, signal?: AbortLike): Promise<boolean> {
    try {
      await this.o.trees.copy(from.tree, f, from.path, to, signal);
      return true;
    } catch (e) {
      check(signal);
      if (hopeless(e)) throw during(`copy ${f.path}`, e);
      this.log(`${f.path} of a held release is damaged`, e);
      return false;
    }
  }

  private async single(w: Wanted, f: File, to: string, signal?: AbortLike): Promise<void> {
    if (f.size === 0) return (await this.files.create(to, { executable: f.exec })).close();
    const part = await this.objects.fetch(w, `/v1/blobs/${f.sha256}`, f.sha256, f.size, signal);
    if (f.exec) {
      await this.o.trees.copy({ open: () => this.files.open(part) }, f, part, to, signal);
      return this.files.remove(part);
    }
    await this.files.remove(to);
    await this.files.rename(part, to); // it was verified
  }
}

const containers = listOf(record({ from: [text, undefined], codec: [text], size: [integer], sha256: [text] }));
