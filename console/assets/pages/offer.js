// Offering a release: which, to whom, how fast, and how the app should treat it; with what will come of it beforehand.
import { path, query, send, use } from "../api.js";
import { share, t } from "../i18n.js";
import { go, to } from "../router.js";
import { may } from "../session.js";
import { Button, Icon, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { Action, Field, Tick, points } from "./action.js";
import { manifestOf } from "./manifest.js";
import { PlanFields, plain, planBody } from "./rollout-actions.js";
import { ALL, about, audience, platformText, runtimeText } from "./words.js";

const modes = ["next_launch", "next_open", "next_resume", "immediate", "prompt"];
const operators = ["in", "not_in", "semver", "gte", "lt", "before", "after", "exists"];
const attributes = ["country", "runtime", "platform", "os", "model", "brand", "locale", "first_seen", "seq", "device"];

// below are the rollouts that devices outside of the new one's share come to: down to the first that is for everybody.
function below(policy, release) {
  const pp = policy?.packages?.[release.package];
  const gone = (pp?.withdrawn ?? []).map((w) => w.digest);
  const live = (pp?.rollouts ?? []).filter((r) => (r.platform === release.platform || r.platform === "any" || release.platform === "any") && !r.hold && !gone.includes(r.manifest));
  const last = live.findIndex((r) => r.from === 0 && r.to === ALL && !r.when?.length && !r.private && !r.cap);
  return last < 0 ? live : live.slice(0, last + 1);
}

// Outlook says what is known beforehand of a release that is about to go to a channel.
function Outlook({ app, policy, release }) {
  const whole = use(path`/apps/${app}/releases/${release.digest}`, () => 0);
  const rest = below(policy, release).filter((r) => r.manifest !== release.digest);
  const before = rest.at(-1);
  const old = use(before ? path`/apps/${app}/releases/${before.manifest}` : null, () => 0);
  const protocols = use(path`/apps/${app}/protocols`, () => 0);
  const manifest = whole.data && manifestOf(whole.data);
  const on = (protocols.data?.protocols ?? []).filter((p) => p.on).map((p) => p.name);
  const lines = [];
  if (release.adapterOnly) lines.push(["warn", t("outlook.adapterOnly", { name: release.adapterOnly })]);
  else if (on.length > 0) lines.push(["", t("outlook.protocols", { names: on.join(", ") })]);
  const newer = rest.filter((r) => r.seq > release.seq);
  const back = rest.filter((r) => r.seq < release.seq);
  if (manifest && !release.adapterOnly) {
    const ways = back.filter((r) => (manifest.fallback ?? []).includes(r.manifest));
    const without = back.filter((r) => !ways.includes(r));
    if (ways.length > 0) lines.push(["ok", t("outlook.wayBack", { version: versions(ways) })]);
    if (without.length > 0) lines.push(["warn", t("outlook.noWayBack", { version: versions(without) })]);
  }
  if (newer.length > 0) lines.push(["warn", t("outlook.older", { version: versions(newer) })]);
  const writes = release.data?.writes;
  const reads = old.data && manifestOf(old.data).data?.reads;
  if (writes && before && old.data && !(reads ?? []).includes(writes)) lines.push(["warn", t("outlook.data", { version: before.version, format: writes })]);
  for (const [name, need] of Object.entries(manifest?.requires ?? {})) lines.push(["", t("outlook.requires", { name, need: Array.isArray(need) ? t("when.list", { n: need.length }) : `seq ${need}` })]);
  if ((policy?.packages?.[release.package]?.withdrawn ?? []).some((w) => w.digest === release.digest)) lines.push(["warn", t("outlook.withdrawn")]);
  if (lines.length === 0) return null;
  return html`<ul class="outlook">${lines.map(([tone, text]) => html`<li key=${text} class=${tone}><${Icon} name=${tone === "warn" ? "warn" : tone === "ok" ? "check" : "next"} /><span>${text}</span></li>`)}</ul>`;
}

const versions = (list) => [...new Set(list.map((r) => r.version))].join(", ");

// conditionsOf reads the rows of the form; null while one is not whole.
function conditionsOf(rows) {
  const out = [];
  for (const r of rows) {
    const text = r.value.trim();
    if (r.op === "exists") out.push({ attr: r.attr.trim(), op: r.op, value: text !== "false" });
    else if (!text || !r.attr.trim()) return null;
    else if (r.op === "in" || r.op === "not_in") out.push({ attr: r.attr.trim(), op: r.op, value: text.split(",").map((v) => v.trim()).filter(Boolean) });
    else out.push({ attr: r.attr.trim(), op: r.op, value: /^-?\d+$/.test(text) && ["gte", "lt"].includes(r.op) ? Number(text) : text });
  }
  return out;
}

export function WhenFields({ rows, onChange }) {
  const set = (i, k, v) => onChange(rows.map((r, j) => (j === i ? { ...r, [k]: v } : r)));
  return html`<fieldset class="when"><legend>${t("when.title")}</legend>
    ${rows.map((r, i) => html`<div class="when-row" key=${i}>
      <input list="attributes" aria-label=${t("when.attr")} value=${r.attr} onInput=${(e) => set(i, "attr", e.target.value)} spellcheck="false" autocomplete="off" />
      <select aria-label=${t("when.op")} value=${r.op} onChange=${(e) => set(i, "op", e.target.value)}>${operators.map((o) => html`<option key=${o} value=${o} selected=${o === r.op}>${t(`op.${o}`)}</option>`)}</select>
      <input aria-label=${t("when.value")} value=${r.value} placeholder=${r.op === "in" || r.op === "not_in" ? "cn, jp" : r.op === "semver" ? ">=3.2.0" : ""} onInput=${(e) => set(i, "value", e.target.value)} spellcheck="false" autocomplete="off" />
      <button type="button" class="button ghost" aria-label=${t("when.remove")} title=${t("when.remove")} onClick=${() => onChange(rows.filter((_, j) => j !== i))}><${Icon} name="close" /></button></div>`)}
    <datalist id="attributes">${attributes.map((a) => html`<option key=${a} value=${a} />`)}</datalist>
    <button type="button" class="button small" onClick=${() => onChange([...rows, { attr: "country", op: "in", value: "" }])}>${t("when.add")}</button>
  </fieldset>`;
}

const blank = { how: "share", share: "10", control: "5", plan: { stages: plain, start: "", windows: "" }, when: [], mandatory: false, mode: "", priority: "", message: "", notes: "", cap: "", private: false };

function body(release, f, when) {
  const apply = { ...(f.mode ? { mode: f.mode } : {}), ...(f.mandatory ? { mandatory: true } : {}), ...(f.priority ? { priority: f.priority } : {}), ...(f.message ? { message: f.message } : {}) };
  return {
    package: release.package, release: release.digest, control: points(f.control), apply, notes: f.notes || undefined,
    ...(f.how === "plan" ? { plan: planBody(f.plan) } : { to: points(f.share) }), ...(when.length > 0 ? { when } : {}),
    ...(f.cap ? { cap: Number(f.cap) } : {}), ...(f.private ? { private: true } : {}),
  };
}

// OfferDialog starts a rollout. release, when given, is the one that is meant.
export function OfferDialog({ app, channel, channels, onChannel, policy, spread, release: given, onClose }) {
  const list = use(query(path`/apps/${app}/releases`, { limit: 100 }), () => 0);
  const [chosen, choose] = useState(given?.digest ?? "");
  const [f, setForm] = useState(blank);
  const set = (k) => (e) => {
    const value = e.target ? e.target.value : e;
    setForm((was) => ({ ...was, [k]: value }));
  };
  const releases = (list.data?.releases ?? []).filter((r) => !r.embedded);
  const release = releases.find((r) => r.digest === chosen) ?? releases.find((r) => !(r.channels ?? []).includes(channel)) ?? releases[0];
  const when = conditionsOf(f.when);
  const width = f.how === "plan" ? firstStage(f.plan.stages) : points(f.share);
  const ready = Boolean(release) && when !== null && width !== null && points(f.control) !== null && (!f.cap || /^\d+$/.test(f.cap));
  const run = async () => {
    const done = await send("POST", path`/apps/${app}/channels/${channel}/rollouts`, body(release, f, when));
    if (done.rollout && !(done.warnings?.length > 0)) go(to`/apps/${app}/channels/${channel}/rollouts/${done.rollout.id}`);
    return done;
  };
  return html`<${Action} title=${t("offer.title", { channel })} verb=${t("offer.verb")} ready=${ready} run=${run} onClose=${onClose} effect=${release && width !== null && effect({ channel, policy, spread, release, f, width, when })}>
    ${channels?.length > 1 && html`<${Field} label=${t("devices.channel")}><select name="channel" value=${channel} onChange=${(e) => onChannel(e.target.value)}>${channels.map((c) => html`<option key=${c} value=${c} selected=${c === channel}>${c}</option>`)}</select><//>`}
    <${Field} label=${t("offer.release")}><select name="release" value=${release?.digest} onChange=${(e) => choose(e.target.value)}>${releases.map((r) => html`<option key=${r.digest} value=${r.digest} selected=${r.digest === release?.digest}>${r.package} ${r.version} · ${t("release.seqOn", { seq: String(r.seq), platform: platformText(r.platform) })} · ${runtimeText(r.runtime)}</option>`)}</select><//>
    ${release && html`<${Outlook} key=${release.digest} app=${app} policy=${policy} release=${release} />`}
    <div class="switch" role="group" aria-label=${t("offer.how")}>${["share", "plan"].map((h) => html`<button type="button" key=${h} class=${f.how === h ? "button small on" : "button small"} aria-pressed=${f.how === h ? "true" : "false"} onClick=${() => set("how")(h)}>${t(`offer.by.${h}`)}</button>`)}</div>
    ${f.how === "plan" ? html`<${PlanFields} plan=${f.plan} onChange=${set("plan")} />`
      : html`<${Field} label=${t("share.percent")} hint=${points(f.share) === null ? t("share.notOne") : undefined}><input name="offer-share" inputmode="decimal" value=${f.share} onInput=${set("share")} aria-invalid=${points(f.share) === null ? "true" : undefined} /><//>`}
    <${WhenFields} rows=${f.when} onChange=${set("when")} />
    <details class="more"><summary>${t("offer.more")}</summary><div class="form">
      <div class="pair"><${Field} label=${t("offer.control")} hint=${t("offer.controlHint")}><input inputmode="decimal" value=${f.control} onInput=${set("control")} /><//>
      <${Field} label=${t("offer.cap")} hint=${t("offer.capHint")}><input inputmode="numeric" value=${f.cap} onInput=${set("cap")} /><//></div>
      <div class="pair"><${Field} label=${t("apply.mode")}><select value=${f.mode} onChange=${set("mode")}><option value="">${t("apply.default")}</option>${modes.map((m) => html`<option key=${m} value=${m}>${t(`mode.${m}`)}</option>`)}</select><//>
      <${Field} label=${t("apply.priority")}><select value=${f.priority} onChange=${set("priority")}><option value="">${t("apply.default")}</option>${["low", "normal", "critical"].map((p) => html`<option key=${p} value=${p}>${t(`priority.${p}`)}</option>`)}</select><//></div>
      <${Tick} label=${t("apply.mandatory")} hint=${t("apply.mandatoryHint")} value=${f.mandatory} onChange=${set("mandatory")} />
      <${Tick} label=${t("rollout.private")} hint=${t("offer.privateHint")} value=${f.private} onChange=${set("private")} />
      <${Field} label=${t("apply.message")}><input value=${f.message} onInput=${set("message")} maxlength="1000" /><//>
      <${Field} label=${t("field.notes")}><input value=${f.notes} onInput=${set("notes")} maxlength="1000" /><//></div></details>
  <//>`;
}

function firstStage(text) {
  return points(text.split(",")[0].split(":")[0]);
}

function effect({ channel, policy, spread, release, f, width, when }) {
  const known = audience(spread, channel, release.package, release.platform);
  const rest = below(policy, release);
  const who = known ? t(when?.length > 0 ? "offer.whoNamed" : "offer.who", { n: about((known * width) / ALL), part: share(width), version: release.version }) : t("offer.whoUnknown", { part: share(width), version: release.version });
  const others = width < ALL || when?.length > 0 ? (rest.length > 0 ? t("offer.rest", { version: versions(rest) }) : t("offer.restNothing")) : "";
  const cap = f.cap && /^\d+$/.test(f.cap) ? t("offer.capped", { n: Number(f.cap) }) : "";
  return [who, others, cap, f.how === "plan" ? t("offer.planGoesOn") : ""].filter(Boolean).join(" ");
}


// OfferButton offers one release on a channel that is chosen in the dialog; for who may not, it is not there.
export function OfferButton({ app, release }) {
  const [open, setOpen] = useState(false);
  if (!may("operate", app) || release.embedded) return null;
  return html`<${Button} kind="primary" onClick=${() => setOpen(true)}>${t("offer.verb")}<//>${open && html`<${OfferSomewhere} app=${app} release=${release} onClose=${() => setOpen(false)} />`}`;
}

function OfferSomewhere({ app, release, onClose }) {
  const list = use(path`/apps/${app}/channels`, () => 0);
  const spread = use(path`/apps/${app}/spread`, () => 0);
  const [chosen, choose] = useState("");
  const all = list.data?.channels ?? [];
  const channel = all.find((c) => c.name === chosen) ?? all.find((c) => c.name === "production") ?? all[0];
  if (!channel) return null;
  return html`<${OfferDialog} app=${app} channel=${channel.name} channels=${all.map((c) => c.name)} onChannel=${choose} policy=${channel.policy} spread=${spread.data} release=${release} onClose=${onClose} />`;
}
