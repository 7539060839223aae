// Why things went wrong on devices, the most frequent first.
import { path, query, use } from "../api.js";
import { number, t } from "../i18n.js";
import { href, to } from "../router.js";
import { Bar, Card, Empty, Shown, Table, Time, html } from "../ui.js";
import { kindText, reasonText, stepText } from "./words.js";

export function Reasons({ app, of, title, since }) {
  const found = use(query(path`/apps/${app}/reasons`, { ...of, since, limit: 30 }), () => 15_000);
  const wide = !of.release;
  return html`<${Card} title=${title} flush=${true}><${Shown} from=${found}>${({ reasons }) => {
    if (reasons.length === 0) return html`<${Empty} title=${t("reasons.none")} />`;
    const most = reasons[0].devices;
    return html`<${Table} label=${title} rows=${reasons} rowKey=${(r) => [r.release, r.kind, r.stage, r.reason, r.channel].join()} columns=${[
      { key: "reason", head: t("reasons.reason"), cell: (r) => html`<span class="cell-main">${reasonText(r.reason) || kindText(r.kind)}</span><span class="cell-sub"><code>${r.reason || r.kind}</code>${r.stage ? ` · ${stepText(r.stage)}` : ""}</span>` },
      { key: "kind", head: t("reasons.kind"), hide: "small", cell: (r) => kindText(r.kind) },
      ...(wide ? [{ key: "release", head: t("release.title"), hide: "small", cell: (r) => (r.release ? html`<a href=${href(to`/apps/${app}/releases/${r.release}`)}>${r.package} ${r.version || r.release.slice(0, 8)}</a>` : "–") }] : []),
      { key: "devices", head: t("overview.devices"), num: true, cell: (r) => html`<a href=${href(`${to`/apps/${app}/devices`}?${new URLSearchParams({ ...(r.release ? { release: r.release } : {}), ...(r.package ? { package: r.package } : {}) })}`)}>${number(r.devices)}</a>` },
      { key: "bar", head: "", hide: "medium", cell: (r) => html`<div class="reason-bar"><${Bar} part=${r.devices / most} tone="bad" label=${t("overview.devices")} /></div>` },
      { key: "last", head: t("reasons.last"), hide: "small", cell: (r) => html`<${Time} at=${r.last} />` },
    ]} />`;
  }}<//><//>`;
}
