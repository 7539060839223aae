// The fleet over time: what it runs, what it told, what went wrong, which arm is better.
import { path, query, use } from "../api.js";
import { ColumnChart, LineChart, Parts } from "../charts.js";
import { number, percent, t } from "../i18n.js";
import { href, setParams, to, usePlace } from "../router.js";
import { Card, Choice, Empty, Page, Shown, classes, html } from "../ui.js";
import { Compared } from "./compare.js";
import { Reasons } from "./reasons.js";

const length = { minute: 60e3, hour: 3600e3, day: 86400e3 };
const MOST = 119; // steps that the server looks back
const LEAST = 24; // steps that are shown in any case

export function Fleet({ app }) {
  const { params } = usePlace();
  const spread = use(path`/apps/${app}/spread`, () => 30_000);
  const groups = spread.data?.groups ?? [];
  const packages = [...new Set(groups.map((g) => g.package))].sort();
  const channels = [...new Set(groups.map((g) => g.channel).filter(Boolean))].sort();
  const step = length[params.get("step")] ? params.get("step") : "hour";
  const of = { channel: params.get("channel") ?? "", package: params.get("package") ?? "", release: params.get("release") ?? "" };
  const releases = new Map(groups.filter((g) => g.release && (!of.package || g.package === of.package)).map((g) => [g.release, `${g.package} ${g.version || g.release.slice(0, 8)}`]));
  return html`<${Page} title=${t("nav.fleet")} crumbs=${[[to`/apps/${app}`, app]]} actions=${html`
      <${Choice} label=${t("devices.channel")} value=${of.channel} onChange=${(channel) => setParams({ channel })} options=${[["", t("fleet.allChannels")], ...channels.map((c) => [c, c])]} />
      ${packages.length > 1 && html`<${Choice} label=${t("field.package")} value=${of.package} onChange=${(v) => setParams({ package: v })} options=${[["", t("fleet.allPackages")], ...packages.map((p) => [p, p])]} />`}
      <${Choice} label=${t("release.title")} value=${of.release} onChange=${(release) => setParams({ release })} options=${[["", t("fleet.allReleases")], ...[...releases].sort((a, b) => b[1].localeCompare(a[1], undefined, { numeric: true }))]} />
      <${Choice} label=${t("fleet.step")} value=${step} onChange=${(v) => setParams({ step: v === "hour" ? "" : v })} options=${["minute", "hour", "day"].map((s) => [s, t(`fleet.by.${s}`)])} />`}>
    <${Card} title=${t("fleet.spread")}><${Shown} from=${spread} lines=${4}>${() => html`<${Spread} app=${app} groups=${groups.filter((g) => (!of.channel || g.channel === of.channel) && (!of.package || g.package === of.package))} />`}<//><//>
    <${Series} app=${app} of=${of} step=${step} />
    <${Reasons} app=${app} of=${of} title=${t("reasons.title")} />
    <${Tests} app=${app} channel=${of.channel} />
  <//>`;
}

// Spread shows per channel and package which releases are run, the newest first.
function Spread({ app, groups }) {
  if (groups.length === 0) return html`<${Empty} title=${t("devices.none")}>${t("devices.noneHint")}<//>`;
  const by = new Map();
  for (const g of groups) {
    const key = `${g.channel ?? ""} ${g.package}`;
    const row = by.get(key) ?? { key, channel: g.channel, package: g.package, releases: new Map(), devices: 0 };
    const r = row.releases.get(g.release ?? "") ?? { release: g.release, name: g.release ? g.version || g.release.slice(0, 8) : t("devices.embedded"), value: 0 };
    r.value += g.devices;
    row.devices += g.devices;
    row.releases.set(g.release ?? "", r);
    by.set(key, row);
  }
  return html`<div class="spreads">${[...by.values()].sort((a, b) => b.devices - a.devices).map((row) => {
    const parts = [...row.releases.values()].sort((a, b) => b.value - a.value);
    const shown = parts.slice(0, 5).map((p, i) => ({ ...p, tone: `p${Math.min(i, 4)}` }));
    const rest = parts.slice(5).reduce((n, p) => n + p.value, 0);
    if (rest > 0) shown.push({ name: t("fleet.others", { n: parts.length - 5 }), value: rest, tone: "p4" });
    return html`<div key=${row.key}><h3>${row.channel || "–"} <span class="muted">${row.package} · ${t("count.devices", { n: row.devices })}</span></h3>
      <${Parts} title=${`${row.channel ?? ""} ${row.package}`} parts=${shown} />
      <ul class="spread-key">${shown.map((p) => html`<li key=${p.name}><i class=${classes("swatch", p.tone)}></i>${p.release ? html`<a href=${href(`${to`/apps/${app}/devices`}?${new URLSearchParams({ release: p.release, ...(row.channel ? { channel: row.channel } : {}) })}`)}>${p.name}</a>` : p.name} <b>${percent(p.value / row.devices)}</b> <span class="muted">${number(p.value)}</span></li>`)}</ul></div>`;
  })}</div>`;
}

