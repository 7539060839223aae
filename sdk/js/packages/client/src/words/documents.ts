// The documents that servers sign and devices read, as they stand on the wire.

/** 64 lower-case hex digits: the SHA-256 that names immutable bytes. */
export type Digest = string;
/** Exactly 2026-11-21T08:00:00Z. */
export type Time = string;

/** What a release or a floor fits: a range of shell versions, or one exact fingerprint. Exactly one is set. */
export interface Runtime {
  range?: string;
  fingerprint?: string;
}

export interface File {
  path: string;
  /** Bytes. */
  size: number;
  sha256: Digest;
  exec?: boolean;
}

/** Any release with at least this seq, or one of these. */
export type Requirement = number | Digest[];

export interface Manifest {
  app: string;
  package: string;
  platform: string;
  runtime: Runtime;
  seq: number;
  version: string;
  entry?: string;
  created: Time;
  files: File[];
  fallback?: Digest[];
  requires?: Record<string, Requirement>;
  /** Formats of stored user data that it reads, and the one that it writes. */
  data?: { reads?: string[]; writes?: string };
  meta?: Record<string, unknown>;
  crit?: string[];
}

export interface RootKey {
  alg: string;
  public: string;
}

export interface Role {
  keys: string[];
  threshold: number;
}

export interface Root {
  app: string;
  version: number;
  expires: Time;
  keys: Record<string, RootKey>;
  roles: { root: Role; release: Role; state: Role };
  crit?: string[];
}

export type ApplyMode = "next_launch" | "next_open" | "next_resume" | "immediate" | "prompt";

/** How the host should treat an update; timeout in seconds. */
export interface Apply {
  mode?: ApplyMode | string;
  mandatory?: boolean;
  priority?: "low" | "normal" | "critical" | string;
  message?: string;
  timeout?: number;
}

export interface Condition {
  attr: string;
  op: string;
  value?: unknown;
}

/** One release for a share [from, to) of [0, 10000) of the devices that its conditions name. */
export interface Rollout {
  id: string;
  manifest: Digest;
  seq: number;
  version: string;
  size: number;
  runtime: Runtime;
  salt: string;
  from: number;
  to: number;
  control: number;
  when?: Condition[];
  hold?: string;
  retry?: number;
  grant?: boolean;
  apply: Apply;
}

export interface Floor {
  runtime: Runtime;
  seq: number;
}

export interface PackageState {
  rollouts?: Rollout[];
  withdrawn?: Digest[];
  floors?: Floor[];
}

/** The signed, short-lived document of one app, channel and platform; checkAfter and jitter in seconds. */
export interface State {
  app: string;
  channel: string;
  platform: string;
  epoch: number;
  issued: Time;
  expires: Time;
  rootVersion: number;
  checkAfter: number;
  jitter: number;
  packages: Record<string, PackageState>;
  crit?: string[];
}

export interface ReleaseRef {
  digest: Digest;
  seq: number;
  version: string;
  size: number;
}

export interface PackageDecision {
  verdict: string;
  reason: string;
  release?: ReleaseRef;
  rollout?: string;
  control?: boolean;
  retry?: number;
  apply?: Apply;
  grant?: string;
}

/** The signed answer of POST /v1/check. */
export interface Decision {
  app: string;
  channel: string;
  device: string;
  nonce: string;
  epoch: number;
  issued: Time;
  expires: Time;
  packages: Record<string, PackageDecision>;
  checkAfter: number;
  crit?: string[];
}

/** What a device tells of itself. Empty texts are absent. */
export interface DeviceFacts {
  /** Hex sha256(app + ":" + install id). */
  id?: string;
  platform?: string;
  runtime?: string;
  os?: string;
  model?: string;
  locale?: string;
  /** brand, country, first_seen, custom.*: texts, integers, booleans. */
  attributes?: Record<string, unknown>;
}

/** One way to get a release; a hint that nobody signed. from is missing for the full one. */
export interface Container {
  from?: Digest;
  codec: string;
  size: number;
  sha256: Digest;
}

export type Kind = "enrolled" | "fetched" | "staged" | "started" | "confirmed" | "crashed" | "hung" | "rolled_back" | "refused"
  | "failed" | "metric" | "alive";

/** One report of a device: POST /v1/reports takes one or an array. */
export interface Event {
  id: string;
  kind: Kind;
  app: string;
  channel?: string;
  package?: string;
  device: string;
  release?: Digest;
  running?: Digest;
  rollout?: string;
  arm?: "treatment" | "control";
  epoch?: number;
  at?: Time;
  platform?: string;
  runtime?: string;
  stage?: string;
  reason?: string;
  detail?: string;
  attempt?: number;
  bytes?: number;
  codec?: string;
  metric?: string;
  value?: unknown;
}

export const defaultPackage = "main";
export const defaultChannel = "production";
export const platformAny = "any";
export const fullShare = 10000;
export const maxRootSteps = 64;

/** Caps on envelope bytes, and what a container may weigh above its signed sizes. */
export const maxRootBytes = 64 << 10;
export const maxStateBytes = 256 << 10;
export const maxDecisionBytes = 256 << 10;
export const maxManifestBytes = 4 << 20;
export const containerOverhead = 1 << 20;

/** The total of all files in bytes. */
export function totalSize(m: Manifest): number {
  return m.files.reduce((n, f) => n + f.size, 0);
}

/** 64 lower-case hex digits. */
export function isDigest(s: unknown): s is Digest {
  return typeof s === "string" && /^[0-9a-f]{64}$/.test(s);
}

/** App, channel, package and platform names. */
export function isName(s: string): boolean {
  return /^[a-z0-9][a-z0-9._-]{0,63}$/.test(s);
}

/** Reads the one accepted form of a time as ms since 1970, undefined otherwise. */
export function parseTime(s: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(s)) return undefined;
  const ms = Date.parse(s);
  return isNaN(ms) || formatTime(ms) !== s ? undefined : ms;
}

/** Cuts ms since 1970 to the second. */
export function formatTime(ms: number): Time {
  return new Date(Math.floor(ms / 1000) * 1000).toISOString().slice(0, 19) + "Z";
}

/** Whether a release with this seq and digest satisfies r. */
export function meets(r: Requirement, seq: number, digest: Digest): boolean {
  return typeof r === "number" ? seq >= r : r.indexOf(digest) >= 0;
}
