// Alerts: what stands, who looks after it, who is told, and by what numbers it is judged.
import { path, query, send, use } from "../api.js";
import { t } from "../i18n.js";
import { href, setParams, to, usePlace } from "../router.js";
import { may } from "../session.js";
import { Badge, Button, Card, Choice, Empty, Page, Shown, Time, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { Action, Field } from "./action.js";
import { Deliveries, Rules, Targets } from "./telling.js";

export const severityTone = { critical: "bad", warning: "warn", info: "info" };
export const kinds = ["halt", "guard_warning", "success_low", "no_data", "publish", "withdraw", "key_use", "change"];
const ofRollout = ["halt", "guard_warning", "success_low", "no_data"];

export function Alerts() {
  const { params } = usePlace();
  const tab = params.get("tab") ?? "";
  const tabs = [["", t("alerts.open")], ...(may("admit") ? [["targets", t("targets.title")], ["deliveries", t("deliveries.title")]] : []), ["rules", t("rules.title")]];
  return html`<${Page} title=${t("nav.alerts")}>
    <nav class="tabs" aria-label=${t("nav.alerts")}>${tabs.map(([v, text]) => html`<a key=${v} href=${href(v ? `/alerts?tab=${v}` : "/alerts")} aria-current=${tab === v ? "page" : undefined}>${text}</a>`)}</nav>
    ${tab === "targets" ? html`<${Targets} />` : tab === "deliveries" ? html`<${Deliveries} />` : tab === "rules" ? html`<${Rules} />` : html`<${List} params=${params} />`}<//>`;
}

const MORE = 50;

function List({ params }) {
  const [asked, ask] = useState(null);
  const [limit, setLimit] = useState(MORE);
  const all = params.get("all") === "1";
  const filter = { app: params.get("app") ?? "", kind: params.get("kind") ?? "" };
  const apps = use("/apps", () => 60_000);
  const found = use(query("/alerts", { ...filter, active: all ? "" : true, limit }));
  return html`<${Card} flush=${true}>
    <div class="toolbar"><${Choice} label=${t("alerts.which")} value=${all ? "1" : ""} onChange=${(v) => setParams({ all: v })} options=${[["", t("alerts.active")], ["1", t("alerts.all")]]} />
      <${Choice} label=${t("alerts.kind")} value=${filter.kind} onChange=${(kind) => setParams({ kind })} options=${[["", t("alerts.kind")], ...kinds.filter((k) => k !== "change").map((k) => [k, t(`alert.${k}`)])]} />
      ${(apps.data?.apps.length ?? 0) > 1 && html`<${Choice} label=${t("nav.app")} value=${filter.app} onChange=${(app) => setParams({ app })} options=${[["", t("nav.app")], ...apps.data.apps.map((a) => [a.name, a.display || a.name])]} />`}</div>
    <${Shown} from=${found} lines=${6}>${({ alerts }) => html`${alerts.length === 0 && html`<${Empty} title=${t(all ? "alerts.none" : "alerts.noneOpen")} />`}
      <ul class="alerts">${alerts.map((a) => html`<${Row} key=${a.id} alert=${a} ask=${ask} />`)}</ul>
      ${alerts.length === limit && limit < 1000 && html`<p class="pager"><${Button} onClick=${() => setLimit(Math.min(1000, limit + MORE))}>${t("action.more")}<//></p>`}`}<//>
    ${asked && html`<${NoteDialog} verb=${asked[0]} alert=${asked[1]} onClose=${() => ask(null)} />`}<//>`;
}

function Row({ alert: a, ask }) {
  const where = ofRollout.includes(a.kind) && a.subject && a.channel ? to`/apps/${a.app}/channels/${a.channel}/rollouts/${a.subject}` : a.channel ? to`/apps/${a.app}/channels/${a.channel}` : a.app ? to`/apps/${a.app}` : null;
  const over = a.state === "resolved";
  return html`<li class=${over ? "over" : ""}>
    <div class="alert-main"><div class="alert-head"><${Badge} tone=${over ? "" : severityTone[a.severity]}>${t(`severity.${a.severity}`)}<//><span class="muted">${t(`alert.${a.kind}`)}</span>${a.state !== "open" && html`<${Badge}>${t(`alertState.${a.state}`)}<//>`}</div>
      <p class="alert-title">${where ? html`<a href=${href(where)}>${a.title}</a>` : a.title}</p>
      <p class="muted small">${[a.app, a.channel, a.package].filter(Boolean).join(" · ")} · <${Time} at=${a.last} />${a.count > 1 ? ` · ${t("alerts.times", { n: a.count })}` : ""}${a.actor ? html` · ${a.actor} <${Time} at=${a.changed} />` : ""}${a.note ? html` · “${a.note}”` : ""}</p></div>
    ${!over && may("operate", a.app) && html`<div class="actions">${a.state === "open" && html`<${Button} kind="small" onClick=${() => ask(["acknowledge", a])}>${t("alerts.acknowledge")}<//>`}<${Button} kind="small" onClick=${() => ask(["resolve", a])}>${t("alerts.resolve")}<//></div>`}</li>`;
}

function NoteDialog({ verb, alert, onClose }) {
  const [note, setNote] = useState("");
  return html`<${Action} title=${t(`alerts.${verb}`)} verb=${t(`alerts.${verb}`)} effect=${t(`alerts.${verb}Effect`)} run=${() => send("POST", path`/alerts/${alert.id}/` + verb, note ? { note } : {})} onClose=${onClose}>
    <p>${alert.title}</p><${Field} label=${t("field.note")}><input name="note" value=${note} onInput=${(e) => setNote(e.target.value)} maxlength="1000" autocomplete="off" /><//><//>`;
}

