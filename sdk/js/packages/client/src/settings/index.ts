// Settings as a package: switches, activity times, rules and links in one JSON file that is published, staged, tried and
// taken back like any other release, and read by key. A file that does not parse or that the app refuses never comes into
// force: its release fails its trial, and the values before it stay.
import { fromUtf8 } from "../verify/bytes.js";
import { differences, equal, freeze, lookUp, type Json } from "./values.js";

export type { Json } from "./values.js";

interface Tree {
  release: string;
  version: string;
  entry: string;
  embedded: boolean;
}

interface Page {
  readonly launch: { packages: Record<string, Tree>; confirm(): Promise<void>; crash(detail?: string): Promise<void> };
  destroy(): Promise<void>;
}

/** What settings need of the client. */
export interface SettingsClient {
  page(pkg: string, block?: number): Promise<Page>;
  read(tree: never, path: string): Promise<Uint8Array>;
  on(name: "ready", listener: (offers: { package: string }[]) => void): () => void;
}

export interface SettingsOptions {
  client: SettingsClient;
  /** Default "config". */
  package?: string;
  /** Default: the release's entry, else "settings.json". */
  file?: string;
  /** What holds before anything was read, and for keys that the file lacks. */
  defaults?: { [name: string]: Json };
  /** Throws when the app cannot live with these values; the release is refused then. */
  validate?(values: { readonly [name: string]: Json }): void;
  /** ms to wait for an update at the first open; default 0: use what is here, update behind. */
  block?: number;
  /** ms since 1970, for activity times; default Date.now. */
  now?(): number;
  /** What an operator may want to read: listeners that failed. */
  log?(text: string, error?: unknown): void;
}

export interface SettingsError {
  /** Of the release that is refused; "" for an embedded one without a manifest. */
  release: string;
  version: string;
  error: Error;
}

export interface Settings {
  /** The value under a key ("sale.banner.title", "links.0"), or fallback when there is none or it is of another kind than fallback. */
  get<T extends Json | undefined>(key: string, fallback: T): T;
  text(key: string, fallback?: string): string;
  number(key: string, fallback?: number): number;
  /** A switch: true and false alone; "yes" or 1 are neither. */
  enabled(key: string, fallback?: boolean): boolean;
  /** An instant: text that Date reads ("2026-11-11T00:00:00+08:00") or ms since 1970. */
  time(key: string, fallback?: Date): Date | undefined;
  /** Whether now lies in {"from", "to"} under the key; from counts, to does not, a missing side is open. */
  active(key: string, fallback?: boolean): boolean;
  list<T extends Json>(key: string, fallback?: readonly T[]): readonly T[];
  has(key: string): boolean;
  all(): { readonly [name: string]: Json };
  /** The release that the values are from; version is "" while only defaults hold. */
  readonly source: { release: string; version: string };
  /** Called after values changed, with the keys that did. The answer takes it off. */
  onChange(listener: (keys: readonly string[]) => void): () => void;
  /** Called when the value under one key changed. */
  onChange(key: string, listener: (value: Json | undefined, before: Json | undefined) => void): () => void;
  /** A release's file was refused: the values before it stay. */
  onError(listener: (e: SettingsError) => void): () => void;
  /** Puts what is staged into force now. It happens by itself as soon as something is staged. */
  reload(): Promise<void>;
  close(): Promise<void>;
}

/** Most bytes of the file. */
const LIMIT = 1 << 20;
/** A bad release has a few tries, and so has a bad one before it. */
const TRIES = 12;

/** Opens the settings with what the device holds. Only a closed client makes it fail. */
export async function openSettings(options: SettingsOptions): Promise<Settings> {
  const s = new Store(options);
  await s.start();
  return s;
}

type Values = { readonly [name: string]: Json };

class Store implements Settings {
  source = { release: "", version: "" };
  private values: Values = {};
  private readonly changed = new Set<(keys: readonly string[], before: Values) => void>();
  private readonly failed = new Set<(e: SettingsError) => void>();
  private page: Page | undefined;
  private turn: Promise<void> = Promise.resolve();
  private off: () => void = () => undefined;
  private closed = false;
  private unheard: SettingsError | undefined;
  private readonly refused = new Set<string>();
  private readonly name: string;

  constructor(private readonly options: SettingsOptions) {
    this.name = options.package ?? "config";
    this.values = freeze(JSON.parse(JSON.stringify(options.defaults ?? {})) as { [name: string]: Json });
  }

  async start(): Promise<void> {
    this.off = this.options.client.on("ready", (offers) => {
      if (offers.some((o) => o.package === this.name)) void this.reload().catch(() => undefined);
    });
    await this.inTurn(() => this.load(this.options.block ?? 0));
  }

  reload(): Promise<void> {
    return this.inTurn(() => this.load(0));
  }

  async close(): Promise<void> {
    this.off();
    this.closed = true;
    await this.turn;
    await this.page?.destroy();
    this.page = undefined;
  }

