// Who is told of alerts, how the messages went, and the rules that make alerts of numbers.
import { path, query, send, use } from "../api.js";
import { number, percent, t } from "../i18n.js";
import { setParams, usePlace } from "../router.js";
import { may } from "../session.js";
import { Badge, Button, Card, Choice, Copy, Dialog, Empty, Facts, Icon, Shown, Table, Time, Trouble, html } from "../ui.js";
import { useRef, useState } from "../vendor/htm-preact.mjs";
import { Action, Field, points } from "./action.js";
import { kinds } from "./alerts.js";

export function Targets() {
  const found = use("/alerts/targets", () => 30_000);
  const [asked, ask] = useState(null);
  return html`<${Card} title=${t("targets.title")} flush=${true} actions=${html`<${Button} kind="primary small" onClick=${() => ask({ add: true })}>${t("targets.add")}<//>`}>
    <${Shown} from=${found}>${({ targets }) => targets.length === 0 ? html`<${Empty} title=${t("targets.none")}>${t("targets.noneHint")}<//>` : html`<${Table} label=${t("targets.title")} rows=${targets} rowKey=${(x) => x.name} columns=${[
      { key: "name", head: t("field.name"), cell: (x) => html`<span class="cell-main">${x.name}</span><span class="cell-sub">${x.type}</span>` },
      { key: "address", head: t("targets.address"), hide: "small", cell: (x) => html`<code class="wrap">${x.address}</code>` },
      { key: "what", head: t("targets.what"), hide: "medium", cell: (x) => [x.app || t("targets.allApps"), x.kinds.length > 0 ? x.kinds.map((k) => t(`alert.${k}`)).join(", ") : t("targets.allKinds"), x.severity && t(`severity.${x.severity}`)].filter(Boolean).join(" · ") },
      { key: "do", head: "", num: true, cell: (x) => html`<span class="actions right-actions"><${Test} target=${x} /><${Button} kind="small" onClick=${() => ask({ remove: x })}>${t("action.remove")}<//></span>` },
    ]} />`}<//>
    ${asked?.add && html`<${AddTarget} onClose=${() => ask(null)} />`}
    ${asked?.remove && html`<${Action} title=${t("targets.removeTitle", { name: asked.remove.name })} verb=${t("action.remove")} danger=${true} effect=${t("targets.removeEffect")} run=${() => send("DELETE", path`/alerts/targets/${asked.remove.name}`)} onClose=${() => ask(null)} />`}<//>`;
}

// Test sends a message now and says how it went.
function Test({ target }) {
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState(null);
  const run = async () => {
    setBusy(true);
    try {
      const r = await send("POST", path`/alerts/targets/${target.name}/test`);
      setSaid(r.sent ? ["ok", t("targets.testSent")] : ["bad", r.error || t("targets.testFailed")]);
    } catch (err) {
      setSaid(["bad", err.message]);
    }
    setBusy(false);
  };
  return html`${said && html`<${Badge} tone=${said[0]} title=${said[1]}>${said[0] === "ok" ? said[1] : t("targets.testFailed")}<//>`}<${Button} kind="small" busy=${busy} onClick=${run}>${t("targets.test")}<//>`;
}

// Once shows a secret that is never shown again.
export function Once({ title, secret, note, onClose }) {
  return html`<${Dialog} title=${title} onClose=${onClose} footer=${html`<${Button} kind="primary" onClick=${onClose}>${t("action.done1")}<//>`}>
    <p>${note}</p><p class="once"><code>${secret}</code><${Copy} text=${secret} label=${t("action.copy")} /></p><p class="warning"><${Icon} name="warn" /><span>${t("once.warn")}</span></p><//>`;
}

