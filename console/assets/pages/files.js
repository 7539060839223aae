// The files of a release, and what is different in another one.
import { path, read } from "../api.js";
import { bytes, number, t } from "../i18n.js";
import { href, setParams, to, usePlace } from "../router.js";
import { Badge, Button, Card, Choice, Empty, Loading, Search, Size, Table, Trouble, html } from "../ui.js";
import { useEffect, useMemo, useState } from "../vendor/htm-preact.mjs";
import { manifestOf } from "./manifest.js";

const MOST = 200; // rows that are drawn until one asks for all

export function Files({ app, release, manifest, names }) {
  const { params } = usePlace();
  const other = params.get("compare") ?? "";
  const choices = [...names.values()].filter((r) => r.digest !== release.digest && r.package === release.package).sort((a, b) => b.seq - a.seq);
  const total = manifest.files.reduce((n, f) => n + f.size, 0);
  return html`<${Card} title=${t("files.title")} count=${t("files.count", { n: manifest.files.length, size: bytes(total) })} flush id="files"
    actions=${choices.length > 0 && html`<${Choice} label=${t("files.compare")} value=${other} onChange=${(v) => setParams({ compare: v, change: "" })}
      options=${[["", t("files.compare")], ...choices.map((r) => [r.digest, `${r.version} · seq ${r.seq}`])]} />`}>
    ${other ? html`<${Difference} key=${other} app=${app} manifest=${manifest} other=${other} names=${names} />` : html`<${Plain} files=${manifest.files} />`}
  <//>`;
}

function useRows(rows, text) {
  const { params } = usePlace();
  const q = (params.get("file") ?? "").toLowerCase();
  const [all, setAll] = useState(false);
  const fit = useMemo(() => (q ? rows.filter((r) => text(r).toLowerCase().includes(q)) : rows), [rows, q]);
  return { q: params.get("file") ?? "", fit, shown: all ? fit : fit.slice(0, MOST), more: !all && fit.length > MOST, showAll: () => setAll(true) };
}

function Rows({ rows, columns, rowKey, extra }) {
  const { q, fit, shown, more, showAll } = useRows(rows, rowKey);
  return html`<div class="toolbar"><${Search} value=${q} label=${t("files.search")} onInput=${(v) => setParams({ file: v })} />${extra}</div>
    ${fit.length === 0 ? html`<${Empty} title=${t("files.noneFit")} />` : html`<${Table} label=${t("files.title")} rows=${shown} rowKey=${rowKey} columns=${columns} />`}
    ${more && html`<div class="pager"><${Button} onClick=${showAll}>${t("files.showAll", { n: fit.length })}<//></div>`}`;
}

function Plain({ files }) {
  return html`<${Rows} rows=${files} rowKey=${(f) => f.path} columns=${[
    { key: "path", head: t("files.path"), grow: true, cell: (f) => html`<span class="wrap">${f.path}</span> ${f.exec && html`<${Badge}>${t("files.exec")}<//>`}` },
    { key: "size", head: t("release.size"), num: true, cell: (f) => html`<${Size} of=${f.size} />` },
    { key: "sha", head: "SHA-256", hide: "small", cell: (f) => html`<code title=${f.sha256}>${f.sha256.slice(0, 12)}</code>` },
  ]} />`;
}

// compare lists what differs from older to newer: {path, change, before, after}. A path with the same content under another
// name counts as moved.
export function compare(older, newer) {
  const before = new Map(older.map((f) => [f.path, f]));
  const after = new Map(newer.map((f) => [f.path, f]));
  const out = [];
  const gone = new Map();
  for (const f of older) if (!after.has(f.path)) gone.set(f.sha256, [...(gone.get(f.sha256) ?? []), f]);
  for (const f of newer) {
    const was = before.get(f.path);
    if (!was) {
      const from = gone.get(f.sha256)?.shift();
      out.push(from ? { path: f.path, change: "moved", before: from, after: f } : { path: f.path, change: "added", after: f });
    } else if (was.sha256 !== f.sha256 || Boolean(was.exec) !== Boolean(f.exec)) out.push({ path: f.path, change: "changed", before: was, after: f });
  }
  for (const list of gone.values()) for (const f of list) out.push({ path: f.path, change: "removed", before: f });
  return out.sort((a, b) => (a.path < b.path ? -1 : 1));
}

const tones = { added: "ok", removed: "bad", changed: "info", moved: "" };

function Difference({ app, manifest, other, names }) {
  const [found, setFound] = useState({});
  const { params } = usePlace();
  const only = params.get("change") ?? "";
  const ask = () => {
    setFound({});
    read(path`/apps/${app}/releases/${other}`).then((r) => setFound({ files: manifestOf(r).files }), (error) => setFound({ error }));
  };
  useEffect(ask, [other]);
  const rows = useMemo(() => (found.files ? compare(found.files, manifest.files) : []), [found.files, manifest]);
  if (found.error) return html`<${Trouble} error=${found.error} again=${ask} />`;
  if (!found.files) return html`<${Loading} />`;
  const count = (c) => rows.filter((r) => r.change === c).length;
  const name = names.get(other)?.version ?? other.slice(0, 12);
  return html`<div class="difference"><span>${t("files.since")} <a href=${href(to`/apps/${app}/releases/${other}`)}>${name}</a></span>
      ${["added", "changed", "moved", "removed"].filter((c) => count(c) > 0).map((c) => html`<button type="button" key=${c} class=${`badge ${tones[c]} pick ${only === c ? "on" : ""}`} aria-pressed=${only === c ? "true" : "false"}
        onClick=${() => setParams({ change: only === c ? "" : c })}>${number(count(c))} ${t(`files.${c}`)}</button>`)}
      <span class="muted">${t("files.same", { n: manifest.files.length - count("added") - count("changed") - count("moved") })}</span></div>
    ${rows.length === 0 ? html`<${Empty} title=${t("files.noDifference")} />` : html`<${Rows} rows=${only ? rows.filter((r) => r.change === only) : rows} rowKey=${(r) => r.path} columns=${[
      { key: "change", head: "", cell: (r) => html`<${Badge} tone=${tones[r.change]}>${t(`files.${r.change}`)}<//>` },
      { key: "path", head: t("files.path"), grow: true, cell: (r) => html`<span class="wrap">${r.path}</span>${r.change === "moved" && html`<span class="cell-sub wrap">${t("files.movedFrom", { path: r.before.path })}</span>`}` },
      { key: "before", head: t("files.before"), num: true, hide: "small", cell: (r) => (r.before ? html`<${Size} of=${r.before.size} />` : "–") },
      { key: "after", head: t("files.after"), num: true, cell: (r) => (r.after ? html`<${Size} of=${r.after.size} />` : "–") },
    ]} />`}`;
}
