// The rules that a document keeps by itself. Each breach is malformed.
import { fullShare, isDigest, isName, parseTime, type Apply, type Decision, type Digest, type Manifest, type Requirement, type Rollout, type Root, type Runtime, type State } from "../words/documents.js";
import { utf8Length } from "./bytes.js";
import { checkPaths } from "./paths.js";
import { guarded } from "./shape.js";

function ensure(ok: boolean, why: string): void {
  if (!ok) throw new Error(why);
}

const keys = (o: object | undefined) => Object.keys(o || {});
const name = (kind: string, s: string) => ensure(isName(s), `${kind} name "${s}" is not allowed`);
const digests = (what: string, list: Digest[] | undefined) => (list || []).forEach((d) => ensure(isDigest(d), `${what} "${d}" is not 64 lower-case hex digits`));

function version(v: string): void {
  ensure(v !== "" && utf8Length(v) <= 128, "a version of 1 to 128 bytes is needed");
}

function runtime(r: Runtime): void {
  ensure(!r.range !== !r.fingerprint, "runtime: exactly one of range and fingerprint is needed");
  ensure(utf8Length((r.range || "") + (r.fingerprint || "")) <= 1024, "runtime: more than 1024 bytes");
}

function apply(a: Apply): void {
  ensure(utf8Length(a.message || "") <= 4096 && utf8Length(a.mode || "") <= 32 && utf8Length(a.priority || "") <= 32 && (a.timeout || 0) >= 0,
    "apply: a message, mode or priority is too long, or the timeout negative");
}

export const checkManifest = (m: Manifest) => guarded("manifest", () => {
  name("app", m.app);
  name("package", m.package);
  name("platform", m.platform);
  runtime(m.runtime);
  version(m.version);
  ensure(m.seq >= 1, `seq ${m.seq} is out of range`);
  const bad = checkPaths(m.files);
  ensure(!bad, bad);
  let total = 0;
  for (const f of m.files) {
    ensure(isDigest(f.sha256), `file "${f.path}": sha256 is not 64 lower-case hex digits`);
    ensure(f.size >= 0 && f.size <= Number.MAX_SAFE_INTEGER - total, `file "${f.path}": size ${f.size} is out of range`);
    total += f.size;
  }
  ensure(!m.entry || m.files.some((f) => f.path === m.entry), `entry "${m.entry}" is not one of the files`);
  ensure((m.fallback || []).length <= 256 && keys(m.requires).length <= 256, "more than 256 fallback edges or requirements");
  digests("fallback", m.fallback);
  for (const pkg of keys(m.requires)) requirement(m.package, pkg, m.requires![pkg]);
});

function requirement(self: string, pkg: string, r: Requirement): void {
  ensure(pkg !== self, "a package cannot require itself");
  name("package", pkg);
  if (typeof r === "number") return ensure(r >= 0, `seq ${r} is out of range`);
  ensure(r.length > 0 && r.length <= 256, "1 to 256 releases may be named");
  digests("release", r);
}

export const checkRootWords = (r: Root) => guarded("root", () => {
  name("app", r.app);
  ensure(r.version >= 1, `version ${r.version} is out of range`);
});

function lifetime(issued: string, expires: string): void {
  ensure(parseTime(issued)! < parseTime(expires)!, "expires is not after issued");
}

export const checkState = (s: State) => guarded("state", () => {
  name("app", s.app);
  name("channel", s.channel);
  name("platform", s.platform);
  ensure(s.epoch >= 1, `epoch ${s.epoch} is out of range`);
  lifetime(s.issued, s.expires);
  ensure(s.rootVersion >= 1, `rootVersion ${s.rootVersion} is out of range`);
  ensure(s.checkAfter >= 0 && s.jitter >= 0, "checkAfter and jitter may not be negative");
  for (const pkg of keys(s.packages)) {
    name("package", pkg);
    const p = s.packages[pkg], ids = new Set<string>();
    for (const r of p.rollouts || []) {
      rollout(r);
      ensure(!ids.has(r.id), `rollout "${r.id}" is listed twice`);
      ids.add(r.id);
    }
    digests("withdrawn", p.withdrawn);
    for (const f of p.floors || []) {
      runtime(f.runtime);
      ensure(f.seq >= 0, `floor: seq ${f.seq} is out of range`);
    }
  }
});

function rollout(r: Rollout): void {
  ensure(r.id !== "" && utf8Length(r.id) <= 128, "a rollout's id has 1 to 128 bytes");
  ensure(isDigest(r.manifest), "manifest is not 64 lower-case hex digits");
  ensure(r.seq >= 1 && r.size >= 0, "seq or size is out of range");
  ensure(r.from >= 0 && r.from <= r.to && r.to <= fullShare, `share [${r.from}, ${r.to}) is out of range`);
  ensure(r.control >= 0 && r.control <= fullShare, `control ${r.control} is out of range`);
  ensure((r.retry || 0) >= 0, "retry may not be negative");
  runtime(r.runtime);
  version(r.version);
  apply(r.apply);
}

export const checkDecision = (d: Decision) => guarded("decision", () => {
  name("app", d.app);
  name("channel", d.channel);
  ensure(d.epoch >= 1, `epoch ${d.epoch} is out of range`);
  lifetime(d.issued, d.expires);
  ensure(d.checkAfter >= 0, "checkAfter may not be negative");
  ensure(keys(d.packages).length <= 256, "more than 256 packages");
  for (const pkg of keys(d.packages)) {
    name("package", pkg);
    const p = d.packages[pkg], r = p.release;
    ensure(utf8Length(p.rollout || "") <= 128, "a rollout's id has at most 128 bytes");
    ensure(utf8Length(p.reason) <= 64 && utf8Length(p.verdict) <= 64, "verdict and reason have at most 64 bytes");
    ensure((p.retry || 0) >= 0, "retry may not be negative");
    ensure(!!r || p.verdict !== "update", "an update without a release");
    ensure(!r || isDigest(r.digest) && r.seq >= 0 && r.size >= 0 && utf8Length(r.version) <= 128, "the release is not well named");
    if (p.apply) apply(p.apply);
  }
});
