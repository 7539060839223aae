// The phone of the mini-program example, and its server, with their types.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Client } from "../../src/device/api.js";
import type { MemoryPlatform, PlatformOptions } from "../../src/hosts/miniprogram/memory.js";
import type { Settings } from "../../src/settings/index.js";
import type { Session, Updates } from "../../src/update-manager/index.js";

export const repository = join(dirname(fileURLToPath(import.meta.url)), "../../../../../../..");
export const example = join(repository, "examples/mini-program");

export interface Drawn {
  html(): string;
  set(data: Record<string, unknown>): void;
  tap(selector: string): Promise<void>;
  on(event: string, then: (detail: unknown) => void): void;
}

interface Modal {
  title: string;
  content: string;
  showCancel: boolean;
  success(res: { confirm: boolean }): void;
}

/** The example app while it runs. */
export interface App {
  content: { base: string; blocks: { image: string }[] };
  shop: { client: Client; settings: Settings; life: Session<never>; update: Updates; wx: object; failed(message: string): Promise<void> };
  onError(message: string): void;
}

export interface Phone {
  readonly modals: Modal[];
  readonly log: string[];
  readonly starts: number;
  readonly app: App;
  readonly platform: MemoryPlatform;
  open(): Promise<void>;
  hide(): void;
  sleep(ms: number): void;
  warn(): Promise<void>;
  kill(): void;
  settled(): Promise<void>;
  screen(): { html: string; texts: string[]; images: number };
  tap(selector: string): Promise<void>;
}

type Platform = Pick<PlatformOptions, "code" | "later" | "random" | "restarted">;

export interface Server {
  readonly url: string;
  start(): Promise<void>;
  stop(): Promise<void>;
  run<T>(...args: string[]): Promise<T>;
  publish(folder: string, version: string, ...args: string[]): Promise<{ digest: string; seq: number }>;
}

const load = (file: string) => import(pathToFileURL(join(example, file)).href) as Promise<Record<string, unknown>>;

export async function draw(path: string): Promise<Drawn> {
  return ((await load("phone.mjs")).draw as (path: string) => Drawn)(path);
}

export async function newPhone(o: { platform(p: Platform): MemoryPlatform; config: Record<string, unknown> }): Promise<Phone> {
  return new ((await load("phone.mjs")).Phone as new (options: typeof o) => Phone)(o);
}

/** Builds the client for the mini-program into app/lib. */
export async function buildClient(): Promise<{ bytes: number; gzip: number }> {
  return ((await load("build.mjs")).buildClient as () => Promise<{ bytes: number; gzip: number }>)();
}

/** A server of this repository on a folder that close removes; or what is missing on this machine. */
export async function newServer(): Promise<{ server: Server; folder: string; close(): Promise<void> } | { missing: string }> {
  const folder = mkdtempSync(join(tmpdir(), "slipstream-phone-")), command = join(folder, "slipstream");
  const tools = await load("server.mjs");
  try {
    (tools.buildCommand as (repository: string, into: string) => void)(repository, command);
  } catch (err) {
    rmSync(folder, { recursive: true, force: true });
    return { missing: "go build of the slipstream command: " + String((err as { stderr?: Buffer }).stderr ?? err).split("\n")[0] };
  }
  const server = new (tools.Server as new (command: string, folder: string) => Server)(command, join(folder, "server"));
  await server.start();
  return { server, folder, close: async () => (await server.stop(), rmSync(folder, { recursive: true, force: true })) };
}
