// One device: what it runs, what it told, and why it gets what it gets.
import { path, send, use } from "../api.js";
import { bytes, number, stamp, t } from "../i18n.js";
import { go, href, to } from "../router.js";
import { may } from "../session.js";
import { Badge, Button, Card, Copy, Empty, Icon, Page, Shown, Table, Time, classes, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { Action } from "./action.js";
import { ExplainCard } from "./explain.js";
import { Seen, kindText, reasonText, stepText } from "./words.js";

const tones = { confirmed: "ok", failed: "bad", left: "", open: "info" };
const bad = ["crashed", "hung", "rolled_back", "failed", "refused"];

export function DevicePage({ app, device }) {
  const found = use(path`/apps/${app}/devices/${device}`, () => 10_000);
  const [asked, ask] = useState(false);
  const crumbs = [[to`/apps/${app}`, app], [to`/apps/${app}/devices`, t("nav.devices")]];
  return html`<${Page} title=${device.slice(0, 16)} crumbs=${crumbs} sub=${html`<span class="digest"><code class="wrap">${device}</code><${Copy} text=${device} label=${t("devices.copy")} /></span>`}
      actions=${may("operate", app) && found.data && html`<${Button} kind="danger" onClick=${() => ask(true)}>${t("forget.verb")}<//>`}>
    <${Shown} from=${found} lines=${8}>${(d) => html`
      <${Runs} app=${app} device=${d} />
      ${d.packages.map((p) => html`<${ExplainCard} key=${p.package} app=${app} device=${d} row=${p} />`)}
      <${Trials} app=${app} trials=${d.trials} />
      <${History} app=${app} events=${d.events} packages=${d.packages} trials=${d.trials} />
      ${asked && html`<${Action} title=${t("forget.title")} verb=${t("forget.verb")} danger=${true} effect=${t("forget.effect", { n: d.events.length })} run=${() => send("DELETE", path`/apps/${app}/devices/${device}`, undefined, { refresh: false })} onClose=${(done) => {
        ask(false);
        if (done) go(to`/apps/${app}/devices`);
      }}><p class="muted">${t("forget.what")}</p><//>`}`}<//><//>`;
}

function Runs({ app, device: d }) {
  return html`<${Card} title=${t("devices.runs")} flush=${true}>${d.packages.length === 0 ? html`<${Empty} title=${t("devices.unknownRuns")} />` : html`<${Table} label=${t("devices.runs")} rows=${d.packages} rowKey=${(p) => p.package} columns=${[
    { key: "release", head: t("release.title"), cell: (p) => (p.release ? html`<a class="cell-main" href=${href(to`/apps/${app}/releases/${p.release}`)}>${p.package} ${p.version || p.release.slice(0, 12)}</a>` : html`<span class="cell-main">${p.package}</span> <span class="muted">${t("devices.embedded")}</span>`) },
    { key: "channel", head: t("devices.channel"), cell: (p) => (p.channel ? html`<a href=${href(to`/apps/${app}/channels/${p.channel}`)}>${p.channel}</a>` : "–") },
    { key: "platform", head: t("release.platform"), hide: "small", cell: (p) => p.platform || "–" },
    { key: "runtime", head: t("release.runtime"), hide: "small", cell: (p) => p.runtime || "–" },
    { key: "first", head: t("devices.first"), hide: "medium", cell: (p) => html`<${Time} at=${p.firstSeen} />` },
    { key: "last", head: t("devices.last"), cell: (p) => html`<${Seen} at=${p.lastSeen} />` },
  ]} />`}<//>`;
}

function Trials({ app, trials }) {
  if (trials.length === 0) return null;
  return html`<${Card} title=${t("trials.title")} flush=${true}><${Table} label=${t("trials.title")} rows=${trials} rowKey=${(x) => x.rollout + x.enrolled} columns=${[
    { key: "release", head: t("release.title"), cell: (x) => html`${x.channel ? html`<a class="cell-main" href=${href(to`/apps/${app}/channels/${x.channel}/rollouts/${x.rollout}`)}>${x.package} ${x.version || (x.release ?? "").slice(0, 12) || t("devices.embedded")}</a>` : (x.version ?? x.rollout)}<span class="cell-sub">${x.channel}</span>` },
    { key: "arm", head: t("trials.arm"), cell: (x) => t(x.arm === "control" ? "guard.control" : "guard.release") },
    { key: "outcome", head: t("trials.outcome"), cell: (x) => html`<${Badge} tone=${tones[x.outcome]}>${t(`outcome.${x.outcome}`)}<//> ${reasonText(x.reason)}` },
    { key: "metrics", head: t("trials.metrics"), hide: "medium", cell: (x) => Object.entries(x.metrics ?? {}).map(([k, v]) => `${k} ${number(v, 2)}`).join(", ") || "–" },
    { key: "enrolled", head: t("kind.enrolled"), hide: "small", cell: (x) => html`<${Time} at=${x.enrolled} />` },
    { key: "ended", head: t("trials.ended"), cell: (x) => html`<${Time} at=${x.ended} />` },
  ]} /><//>`;
}

const SHOWN = 60;

function History({ app, events, packages, trials }) {
  const [all, setAll] = useState(false);
  const names = new Map([...packages, ...trials].filter((x) => x.release && x.version).map((x) => [x.release, x.version]));
  const shown = all ? events : events.slice(0, SHOWN);
  return html`<${Card} title=${t("history.title")} count=${number(events.length)}>
    ${events.length === 0 && html`<${Empty} title=${t("history.none")} />`}
    <ol class="history">${shown.map((e) => html`<li key=${e.id} class=${classes(bad.includes(e.kind) && "bad", e.kind === "confirmed" && "ok")}>
      <time datetime=${e.received} title=${stamp(e.received)}><${Time} at=${e.received} /></time>
      <div><b>${kindText(e.kind)}</b> ${e.release && html`<a href=${href(to`/apps/${app}/releases/${e.release}`)}>${names.get(e.release) || e.release.slice(0, 8)}</a>`} ${e.package && e.package !== "main" && html`<span class="muted">${e.package}</span>`}
        ${e.arm === "control" && html`<${Badge}>${t("guard.control")}<//>`} ${e.reason && html`<${Badge} tone=${bad.includes(e.kind) ? "bad" : ""} title=${e.reason}>${reasonText(e.reason)}<//>`}${" "}
        <span class="muted">${[e.stage && stepText(e.stage), e.attempt > 1 && t("history.attempt", { n: e.attempt }), e.bytes > 0 && `${bytes(e.bytes)}${e.codec ? ` (${e.codec})` : ""}`, e.metric && `${e.metric} = ${JSON.stringify(e.value)}`].filter(Boolean).join(" · ")}</span>
        ${e.detail && html`<pre class="history-detail">${e.detail}</pre>`}</div></li>`)}</ol>
    ${!all && events.length > SHOWN && html`<p class="card-foot"><${Button} kind="small" onClick=${() => setAll(true)}>${t("history.all")}<//></p>`}
    ${events.length >= 1000 && html`<p class="muted small"><${Icon} name="warn" /> ${t("history.cut")}</p>`}<//>`;
}
