// A publisher and its server for tests: signed documents and objects, by path.
import { createHash, generateKeyPairSync, sign as ed25519, type KeyObject } from "node:crypto";
import type { File, Manifest, ReleaseRef, State } from "../../src/words/documents.js";
import { pae, typeManifest, typeRoot, typeState } from "../../src/verify/envelope.js";
import type { Reply } from "./sim.js";

export const sha256 = (b: Uint8Array | string) => createHash("sha256").update(b).digest("hex");
const bytes = (b: Uint8Array | string) => (typeof b === "string" ? new TextEncoder().encode(b) : b);

interface Key {
  id: string;
  public: string;
  secret: KeyObject;
}

function newKey(): Key {
  const pair = generateKeyPairSync("ed25519");
  const raw = pair.publicKey.export({ format: "der", type: "spki" }).subarray(-32);
  return { id: sha256(raw).slice(0, 16), public: raw.toString("base64"), secret: pair.privateKey };
}

export function envelope(type: string, doc: unknown, ...keys: Key[]): Uint8Array {
  const payload = bytes(JSON.stringify(doc));
  return bytes(JSON.stringify({
    payloadType: type, payload: Buffer.from(payload).toString("base64"),
    signatures: keys.map((k) => ({ keyid: k.id, sig: ed25519(null, pae(type, payload), k.secret).toString("base64") })),
  }));
}

export interface Release {
  manifest: Manifest;
  envelope: Uint8Array;
  ref: ReleaseRef;
  files: Record<string, Uint8Array>;
}

export class Shop {
  readonly keys = { root: newKey(), release: newKey(), state: newKey() };
  readonly root: Uint8Array;
  /** What the server has, by path. */
  readonly objects = new Map<string, Uint8Array>();
  private seq = 0;

  constructor(readonly app = "shop") {
    this.root = this.signRoot(1);
    this.objects.set(`/v1/apps/${app}/roots/1`, this.root);
  }

  /** A root with these keys; the ones that sign it default to its own. */
  signRoot(version: number, ...signers: Key[]): Uint8Array {
    const { root, release, state } = this.keys, of = (k: Key) => ({ keys: [k.id], threshold: 1 });
    return envelope(typeRoot, {
      app: this.app, version, expires: "2036-01-01T00:00:00Z",
      keys: Object.fromEntries([root, release, state].map((k) => [k.id, { alg: "ed25519", public: k.public }])),
      roles: { root: of(root), release: of(release), state: of(state) },
    }, ...(signers.length > 0 ? signers : [root]));
  }

  release(version: string, tree: Record<string, Uint8Array | string>, more: Partial<Manifest> & { exec?: string[] } = {}): Release {
    const { exec = [], ...fields } = more, files: Record<string, Uint8Array> = {};
    const list: File[] = Object.keys(tree).sort().map((path) => {
      const b = (files[path] = bytes(tree[path]));
      this.objects.set(`/v1/blobs/${sha256(b)}`, b);
      return { path, size: b.length, sha256: sha256(b), ...(exec.includes(path) ? { exec: true } : {}) };
    });
    const manifest: Manifest = {
      app: this.app, package: "main", platform: "any", runtime: { range: "*" }, seq: ++this.seq, version, created: "2026-11-21T08:00:00Z",
      entry: list[0].path, files: list, ...fields,
    };
    const signed = envelope(typeManifest, manifest, this.keys.release), digest = sha256(bytes(JSON.stringify(manifest)));
    this.objects.set(`/v1/manifests/${digest}`, signed);
    this.containers(digest, []);
    return { manifest, envelope: signed, files, ref: { digest, seq: manifest.seq, version, size: list.reduce((n, f) => n + f.size, 0) } };
  }

  /** Sets the list of a release's containers, and their bytes. */
  containers(digest: string, list: { from?: string; codec: string; bytes: Uint8Array; size?: number }[]): void {
    for (const k of list) this.objects.set(`/v1/containers/${sha256(k.bytes)}`, k.bytes);
    const rows = list.map((k) => ({ ...(k.from ? { from: k.from } : {}), codec: k.codec, size: k.size ?? k.bytes.length, sha256: sha256(k.bytes) }));
    this.objects.set(`/v1/releases/${digest}/containers`, bytes(JSON.stringify(rows)));
  }

  state(doc: Omit<State, "app">): Uint8Array {
    return envelope(typeState, { app: this.app, ...doc }, this.keys.state);
  }

  /** Answers as the real server does, ranges and all. */
  readonly serve = (path: string, q: { headers?: Record<string, string> }): Reply => {
    const body = this.objects.get(path.split("?")[0]);
    if (!body) return { status: 404, body: '{"code":"not_found"}' };
    const range = /^bytes=(\d+)-$/.exec(q.headers?.range ?? ""), tag = `"${path.split("/").pop()}"`;
    if (!range || q.headers?.["if-range"] !== tag) return { body, headers: { etag: tag } };
    const from = Number(range[1]);
    return { status: 206, body: body.subarray(from), headers: { etag: tag, "content-range": `bytes ${from}-${body.length - 1}/${body.length}` } };
  };
}
