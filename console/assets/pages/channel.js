// A channel: what is in force on it, in the order in which devices walk it, and how it goes.
import { path, query, use, useLive } from "../api.js";
import { number, percent, share, t } from "../i18n.js";
import { href, to } from "../router.js";
import { may } from "../session.js";
import { told } from "../told.js";
import { Badge, Bar, Button, Card, Empty, Facts, Icon, Page, Shown, Size, Stat, Table, Time, classes, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { FloorDialog, PromoteDialog, RollBackDialog, WithdrawDialog } from "./back.js";
import { FreezeDialog, ThawDialog } from "./freeze.js";
import { OfferDialog } from "./offer.js";
import { RolloutState } from "./overview.js";
import { ALL, Conditions, health, platformText, range, runtimeText, waitsText } from "./words.js";

// Channels shows the first channel of an app; the others are one step away.
export function Channels({ app }) {
  const list = use(path`/apps/${app}/channels`, () => 60_000);
  return html`<${Shown} from=${list} lines=${6}>${({ channels }) => {
    if (channels.length === 0) return html`<${Page} title=${t("nav.channels")} crumbs=${[[to`/apps/${app}`, app]]}><${Card}><${Empty} title=${t("app.noChannels")}><pre>slipstream channel create production --app ${app}</pre><//><//><//>`;
    const best = channels.find((c) => c.name === "production") ?? channels[0];
    return html`<${ChannelPage} key=${best.name} app=${app} channel=${best.name} />`;
  }}<//>`;
}

