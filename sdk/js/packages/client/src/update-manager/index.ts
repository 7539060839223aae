// The update manager that mini-programs know: it tells whether there is an update, when it is ready, when it failed, and
// applies it. The release that runs goes on running while the next one comes.
import type { OfferLike, UpdatingClient } from "./client.js";

export { session, type Session, type SessionOptions } from "./session.js";
export type { LaunchLike, OfferLike, StartingClient, UpdatingClient } from "./client.js";

/** waiting: nothing asked yet. none: what runs is the newest. */
export type UpdateState = "waiting" | "checking" | "none" | "downloading" | "ready" | "failed";

export interface CheckForUpdate {
  hasUpdate: boolean;
  /** What is offered, by package. */
  offers: OfferLike[];
  /** The server could not be asked; hasUpdate is false then. */
  error?: unknown;
}

export interface UpdateFailed {
  errMsg: string;
  error: unknown;
}

/** applyUpdate came before onUpdateReady. */
export class UpdateNotReady extends Error {
  readonly code = "update_not_ready";
  constructor(readonly state: UpdateState) {
    super(`applyUpdate: no update is ready, the manager is ${state}; call it from onUpdateReady`);
    this.name = "UpdateNotReady";
  }
}

export interface UpdateManager {
  readonly state: UpdateState;
  /** Called after every check; a late listener is told the last result. The answer takes it off. */
  onCheckForUpdate(listener: (res: CheckForUpdate) => void): () => void;
  /** The update is staged and verified: the next cold start runs it, applyUpdate now. */
  onUpdateReady(listener: (res: { offers: OfferLike[] }) => void): () => void;
  /** It could not be downloaded or did not verify. What runs goes on. */
  onUpdateFailed(listener: (res: UpdateFailed) => void): () => void;
  /** Starts the app anew with what is ready: true when that is under way, false when the host cannot and the next cold start will. Throws UpdateNotReady. */
  applyUpdate(): Promise<boolean>;
  /** Asks now, and downloads what there is behind. */
  check(): Promise<CheckForUpdate>;
}

/** showModal of wx, my (as confirm) or one of the app's own. */
export interface ShowModal {
  (options: { title: string; content: string; showCancel: boolean; confirmText?: string; cancelText?: string; success(res: { confirm: boolean }): void; fail?(e: unknown): void }): unknown;
}

export interface UpdatesOptions {
  client: UpdatingClient;
  /** Starts the app anew; false or missing where the host cannot. */
  restart?(): boolean | void | Promise<boolean | void>;
  /** Shows the publisher's message when an update of mode "prompt" is ready; mandatory ones have no cancel. Give it here or hooks.prompt to the client, not both. */
  showModal?: ShowModal;
  /** Never ask: what is ready runs after the next cold start. */
  silent?: boolean;
  texts?: { title?: string; content?: string; confirm?: string; cancel?: string };
  /** Only these packages; default all. */
  packages?: string[];
  log?(text: string, error?: unknown): void;
}

export interface Updates {
  /** The same manager every time. */
  getUpdateManager(): UpdateManager;
  /** "getUpdateManager", "UpdateManager.applyUpdate", "getUpdateManager.return.onUpdateReady". */
  canIUse(name: string): boolean;
  /** Call it at the cold start, once: asks and downloads by itself, as the platforms do. */
  launched(): Promise<CheckForUpdate>;
  /** The platform's object with this manager in the place of its own: for code written for wx. */
  in<T extends object>(platform: T): T & Pick<Updates, "getUpdateManager" | "canIUse">;
  close(): void;
}

const METHODS = ["onCheckForUpdate", "onUpdateReady", "onUpdateFailed", "applyUpdate", "check"];

export function updates(options: UpdatesOptions): Updates {
  const manager = new Manager(options);
  let first: Promise<CheckForUpdate> | undefined;
  const canIUse = (name: string) => {
    const [object, ...rest] = name.split(".");
    if (object !== "getUpdateManager" && object !== "UpdateManager") return false;
    const method = rest[0] === "return" ? rest[1] : rest[0];
    return method === undefined ? rest.length === 0 : METHODS.includes(method);
  };
  return {
    getUpdateManager: () => manager,
    canIUse,
    launched: () => (first = first ?? manager.check()),
    in(platform) {
      const theirs = platform as { canIUse?(name: string): boolean };
      return Object.assign(Object.create(platform) as typeof platform, {
        getUpdateManager: () => manager as UpdateManager,
        canIUse: (name: string) => canIUse(name) || (theirs.canIUse ? theirs.canIUse(name) : false),
      });
    },
    close: () => manager.close(),
  };
}

/** One kind of news: who listens, and what was told last. */
class Line<T> {
  private readonly listeners = new Set<(res: T) => void>();
  last: { res: T } | undefined;

  constructor(private readonly name: string, private readonly log: UpdatesOptions["log"]) {}

  on(listener: (res: T) => void): () => void {
    if (typeof listener !== "function") throw new TypeError(`${this.name} needs a function`);
    this.listeners.add(listener);
    const { last } = this;
    // On a later turn, as any other news: the caller has its own state in order by then.
    if (last) void Promise.resolve().then(() => this.last === last && this.listeners.has(listener) && this.call(listener, last.res));
    return () => void this.listeners.delete(listener);
  }

