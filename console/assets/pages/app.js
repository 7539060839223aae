// One app: its channels with what they have in force, and what it stands on.
import { path, query, use, useLive } from "../api.js";
import { number, t } from "../i18n.js";
import { href, to } from "../router.js";
import { Badge, Card, Copy, Empty, Facts, Page, Shown, Stat, Table, Time, html } from "../ui.js";
import { ChannelRow, Warnings } from "./overview.js";
import { Where, useStanding } from "./releases.js";

const MONTH = 30 * 86_400_000;

export function App({ app }) {
  const about = use(path`/apps/${app}`, () => 60_000);
  const status = use(query("/status", { app }));
  useLive(app, about.data?.channels[0]);
  return html`<${Page} title=${about.data?.display || app} sub=${about.data && html`<code>${app}</code>${about.data.kind && html`<span>${about.data.kind}</span>`}<span>${about.data.platforms.join(", ")}</span>`}>
    <${Shown} from=${status}>${({ apps: [a] }) => html`
      <${Numbers} app=${app} status=${a} />
      ${a.warnings?.length > 0 && html`<${Card}><${Warnings} of=${a.warnings} /><//>`}
      <section class="card app-card" aria-label=${t("app.inForce")}>
        <div class="app-head"><h2>${t("app.inForce")}</h2></div>
        ${a.channels.length === 0 && html`<${Empty} title=${t("app.noChannels")} />`}
        ${a.channels.map((c) => html`<${ChannelRow} key=${c.name} app=${app} channel=${c} />`)}
      </section>`}<//>
    <${Newest} app=${app} />
    <${Fleet} app=${app} />
    <${Shown} from=${about}>${(a) => html`<${Trust} app=${a} />`}<//>
  <//>`;
}

function Numbers({ app, status }) {
  const spread = use(path`/apps/${app}/spread`, () => 60_000);
  const alerts = use(query("/alerts", { app, active: true, limit: 100 }));
  const devices = spread.data?.groups.reduce((n, g) => n + g.devices, 0);
  const going = status.channels.flatMap((c) => c.packages.flatMap((p) => p.rollouts)).filter((r) => !r.hold && r.to - r.from < 10000).length;
  return html`<div class="stats">
    <${Stat} label=${t("overview.devices")} value=${devices === undefined ? "–" : number(devices)} sub=${t("overview.devicesSub")} />
    <${Stat} label=${t("overview.going")} value=${number(going)} />
    <${Stat} label=${t("overview.alerts")} value=${alerts.data ? number(alerts.data.alerts.length) : "–"} tone=${alerts.data?.alerts.length > 0 ? "warn" : ""} sub=${alerts.data?.alerts[0]?.title} to="/alerts" />
  </div>`;
}

function Newest({ app }) {
  const standing = useStanding(app);
  const list = use(query(path`/apps/${app}/releases`, { limit: 5 }), () => 15_000);
  return html`<${Card} title=${t("app.newest")} flush actions=${html`<a href=${href(to`/apps/${app}/releases`)}>${t("app.allReleases")}</a>`}>
    <${Shown} from=${list}>${({ releases }) => releases.length === 0 ? html`<${Empty} title=${t("releases.none")} />` : html`<${Table} label=${t("app.newest")} rows=${releases} rowKey=${(r) => r.digest} columns=${[
      { key: "version", head: t("release.version"), grow: true, cell: (r) => html`<a class="cell-main" href=${href(to`/apps/${app}/releases/${r.digest}`)}>${r.package} ${r.version}</a>` },
      { key: "where", head: t("release.where"), cell: (r) => html`<${Where} release=${r} standing=${standing} />` },
      { key: "published", head: t("release.published"), hide: "small", cell: (r) => html`<span class="nowrap"><${Time} at=${r.published} /></span>` },
    ]} />`}<//>
  <//>`;
}

// Fleet shows which releases the devices run, the most run first.
function Fleet({ app }) {
  const spread = use(path`/apps/${app}/spread`, () => 60_000);
  return html`<${Card} title=${t("app.running")} flush>
    <${Shown} from=${spread}>${({ groups }) => {
      const all = groups.reduce((n, g) => n + g.devices, 0);
      if (all === 0) return html`<p class="patches-none muted">${t("app.noDevices")}</p>`;
      const by = new Map();
      for (const g of groups) {
        const key = `${g.package} ${g.release ?? ""}`;
        const row = by.get(key) ?? { key, package: g.package, release: g.release, version: g.version, devices: 0, channels: new Set() };
        row.devices += g.devices;
        if (g.channel) row.channels.add(g.channel);
        by.set(key, row);
      }
      const rows = [...by.values()].sort((a, b) => b.devices - a.devices).slice(0, 12);
      return html`<${Table} label=${t("app.running")} rows=${rows} rowKey=${(r) => r.key} columns=${[
        { key: "release", head: t("release.version"), grow: true, cell: (r) => r.release ? html`<a class="cell-main" href=${href(to`/apps/${app}/releases/${r.release}`)}>${r.package} ${r.version || r.release.slice(0, 12)}</a>` : html`<span>${r.package}</span> <span class="muted">${t("app.shipped")}</span>` },
        { key: "channels", head: t("release.channel"), hide: "small", cell: (r) => [...r.channels].sort().join(", ") || "–" },
        { key: "devices", head: t("patches.devices"), num: true, cell: (r) => html`<span class="share-cell"><span>${number(r.devices)}</span><span class="ratio" aria-hidden="true"><i style=${{ width: `${(100 * r.devices) / all}%` }}></i></span></span>` },
      ]} />`;
    }}<//>
  <//>`;
}

function Trust({ app }) {
  const expires = app.rootExpires && new Date(app.rootExpires);
  const soon = expires && expires - Date.now() < MONTH;
  return html`<${Card} title=${t("app.trust")}><${Facts} rows=${[
    [t("app.root"), app.rootVersion > 0 ? t("app.rootVersion", { n: String(app.rootVersion) }) : html`<${Badge} tone="bad">${t("app.noRoot")}<//>`],
    [t("app.rootExpires"), expires && html`<span class=${soon ? "late" : ""}><${Time} at=${app.rootExpires} exact /></span>`],
    [t("app.created"), html`<${Time} at=${app.created} exact />`],
    [t("app.stateKeys"), app.stateKeys.length > 0 && html`<span class="stack">${app.stateKeys.map((k) => html`<span key=${k.keyid} class="digest"><code>${k.keyid}</code><${Copy} text=${k.keyid} label=${t("action.copyKey")} />${k.active ? html`<${Badge} tone="ok">${t("app.active")}<//>` : html`<${Badge}>${t("app.inactive")}<//>`}<span class="muted small"><${Time} at=${k.created} /></span></span>`)}</span>`],
  ]} /><//>`;
}
