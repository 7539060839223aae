// The releases of an app, the newest first.
import { path, query, use } from "../api.js";
import { number, t } from "../i18n.js";
import { setParams, to, usePlace, href } from "../router.js";
import { Badge, Button, Card, Choice, Digest, Empty, Page, Pager, Search, Shown, Size, Table, Time, html } from "../ui.js";

const PER_PAGE = 25;
const LIMITS = [100, 1000];

export function Releases({ app }) {
  const { params } = usePlace();
  const limit = params.get("all") ? LIMITS[1] : LIMITS[0];
  const list = use(query(path`/apps/${app}/releases`, { limit }), () => 15_000);
  return html`<${Page} title=${t("nav.releases")} crumbs=${[[to`/apps/${app}`, app]]}>
    <${Shown} from=${list} lines=${8}>${({ releases }) => html`<${List} app=${app} releases=${releases} limit=${limit} />`}<//>
  <//>`;
}

// matches says whether a release is meant by what was typed: words that all must be in it.
function matches(r, words) {
  const text = [r.package, r.version, r.digest, r.notes ?? "", r.platform, runtimeText(r.runtime), `seq ${r.seq}`, r.adapterOnly ?? ""].join(" ").toLowerCase();
  return words.every((w) => text.includes(w));
}

function List({ app, releases, limit }) {
  const { params } = usePlace();
  const standing = useStanding(app);
  const q = params.get("q") ?? "";
  const [pkg, platform, channel] = ["package", "platform", "channel"].map((k) => params.get(k) ?? "");
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = releases.filter((r) => (!pkg || r.package === pkg) && (!platform || r.platform === platform) &&
    (!channel || r.channels?.includes(channel) || r.withdrawn?.includes(channel)) && matches(r, words));
  const pages = Math.max(1, Math.ceil(shown.length / PER_PAGE));
  const page = Math.min(pages, Math.max(1, Number(params.get("page")) || 1));
  const options = (all, values) => [["", t(all)], ...[...new Set(values)].sort().map((v) => [v, v])];
  const filter = (key) => (value) => setParams({ [key]: value, page: "" });
  if (releases.length === 0) {
    return html`<${Card}><${Empty} title=${t("releases.none")}><pre>slipstream publish ./dist --app ${app} --version 1.0.0</pre><//><//>`;
  }
  const packages = options("releases.allPackages", releases.map((r) => r.package));
  const platforms = options("releases.allPlatforms", releases.map((r) => r.platform));
  const channels = options("releases.allChannels", releases.flatMap((r) => [...(r.channels ?? []), ...(r.withdrawn ?? [])]));
  return html`<${Card} flush>
    <div class="toolbar"><${Search} value=${q} label=${t("releases.search")} onInput=${filter("q")} />
      ${packages.length > 2 && html`<${Choice} label=${t("release.package")} value=${pkg} options=${packages} onChange=${filter("package")} />`}
      ${platforms.length > 2 && html`<${Choice} label=${t("release.platform")} value=${platform} options=${platforms} onChange=${filter("platform")} />`}
      ${channels.length > 2 && html`<${Choice} label=${t("release.channel")} value=${channel} options=${channels} onChange=${filter("channel")} />`}
    </div>
    ${shown.length === 0
      ? html`<${Empty} title=${t("releases.noneFit")}><${Button} onClick=${() => setParams({ q: "", package: "", platform: "", channel: "", page: "" })}>${t("releases.clear")}<//><//>`
      : html`<${Table} label=${t("nav.releases")} rowKey=${(r) => r.digest} rows=${shown.slice((page - 1) * PER_PAGE, page * PER_PAGE)} columns=${columns(app, standing)} />`}
    <${Pager} page=${page} pages=${pages} onPage=${(n) => setParams({ page: n === 1 ? "" : n })} />
    ${releases.length === limit && limit < LIMITS[1] && html`<div class="pager"><${Button} onClick=${() => setParams({ all: "1" })}>${t("releases.older")}<//></div>`}
  <//>`;
}

function columns(app, standing) {
  return [
    { key: "version", head: t("release.version"), grow: true, cell: (r) => html`<a class="cell-main" href=${href(to`/apps/${app}/releases/${r.digest}`)}>${r.package} ${r.version}</a>
      ${r.notes && html`<span class="cell-sub clip">${r.notes.split("\n")[0]}</span>`}` },
    { key: "seq", head: t("release.seq"), num: true, cell: (r) => number(r.seq) },
    { key: "where", head: t("release.where"), cell: (r) => html`<${Where} release=${r} standing=${standing} />` },
    { key: "platform", head: t("release.platform"), hide: "medium", cell: (r) => r.platform },
    { key: "runtime", head: t("release.runtime"), hide: "medium", cell: (r) => html`<code>${runtimeText(r.runtime)}</code>` },
    { key: "size", head: t("release.size"), num: true, hide: "small", cell: (r) => html`<${Size} of=${r.size} />` },
    { key: "by", head: t("release.signedBy"), hide: "medium", cell: (r) => r.keyids?.length ? html`<code title=${r.keyids.join(", ")}>${r.keyids[0].slice(0, 8)}</code>${r.keyids.length > 1 ? ` +${r.keyids.length - 1}` : ""}` : "–" },
    { key: "published", head: t("release.published"), hide: "small", cell: (r) => html`<span class="nowrap"><${Time} at=${r.published} /></span>` },
    { key: "digest", head: t("release.digest"), hide: "large", cell: (r) => html`<${Digest} of=${r.digest} />` },
  ];
}

// runtimeText writes the shells that a release fits.
export function runtimeText(runtime) {
  return runtime?.fingerprint || runtime?.range || "*";
}

// useStanding gives, by digest, the channels on which a release is in force: others that a channel names were superseded.
export function useStanding(app) {
  const { data } = use(query("/status", { app }));
  if (!data) return null;
  const standing = new Map();
  for (const c of data.apps[0]?.channels ?? []) for (const p of c.packages) for (const r of p.rollouts) standing.set(r.manifest, [...(standing.get(r.manifest) ?? []), c.name]);
  return standing;
}

// Where says on which channels a release stands, and what is special about it. What is in force is told by standing.
export function Where({ release: r, standing }) {
  const inForce = (c) => !standing || standing.get(r.digest)?.includes(c);
  const none = !r.channels?.length && !r.withdrawn?.length && !r.embedded && !r.adapterOnly;
  return html`<span class="badges">
    ${r.channels?.map((c) => html`<${Badge} key=${c} tone=${inForce(c) ? "info" : ""} title=${inForce(c) ? t("release.inForceOn", { channel: c }) : t("rollout.superseded")}>${c}<//>`)}
    ${r.withdrawn?.map((c) => html`<${Badge} key=${`w ${c}`} tone="bad" title=${t("release.withdrawnOn", { channel: c })}>${c} · ${t("rollout.withdrawn")}<//>`)}
    ${r.embedded && html`<${Badge} title=${t("release.embeddedHint")}>${t("release.embedded")}<//>`}
    ${r.adapterOnly && html`<${Badge} tone="warn" title=${t("release.adapterHint", { protocol: r.adapterOnly })}>${t("release.adapterOnly", { protocol: r.adapterOnly })}<//>`}
    ${none && html`<span class="muted">–</span>`}
  </span>`;
}
