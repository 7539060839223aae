// The shell page of the device tests: the whole client in a browser's page, driven from outside.
import { createClient, type Client, type Options } from "../../src/index.js";
import { delta } from "../../src/delta/index.js";
import { show, webHost, type ShowOptions, type WebHost } from "../../src/hosts/web/index.js";

interface Settings {
  server: string;
  /** The root envelope. */
  root: string;
  storage: "opfs" | "cache";
  options?: Partial<Options>;
}

const SETTINGS = (globalThis as unknown as { settings: Settings }).settings;
let host: WebHost | undefined, client: Client | undefined;
const logs: string[] = [];

const shop = {
  logs,
  async open(): Promise<string> {
    await navigator.serviceWorker.register("/sw.js?" + SETTINGS.storage);
    host = await webHost({ browser: window as never, storage: SETTINGS.storage });
    client = await createClient({
      host, app: "shop", servers: [SETTINGS.server], root: new TextEncoder().encode(SETTINGS.root), runtime: "1.0.0", delta,
      limits: { rounds: 1, backoff: 1 }, ...SETTINGS.options,
      hooks: { log: (text, error) => void logs.push(error === undefined ? text : `${text}: ${String(error)}`) },
    });
    return client.status().locked ? "locked" : "open";
  },
  /** What the user sees after a start, and how it came to that. */
  async show(more: Partial<ShowOptions> = {}) {
    const { launch, outcomes, unkept, frame } = await show({
      client: shop.client, window: window as never, into: document.getElementById("slot") as HTMLElement, embedded: "/embedded.html", settle: 50, watchdog: 30000, ...more,
    });
    const text = (frame.contentDocument as Document).body.innerText.trim();
    return { text, version: launch.packages.main.version, outcomes: outcomes.map((o) => `${o.kind} ${o.detail}`.trim()), unkept: unkept === undefined ? "" : String(unkept) };
  },
  get client(): Client {
    if (!client) throw new Error("not open");
    return client;
  },
  /** The reason why it failed, or "". */
  async update(): Promise<string> {
    try {
      await shop.client.update();
      return "";
    } catch (e) {
      return (e as { reason?: string }).reason ?? String(e);
    }
  },
  official: () => shop.client.status().packages.main.official,
  /** A disk forgets, or somebody writes where he should not. */
  async damage(path: string): Promise<void> {
    await (host as WebHost).files.replace(path, new TextEncoder().encode("not what it was"));
  },
  list: (path: string) => (host as WebHost).files.list(path),
  /** Bytes of downloads that are not complete. */
  async parts(): Promise<number> {
    let sum = 0;
    for (const name of await (host as WebHost).files.list("fetch")) sum += (await (host as WebHost).files.size("fetch/" + name)) ?? 0;
    return sum;
  },
};

(globalThis as unknown as { shop: typeof shop }).shop = shop;
