// The server: what it stands on, whether that answers, and what it still makes.
import { use } from "../api.js";
import { duration, number, percent, t } from "../i18n.js";
import { href, to } from "../router.js";
import { Badge, Bar, Card, Empty, Facts, Page, Shown, Stat, Table, Time, html } from "../ui.js";
import { partOf, stageText } from "./patches.js";

const BUSY = 2000;
const CALM = 10_000;

export function Server() {
  const from = use("/server", (d) => (d?.queue.running > 0 ? BUSY : CALM));
  return html`<${Page} title=${t("nav.thisServer")} sub=${from.data && html`<span>Slipstream ${from.data.version}</span>${from.data.name && html`<code>${from.data.name}</code>`}`}>
    <${Shown} from=${from} lines=${6}>${(s) => html`
      <div class="stats">
        <${Stat} label=${t("server.up")} value=${duration((new Date(s.now) - new Date(s.started)) / 1000)} sub=${html`<${Time} at=${s.started} exact />`} />
        <${Stat} label=${t("server.queued")} value=${number(s.queue.queued + s.queue.again)} sub=${s.queue.again > 0 ? t("server.again", { n: s.queue.again }) : ""} />
        <${Stat} label=${t("server.running")} value=${number(s.queue.running)} />
        <${Stat} label=${t("server.failed")} value=${number(s.queue.failed)} tone=${s.queue.failed > 0 ? "bad" : ""} />
      </div>
      <${Card} title=${t("server.parts")}>
        <${Part} name=${t("server.database")} part=${s.database} />
        <${Part} name=${t("server.blobs")} part=${s.blobs} />
        <${Clock} now=${s.now} />
      <//>
      <${Queue} queue=${s.queue} />
      <${Keys} />`}<//>
  <//>`;
}

function Line({ name, ok, children, problem, hint }) {
  return html`<div class="part"><${Badge} tone=${ok ? "ok" : "bad"}>${ok ? t("server.ok") : t("server.wrong")}<//>
    <div><strong>${name}</strong> <span class="muted wrap">${children}</span>
      ${problem && html`<p class="wrap">${problem}</p>`}${hint && html`<p class="muted wrap">${hint}</p>`}</div></div>`;
}

function Part({ name, part }) {
  return html`<${Line} name=${name} ok=${part.ok} problem=${part.problem} hint=${part.hint}><code>${part.where}</code> · ${t("server.answered", { time: part.seconds < 1 ? `${number(Math.max(1, part.seconds * 1000))} ms` : duration(part.seconds) })}<//>`;
}

// Clock compares the server's with the browser's: signed documents live for minutes.
function Clock({ now }) {
  const gap = Math.abs(new Date(now) - Date.now()) / 1000;
  return html`<${Line} name=${t("server.clock")} ok=${gap < 120}>${gap < 120 ? t("server.clockRight") : t("server.clockOff", { time: duration(gap) })}<//>`;
}

function Queue({ queue }) {
  return html`<${Card} title=${t("server.queue")} flush>
    ${queue.jobs.length === 0 ? html`<${Empty} title=${t("server.nothing")} />` : html`<${Table} label=${t("server.queue")} rows=${queue.jobs} rowKey=${(j) => `${j.release} ${j.from}`} columns=${[
      { key: "release", head: t("release.version"), grow: true, cell: (j) => html`<a class="cell-main" href=${href(to`/apps/${j.app}/releases/${j.release}`)}>${j.app} ${j.package} ${j.version}</a>` },
      { key: "from", head: t("patches.from"), hide: "small", cell: (j) => (j.from ? html`<a href=${href(to`/apps/${j.app}/releases/${j.from}`)}>${j.fromVersion}</a>` : t("patches.full")) },
      { key: "state", head: t("patches.state"), cell: (j) => html`<${Job} job=${j} />` },
    ]} />`}
  <//>`;
}

function Job({ job }) {
  if (job.state === "running") {
    const part = partOf(job);
    return html`<div class="job"><span class="way-stage"><span>${stageText(job.stage)}</span><b>${part === null ? "" : percent(part, 0)}</b></span><${Bar} part=${part} label=${stageText(job.stage)} /></div>`;
  }
  if (job.state === "queued") return html`<${Badge}>${t("patches.queued")}<//>`;
  return html`<${Badge} tone=${job.again ? "warn" : "bad"}>${job.again ? t("patches.again") : t("patches.failed")}<//> <span class="small muted wrap">${job.note}</span>`;
}

// Keys shows how old the keys are that this server signs states with.
function Keys() {
  const apps = use("/apps", () => 60_000);
  return html`<${Shown} from=${apps}>${(data) => {
    const rows = data.apps.flatMap((a) => a.stateKeys.filter((k) => k.active).map((k) => [a.display || a.name, html`<code>${k.keyid}</code> · <${Time} at=${k.created} />`]));
    return rows.length > 0 && html`<${Card} title=${t("server.keys")}><${Facts} rows=${rows} /><//>`;
  }}<//>`;
}
