// What a host programs against: the client of one app on one device.
import type { Hash, Host } from "../host.js";
import type { Apply, Container, Digest, Event, File, Manifest, ReleaseRef, Runtime } from "../words/documents.js";
import type { Reason, Verdict } from "../words/reasons.js";
import type { Source } from "../host.js";

/** The release that ships inside the app. manifest is its signed envelope; without one it counts as seq 0. */
export interface Embedded {
  manifest?: Uint8Array;
  /** Reads a file of it, so that containers and single files can build on it. */
  open?(path: string): Promise<Source>;
  /** Where the host runs it from: a folder, a URL. */
  location?: string;
}

/** Bounds of what a server can make a device wait for, in ms unless said otherwise. */
export interface Limits {
  /** For one document; default 30 000. */
  document?: number;
  /** For one object beside what its size needs at minRate; default 600 000. */
  download?: number;
  /** Bytes per second; default 1024. */
  minRate?: number;
  /** Over how long minRate is measured; default 30 000. */
  window?: number;
  /** How often all servers are tried; default 3. */
  rounds?: number;
  /** Longest wait before the second round, doubled with each; default 1000. */
  backoff?: number;
  /** Bytes of tables and of bytecode that unpacking an update may hold; default 16 MiB. */
  memory?: number;
}

export interface Options {
  host: Host;
  app: string;
  /** Base URLs, tried in turn. */
  servers: string[];
  /** The root envelope that ships inside the app: trust starts here and nowhere else. */
  root: Uint8Array;
  /** Default: the one of the last run, at first "production". */
  channel?: string;
  /** Default "any". */
  platform?: string;
  /** Of the native shell: a version or a fingerprint. */
  runtime?: string;
  /** Default ["main"]. */
  packages?: string[];
  embedded?: Record<string, Embedded>;
  os?: string;
  model?: string;
  locale?: string;
  /** brand, country, custom.*: texts, integers, booleans. */
  attributes?: Record<string, string | number | boolean>;
  /** Bad starts that end a trial; default 2. */
  maxCrashes?: number;
  /** Further trials of a failed release; default 1, negative = none. */
  retries?: number;
  /** ms until that further trial; default 6 h. */
  retryAfter?: number;
  /** Good releases kept per package; default 3. */
  history?: number;
  /** ms between checks; default: what the server says. */
  poll?: number;
  /** Longest random wait in ms after wake; default 10 min, negative = none. */
  spread?: number;
  /** ms that a page may stay in the background; default 5 min. */
  background?: number;
  /** Ask for a signed decision too, as private rollouts need. */
  decisions?: boolean;
  /** While run runs, let the server tell of changes, where the host can hold a connection open. */
  live?: boolean;
  limits?: Limits;
  hooks?: Hooks;
  /** Unpack containers: from the entry "./delta" or those below it. Default: the host's, which React Native's has; without one updates come as single files. */
  delta?: Delta;
}

/**
 * All may be missing. prompt is asked one at a time, and checks go on while it is open. onDataRollback is waited for: it must
 * not call the client and wait for that in turn.
 */
export interface Hooks {
  /** Asks the user whether to apply a staged update now. The answer does not matter when it is mandatory. */
  prompt?(offer: Offer): Promise<boolean> | boolean;
  /** Says that the host should start again now: what is staged is meant to run at once, or what runs must be left. */
  restart?(change: Change): void | Promise<void>;
  /** A package goes back to a release that cannot read what the one before wrote. Told before it happens. */
  onDataRollback?(d: DataRollback): void | Promise<void>;
  /** Hold back downloads of low priority. */
  metered?(): boolean;
  idle?(): boolean;
  /** Sees every report as it is written down. */
  onEvent?(e: Event): void;
  /** What an operator may want to read. */
  log?(text: string, error?: unknown): void;
}

/** A release that this device is to take. leaving: what runs must be left for it. */
export interface Offer {
  package: string;
  release: ReleaseRef;
  runtime?: Runtime;
  rollout: string;
  retry: number;
  apply: Apply;
  leaving: boolean;
  reason: Reason;
}

export interface Answer {
  verdict: Verdict;
  reason: Reason;
  offer?: Offer;
}

/** The outcome of a check; next is ms to wait for the following one. */
export interface Checked {
  epoch: number;
  answers: Record<string, Answer>;
  next: number;
  /** A signed decision was asked for and used. */
  decision: boolean;
}

/** staged: newly in line for the next cold start. */
export interface Updated extends Checked {
  staged: Offer[];
  deferred: Offer[];
}

export interface Change {
  packages: string[];
  reason: Reason;
  /** What is staged, when that is the cause. */
  offers: Offer[];
}

export interface DataRollback {
  package: string;
  from: Digest;
  to: Digest;
  format: string;
}

/** One package of a launch. */
export interface Tree {
  package: string;
  /** "" for an embedded release without a manifest. */
  release: Digest;
  version: string;
  seq: number;
  entry: string;
  embedded: boolean;
  trial: boolean;
  /** Folder below the device's directory; "" for an embedded one. */
  path: string;
  /** Where the host itself finds the folder: a file name, a URL; "" when unknown. */
  location: string;
}