  get<T extends Json | undefined>(key: string, fallback: T): T {
    const v = this.value(key);
    if (v === undefined) return fallback;
    if (fallback === undefined || fallback === null) return v as T;
    return typeof v === typeof fallback && v !== null && Array.isArray(v) === Array.isArray(fallback) ? (v as T) : fallback;
  }
  text(key: string, fallback = ""): string {
    return this.get<string>(key, fallback);
  }
  number(key: string, fallback = 0): number {
    return this.get<number>(key, fallback);
  }
  enabled(key: string, fallback = false): boolean {
    return this.get<boolean>(key, fallback);
  }
  list<T extends Json>(key: string, fallback: readonly T[] = []): readonly T[] {
    return this.get(key, fallback as unknown as Json[]) as unknown as readonly T[];
  }
  has(key: string): boolean {
    return this.value(key) !== undefined;
  }
  all(): Values {
    return this.values;
  }

  time(key: string, fallback?: Date): Date | undefined {
    return instant(this.value(key)) ?? fallback;
  }

  active(key: string, fallback = false): boolean {
    const v = this.value(key);
    if (typeof v !== "object" || v === null || Array.isArray(v)) return fallback;
    const from = instant(v.from), to = instant(v.to);
    // A side that is written and cannot be read must not open an activity for ever.
    if ((v.from !== undefined && !from) || (v.to !== undefined && !to) || (!from && !to)) return fallback;
    const now = this.options.now?.() ?? Date.now();
    return (!from || from.getTime() <= now) && (!to || now < to.getTime());
  }

  onChange(keyOrListener: string | ((keys: readonly string[]) => void), listener?: (value: Json | undefined, before: Json | undefined) => void): () => void {
    const told = typeof keyOrListener === "function" ? keyOrListener : (_: readonly string[], before: Values) => {
      const now = this.value(keyOrListener), then = lookUp(before, keyOrListener) ?? this.fallback(keyOrListener);
      if (!equal(now, then)) listener?.(now, then);
    };
    this.changed.add(told);
    return () => void this.changed.delete(told);
  }

  onError(listener: (e: SettingsError) => void): () => void {
    this.failed.add(listener);
    // The first read comes before anybody can listen.
    const { unheard } = this;
    this.unheard = undefined;
    if (unheard) void Promise.resolve().then(() => this.call(() => listener(unheard)));
    return () => void this.failed.delete(listener);
  }

  private value(key: string): Json | undefined {
    return lookUp(this.values, key) ?? this.fallback(key);
  }

  private fallback(key: string): Json | undefined {
    return lookUp(this.options.defaults, key);
  }

  /**
   * Cold starts of the package until a file is good: what is staged is tried, and refused after its crashes like any release,
   * so that what runs in the end is what the next start of the app runs too.
   */
  private async load(block: number): Promise<void> {
    for (let tries = 0; tries < TRIES && !this.closed; tries++) {
      await this.page?.destroy();
      const page = (this.page = await this.options.client.page(this.name, tries === 0 ? block : 0));
      const { launch } = page, tree = launch.packages[this.name];
      // A full disk, or another tab that holds the directory, keeps nothing from being read.
      const kept = (what: Promise<void>) => what.catch((e: unknown) => this.options.log?.(`what came of the settings ${tree.version} is not kept`, e));
      let values: Values;
      try {
        values = await this.read(tree);
      } catch (e) {
        const error = e instanceof Error ? e : new Error(String(e));
        this.refuse({ release: tree.release, version: tree.version, error });
        await kept(launch.crash("settings: " + error.message));
        if (tree.embedded) return;
        continue;
      }
      await kept(launch.confirm());
      return this.take(values, tree);
    }
  }

  private take(values: Values, tree: Tree): void {
    const before = this.values, keys = differences(before, values);
    this.values = values;
    this.source = { release: tree.release, version: tree.version };
    this.refused.clear();
    if (keys.length > 0) for (const listener of [...this.changed]) this.call(() => listener(keys, before));
  }

  private async read(tree: Tree): Promise<Values> {
    const file = this.options.file ?? (tree.entry || "settings.json");
    let bytes: Uint8Array;
    try {
      bytes = await this.options.client.read(tree as never, file);
    } catch (e) {
      // An app may ship without settings: its defaults are its settings.
      if (tree.embedded) return freeze({ ...this.options.defaults }) as Values;
      throw e;
    }
    if (bytes.length > LIMIT) throw new Error(`${file} is larger than ${LIMIT} bytes`);
    let parsed: Json;
    try {
      parsed = JSON.parse(fromUtf8(bytes).replace(/^\uFEFF/, "")) as Json;
    } catch (e) {
      throw new Error(`${file} is no JSON: ${(e as Error).message}`);
    }
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) throw new Error(`${file} is not a JSON object`);
    const values = freeze(parsed);
    this.options.validate?.(values);
    return values;
  }

  /** Told once a release, however many tries it has. */
  private refuse(e: SettingsError): void {
    if (this.refused.has(e.release)) return;
    this.refused.add(e.release);
    if (this.failed.size === 0) this.unheard = e;
    for (const listener of [...this.failed]) this.call(() => listener(e));
  }

  /** A listener's failure is its own, and must not turn good settings into a crash. */
  private call(what: () => void): void {
    try {
      what();
    } catch (e) {
      this.options.log?.("a listener of the settings failed", e);
    }
  }

  private inTurn(what: () => Promise<void>): Promise<void> {
    const next = this.turn.then(what, what);
    this.turn = next.catch(() => undefined);
    return next;
  }
}

function instant(v: Json | undefined): Date | undefined {
  if (typeof v !== "string" && typeof v !== "number") return undefined;
  const d = new Date(v);
  return Number.isNaN(d.getTime()) ? undefined : d;
}
