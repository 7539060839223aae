// A phone whose mini-program platform lies in memory: its disk and clock stay, its processes come and go.
import { randomFillSync } from "node:crypto";
import { MemoryDisk, memoryPlatform } from "../../src/hosts/miniprogram/memory.js";
import { miniProgramHost } from "../../src/hosts/miniprogram/index.js";
import { createClient, type Client, type Options, type PlainHost } from "../../src/index.js";
import { isPoint, sha256, verifyEd25519 } from "../../src/verify/noble.js";

type Settings = Omit<Options, "host">;

export class Phone {
  readonly disk = new MemoryDisk();
  /** How far its clock is from the true one, in ms. */
  skew = 0;
  /** Called for every request; may answer in the network's place. */
  network: typeof fetch = (url, init) => fetch(url, init);
  readonly logs: string[] = [];
  private alive: { client: Client; kill(): void }[] = [];

  constructor(private readonly settings: Settings) {}

  /** The parts of a process of the app. */
  async host(): Promise<{ host: PlainHost; kill(): void }> {
    const platform = memoryPlatform({
      disk: this.disk, fetch: ((url: string, init: RequestInit) => this.network(url, init)) as never,
      later: (then) => void setImmediate(then), random: (n) => randomFillSync(new Uint8Array(n)),
    });
    const clock = { now: () => Date.now() + this.skew, after: (ms: number, then: () => void) => { const id = setTimeout(then, ms); return () => clearTimeout(id); } };
    return { host: await miniProgramHost({ api: platform, crypto: { sha256, verifyEd25519, isPoint }, clock }), kill: () => platform.kill() };
  }

  /** Starts a process of the app; the one before it was killed. */
  async open(more: Partial<Settings> = {}): Promise<Client> {
    this.kill();
    const { host, kill } = await this.host();
    const log = (text: string, error?: unknown) => void this.logs.push(error === undefined ? text : `${text}: ${String((error as Error).message ?? error)}`);
    const client = await createClient({ ...this.settings, ...more, host, hooks: { log, ...this.settings.hooks, ...more.hooks } });
    this.alive.push({ client, kill });
    return client;
  }

  /** The platform ends the process without a word. */
  kill(): void {
    for (const { kill, client } of this.alive.splice(0)) {
      kill();
      void client.close().catch(() => undefined);
    }
  }

  text(path: string): string {
    return new TextDecoder().decode(this.disk.read(`wxfile://usr/slipstream/${path}`));
  }

  put(path: string, content: string | Uint8Array): void {
    this.disk.write(`wxfile://usr/slipstream/${path}`, typeof content === "string" ? new TextEncoder().encode(content) : content);
  }
}

/** What a launch's page would show: the text of its index.json. */
export async function shown(client: Client, launch: Awaited<ReturnType<Client["start"]>>, pkg = "main"): Promise<string> {
  const tree = launch.packages[pkg];
  return tree.embedded ? "embedded" : new TextDecoder().decode(await client.read(tree, "index.json"));
}