function Series({ app, of, step }) {
  const size = length[step];
  const found = use(query(path`/apps/${app}/series`, { ...of, step }), () => 30_000);
  return html`<${Card} title=${t("fleet.reports")}><${Shown} from=${found} lines=${6}>${({ points }) => {
    if (points.length === 0) return html`<${Empty} title=${t("fleet.noReports")} />`;
    const first = new Date(points[0].at).getTime();
    const begin = Math.max(Date.now() - MOST * size, Math.min(first, Date.now() - LEAST * size));
    const times = [];
    for (let at = begin - (begin % size); at <= Date.now(); at += size) times.push(at);
    const byTime = new Map(points.map((p) => [new Date(p.at).getTime(), p]));
    const counts = (kinds) => times.map((at) => kinds.reduce((n, k) => n + (byTime.get(at)?.kinds[k] ?? 0), 0));
    const ends = times.filter((at) => byTime.get(at)?.success !== undefined);
    return html`<div class="columns">
      <${ColumnChart} title=${t("fleet.outcomes")} desc=${t("fleet.outcomesNote")} times=${times} step=${size} series=${[
        { name: t("kind.confirmed"), tone: "ok", values: counts(["confirmed"]) }, { name: t("kind.rolled_back"), tone: "bad", values: counts(["rolled_back"]) }, { name: t("fleet.failed"), tone: "warn", values: counts(["failed", "refused"]) }]} />
      <${ColumnChart} title=${t("fleet.downloads")} desc=${t("fleet.downloadsNote")} times=${times} step=${size} series=${[{ name: t("kind.fetched"), tone: "a", values: counts(["fetched"]) }]} />
    </div>
    ${ends.length > 1 && html`<${LineChart} title=${t("fleet.success")} desc=${t("fleet.successNote")} times=${ends} format=${(n) => percent(n)} height=${140} series=${[{ name: t("health.worked"), tone: "ok", values: ends.map((at) => byTime.get(at).success) }, { name: t("fleet.crashes"), tone: "bad", values: ends.map((at) => byTime.get(at).crash ?? null) }]} />`}`;
  }}<//><//>`;
}

// Tests compares the arms of each A/B test that stands: rollouts that share a salt.
function Tests({ app, channel }) {
  const list = use(path`/apps/${app}/channels`, () => 30_000);
  const tests = (list.data?.channels ?? []).filter((c) => !channel || c.name === channel).flatMap((c) => Object.entries(c.policy.packages ?? {}).flatMap(([pkg, pp]) => {
    const salts = [...new Set((pp.rollouts ?? []).map((r) => r.salt).filter(Boolean))];
    return salts.map((salt) => ({ channel: c.name, package: pkg, salt, rollout: pp.rollouts.filter((r) => r.salt === salt).map((r) => r.id) })).filter((x) => x.rollout.length > 1);
  }));
  return tests.map((x) => html`<${Compared} key=${x.channel + x.package + x.salt} app=${app} channel=${x.channel} of=${x} title=${t("compare.of", { salt: x.salt, channel: x.channel })} />`);
}