export function ChannelPage({ app, channel }) {
  useLive(app, channel);
  const found = use(path`/apps/${app}/channels/${channel}`);
  const status = use(query("/status", { app }));
  const spread = use(path`/apps/${app}/spread`, () => 60_000);
  const [asked, ask] = useState(null);
  const close = () => ask(null);
  const operate = may("operate", app);
  const at = { app, channel, policy: found.data?.policy, spread: spread.data, onClose: close };
  return html`<${Page} title=${found.data?.display || channel} crumbs=${[[to`/apps/${app}`, app], [to`/apps/${app}/channels`, t("nav.channels")]]}
      actions=${operate && found.data && html`<${Button} onClick=${() => ask("floor")}>${t("floor.set")}<//><${Button} onClick=${() => ask("back")}>${t("back.verb")}<//><${Button} onClick=${() => ask("promote")}>${t("promote.verb")}<//><${Button} kind="primary" onClick=${() => ask("offer")}>${t("offer.verb")}<//>`}>
    <${Tabs} app=${app} channel=${channel} />
    <${Shown} from=${found} lines=${8}>${(c) => html`
      <${Frozen} at=${at} freeze=${c.policy.freeze} ask=${ask} />
      <${Numbers} channel=${c} spread=${spread.data} status=${statusOf(status.data, channel)} />
      ${packagesOf(c, statusOf(status.data, channel)).map((p) => html`<${PackageCard} key=${p.name} app=${app} channel=${channel} pkg=${p} freeze=${c.policy.freeze} ask=${ask} />`)}
      ${Object.keys(c.policy.packages ?? {}).length === 0 && html`<${Card}><${Empty} title=${t("channel.empty")}>${operate && t("channel.emptyHint")}<//><//>`}
      <${Settings} channel=${c} />`}<//>
    ${asked === "offer" && html`<${OfferDialog} ...${at} />`}
    ${asked === "promote" && html`<${PromoteDialog} ...${at} />`}
    ${asked === "back" && html`<${RollBackDialog} ...${at} />`}
    ${asked === "floor" && html`<${FloorDialog} ...${at} />`}
    ${asked === "freeze" && html`<${FreezeDialog} ...${at} />`}
    ${asked === "thaw" && html`<${ThawDialog} ...${at} />`}
    ${asked?.undo && html`<${WithdrawDialog} ...${at} undo=${true} pkg=${asked.pkg} release=${asked.undo} />`}
    ${asked?.liftFloor && html`<${FloorDialog} ...${at} pkg=${asked.pkg} floor=${asked.liftFloor} />`}
  <//>`;
}

const statusOf = (status, channel) => status?.apps[0]?.channels.find((c) => c.name === channel);

// packagesOf joins what was decided with what of it stands and how it goes.
function packagesOf(c, status) {
  return Object.entries(c.policy.packages ?? {}).sort(([a], [b]) => a.localeCompare(b)).map(([name, pp]) => {
    const live = new Map((status?.packages.find((p) => p.name === name)?.rollouts ?? []).map((r) => [r.id, r]));
    const all = pp.rollouts ?? [];
    return {
      name, withdrawn: pp.withdrawn ?? [], floors: pp.floors ?? [], places: c.places ?? {},
      standing: all.filter((r) => live.has(r.id) || !status).map((r) => live.get(r.id) ?? r),
      dormant: all.filter((r) => status && !live.has(r.id)),
    };
  });
}

function Tabs({ app, channel }) {
  const { data } = use(path`/apps/${app}/channels`, () => 60_000);
  const all = data?.channels ?? [];
  if (all.length < 2) return null;
  return html`<nav class="tabs" aria-label=${t("nav.channels")}>${all.map((c) => html`<a key=${c.name} href=${href(to`/apps/${app}/channels/${c.name}`)} aria-current=${c.name === channel ? "page" : undefined}>${c.display || c.name}</a>`)}</nav>`;
}

function Frozen({ at, freeze, ask }) {
  const manage = may("manage", at.app);
  if (!freeze || (freeze.until && new Date(freeze.until) < new Date())) return null;
  return html`<div class="notice warn"><${Icon} name="warn" /><div><b>${t("freeze.title")}</b> ${freeze.reason} <span class="muted">${freeze.by} · <${Time} at=${freeze.at} />${freeze.until ? html` · ${t("freeze.until")} <${Time} at=${freeze.until} exact=${true} />` : ""}</span></div>
    ${manage && html`<${Button} kind="small" onClick=${() => ask("thaw")}>${t("freeze.thaw")}<//>`}</div>`;
}

function Numbers({ channel, spread, status }) {
  const packages = new Map();
  for (const g of spread?.groups ?? []) if (g.channel === channel.name) packages.set(g.package, (packages.get(g.package) ?? 0) + g.devices);
  const devices = Math.max(0, ...packages.values());
  const rollouts = status?.packages.flatMap((p) => p.rollouts) ?? [];
  const halted = rollouts.filter((r) => r.hold === "halted").length;
  const expires = channel.states.map((s) => s.expires).sort()[0];
  const late = expires && new Date(expires) < new Date();
  return html`<div class="stats">
    <${Stat} label=${t("overview.devices")} value=${spread ? number(devices) : "–"} sub=${t("overview.devicesSub")} to=${to`/apps/${channel.app}/devices` + `?channel=${encodeURIComponent(channel.name)}`} />
    <${Stat} label=${t("channel.rollouts")} value=${status ? number(rollouts.length) : "–"} tone=${halted > 0 ? "bad" : ""} sub=${halted > 0 ? t("overview.halted", { n: halted }) : t("overview.noneHalted")} />
    <${Stat} label=${t("channel.epoch")} value=${html`<span class="epoch">${String(Math.max(0, ...channel.states.map((s) => s.epoch)))}</span>`} sub=${html`${t("channel.signed")} <${Time} at=${channel.states.map((s) => s.issued).sort().at(-1)} />`} />
    <${Stat} label=${t("channel.expires")} value=${html`<${Time} at=${expires} />`} tone=${late ? "bad" : ""} sub=${late ? t("channel.expired") : t("channel.resigned")} />
  </div>`;
}

function PackageCard({ app, channel, pkg, freeze, ask }) {
  const operate = may("operate", app);
  return html`<${Card} title=${pkg.name} flush=${true} actions=${html`<span class="muted small">${t("channel.walk")}</span>`}>
    ${pkg.standing.length === 0 && html`<${Empty} title=${t("channel.empty")} />`}
    <ol class="walk">${pkg.standing.map((r, i) => html`<${Walk} key=${r.id} app=${app} channel=${channel} rollout=${r} freeze=${freeze} places=${pkg.places[r.id]} />`)}
      ${pkg.standing.length > 0 && html`<li class="walk-end">${t("channel.walkEnd")}</li>`}</ol>
    <${Floors} app=${app} pkg=${pkg} ask=${operate && ask} />
    <${Withdrawn} app=${app} pkg=${pkg} ask=${operate && ask} />
    <${Dormant} app=${app} channel=${channel} rollouts=${pkg.dormant} />
  <//>`;
}

function Floors({ pkg, ask }) {
  if (pkg.floors.length === 0) return null;
  return html`<div class="sub-card"><h3>${t("channel.floors")}</h3><ul class="lines">${pkg.floors.map((f, i) => html`<li key=${i}>
    ${t("floor.line", { seq: String(f.seq), platform: platformText(f.platform), runtime: runtimeText(f.runtime) })}
    ${ask && html`<${Button} kind="small" onClick=${() => ask({ liftFloor: f, pkg: pkg.name })}>${t("floor.lift")}<//>`}</li>`)}</ul></div>`;
}

function Withdrawn({ app, pkg, ask }) {
  if (pkg.withdrawn.length === 0) return null;
  return html`<div class="sub-card"><h3>${t("channel.withdrawn")}</h3><ul class="lines">${pkg.withdrawn.map((w) => html`<li key=${w.digest + w.platform}>
    <a class="cell-main" href=${href(to`/apps/${app}/releases/${w.digest}`)}>${w.version}</a>
    <span class="muted">${seqText(w)} · <${Time} at=${w.at} />${w.reason ? ` · ${w.reason}` : ""}</span>
    ${ask && html`<${Button} kind="small" onClick=${() => ask({ undo: w, pkg: pkg.name })}>${t("withdraw.undo")}<//>`}</li>`)}</ul></div>`;
}

function Dormant({ app, channel, rollouts }) {
  if (rollouts.length === 0) return null;
  return html`<details class="sub-card"><summary>${t("channel.dormant", { n: rollouts.length })}</summary><p class="muted small">${t("channel.dormantWhy")}</p>
    <ul class="lines">${rollouts.map((r) => html`<li key=${r.id}><a href=${href(to`/apps/${app}/channels/${channel}/rollouts/${r.id}`)}>${r.version}</a>
      <span class="muted">${seqText(r)} · ${range(r)} · <${Time} at=${r.created} /></span></li>`)}</ul></details>`;
}

const seqText = (r) => t("release.seqOn", { seq: String(r.seq), platform: platformText(r.platform) });

// Walk is one look of a device on its way down the list.
function Walk({ app, channel, rollout: r, places, freeze }) {
  const h = health(r);
  const d = told(r);
  return html`<li class=${classes("walk-row", r.isWithdrawn && "gone")}>
    <div class="walk-main">
      <div class="walk-title"><a class="cell-main" href=${href(to`/apps/${app}/channels/${channel}/rollouts/${r.id}`)}>${r.version}</a> <${RolloutState} rollout=${r} />${r.private && html`<${Badge}>${t("rollout.private")}<//>`}</div>
      <span class="cell-sub">${t("release.seqOn", { seq: String(r.seq), platform: platformText(r.platform) })}${r.runtime?.range === "*" ? "" : ` · ${t("runtime.is", { runtime: runtimeText(r.runtime) })}`} · <${Time} at=${r.created} /></span>
      ${r.when?.length > 0 && html`<div class="walk-when"><span class="muted small">${t("when.only")}</span><${Conditions} of=${r.when} /></div>`}
      ${r.plan && !r.hold && waitsText(r, freeze) && html`<span class="cell-sub">${waitsText(r, freeze)}</span>`}
      ${r.cap > 0 && html`<span class="cell-sub">${t("rollout.places", { given: places ?? 0, cap: r.cap })}</span>`}
    </div>
    <div class="walk-share"><span>${range(r)}${r.control > 0 && r.to < ALL ? html`<span class="muted small"> · ${t("rollout.controlOf", { part: share(r.control) })}</span>` : ""}</span><${Bar} part=${(r.to - r.from) / ALL} label=${t("rollout.share")} tone=${r.hold === "halted" ? "bad" : r.hold ? "warn" : ""} /></div>
    <dl class="walk-counts">${[["enrolled", d.enrolled], ["fetched", d.fetched], ["started", d.started], ["confirmed", d.confirmed, "ok"], ["rolled_back", (d.rolled_back ?? 0), "bad"]].map(([k, n, tone]) => html`<div key=${k} class=${classes(n > 0 && tone)}><dd>${number(n ?? 0)}</dd><dt>${t(`kind.${k}`)}</dt></div>`)}</dl>
    <div class="walk-health">${h ? html`<span class=${classes(h.failed > 0 && h.rate > (h.controlRate ?? 0) && "bad-text")}><b>${percent(h.rate)}</b> ${t("health.fail")}</span><span class="muted">${h.controlRate === null ? t("health.noControl") : t("health.control", { rate: percent(h.controlRate) })}</span>` : html`<span class="muted">${t("health.nothing")}</span>`}</div>
  </li>`;
}

function Settings({ channel: c }) {
  const p = c.policy;
  const g = p.guard ?? {};
  const time = p.timing ?? {};
  return html`<${Card} title=${t("channel.states")} flush=${true}>
      <${Table} label=${t("channel.states")} rows=${c.states} rowKey=${(s) => s.platform} columns=${[
        { key: "platform", head: t("release.platform"), cell: (s) => platformText(s.platform) },
        { key: "epoch", head: t("channel.epoch"), num: true, cell: (s) => String(s.epoch) },
        { key: "issued", head: t("channel.issued"), cell: (s) => html`<${Time} at=${s.issued} />`, hide: "small" },
        { key: "expires", head: t("channel.expires"), cell: (s) => html`<${Time} at=${s.expires} />` },
        { key: "bytes", head: t("size.title"), num: true, cell: (s) => html`<${Size} of=${s.bytes} />`, hide: "small" },
      ]} /><//>
    <${Card} title=${t("channel.settings")}><${Facts} rows=${[
      [t("channel.checkAfter"), t("time.seconds", { n: time.checkAfter || 900 })],
      [t("channel.spread"), t("time.seconds", { n: time.spread || 600 })],
      [t("guard.title"), g.off ? t("guard.off") : t("guard.on")],
      [t("guard.alpha"), g.off ? null : percent(g.alpha || 0.01)],
      [t("guard.ratio"), g.off ? null : number(g.allowedRatio || 1, 2)],
      [t("guard.ceiling"), g.off ? null : (g.ceiling ? percent(g.ceiling) : t("guard.ceilingOwn"))],
      [t("guard.networks"), g.off ? null : number(g.minNetworks || 2)],
      [t("guard.onHalt"), g.off ? null : t(g.onHalt === "withdraw" ? "guard.haltWithdraws" : "guard.haltHolds")],
    ]} /><${FreezeButton} channel=${c} /><//>`;
}

function FreezeButton({ channel: c }) {
  const [asked, ask] = useState(false);
  if (!may("manage", c.app) || c.policy.freeze) return null;
  return html`<p class="card-foot"><${Button} kind="small" onClick=${() => ask(true)}>${t("freeze.verb")}<//> <span class="muted small">${t("freeze.hint")}</span></p>
    ${asked && html`<${FreezeDialog} app=${c.app} channel=${c.name} onClose=${() => ask(false)} />`}`;
}