function AddTarget({ onClose }) {
  const apps = use("/apps", () => 60_000);
  const [f, setForm] = useState({ name: "", type: "webhook", url: "", secret: "", app: "", severity: "", kinds: [] });
  const [made, setMade] = useState(null);
  const told = useRef(false);
  const set = (k) => (e) => {
    const { value } = e.target;
    setForm((was) => ({ ...was, [k]: value }));
  };
  const turn = (k) => setForm((was) => ({ ...was, kinds: was.kinds.includes(k) ? was.kinds.filter((x) => x !== k) : [...was.kinds, k] }));
  const run = async () => {
    const body = { name: f.name.trim(), type: f.type, url: f.url.trim(), ...(f.secret ? { secret: f.secret } : {}), ...(f.app ? { app: f.app } : {}), ...(f.severity ? { severity: f.severity } : {}), ...(f.kinds.length > 0 ? { kinds: f.kinds } : {}) };
    const target = await send("POST", "/alerts/targets", body);
    if (target.secret) {
      told.current = true;
      setMade(target);
    }
    return target;
  };
  if (made) return html`<${Once} title=${t("targets.made", { name: made.name })} secret=${made.secret} note=${t("targets.secretNote")} onClose=${onClose} />`;
  return html`<${Action} title=${t("targets.add")} verb=${t("targets.add")} ready=${f.name.trim() !== "" && f.url.trim() !== ""} run=${run} onClose=${() => !told.current && onClose()}>
    <div class="pair"><${Field} label=${t("field.name")}><input name="name" value=${f.name} onInput=${set("name")} maxlength="64" autocomplete="off" /><//>
    <${Field} label=${t("targets.type")}><select value=${f.type} onChange=${set("type")}><option value="webhook">Webhook</option><option value="shoutrrr">${t("targets.chat")}</option><option value="dingtalk">DingTalk</option></select><//></div>
    <${Field} label=${t("targets.address")}><input name="url" value=${f.url} onInput=${set("url")} placeholder=${f.type === "shoutrrr" ? "slack://… wecom://…" : "https://"} spellcheck="false" autocomplete="off" /><//>
    ${f.type !== "shoutrrr" && html`<${Field} label=${t("targets.secret")} hint=${f.type === "webhook" ? t("targets.secretHint") : undefined}><input type="password" value=${f.secret} onInput=${set("secret")} autocomplete="off" /><//>`}
    <div class="pair"><${Field} label=${t("targets.onlyApp")}><select value=${f.app} onChange=${set("app")}><option value="">${t("targets.allApps")}</option>${(apps.data?.apps ?? []).map((a) => html`<option key=${a.name} value=${a.name}>${a.display || a.name}</option>`)}</select><//>
    <${Field} label=${t("targets.least")}><select value=${f.severity} onChange=${set("severity")}><option value="">${t("targets.anySeverity")}</option>${["info", "warning", "critical"].map((s) => html`<option key=${s} value=${s}>${t(`severity.${s}`)}</option>`)}</select><//></div>
    <fieldset class="when"><legend>${t("targets.kinds")}</legend><div class="badges">${kinds.map((k) => html`<button type="button" key=${k} class=${f.kinds.includes(k) ? "button small on" : "button small"} aria-pressed=${f.kinds.includes(k) ? "true" : "false"} onClick=${() => turn(k)}>${t(`alert.${k}`)}</button>`)}</div></fieldset><//>`;
}

const stateTone = { queued: "info", sent: "ok", dead: "bad" };

