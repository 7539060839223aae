// The shapes of the documents and of the envelope around them.
import { anything, dictionary, either, integer, list, record, text, time, truth, type Fields } from "./shape.js";

const optional = undefined;
const texts = list(text);
const runtime = record({ range: [text, optional], fingerprint: [text, optional] });
const role = record({ keys: [texts], threshold: [integer] });
const applyFields: Fields = { mode: [text, optional], mandatory: [truth, optional], priority: [text, optional], message: [text, optional], timeout: [integer, optional] };
const apply = record(applyFields);

export const envelope: Fields = {
  payloadType: [text], payload: [text],
  signatures: [list(record({ keyid: [text], sig: [text] }))],
};

export const root: Fields = {
  app: [text], version: [integer], expires: [time],
  keys: [dictionary(record({ alg: [text], public: [text] }))],
  roles: [record({ root: [role], release: [role], state: [role] })],
  crit: [texts, optional],
};

export const manifest: Fields = {
  app: [text], package: [text], platform: [text], runtime: [runtime], seq: [integer], version: [text], entry: [text, optional], created: [time],
  files: [list(record({ path: [text], size: [integer], sha256: [text], exec: [truth, optional] }))],
  fallback: [texts, optional], requires: [dictionary(either(integer, texts)), optional],
  data: [record({ reads: [texts, optional], writes: [text, optional] }), optional],
  meta: [dictionary(anything), optional], crit: [texts, optional],
};

const rollout = record({
  id: [text], manifest: [text], seq: [integer], version: [text], size: [integer], runtime: [runtime],
  salt: [text, ""], from: [integer, 0], to: [integer, 10000], control: [integer, 500],
  when: [list(record({ attr: [text], op: [text], value: [anything, optional] })), optional],
  hold: [text, optional], retry: [integer, optional], grant: [truth, optional], apply: [apply, {}],
});

export const state: Fields = {
  app: [text], channel: [text], platform: [text], epoch: [integer], issued: [time], expires: [time], rootVersion: [integer],
  checkAfter: [integer], jitter: [integer, 0],
  packages: [dictionary(record({
    rollouts: [list(rollout), optional], withdrawn: [texts, optional],
    floors: [list(record({ runtime: [runtime], seq: [integer] })), optional],
  }))],
  crit: [texts, optional],
};

export const decision: Fields = {
  app: [text], channel: [text], device: [text], nonce: [text], epoch: [integer], issued: [time], expires: [time],
  packages: [dictionary(record({
    verdict: [text], reason: [text],
    release: [record({ digest: [text], seq: [integer], version: [text], size: [integer] }), optional],
    rollout: [text, optional], control: [truth, optional], retry: [integer, optional], apply: [apply, optional], grant: [text, optional],
  }))],
  checkAfter: [integer, 0], crit: [texts, optional],
};
