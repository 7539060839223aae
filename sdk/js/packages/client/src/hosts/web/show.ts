// Shows what a device should run in the shell page: starts it, judges it, confirms it or goes back, until something works.
import type { Client, Embedded, Launch, Tree } from "../../device/api.js";
import { NotFound, type Source } from "../../host.js";
import { startInFrame, type Frame, type Outcome, type Rules, type ShellWindow, type Slot } from "./frame.js";

interface Worker {
  postMessage(message: unknown): void;
}

/** The parts of navigator.serviceWorker that are used. */
export interface Workers {
  readonly controller: unknown;
  readonly ready: Promise<{ active: Worker | null }>;
  addEventListener(type: "controllerchange", listener: () => void): void;
  removeEventListener(type: "controllerchange", listener: () => void): void;
}

export interface ShowOptions {
  client: Pick<Client, "start">;
  window: ShellWindow & { navigator: { serviceWorker?: Workers } };
  /** The element that the page fills; what is in it is replaced. */
  into: Slot;
  /** Default "main". */
  package?: string;
  /** Address of the page that ships with the shell. Default: the location of the embedded release with its entry, else index.html. */
  embedded?: string;
  /** When a start counts as good, see Rules. Default "shown". */
  confirm?: Rules["confirm"];
  /** ms without a failure after loading; default 1000. */
  settle?: number;
  /** ms until a start that does not get there counts as hanging; default 15 000. */
  watchdog?: number;
  /** Told before each start is shown. */
  starting?(launch: Launch): void;
}

export interface Shown {
  /** The launch whose page is in the frame. */
  launch: Launch;
  frame: Frame;
  /** How each start went, the last one last. */
  outcomes: Outcome[];
  /** Why the last outcome could not be written down: another tab holds the directory, the storage is full. The page runs all the same. */
  unkept?: unknown;
}

/** Starts that one call makes at most: two trials with their crashes, and every release of the history. */
const MOST = 16;

/**
 * Starts the app and shows it. A start that fails is told to the client and followed by the next, which runs what is left:
 * the same release until its crashes are used up, then the one before, at last the embedded one. Rejects when the client
 * cannot start at all, or when no service worker can serve a downloaded release.
 */
export async function show(options: ShowOptions): Promise<Shown> {
  const { window, into } = options, outcomes: Outcome[] = [];
  const rules: Rules = { confirm: options.confirm ?? "shown", settle: options.settle ?? 1000, watchdog: options.watchdog ?? 15000 };
  for (;;) {
    const launch = await options.client.start(), tree = launch.packages[options.package ?? "main"];
    if (!tree) throw new Error(`the app has no package ${options.package ?? "main"}: name it in packages`);
    if (!tree.embedded) await controlled(window);
    options.starting?.(launch);
    const { frame, ...outcome } = await startInFrame(window, into, addressOf(tree, options.embedded), rules);
    outcomes.push(outcome);
    let unkept: unknown;
    try {
      if (outcome.kind === "confirmed") await launch.confirm();
      else if (outcome.kind === "crashed") await launch.crash(outcome.detail);
      else await launch.hang(outcome.detail);
    } catch (e) {
      unkept = e;
    }
    // Behind the embedded release there is nothing; and what could not be kept would run again and again.
    const last = outcome.kind === "confirmed" || tree.embedded || unkept !== undefined || launch.token === "" || outcomes.length === MOST;
    if (last) return { launch, frame, outcomes, ...(unkept === undefined ? {} : { unkept }) };
  }
}

/** Where a package's page is. A release without an entry has an index.html, as web servers have it. */
function addressOf(tree: Tree, embedded: string | undefined): string {
  if (tree.embedded && embedded !== undefined) return embedded;
  return `${tree.location}/${(tree.entry || "index.html").split("/").map(encodeURIComponent).join("/")}`;
}

/** Waits until the service worker answers for this page. After a forced reload it does not until it is asked to. */
async function controlled(window: ShowOptions["window"]): Promise<void> {
  const workers = window.navigator.serviceWorker;
  if (!workers) throw new Error("this browser has no service worker to serve releases by");
  if (workers.controller) return;
  await new Promise<void>((done, failed) => {
    const end = (then: () => void) => {
      window.clearTimeout(timer as never);
      workers.removeEventListener("controllerchange", changed);
      then();
    };
    const changed = () => workers.controller && end(done);
    const timer = window.setTimeout(() => end(() => failed(new Error("no service worker took this page over: register it with a scope that the page is in"))), 20000);
    workers.addEventListener("controllerchange", changed);
    workers.ready.then((r) => r.active?.postMessage("slipstream:claim"), failed);
    changed();
  });
}

/** The parts of fetch that are used. */
export type Get = (url: string) => Promise<{ ok: boolean; status: number; arrayBuffer(): Promise<ArrayBuffer> }>;

/**
 * The release that ships with the shell, as the site serves it: its files below url, its signed manifest at url +
 * ".manifest.json" (without one it counts as seq 0). Put both into the service worker's shell, so that they are there offline.
 */
export async function embeddedAt(url: string, get: Get): Promise<Embedded> {
  const at = url.replace(/\/$/, ""), answer = await get(at + ".manifest.json").catch(() => undefined);
  const embedded: Embedded = { location: at, open: (path) => remote(`${at}/${path.split("/").map(encodeURIComponent).join("/")}`, get) };
  if (answer && answer.ok) embedded.manifest = new Uint8Array(await answer.arrayBuffer());
  return embedded;
}

async function remote(url: string, get: Get): Promise<Source> {
  const answer = await get(url);
  if (!answer.ok) throw new NotFound(`${url}: status ${answer.status}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return {
    size: bytes.length,
    read: async (offset, length) => {
      if (offset + length > bytes.length) throw new Error(`${url} has no ${length} bytes at ${offset}`);
      return bytes.slice(offset, offset + length);
    },
    close: () => Promise.resolve(),
  };
}
