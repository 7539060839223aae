// The audit log: who changed what and when, in a chain that shows whether anything was altered.
import { query, read, use } from "../api.js";
import { number, stamp, t } from "../i18n.js";
import { href, setParams, to, usePlace } from "../router.js";
import { everywhere } from "../session.js";
import { Badge, Button, Card, Choice, Copy, Empty, Icon, Page, Search, Shown, Time, Trouble, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { brief } from "./words.js";

const MORE = 100;
const groups = ["rollout", "release", "channel", "floor", "root", "app", "token", "member", "protocol", "device", "alert"];

export function Audit() {
  const { params } = usePlace();
  const filter = { app: params.get("app") ?? "", action: params.get("action") ?? "" };
  const search = (params.get("search") ?? "").toLowerCase();
  const group = params.get("group") ?? "";
  const [limit, setLimit] = useState(MORE);
  const apps = use("/apps", () => 60_000);
  const found = use(query("/audit", { ...filter, limit }));
  return html`<${Page} title=${t("nav.audit")} actions=${everywhere() && html`<${Verify} />`}>
    <${Card} flush=${true}>
      <div class="toolbar"><${Search} label=${t("audit.search")} value=${params.get("search") ?? ""} onInput=${(v) => setParams({ search: v })} />
        <${Choice} label=${t("audit.group")} value=${group} onChange=${(v) => setParams({ group: v })} options=${[["", t("audit.group")], ...groups.map((g) => [g, t(`audited.${g}`)])]} />
        ${(apps.data?.apps.length ?? 0) > 1 && html`<${Choice} label=${t("nav.app")} value=${filter.app} onChange=${(app) => setParams({ app })} options=${[["", t("nav.app")], ...apps.data.apps.map((a) => [a.name, a.display || a.name])]} />`}</div>
      <${Shown} from=${found} lines=${10}>${({ entries }) => {
        const shown = entries.filter((e) => (!group || e.action.startsWith(`${group}.`)) && (!search || [e.actor, e.action, e.target, e.app, JSON.stringify(e.detail ?? "")].join(" ").toLowerCase().includes(search)));
        return html`${shown.length === 0 && html`<${Empty} title=${t("audit.none")} />`}<ol class="audit">${shown.map((e) => html`<${Entry} key=${e.seq} entry=${e} />`)}</ol>
          ${entries.length === limit && limit < 1000 && html`<p class="pager"><${Button} onClick=${() => setLimit(Math.min(1000, limit + 2 * MORE))}>${t("action.more")}<//></p>`}`;
      }}<//><//><//>`;
}

// sentence picks what people look for first in the detail of an entry.
function sentence(detail) {
  if (!detail || typeof detail !== "object") return "";
  return ["package", "version", "channel", "platform", "to", "role", "name", "reason", "notes"].filter((k) => detail[k] !== undefined && detail[k] !== "" && typeof detail[k] !== "object")
    .map((k) => `${k} ${k === "to" && typeof detail[k] === "number" ? `${detail[k] / 100} %` : detail[k]}`).join(" · ");
}

function Entry({ entry: e }) {
  const [open, setOpen] = useState(false);
  return html`<li><button type="button" class="audit-row" aria-expanded=${open ? "true" : "false"} onClick=${() => setOpen(!open)}>
      <span class="audit-when"><${Time} at=${e.at} /></span><span class="audit-who">${e.actor}</span><code class="audit-what">${e.action}</code>
      <span class="audit-about">${[e.app, brief(e.target)].filter(Boolean).join(" · ")}<span class="cell-sub">${sentence(e.detail)}</span></span></button>
    ${open && html`<div class="audit-detail"><p class="muted small">${t("audit.seq", { n: String(e.seq) })} · ${stamp(e.at)} ${e.app && html`· <a href=${href(to`/apps/${e.app}`)}>${e.app}</a>`} ${e.target && html`· <code class="wrap">${e.target}</code>`}</p>
      ${e.detail && html`<pre>${JSON.stringify(e.detail, null, 2)}</pre>`}<p class="muted small digest">${t("audit.hash")} <code class="wrap">${e.hash}</code><${Copy} text=${e.hash} label=${t("action.copy")} /></p></div>`}</li>`;
}

// Verify has the server recompute the whole chain.
function Verify() {
  const [busy, setBusy] = useState(false);
  const [report, setReport] = useState(null);
  const [error, setError] = useState(null);
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      setReport(await read("/audit/verify"));
    } catch (err) {
      setError(err);
    }
    setBusy(false);
  };
  return html`${error && html`<${Trouble} error=${error} />`}
    ${report && (report.fault ? html`<${Badge} tone="bad" title=${report.fault}>${t("audit.broken", { n: String(report.broken ?? "?") })}<//>` : html`<${Badge} tone="ok" title=${report.head}><${Icon} name="check" /> ${t("audit.holds", { n: number(report.entries) })}<//>`)}
    <${Button} busy=${busy} onClick=${run}>${t("audit.verify")}<//>`;
}
