// Measures, in the engine that runs this, one check with a kind of crypto: verifying the root, a state and a manifest, and
// deciding; beside it the bare signatures, and hashing. Prints JSON. Usage: node [--jitless] engine.mjs noble|tweetnacl|native
import { readFileSync } from "node:fs";
import { randomBytes } from "node:crypto";

const client = new URL("../packages/client/dist/esm/", import.meta.url);
const load = (file) => import(new URL(file, client).href);
const vectors = (name) => JSON.parse(readFileSync(new URL(`../../../testdata/vectors/${name}.json`, import.meta.url), "utf8"));
const bytes = (b) => new Uint8Array(b.base64 === undefined ? Buffer.from(b.text) : Buffer.from(b.base64, "base64"));

const random = (n) => new Uint8Array(randomBytes(n));
const cryptos = {
  noble: async () => ({ ...(await load("verify/noble.js")), random }),
  tweetnacl: async () => (await load("tweetnacl.js")).tweetnaclCrypto(random),
  native: async () => (await load("hosts/node/crypto.js")).nodeCrypto(),
};

/** Best of the rounds, in µs a call; each round lasts some time ms. */
async function best(call, time, rounds = 5) {
  await call();
  let least = Infinity;
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now();
    let n = 0, now = begun;
    for (; now - begun < time; now = performance.now(), n++) await call();
    least = Math.min(least, ((now - begun) * 1000) / n);
  }
  return least;
}

const crypto = await cryptos[process.argv[2]]();
const { Trust } = await load("verify/trust.js");
const { decide } = await load("decide/decide.js");
const state = vectors("accept_state").find((c) => c.name === "accepted"), manifest = vectors("accept_manifest").find((c) => c.name === "accepted");
const rootBytes = bytes(state.root), stateBytes = bytes(state.state), manifestBytes = bytes(manifest.manifest);
const device = { id: "ab".repeat(32), platform: "android", runtime: "3.2.0", country: "de", attributes: { country: "de" } };

async function check() {
  const trust = await Trust.open(crypto, rootBytes), s = await trust.state(stateBytes);
  for (const pkg of Object.keys(s.packages)) decide(crypto, s, pkg, device, { running: { seq: 0 } }, Date.parse(s.issued));
  await trust.manifest(manifestBytes);
}

const signed = vectors("signatures").find((c) => c.expect === "ok");
const one = [signed.public, signed.message, signed.signature].map((b) => bytes({ base64: b }));
/** Signatures that a check verifies: two of the root, one of the state, one of the manifest. */
let signatures = 0;
const counting = { ...crypto, verifyEd25519: (...a) => (signatures++, crypto.verifyEd25519(...a)) };
const trust = await Trust.open(counting, rootBytes);
await trust.state(stateBytes);
await trust.manifest(manifestBytes);

const block = new Uint8Array(256 * 1024).fill(7);
const result = {
  check: await best(check, 150),
  signatures: (await best(() => crypto.verifyEd25519(...one), 100)) * signatures,
  hash: block.length / (await best(() => {
    const h = crypto.sha256();
    h.update(block);
    return h.digest();
  }, 100)),
};
console.log(JSON.stringify(result));
