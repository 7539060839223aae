// The devices that reported, and what they run.
import { path, query, use } from "../api.js";
import { number, t } from "../i18n.js";
import { href, setParams, to, usePlace } from "../router.js";
import { Button, Card, Choice, Empty, Page, Search, Shown, Table, Time, html } from "../ui.js";
import { useEffect, useRef, useState } from "../vendor/htm-preact.mjs";
import { Seen } from "./words.js";

const PAGE = 50;

const distinct = (groups, key) => [...new Set(groups.map((g) => g[key]).filter(Boolean))].sort();

// useSlow gives a value once it has stood for a moment, so that typing asks for nothing at every letter.
function useSlow(value) {
  const [slow, setSlow] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(value), 250);
    return () => clearTimeout(timer);
  }, [value]);
  return slow;
}

export function Devices({ app }) {
  const { params } = usePlace();
  const spread = use(path`/apps/${app}/spread`, () => 60_000);
  const filter = Object.fromEntries(["channel", "package", "release", "platform", "runtime", "prefix"].map((k) => [k, params.get(k) ?? ""]));
  const wanted = JSON.stringify(filter);
  const [starts, setStarts] = useState([""]); // where each page begins
  const before = useRef(wanted);
  useEffect(() => {
    if (before.current !== wanted) setStarts([""]);
    before.current = wanted;
  }, [wanted]);
  const prefix = useSlow(filter.prefix.toLowerCase().replace(/[^0-9a-f]/g, ""));
  const at = before.current === wanted ? starts.at(-1) : "";
  const list = use(query(path`/apps/${app}/devices`, { ...filter, prefix, after: at, limit: PAGE }), () => 20_000);
  const groups = spread.data?.groups ?? [];
  const known = groups.reduce((n, g) => n + g.devices, 0);
  const releases = new Map();
  for (const g of groups) if (g.release && (!filter.package || g.package === filter.package)) releases.set(g.release, `${g.package} ${g.version || g.release.slice(0, 8)}`);
  if (filter.release && !releases.has(filter.release)) releases.set(filter.release, filter.release.slice(0, 12));
  const pick = (key, label, values) => html`<${Choice} label=${label} value=${filter[key]} onChange=${(v) => setParams({ [key]: v })} options=${[["", label], ...values]} />`;
  const some = Object.values(filter).some(Boolean);
  return html`<${Page} title=${t("nav.devices")} crumbs=${[[to`/apps/${app}`, app]]} sub=${spread.data && html`<span>${t("devices.known", { n: known })}</span>`}>
    <${Card} flush=${true}>
      <div class="toolbar"><${Search} label=${t("devices.search")} value=${filter.prefix} onInput=${(v) => setParams({ prefix: v })} />
        ${pick("channel", t("devices.channel"), distinct(groups, "channel").map((v) => [v, v]))}
        ${distinct(groups, "package").length > 1 && pick("package", t("field.package"), distinct(groups, "package").map((v) => [v, v]))}
        ${pick("release", t("release.title"), [...releases].sort((a, b) => b[1].localeCompare(a[1], undefined, { numeric: true })))}
        ${pick("platform", t("release.platform"), distinct(groups, "platform").map((v) => [v, v]))}
        ${pick("runtime", t("release.runtime"), distinct(groups, "runtime").map((v) => [v, v]))}
        ${some && html`<${Button} kind="ghost" onClick=${() => setParams(Object.fromEntries(Object.keys(filter).map((k) => [k, ""])))}>${t("devices.clear")}<//>`}</div>
      <${Shown} from=${list} lines=${8}>${({ devices, next }) => {
        if (devices.length === 0) return html`<${Empty} title=${some ? t("devices.noneFit") : t("devices.none")}>${!some && t("devices.noneHint")}<//>`;
        return html`<${Table} label=${t("nav.devices")} rows=${devices} rowKey=${(d) => d.device + d.package} columns=${[
          { key: "device", head: t("devices.device"), cell: (d) => html`<a class="cell-main" href=${href(to`/apps/${app}/devices/${d.device}`)}><code title=${d.device}>${d.device.slice(0, 16)}</code></a>` },
          { key: "release", head: t("devices.runs"), cell: (d) => (d.release ? html`${d.package} ${d.version || d.release.slice(0, 12)}` : html`${d.package} <span class="muted">${t("devices.embedded")}</span>`) },
          { key: "channel", head: t("devices.channel"), hide: "small", cell: (d) => d.channel || "–" },
          { key: "platform", head: t("release.platform"), hide: "medium", cell: (d) => d.platform || "–" },
          { key: "runtime", head: t("release.runtime"), hide: "small", cell: (d) => d.runtime || "–" },
          { key: "first", head: t("devices.first"), hide: "medium", cell: (d) => html`<${Time} at=${d.firstSeen} />` },
          { key: "last", head: t("devices.last"), cell: (d) => html`<${Seen} at=${d.lastSeen} />` },
        ]} />
        ${(starts.length > 1 || next) && html`<nav class="pager" aria-label=${t("nav.pages")}><${Button} disabled=${starts.length < 2} onClick=${() => setStarts(starts.slice(0, -1))}>${t("action.previous")}<//>
          <span>${number(starts.length)}</span><${Button} disabled=${!next} onClick=${() => setStarts([...starts, next])}>${t("action.next")}<//></nav>`}`;
      }}<//>
    <//><//>`;
}