  tell(res: T): void {
    this.last = { res };
    for (const listener of [...this.listeners]) this.call(listener, res);
  }

  private call(listener: (res: T) => void, res: T): void {
    try {
      listener(res);
    } catch (e) {
      this.log?.(`a listener of ${this.name} failed`, e);
    }
  }
}

class Manager implements UpdateManager {
  state: UpdateState = "waiting";
  private readonly checked: Line<CheckForUpdate>;
  private readonly ready: Line<{ offers: OfferLike[] }>;
  private readonly failed: Line<UpdateFailed>;
  private readonly off: () => void;
  private asking: Promise<CheckForUpdate> | undefined;
  private applying: Promise<boolean> | undefined;
  private told = "";

  constructor(private readonly options: UpdatesOptions) {
    this.checked = new Line("onCheckForUpdate", options.log);
    this.ready = new Line("onUpdateReady", options.log);
    this.failed = new Line("onUpdateFailed", options.log);
    // Also what the client staged by itself: on its timer, after a push.
    this.off = options.client.on("ready", (offers) => this.staged(offers));
  }

  onCheckForUpdate = (listener: (res: CheckForUpdate) => void) => this.checked.on(listener);
  onUpdateReady = (listener: (res: { offers: OfferLike[] }) => void) => this.ready.on(listener);
  onUpdateFailed = (listener: (res: UpdateFailed) => void) => this.failed.on(listener);

  close(): void {
    this.off();
  }

  check(): Promise<CheckForUpdate> {
    this.asking = this.asking ?? Promise.resolve().then(() => this.ask()).then((res) => ((this.asking = undefined), res));
    return this.asking;
  }

  private async ask(): Promise<CheckForUpdate> {
    if (this.state !== "ready" && this.state !== "downloading") this.state = "checking";
    let res: CheckForUpdate;
    try {
      const { answers } = await this.options.client.check();
      const offers = Object.entries(answers).filter(([pkg, a]) => a.offer && this.mine(pkg)).map(([, a]) => a.offer as OfferLike);
      res = { hasUpdate: offers.length > 0, offers };
    } catch (error) {
      this.options.log?.("the check failed", error);
      res = { hasUpdate: false, offers: [], error };
    }
    if (!res.hasUpdate && this.state === "checking") this.state = "none";
    if (res.hasUpdate && this.state !== "ready") this.state = "downloading";
    this.checked.tell(res);
    if (res.hasUpdate) void this.download(res.offers);
    return res;
  }

  private async download(offers: OfferLike[]): Promise<void> {
    try {
      const done = await this.options.client.fetch(this.options.packages);
      const here = offers.filter((o) => this.options.client.status().packages[o.package]?.staged?.digest === o.release.digest);
      if (here.length > 0) return this.staged(here);
      // What waits for a better moment is not failed: it is ready when the client says so.
      if (done.deferred.length === 0 && this.state !== "ready") this.state = "none";
    } catch (error) {
      this.state = "failed";
      this.ready.last = undefined;
      this.failed.tell({ errMsg: "download update:fail " + ((error as Error).message ?? String(error)), error });
    }
  }

  private staged(all: OfferLike[]): void {
    const offers = all.filter((o) => this.mine(o.package)), name = offers.map((o) => `${o.package} ${o.release.digest}`).sort().join();
    if (offers.length === 0) return;
    this.state = "ready";
    this.failed.last = undefined;
    if (name === this.told) return;
    // The order that listeners know: a check comes before what it found, and is told once.
    if (this.asking && !this.checked.last?.res.hasUpdate) return void this.asking.then(() => this.staged(offers));
    this.told = name;
    if (!this.checked.last?.res.hasUpdate) this.checked.tell({ hasUpdate: true, offers });
    this.ready.tell({ offers });
    this.prompt(offers);
  }

  private prompt(offers: OfferLike[]): void {
    const { showModal, silent, texts = {} } = this.options;
    const asked = offers.filter((o) => o.apply.mode === "prompt");
    if (silent || !showModal || asked.length === 0) return;
    const content = asked.map((o) => o.apply.message).filter((m) => m).join("\n") || texts.content || "A new version is ready. Start again to use it?";
    const lost = (e: unknown) => this.options.log?.("the prompt could not be shown", e);
    const ask = {
      title: texts.title ?? "Update", content, showCancel: !asked.some((o) => o.apply.mandatory),
      ...(texts.confirm ? { confirmText: texts.confirm } : {}), ...(texts.cancel ? { cancelText: texts.cancel } : {}),
      success: (res: { confirm: boolean }) => {
        if (res.confirm && this.state === "ready") void this.applyUpdate();
      },
      fail: lost,
    };
    try {
      showModal(ask);
    } catch (e) {
      lost(e); // the update is ready all the same
    }
  }

  // Code written for wx hands it on without its object.
  applyUpdate = (): Promise<boolean> => {
    if (this.state !== "ready") throw new UpdateNotReady(this.state);
    const { restart, log } = this.options;
    this.applying = this.applying ?? (async () => {
      try {
        return restart !== undefined && (await restart()) !== false;
      } catch (e) {
        log?.("the restart failed; the next cold start runs the update", e);
        return false;
      }
    })().then((under) => {
      if (!under) this.applying = undefined;
      return under;
    });
    return this.applying;
  };

  private mine(pkg: string): boolean {
    return !this.options.packages || this.options.packages.includes(pkg);
  }
}
