// What a host gives the client: six small interfaces. Paths are relative to the device's directory, with "/" between
// parts. Every method may reject; a missing file rejects with a NotFound, a full disk with a StorageFull.
import type { Delta } from "./device/api.js";

/** Bytes that can be read at any place, of a known length. */
export interface Source {
  readonly size: number;
  /** Reads exactly length bytes at offset, or rejects. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A file that is being written from its start, or from where it stood. */
export interface Sink {
  write(bytes: Uint8Array): Promise<void>;
  /** Makes what was written survive a power cut, where the host can. */
  close(): Promise<void>;
}

/** The device's directory. */
export interface Files {
  read(path: string): Promise<Uint8Array>;
  open(path: string): Promise<Source>;
  /** Creates the file, and the folders above it; with append goes on at its end. */
  create(path: string, options?: { append?: boolean; executable?: boolean }): Promise<Sink>;
  /** Replaces the whole file: after a crash it holds the old bytes, the new ones, or (where a host cannot do better) is torn. */
  replace(path: string, bytes: Uint8Array): Promise<void>;
  /** Moves a file or a folder; the new name must be free. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file or a whole folder; what is not there is removed already. */
  remove(path: string): Promise<void>;
  /** Names in a folder, folders with a "/" behind them; none when the folder is missing. */
  list(path: string): Promise<string[]>;
  /** Size of a file in bytes, or undefined when there is none. */
  size(path: string): Promise<number | undefined>;
  /** Where the host itself finds this path: a file name, a URL. */
  locate(path: string): string;
}

export interface HttpRequest {
  method: "GET" | "POST";
  url: string;
  headers?: Record<string, string>;
  body?: Uint8Array;
  /** Most bytes of the answer's body that may be taken in; reading stops there. */
  limit: number;
  /** Longest time for the whole, in ms. */
  timeout: number;
  /** Told once what is answered, before the first byte of the body. When it throws, the request ends with that error. */
  onHead?(head: HttpHead): void | Promise<void>;
  /** Told of every piece as it comes. Without it the answer carries the whole body. When it throws, the request ends with that error. */
  onBytes?(bytes: Uint8Array): void | Promise<void>;
  signal?: AbortLike;
}

export interface HttpHead {
  status: number;
  /** Lower-case names. */
  headers: Record<string, string>;
}

export interface HttpResponse extends HttpHead {
  /** Empty when onBytes took it. */
  body: Uint8Array;
}

export interface AbortLike {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** Redirects are followed at most three times and never to another scheme. */
export interface Http {
  /**
   * Head and pieces are handed on while the answer is still coming, with its true status. Otherwise all of it may come at
   * once: how fast is not known, a cut connection brings nothing, and a part of an object cannot be asked for.
   */
  readonly streams?: boolean;
  request(request: HttpRequest): Promise<HttpResponse>;
}

export interface Hash {
  update(bytes: Uint8Array): void;
  /** 32 bytes. */
  digest(): Uint8Array;
}

export interface Crypto {
  sha256(): Hash;
  /** Verifies cofactorless, with S < L; keys and points of small order or not canonical are refused. */
  verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean | Promise<boolean>;
  /** Whether a public key is a point of the curve at all; a host with native crypto alone may not know. */
  isPoint?(publicKey: Uint8Array): boolean;
  random(length: number): Uint8Array;
}

export interface Clock {
  /** ms since 1970. */
  now(): number;
  /** Calls back once; the answer cancels it. */
  after(ms: number, then: () => void): () => void;
}

/** The lock of whoever changes the device's directory; other names are of releases that run. */
export const directoryLock = "lock";

/** Keeps a second tab or process from changing the same directory. */
export interface Locks {
  /** Undefined when somebody else holds it. It ends with whoever holds it, however that went. */
  tryLock(name: string): Promise<{ release(): Promise<void> } | undefined>;
}

export interface Host {
  /** For error messages and reports: "node", "web", "miniprogram", … */
  readonly name: string;
  readonly files: Files;
  readonly http: Http;
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly locks: Locks;
  /** Lets a slow engine draw between slices of work; resolves on a later turn of the event loop. */
  pause?(): Promise<void>;
  /** Unpacks containers where the client's options name nothing that does. */
  readonly delta?: Delta;
}

export class NotFound extends Error {}
export class StorageFull extends Error {}
