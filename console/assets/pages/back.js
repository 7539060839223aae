// The ways forward from another channel and back to an earlier release, and what devices must leave.
import { path, query, send, use } from "../api.js";
import { share, t } from "../i18n.js";
import { Icon, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { Action, Field, Tick, points } from "./action.js";
import { ALL, about, audience, condition, platformText, runtimeText } from "./words.js";

const base = (app, channel) => path`/apps/${app}/channels/${channel}`;

const packagesOf = (policy) => Object.keys(policy?.packages ?? {}).sort();

function PackageField({ names, value, onChange }) {
  if (names.length < 2) return null;
  return html`<${Field} label=${t("field.package")}><select value=${value} onChange=${(e) => onChange(e.target.value)}>${names.map((n) => html`<option key=${n} value=${n} selected=${n === value}>${n}</option>`)}</select><//>`;
}

// running counts the devices that run a release on a channel now.
export function running(spread, channel, digest) {
  if (!spread) return null;
  return spread.groups.filter((g) => g.release === digest && (!g.channel || g.channel === channel)).reduce((n, g) => n + g.devices, 0);
}

// offered are the releases that a channel has offered of a package, the newest first, each once.
function offered(policy, pkg) {
  const pp = policy?.packages?.[pkg];
  const out = new Map();
  for (const r of pp?.past ?? []) out.set(r.digest, r);
  for (const r of pp?.rollouts ?? []) out.set(r.manifest, { digest: r.manifest, seq: r.seq, version: r.version, platform: r.platform, runtime: r.runtime });
  return [...out.values()].sort((a, b) => b.seq - a.seq);
}

export function WithdrawDialog({ app, channel, policy, spread, pkg, release, undo, onClose }) {
  const [reason, setReason] = useState("");
  const digest = release.digest ?? release.manifest;
  const n = running(spread, channel, digest);
  const below = offered(policy, pkg).find((o) => o.seq < release.seq && !(policy?.packages?.[pkg]?.withdrawn ?? []).some((w) => w.digest === o.digest) && (o.platform === release.platform || o.platform === "any"));
  const run = () => send("POST", `${base(app, channel)}/withdraw`, { package: pkg, release: digest, platform: undo ? release.platform : undefined, reason: reason || undefined, undo: undo || undefined });
  if (undo) return html`<${Action} title=${t("withdraw.undoTitle", { version: release.version })} verb=${t("withdraw.undo")} run=${run} onClose=${onClose} effect=${t("withdraw.undoEffect")} />`;
  const count = n === null ? t("withdraw.effectUnknown") : t("withdraw.effect", { n });
  return html`<${Action} title=${t("withdraw.title", { version: release.version })} verb=${t("withdraw.verb")} danger=${true} run=${run} onClose=${onClose}
      effect=${`${count} ${below ? t("withdraw.to", { version: below.version }) : t("withdraw.toEmbedded")}`}>
    <${Field} label=${t("field.reason")} hint=${t("field.reasonHint")}><input name="reason" value=${reason} onInput=${(e) => setReason(e.target.value)} maxlength="500" autocomplete="off" /><//>
    <p class="muted">${t("withdraw.notForEver")}</p><//>`;
}

// RollBackDialog puts an earlier release in force. What is newer is withdrawn in the same step.
export function RollBackDialog({ app, channel, policy, spread, onClose }) {
  const names = packagesOf(policy);
  const [pkg, setPkg] = useState(names.includes("main") ? "main" : names[0]);
  const [chosen, choose] = useState("");
  const [reason, setReason] = useState("");
  const gone = (policy?.packages?.[pkg]?.withdrawn ?? []).map((w) => w.digest);
  const all = offered(policy, pkg).filter((o) => !gone.includes(o.digest));
  const targets = all.slice(1);
  const target = targets.find((o) => o.digest === chosen) ?? targets[0];
  const newer = target ? all.filter((o) => o.seq > target.seq) : [];
  const counts = newer.map((o) => running(spread, channel, o.digest)).filter((n) => n !== null);
  const run = () => send("POST", `${base(app, channel)}/rollback`, { package: pkg, to: target.digest, reason: reason || undefined });
  return html`<${Action} title=${t("back.title", { channel })} verb=${t("back.verb")} danger=${true} ready=${Boolean(target)} run=${run} onClose=${onClose}
      effect=${target ? t("back.effect", { version: target.version, newer: newer.map((o) => o.version).join(", "), n: counts.reduce((a, b) => a + b, 0) }) : t("back.nothing")}>
    <${PackageField} names=${names} value=${pkg} onChange=${setPkg} />
    ${target && html`<${Field} label=${t("back.to")}><select name="target" value=${target.digest} onChange=${(e) => choose(e.target.value)}>${targets.map((o) => html`<option key=${o.digest} value=${o.digest} selected=${o.digest === target.digest}>${o.version} · ${t("release.seqOn", { seq: String(o.seq), platform: platformText(o.platform) })} · ${runtimeText(o.runtime)}</option>`)}</select><//>
    <${Field} label=${t("field.reason")} hint=${t("field.reasonHint")}><input name="reason" value=${reason} onInput=${(e) => setReason(e.target.value)} maxlength="500" autocomplete="off" /><//>
    <${WayBack} app=${app} newer=${newer} target=${target} />`}<//>`;
}

// WayBack warns when stored data of a newer release cannot be read by the one that is gone back to.
function WayBack({ app, newer, target }) {
  const list = use(query(path`/apps/${app}/releases`, { limit: 200 }), () => 0);
  const info = (d) => list.data?.releases.find((r) => r.digest === d);
  const reads = info(target.digest)?.data?.reads ?? [];
  const lost = newer.map((o) => info(o.digest)).filter((r) => r?.data?.writes && !reads.includes(r.data.writes));
  return html`<p class="muted small">${t("back.edges")}</p>
    ${lost.map((r) => html`<p class="warning" key=${r.digest}><${Icon} name="warn" /><span>${t("outlook.data", { version: target.version, format: r.data.writes })}</span></p>`)}`;
}

export function PromoteDialog({ app, channel, policy, spread, onClose }) {
  const channels = use(path`/apps/${app}/channels`, () => 0);
  const others = (channels.data?.channels ?? []).filter((c) => c.name !== channel);
  const [chosen, choose] = useState("");
  const source = others.find((c) => c.name === chosen) ?? others.find((c) => packagesOf(c.policy).length > 0) ?? others[0];
  const names = packagesOf(source?.policy);
  const [named, setPkg] = useState("");
  const pkg = names.includes(named) ? named : names.includes("main") ? "main" : names[0];
  const [part, setPart] = useState("100");
  const [notes, setNotes] = useState("");
  const pp = source?.policy?.packages?.[pkg];
  const gone = (pp?.withdrawn ?? []).map((w) => w.digest);
  const live = (pp?.rollouts ?? []).filter((r) => !r.hold && !gone.includes(r.manifest));
  const [picked, pick] = useState("");
  const one = live.find((r) => r.manifest === picked);
  const top = one ? [one] : live.filter((r, i, all) => all.findIndex((o) => o.platform === r.platform && runtimeText(o.runtime) === runtimeText(r.runtime)) === i);
  const until = points(part);
  const known = audience(spread, channel, pkg, "any");
  const run = () => send("POST", `${base(app, channel)}/promote`, { from: source.name, package: pkg, release: one?.manifest, to: until, notes: notes || undefined });
  const text = top.length === 0 ? t("promote.nothing") : until === null ? t("share.notOne")
    : t(known ? "promote.effect" : "promote.effectUnknown", { versions: top.map((r) => r.version).join(", "), n: about(((known ?? 0) * until) / ALL), part: share(until) });
  return html`<${Action} title=${t("promote.title", { channel })} verb=${t("promote.verb")} ready=${top.length > 0 && until !== null} run=${run} onClose=${onClose} effect=${text}>
    <${Field} label=${t("promote.from")}><select name="from" value=${source?.name} onChange=${(e) => choose(e.target.value)}>${others.map((c) => html`<option key=${c.name} value=${c.name} selected=${c.name === source?.name}>${c.display || c.name}</option>`)}</select><//>
    <${PackageField} names=${names} value=${pkg} onChange=${setPkg} />
    ${live.length > 1 && html`<${Field} label=${t("offer.release")}><select name="release" value=${one?.manifest ?? ""} onChange=${(e) => pick(e.target.value)}><option value="">${t("promote.top")}</option>${live.map((r) => html`<option key=${r.id} value=${r.manifest} selected=${r.manifest === one?.manifest}>${r.version} · ${share(r.to - r.from)}</option>`)}</select><//>`}
    ${top.filter((r) => r.when?.length > 0).map((r) => html`<p class="muted" key=${r.id}>${t("promote.keeps", { when: r.when.map(condition).join(", ") })}</p>`)}
    <${Field} label=${t("share.percent")}><input inputmode="decimal" value=${part} onInput=${(e) => setPart(e.target.value)} aria-invalid=${until === null ? "true" : undefined} /><//>
    <${Field} label=${t("field.notes")}><input value=${notes} onInput=${(e) => setNotes(e.target.value)} maxlength="1000" /><//><//>`;
}

// FloorDialog sets the lowest release that devices may run, or with floor given takes that one away.
export function FloorDialog({ app, channel, policy, spread, pkg: given, floor, onClose }) {
  const names = packagesOf(policy);
  const [pkg, setPkg] = useState(given ?? (names.includes("main") ? "main" : names[0] ?? "main"));
  const [chosen, choose] = useState("");
  const [force, setForce] = useState(false);
  const where = `${base(app, channel)}/floor`;
  if (floor) {
    return html`<${Action} title=${t("floor.liftTitle")} verb=${t("floor.lift")} onClose=${onClose} effect=${t("floor.liftEffect", { seq: String(floor.seq) })}
      run=${() => send("POST", where, { package: pkg, platform: floor.platform, runtime: floor.runtime, seq: 0 })} />`;
  }
  const all = offered(policy, pkg);
  const target = all.find((o) => o.digest === chosen) ?? all[0];
  const below = target ? all.filter((o) => o.seq < target.seq) : [];
  const n = below.map((o) => running(spread, channel, o.digest) ?? 0).reduce((a, b) => a + b, 0);
  return html`<${Action} title=${t("floor.title", { channel })} verb=${t("floor.set")} danger=${true} ready=${Boolean(target)} onClose=${onClose}
      effect=${target ? t("floor.effect", { seq: String(target.seq), version: target.version, n }) : t("back.nothing")} run=${() => send("POST", where, { package: pkg, release: target.digest, force: force || undefined })}>
    <p class="muted">${t("floor.what")}</p>
    <${PackageField} names=${names} value=${pkg} onChange=${setPkg} />
    ${target && html`<${Field} label=${t("floor.lowest")}><select name="lowest" value=${target.digest} onChange=${(e) => choose(e.target.value)}>${all.map((o) => html`<option key=${o.digest} value=${o.digest} selected=${o.digest === target.digest}>${o.version} · ${t("release.seqOn", { seq: String(o.seq), platform: platformText(o.platform) })}</option>`)}</select><//>`}
    <${Tick} label=${t("floor.force")} hint=${t("floor.forceHint")} value=${force} onChange=${setForce} /><//>`;
}