export function Deliveries() {
  const { params } = usePlace();
  const state = params.get("state") ?? "";
  const found = use(query("/alerts/deliveries", { state, limit: 100 }));
  const [error, setError] = useState(null);
  const retry = async (ids) => {
    setError(null);
    try {
      await send("POST", "/alerts/deliveries/retry", ids ? { ids } : {});
    } catch (err) {
      setError(err);
    }
  };
  return html`<${Trouble} error=${error} /><${Card} flush=${true}>
    <div class="toolbar"><${Choice} label=${t("deliveries.state")} value=${state} onChange=${(v) => setParams({ state: v })} options=${[["", t("deliveries.state")], ...["queued", "sent", "dead"].map((s) => [s, t(`delivery.${s}`)])]} />
      ${found.data?.deliveries.some((d) => d.state === "dead") && html`<${Button} onClick=${() => retry(found.data.deliveries.filter((d) => d.state === "dead").map((d) => d.id))}>${t("deliveries.retryAll")}<//>`}</div>
    <${Shown} from=${found}>${({ deliveries }) => deliveries.length === 0 ? html`<${Empty} title=${t("deliveries.none")} />` : html`<${Table} label=${t("deliveries.title")} rows=${deliveries} rowKey=${(d) => d.id} columns=${[
      { key: "state", head: t("deliveries.state"), cell: (d) => html`<${Badge} tone=${stateTone[d.state]}>${t(`delivery.${d.state}`)}<//>` },
      { key: "target", head: t("targets.one"), cell: (d) => html`<span class="cell-main">${d.target}</span><span class="cell-sub">${d.event}${d.alert ? ` · #${d.alert}` : ""}</span>` },
      { key: "how", head: t("deliveries.how"), hide: "small", cell: (d) => html`${[d.status ? `HTTP ${d.status}` : "", d.millis ? `${number(d.millis)} ms` : "", d.attempts > 1 ? t("deliveries.attempts", { n: d.attempts }) : ""].filter(Boolean).join(" · ")}${d.error && html`<span class="cell-sub wrap">${d.error}</span>`}` },
      { key: "when", head: t("chart.time"), cell: (d) => html`<${Time} at=${d.updated} />` },
      { key: "do", head: "", num: true, cell: (d) => d.state === "dead" && html`<${Button} kind="small" onClick=${() => retry([d.id])}>${t("action.again")}<//>` },
    ]} />`}<//><//>`;
}

export function Rules() {
  const found = use("/alerts/rules", () => 0);
  const [asked, ask] = useState(false);
  const say = (r) => [[t("rules.success"), r.successBelow > 0 ? percent(r.successBelow) : t("rules.never")], [t("rules.least"), number(r.minDevices)], [t("rules.silence"), r.noDataAfter > 0 ? t("rules.hours", { n: Math.round(r.noDataAfter / 360) / 10 }) : t("rules.never")]];
  return html`<${Card} title=${t("rules.title")} actions=${may("server") && found.data && html`<${Button} kind="small" onClick=${() => ask(true)}>${t("action.change")}<//>`}>
    <${Shown} from=${found}>${(r) => html`<${Facts} rows=${say(r)} /><p class="muted small card-foot">${t("rules.note")}</p>${asked && html`<${RulesDialog} rules=${r} onClose=${() => ask(false)} />`}`}<//><//>`;
}

function RulesDialog({ rules, onClose }) {
  const [f, setForm] = useState({ success: String(Math.round(rules.successBelow * 10000) / 100), least: String(rules.minDevices), hours: String(rules.noDataAfter / 3600) });
  const set = (k) => (e) => {
    const { value } = e.target;
    setForm((was) => ({ ...was, [k]: value }));
  };
  const hours = Number(f.hours.replace(",", "."));
  const ready = points(f.success) !== null && /^\d+$/.test(f.least) && Number.isFinite(hours) && hours >= 0;
  return html`<${Action} title=${t("rules.title")} verb=${t("action.save")} ready=${ready} run=${() => send("PUT", "/alerts/rules", { successBelow: points(f.success) / 10000, minDevices: Number(f.least), noDataAfter: Math.round(hours * 3600) })} onClose=${onClose}>
    <${Field} label=${`${t("rules.success")} (%)`} hint=${t("rules.zero")}><input inputmode="decimal" value=${f.success} onInput=${set("success")} /><//>
    <${Field} label=${t("rules.least")}><input inputmode="numeric" value=${f.least} onInput=${set("least")} /><//>
    <${Field} label=${t("rules.silenceHours")} hint=${t("rules.zero")}><input inputmode="decimal" value=${f.hours} onInput=${set("hours")} /><//><//>`;
}

