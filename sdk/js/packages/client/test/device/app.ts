// One app on one simulated device: a publisher, a server that keeps what it is told, and processes that come and go.
import assert from "node:assert/strict";
import { createClient } from "../../src/device/client.js";
import type { Client, Launch, Options } from "../../src/device/api.js";
import type { Drive } from "../../src/hosts/drive.js";
import { MemoryDisk } from "../../src/hosts/miniprogram/disk.js";
import type { Event, PackageState, Rollout, State } from "../../src/words/documents.js";
import { Refusal } from "../../src/words/reasons.js";
import { Shop, type Release } from "./shop.js";
import { SimClock, simHost, SimNet, type Reply, type SimHost } from "./sim.js";

export const rollout = (r: Release, more: Partial<Rollout> = {}): Rollout => ({
  id: "r-" + r.ref.version, manifest: r.ref.digest, seq: r.ref.seq, version: r.ref.version, size: r.ref.size, runtime: r.manifest.runtime,
  salt: "", from: 0, to: 10000, control: 0, apply: {}, ...more,
});

export class App {
  readonly clock = new SimClock();
  readonly shop = new Shop();
  readonly disk: MemoryDisk;
  readonly net: SimNet;
  /** What the server took, oldest first. */
  readonly reports: Event[] = [];
  readonly logs: string[] = [];
  /** What the app ships; may change with a new shell. */
  options: Partial<Options> = {};
  offline = false;
  /** The host of the newest process. */
  host!: SimHost;
  private epoch = 0;
  private open: Client[] = [];

  constructor(readonly o: { movesFolders?: boolean; drive?: (disk: MemoryDisk) => Drive; disk?: MemoryDisk; servers?: string[] } = {}) {
    this.disk = o.disk ?? new MemoryDisk();
    const servers = o.servers ?? ["http://one"];
    this.net = new SimNet(this.clock, Object.fromEntries(servers.map((s) => [s, (path: string, q: { headers?: Record<string, string>; body?: Uint8Array }) => this.answer(path, q)])));
  }

  /** A new epoch, in which channel production says this of each package. */
  offer(packages: Record<string, PackageState>, more: Partial<State> = {}): void {
    const at = (ms: number) => new Date(ms).toISOString().slice(0, 19) + "Z", now = Math.floor(this.clock.now() / 1000) * 1000;
    const doc = {
      channel: "production", platform: "any", epoch: ++this.epoch, issued: at(now), expires: at(now + 24 * 3600e3), rootVersion: 1, checkAfter: 900, jitter: 0, packages, ...more,
    };
    this.shop.objects.set(`/v1/apps/shop/channels/${doc.channel}/state/any`, this.shop.state(doc));
  }

  /** One release of main for everybody. */
  offerMain(r: Release, more: Partial<Rollout> = {}, state: Partial<PackageState> = {}): void {
    this.offer({ main: { rollouts: [rollout(r, more)], ...state } });
  }

  private answer(path: string, q: { headers?: Record<string, string>; body?: Uint8Array }): Reply {
    if (this.offline) return { cut: -1 };
    if (path !== "/v1/reports") return this.shop.serve(path, q);
    const events = JSON.parse(new TextDecoder().decode(q.body)) as Event[];
    this.reports.push(...events);
    return { body: JSON.stringify({ results: events.map((_, index) => ({ index, status: "accepted" })) }) };
  }

  /** A new process; the ones before it are gone without a word. */
  async process(more: Partial<Options> = {}): Promise<Client> {
    this.open = [];
    this.host = simHost({ disk: this.disk, clock: this.clock, net: this.net, movesFolders: this.o.movesFolders, drive: this.o.drive });
    return this.client(more);
  }

  /** One more client in the process that is there: a second tab. */
  async client(more: Partial<Options> = {}): Promise<Client> {
    const log = (text: string, error?: unknown) => void this.logs.push(error === undefined ? text : `${text}: ${String((error as Error).message ?? error)}`);
    const options = { ...this.options, ...more };
    const client = await createClient({
      app: "shop", servers: Object.keys(this.net.servers), root: this.shop.root, runtime: "1.0.0", host: this.host, limits: { rounds: 1, ...options.limits },
      ...options, hooks: { log, ...options.hooks },
    });
    this.open.push(client);
    return client;
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.clock.run(work);
  }

  /** A process that updates, and one that starts and confirms. */
  async install(): Promise<void> {
    await this.run((await this.process()).update());
    await (await (await this.process()).start()).confirm();
  }

  /** What the server was told, in short: kind, release, reason. */
  told(...kinds: string[]): string[] {
    return this.reports.filter((e) => kinds.length === 0 || kinds.includes(e.kind)).map((e) => [e.kind, this.version(e.release), e.reason].filter((x) => x).join(" "));
  }

  version(digest: string | undefined): string {
    const raw = digest && this.shop.objects.get(`/v1/manifests/${digest}`);
    if (!raw) return "";
    return JSON.parse(Buffer.from(JSON.parse(new TextDecoder().decode(raw)).payload, "base64").toString()).version;
  }

  put(path: string, content: string | Uint8Array): void {
    this.disk.write(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
  }

  text(path: string): string {
    return new TextDecoder().decode(this.disk.read(path));
  }
}

/** The version of what a launch runs of a package, all of whose files were read and are those of the release; "embedded" otherwise. */
export async function whole(client: Client, launch: Launch, releases: Release[], pkg = "main"): Promise<string> {
  const tree = launch.packages[pkg];
  if (tree.embedded) return "embedded";
  const r = releases.find((one) => one.ref.digest === tree.release);
  assert.ok(r, "what runs was published");
  for (const path of Object.keys(r.files)) assert.deepEqual(Buffer.from(await client.read(tree, path)), Buffer.from(r.files[path]), path);
  return r.ref.version;
}

export const refusedAs = (reason: string) => (e: unknown) => {
  assert.ok(e instanceof Refusal, String(e));
  assert.equal(e.reason, reason, e.message);
  return true;
};
