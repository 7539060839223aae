import { test } from "node:test";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import * as noble from "../src/verify/noble.js";
import { decodeBase64, encodeBase64, sameBytes, utf8 } from "../src/verify/bytes.js";
import { parseStrict } from "../src/verify/json.js";
import { guarded } from "../src/verify/shape.js";
import { checkSigned, keyID, openEnvelope, pae, readPublic } from "../src/verify/envelope.js";
import { checkPath, checkPaths, foldPath } from "../src/verify/paths.js";
import { Trust } from "../src/verify/trust.js";
import { Refusal } from "../src/words/reasons.js";
import { nodeCrypto } from "../src/hosts/node/crypto.js";
import { tweetnaclCrypto } from "../src/tweetnacl.js";
import type { Crypto } from "../src/host.js";
import { bytes, outcome, vectors, type Bytes } from "./vectors.js";

const random = (n: number) => new Uint8Array(randomBytes(n));
const cryptos: Record<string, Crypto> = { noble: { ...noble, random }, node: nodeCrypto(), tweetnacl: tweetnaclCrypto(random) };
const crypto = cryptos.noble;

interface Case { name: string; expect: string }

test("strict JSON", async () => {
  for (const c of vectors<(Case & { input: Bytes })[]>("strict")) {
    assert.equal(await outcome(() => guarded("json", () => parseStrict(bytes(c.input)))), c.expect, c.name);
  }
});

test("the bytes that are signed", () => {
  for (const c of vectors<{ name: string; type: string; body: Bytes; pae: Bytes }[]>("pae")) {
    assert.ok(sameBytes(pae(c.type, bytes(c.body)), bytes(c.pae)), c.name);
  }
});

for (const [name, crypto] of Object.entries(cryptos)) {
  test(`keys by ${name}`, async () => {
    for (const c of vectors<(Case & { public: string; keyid?: string })[]>("keys")) {
      assert.equal(await outcome(() => assert.equal(keyID(crypto, readPublic(crypto, c.public)), c.keyid)), c.expect, c.name);
    }
  });

  test(`signatures by ${name}`, async () => {
    for (const c of vectors<(Case & { public: string; message: string; signature: string })[]>("signatures")) {
      const good = await crypto.verifyEd25519(bytes({ base64: c.public }), bytes({ base64: c.message }), bytes({ base64: c.signature }));
      assert.equal(good, c.expect === "ok", c.name);
    }
  });
}

test("envelopes", async () => {
  for (const c of vectors<(Case & { envelope: Bytes; type: string; max: number; keys: string[]; threshold: number; payload?: string })[]>("envelopes")) {
    assert.equal(await outcome(async () => {
      const e = openEnvelope(bytes(c.envelope), c.type, c.max);
      const keys = new Map((c.keys ?? []).map((k) => readPublic(crypto, k)).map((k) => [keyID(crypto, k), k]));
      if (c.threshold < 1) throw new Refusal("malformed", "threshold", "below 1");
      await checkSigned(crypto, { keys, threshold: c.threshold }, e, "envelope", "test");
      assert.equal(encodeBase64(e.payload), c.payload ?? "");
    }), c.expect, c.name);
  }
});

test("the chain of roots", async () => {
  for (const c of vectors<(Case & { shipped: Bytes; next?: Bytes[]; now: string; version: number; sameStateRole?: boolean })[]>("roots")) {
    let first: Trust | undefined, last: Trust | undefined;
    assert.equal(await outcome(async () => {
      first = last = await Trust.open(crypto, bytes(c.shipped));
      for (const raw of c.next ?? []) last = await last!.next(bytes(raw));
      if (last!.expired(Date.parse(c.now))) throw new Refusal("expired_root", "root", "expired");
    }), c.expect, c.name);
    if (first) assert.deepEqual([last!.root.version, first.stateRole() === last!.stateRole()], [c.version, c.sameStateRole ?? false], c.name);
  }
});

test("paths", async () => {
  const v = vectors<{ paths: (Case & { path: Bytes })[]; folds: { path: string; folded: string }[]; sets: (Case & { paths: string[] })[] }>("paths");
  for (const c of v.paths) {
    // Texts reach the check through the strict parser, which refuses what is not UTF-8.
    const raw = bytes(c.path);
    const text = Buffer.from(raw).toString("utf8");
    const bad = Buffer.compare(Buffer.from(text, "utf8"), Buffer.from(raw)) !== 0 || checkPath(text) !== "";
    assert.equal(bad ? "malformed" : "ok", c.expect, c.name);
  }
  for (const c of v.folds) assert.equal(foldPath(c.path), c.folded, c.path);
  for (const c of v.sets) {
    assert.equal(checkPaths((c.paths ?? []).map((path) => ({ path, size: 0, sha256: "" }))) ? "malformed" : "ok", c.expect, c.name);
  }
});

const ms = (t: string | undefined) => { const n = t ? Date.parse(t) : NaN; return isNaN(n) ? 0 : n; };

/* eslint-disable @typescript-eslint/no-explicit-any */
for (const kind of ["state", "decision", "manifest"] as const) {
  test(`accepting a ${kind}`, async () => {
    for (const c of vectors<any[]>(`accept_${kind}`)) {
      assert.equal(await outcome(async () => {
        const trust = await Trust.open(crypto, bytes(c.root));
        const g = c.given, raw = bytes(c[kind]);
        if (kind === "state") await trust.acceptState(raw, { ...g, last: g.last ? bytes(g.last) : undefined, now: ms(g.now), highestSigned: ms(g.highestSigned) });
        if (kind === "decision") await trust.acceptDecision(raw, { nonce: "", lastEpoch: 0, ...g, now: ms(g.now), highestSigned: ms(g.highestSigned) });
        if (kind === "manifest") await trust.acceptManifest(raw, { platform: "", ...g, fits: () => g.fits !== false });
      }), c.expect, c.name);
    }
  });
}

test("base64 is canonical or refused", () => {
  for (const good of ["", "AA==", "AAA=", "AAAA"]) assert.equal(encodeBase64(decodeBase64(good)!), good);
  for (const bad of ["A", "AA=", "AB==", "AAB=", "AA\n=", "A===", "AA==AAAA", "AA-_", "=AAA"]) assert.equal(decodeBase64(bad), undefined, bad);
  assert.equal(utf8("é中😀").length, 9);
});
