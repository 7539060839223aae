// One device in memory and the servers of one shop, for tests of downloads.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { delta } from "../../src/delta/index.js";
import type { Limits, Offer, Progress } from "../../src/device/api.js";
import { Downloads, type Having } from "../../src/device/download.js";
import { Network } from "../../src/device/transport.js";
import { Trees, treePath } from "../../src/device/trees.js";
import { MemoryDisk } from "../../src/hosts/miniprogram/disk.js";
import { Trust } from "../../src/verify/trust.js";
import { Shop, type Release } from "./shop.js";
import { SimClock, simHost, SimNet, type Server } from "./sim.js";

/** The trees of publish/delta's golden containers. */
export const oldTree = { "app.js": "console.log('one')\n", "img/logo.svg": "<svg/>", "lib/a.js": "a", "lib/b.js": "b" };
export const newTree = { "app.js": "console.log('two')\n", "copy.js": "console.log('two')\n", "img/logo.svg": "<svg/>", "vendor/a.js": "a", "vendor/b.js": "b" };
export const golden = (name: "full" | "changed") =>
  new Uint8Array(Buffer.from(readFileSync(`../../../../publish/delta/testdata/${name}.hex`, "utf8").trim(), "hex"));

export const offerOf = (r: Release): Offer =>
  ({ package: r.manifest.package, release: r.ref, rollout: "r1", retry: 0, apply: {}, leaving: false, reason: "new_release" });

export interface WorldOptions {
  servers?: Record<string, Server>;
  limits?: Limits;
  movesFolders?: boolean;
  streams?: boolean;
  /** Single files only. */
  plain?: boolean;
}

export class World {
  readonly clock = new SimClock();
  readonly disk = new MemoryDisk();
  readonly shop = new Shop();
  readonly net: SimNet;
  readonly log: string[] = [];
  readonly progress: Progress[] = [];

  constructor(readonly o: WorldOptions = {}) {
    this.net = new SimNet(this.clock, o.servers ?? { "http://one": (path, q) => this.shop.serve(path, q) }, o.streams !== false);
  }

  /** A new process on the same disk. */
  async process() {
    const host = simHost({ disk: this.disk, clock: this.clock, net: this.net, movesFolders: this.o.movesFolders });
    const lock = await host.locks.tryLock("lock");
    assert.ok(lock);
    const net = new Network(host, Object.keys(this.net.servers), this.o.limits), trees = new Trees(host);
    await trees.leftovers();
    const downloads = new Downloads({
      host, net, trees, delta: this.o.plain ? undefined : delta, progress: (p) => void this.progress.push(p),
      log: (text, error) => void this.log.push(text + (error ? ": " + (error as Error).message : "")),
    });
    return { host, net, trees, downloads };
  }

  /** Manifest and tree of a release, in a new process; base is what runs. */
  async obtain(r: Release, base?: Release, more: Having = {}) {
    const p = await this.process(), trust = await Trust.open(p.host.crypto, this.shop.root);
    const w = await p.downloads.manifest(offerOf(r), { app: "shop", platform: "any" }, () => trust, async () => undefined);
    await p.downloads.obtain(w, { base: base && (await p.trees.holding(base.ref.digest)), ...more });
    return w;
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.clock.run(work);
  }

  /** Whether a release is visible; what is visible must be whole. */
  visible(r: Release): boolean {
    const dir = treePath(r.ref.digest);
    if (!this.disk.exists(dir)) return false;
    const found = [...this.disk.files.keys()].filter((p) => p.startsWith(dir + "/")).sort();
    assert.deepEqual(found, r.manifest.files.map((f) => `${dir}/${f.path}`).sort(), "the files of the release, no more and no fewer");
    for (const f of r.manifest.files) assert.deepEqual(Buffer.from(this.disk.read(`${dir}/${f.path}`)), Buffer.from(r.files[f.path]), f.path);
    assert.ok(this.disk.exists(`releases/${r.ref.digest}.manifest.json`), "its manifest is beside it");
    return true;
  }

  /** Paths that were asked for, without the documents. */
  get objects(): string[] {
    return this.net.asked.map((a) => a.url.replace(/^http:\/\/\w+\/v1\//, "") + (a.range ? " " + a.range : "")).filter((u) => /^(containers|blobs)\//.test(u));
  }
}

/** Two releases of the golden trees, the first one on the device. */
export async function goldenWorld(o: WorldOptions = {}): Promise<{ world: World; before: Release; after: Release }> {
  const world = new World({ ...o, servers: undefined }), before = world.shop.release("1.0.0", oldTree), after = world.shop.release("1.1.0", newTree);
  await world.run(world.obtain(before));
  assert.ok(world.visible(before));
  const w = new World(o);
  Object.assign(w, { disk: world.disk, shop: world.shop });
  return { world: w, before, after };
}