/** One start of the app, or of one opened package. */
export interface Launch {
  /** "" when nothing of it is remembered; reason says why. */
  readonly token: string;
  readonly attempt: number;
  readonly trial: boolean;
  readonly packages: Record<string, Tree>;
  readonly reason?: Reason;
  /** Says that it works. Saying so again is no error. */
  confirm(): Promise<void>;
  /** It ended by an exit or an uncaught error. */
  crash(detail?: string): Promise<void>;
  /** The watchdog ended it. */
  hang(detail?: string): Promise<void>;
  /** It ended and nobody knows more. */
  close(): Promise<void>;
  /** Whether a cold start now would run something else. */
  outdated(): boolean;
}

/** A package's page as the mini-program model has it; key "" is the whole app. */
export interface Page {
  readonly launch: Launch;
  /** It was alive: the same launch goes on, whatever is staged. */
  readonly hot: boolean;
  background(): void;
  /** Seen again. Too long in the background, or an update for the next resume: a cold start. */
  foreground(): Promise<Page>;
  /** The host closed it: opening it again is a cold start. */
  destroy(): Promise<void>;
}

export interface ReleaseInfo {
  digest: Digest;
  seq: number;
  version: string;
  embedded: boolean;
}

/** The roles of one package. */
export interface PackageStatus {
  running: ReleaseInfo;
  official: ReleaseInfo;
  anchor: ReleaseInfo;
  staged?: ReleaseInfo & { apply: Apply; rollout: string };
  trial?: ReleaseInfo;
  history: ReleaseInfo[];
  refused: { digest: Digest; reason: Reason; tries: number; retryAt?: number }[];
}

export interface Status {
  device: string;
  app: string;
  channel: string;
  platform: string;
  runtime: string;
  rootVersion: number;
  epoch: number;
  /** Another process or tab holds the directory: nothing can be changed from here. */
  locked: boolean;
  packages: Record<string, PackageStatus>;
  /** Reports that no server has taken yet. */
  pending: number;
}

export interface Failure {
  stage: "check" | "fetch" | "stage" | "start";
  package?: string;
  reason: Reason;
  error: unknown;
}

export interface Progress {
  package: string;
  release: Digest;
  /** Bytes that came, of the object that is on its way. */
  received: number;
  total: number;
}

/** What a listener may be told of. */
export interface Events {
  check: Checked;
  /** Newly staged: runs after the next cold start. */
  ready: Offer[];
  progress: Progress;
  failed: Failure;
  "restart-needed": Change;
  /** What runs was left: withdrawn, crashed, below its floor. */
  rollback: { package: string; from: Digest; to: Digest; reason: Reason };
}

export interface Client {
  /** The device's id on the wire; the install id never leaves the device. */
  readonly device: string;
  /** Asks what this device should run, and acts on what needs no download. */
  check(): Promise<Checked>;
  /** Downloads and stages what the last check offered; checks first when there was none. */
  fetch(packages?: string[]): Promise<Updated>;
  /**
   * check and fetch. What is staged runs after the next cold start. Rejects when anything failed; packages that did not are
   * staged all the same, and told by "ready".
   */
  update(packages?: string[]): Promise<Updated>;
  /** A cold start of the whole app: may switch to what is staged. Works without a network and a writable disk. */
  start(): Promise<Launch>;
  /** Confirms the launch with this token; a stale one is refused. */
  confirm(token: string): Promise<void>;
  /**
   * The host's own way back: to a release that is held, or to the embedded one. The next check offers again what the server
   * means for this device. Rejects with a NotFound when the device does not hold it.
   */
  rollback(pkg: string, to?: Digest): Promise<void>;
  status(): Status;
  /** Any push: JSON {"spread": seconds, "epoch"} or anything else makes run check soon. */
  wake(payload?: string): void;
  /** Opens the page of one package, or of the whole app (""). block: ms to wait for its update first; else it updates behind. */
  page(pkg: string, block?: number): Promise<Page>;
  /** Destroys the pages in the background. */
  memoryWarning(): Promise<void>;
  /** Keeps the packages up to date until the answer is called: at launch, on the timer, on wake and push. */
  run(): () => void;
  /** Moves to another channel. Only the host can do that. */
  changeChannel(channel: string): Promise<void>;
  /** Puts a measurement into the reports: about a package, or the app when pkg is "". */
  metric(name: string, value: number | boolean, pkg?: string): Promise<void>;
  /** Sends the reports that wait. */
  report(): Promise<void>;
  /** Reads a file of what runs, or of a launch's tree. */
  read(tree: Tree, path: string): Promise<Uint8Array>;
  /** Calls listener for what happens from now on; the answer takes it off. */
  on<K extends keyof Events>(name: K, listener: (e: Events[K]) => void): () => void;
  close(): Promise<void>;
}

/** Takes what a container makes of a release. Files come in the manifest's order. */
export interface DeltaSink {
  create(file: File): Promise<{ write(bytes: Uint8Array): Promise<void>; close(): Promise<void> }>;
  /** The file is the same as old of the base. */
  keep(file: File, old: File): Promise<void>;
  /** The file is the same as one that was made before. */
  duplicate(file: File, of: File): Promise<void>;
}

/** Unpacks containers. */
export interface Delta {
  /** Whether it can apply the codec within so many bytes of tables and of bytecode. */
  can(codec: Container["codec"], memory: number): boolean;
  /** Applies a container of which from (missing for a full one) is the base. */
  apply(args: {
    container: Source;
    from?: Manifest;
    to: Manifest;
    base(file: File): Promise<Source>;
    sink: DeltaSink;
    memory: number;
    pause?(): Promise<void>;
    /** The host's own hash, which may be much faster than the one of plain JavaScript. */
    sha256?(): Hash;
  }): Promise<void>;
}
