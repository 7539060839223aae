// The overview: what is in force everywhere, and how it goes.
import { use, path } from "../api.js";
import { number, percent, share, t } from "../i18n.js";
import { to, href } from "../router.js";
import { told } from "../told.js";
import { Badge, Bar, Card, Empty, Icon, Page, Shown, Stat, Time, html } from "../ui.js";
import { platformText } from "./words.js";
import { useEffect } from "../vendor/htm-preact.mjs";
import { keep, useKept } from "../keep.js";

// Devices known of each app; every app's card adds its own.
const fleet = keep({});

export function Overview() {
  const status = use("/status");
  const alerts = use("/alerts?active=true&limit=100");
  const devices = useKept(fleet);
  return html`<${Page} title=${t("nav.overview")}>
    <${Shown} from=${status} lines=${6}>${({ apps }) => {
      if (apps.length === 0) return html`<${NoApps} />`;
      const rollouts = apps.flatMap((a) => a.channels.flatMap((c) => c.packages.flatMap((p) => p.rollouts)));
      const halted = rollouts.filter((r) => r.hold === "halted").length;
      const going = rollouts.filter((r) => !r.hold && !r.isWithdrawn && r.to - r.from < 10000).length;
      const open = alerts.data?.alerts ?? [];
      const known = apps.filter((a) => devices[a.name] !== undefined);
      return html`<div class="stats">
          <${Stat} label=${t("overview.apps")} value=${number(apps.length)} />
          <${Stat} label=${t("overview.devices")} value=${known.length > 0 ? number(known.reduce((n, a) => n + devices[a.name], 0)) : "–"} sub=${t("overview.devicesSub")} />
          <${Stat} label=${t("overview.going")} value=${number(going)} sub=${halted > 0 ? t("overview.halted", { n: halted }) : t("overview.noneHalted")} />
          <${Stat} label=${t("overview.alerts")} value=${number(open.length)} tone=${open.some((a) => a.severity === "critical") ? "bad" : open.length > 0 ? "warn" : ""} sub=${open[0]?.title} to="/alerts" />
        </div>
        ${apps.map((a) => html`<${AppCard} key=${a.name} app=${a} />`)}`;
    }}<//>
  <//>`;
}

function NoApps() {
  return html`<${Card}><${Empty} title=${t("overview.noApps")}>${t("overview.noAppsHint")}<br /><pre>slipstream app create shop${"\n"}slipstream publish ./dist --app shop --version 1.0.0</pre><//><//>`;
}

function AppCard({ app }) {
  const spread = use(path`/apps/${app.name}/spread`, () => 60_000);
  const devices = spread.data?.groups.reduce((n, g) => n + g.devices, 0);
  useEffect(() => {
    if (devices !== undefined && fleet.value[app.name] !== devices) fleet.value = { ...fleet.value, [app.name]: devices };
  }, [devices]);
  return html`<section class="card app-card" aria-label=${app.display || app.name}>
    <div class="app-head"><h2><a href=${href(to`/apps/${app.name}`)}>${app.display || app.name}</a></h2>
      ${app.display && html`<span class="muted">${app.name}</span>`}
      ${devices !== undefined && html`<span class="muted">${t("count.devices", { n: devices })}</span>`}
      <a class="right" href=${href(to`/apps/${app.name}/releases`)}>${t("nav.releases")}</a></div>
    <${Warnings} of=${app.warnings} />
    ${app.channels.length === 0 && html`<div class="channel muted">${t("app.noChannels")}</div>`}
    ${app.channels.map((c) => html`<${ChannelRow} key=${c.name} app=${app.name} channel=${c} />`)}
  </section>`;
}

// Warnings are what the server says about an app, in its own words.
export function Warnings({ of }) {
  if (!of?.length) return null;
  return html`<div class="warnings">${of.map((w) => html`<p class="warning" key=${w}><${Icon} name="warn" /><span>${w}</span></p>`)}</div>`;
}

// ChannelRow is a channel with what it has in force.
export function ChannelRow({ app, channel }) {
  const packages = channel.packages.filter((p) => p.rollouts.length > 0);
  return html`<div class="channel">
    <div class="channel-head"><h3><a href=${href(to`/apps/${app}/channels/${channel.name}`)}>${channel.name}</a></h3>${channel.expires && new Date(channel.expires) < new Date() && html`<${Badge} tone="bad">${t("channel.expired")}<//>`}</div>
    ${packages.length === 0 && html`<p class="muted">${t("channel.empty")}</p>`}
    ${packages.flatMap((p) => p.rollouts.map((r) => html`<${InForce} key=${r.id} app=${app} channel=${channel.name} name=${p.name} rollout=${r} />`))}
  </div>`;
}

function InForce({ app, channel, name, rollout: r }) {
  const part = (r.to - r.from) / 10000;
  const page = href(to`/apps/${app}/channels/${channel}/rollouts/${r.id}`);
  return html`<div class="force">
    <div class="force-release"><a class="cell-main" href=${href(to`/apps/${app}/releases/${r.manifest}`)}>${name} ${r.version}</a>
      <span class="cell-sub">${t("release.seqOn", { seq: String(r.seq), platform: platformText(r.platform) })} · <${Time} at=${r.created} /></span></div>
    <a class="force-share" href=${page}><span class="small">${share(r.to - r.from)}</span><${Bar} part=${part} label=${t("rollout.share")} tone=${r.hold === "halted" ? "bad" : r.hold ? "warn" : ""} /></a>
    <${Counts} devices=${told(r)} />
    <a class="force-state" href=${page}><${RolloutState} rollout=${r} /></a>
  </div>`;
}

// Counts says what devices reported of a rollout's release.
export function Counts({ devices = {} }) {
  const good = devices.confirmed ?? 0;
  const bad = (devices.rolled_back ?? 0) + (devices.failed ?? 0);
  const crashed = (devices.crashed ?? 0) + (devices.hung ?? 0);
  if (good + bad + crashed === 0) return html`<div class="counts">${t("health.nothing")}</div>`;
  const ended = good + (devices.rolled_back ?? 0);
  return html`<div class="counts">
    <span><b>${number(good)}</b> ${t("health.confirmed")}</span>
    ${bad > 0 && html`<span class="bad"><b>${number(bad)}</b> ${t("health.failed")}</span>`}
    ${crashed > 0 && html`<span class="bad"><b>${number(crashed)}</b> ${t("health.crashed")}</span>`}
    ${ended > 0 && html`<span>${t("health.success", { part: percent(good / ended) })}</span>`}
  </div>`;
}

// RolloutState is one word about a rollout.
export function RolloutState({ rollout: r }) {
  if (r.isWithdrawn) return html`<${Badge} tone="bad">${t("rollout.withdrawn")}<//>`;
  if (r.hold === "halted") return html`<${Badge} tone="bad" title=${r.guard?.verdict?.reason}>${t("rollout.halted")}<//>`;
  if (r.hold) return html`<${Badge} tone="warn">${t("rollout.paused")}<//>`;
  const level = r.guard?.verdict?.level;
  const watch = (level === "warning" || level === "inconclusive") && html`<${Badge} tone="warn" title=${r.guard.verdict.reason}>${t("rollout.watched")}<//>`;
  if (r.to - r.from >= 10000) return html`${watch}<${Badge} tone="ok">${t("rollout.everybody")}<//>`;
  return html`${watch}<${Badge} tone="info" title=${r.waits}>${r.plan ? t("rollout.stage", { at: r.plan.at + 1, of: r.plan.stages.length }) : t("rollout.going")}<//>`;
}
