// The patches of a release: from which releases a device gets here by a small download, and how far the server is with
// those that it still makes.
import { path, use } from "../api.js";
import { bytes, duration, number, percent, t } from "../i18n.js";
import { href, to } from "../router.js";
import { Badge, Bar, Card, Shown, Size, Time, html } from "../ui.js";

// under says whether the server still has something to do by itself.
const under = (w) => w.state === "queued" || w.state === "running" || (w.state === "failed" && w.again);
const BUSY = 2000;
const CALM = 10_000;

// ways joins work and containers to one list: {from, state, kind, containers, best, work}. from "" is the full container.
export function ways({ containers = [], work = [] }) {
  const all = new Map();
  const way = (from) => {
    if (!all.has(from)) all.set(from, { from, containers: [], work: null });
    return all.get(from);
  };
  for (const w of work) way(w.from ?? "").work = w;
  for (const c of containers) way(c.from ?? "").containers.push(c);
  for (const w of all.values()) {
    w.containers.sort((a, b) => a.size - b.size || a.codec.localeCompare(b.codec));
    w.best = w.containers[0];
    w.kind = kindOf(w);
  }
  return [...all.values()];
}

function kindOf({ work, containers }) {
  if (!work) return "done";
  if (work.state === "running") return "running";
  if (work.state === "queued") return "queued";
  if (work.state === "failed") return work.again ? "again" : "failed";
  return containers.length > 0 ? "done" : "refused";
}

const order = { running: 0, queued: 1, again: 1, done: 2, refused: 2, failed: 2 };

export function Patches({ app, release, names }) {
  const making = use(path`/apps/${app}/releases/${release.digest}/containers`, (d) => (!d || d.work.length === 0 || d.work.some(under) ? BUSY : CALM));
  const spread = use(path`/apps/${app}/spread`, () => 60_000);
  const running = new Map();
  for (const g of spread.data?.groups ?? []) {
    if (g.package === release.package && g.release) running.set(g.release, (running.get(g.release) ?? 0) + g.devices);
  }
  return html`<${Card} title=${t("patches.title")} flush id="patches">
    <${Shown} from=${making}>${(data) => html`<${Ways} app=${app} release=${release} all=${ways(data)} running=${running} names=${names} />`}<//>
  <//>`;
}

// nothing says why there is no download at all.
function nothing(release) {
  if (release.embedded) return "patches.embedded";
  if (release.adapterOnly) return "patches.adapter";
  return release.channels?.length ? "patches.soon" : "patches.none";
}

function Ways({ app, release, all, running, names }) {
  const full = all.find((w) => w.from === "");
  const size = full?.best?.size;
  const seq = (w) => names.get(w.from)?.seq ?? 0;
  const bases = all.filter((w) => w.from !== "").sort((a, b) => order[a.kind] - order[b.kind] || seq(b) - seq(a) || a.from.localeCompare(b.from));
  if (all.length === 0) return html`<p class="patches-none muted">${t(nothing(release))}</p>`;
  return html`<${Summary} all=${all} bases=${bases} running=${running} release=${release} />
    <div class="ways" role="table" aria-label=${t("patches.title")}>
      <div class="way way-head" role="row">
        <span role="columnheader">${t("patches.from")}</span><span role="columnheader" class="num">${t("patches.devices")}</span>
        <span role="columnheader">${t("patches.state")}</span><span role="columnheader">${t("patches.download")}</span>
      </div>
      ${full && html`<${Way} key="full" app=${app} way=${full} full=${size} target=${release} names=${names} />`}
      ${bases.map((w) => html`<${Way} key=${w.from} app=${app} way=${w} full=${size} target=${release} devices=${running.get(w.from)} names=${names} />`)}
    </div>`;
}

// Summary is the whole in one line: how many are made, whom they serve, and a bar that shows all states at once.
function Summary({ all, bases, running, release }) {
  const count = (kind) => all.filter((w) => w.kind === kind).length;
  const made = count("done") + count("refused") + count("failed");
  const going = all.find((w) => w.kind === "running");
  const waiting = count("queued") + count("again");
  const others = [...running].filter(([d]) => d !== release.digest);
  const fleet = others.reduce((n, [, devices]) => n + devices, 0);
  const served = bases.filter((w) => w.best).reduce((n, w) => n + (running.get(w.from) ?? 0), 0);
  const part = going ? wholeOf(going.work) : 0;
  const busy = going || waiting > 0;
  return html`<div class="patches-sum">
    <div class="patches-line" aria-live="polite"><strong>${busy ? t("patches.making", { n: made, of: all.length }) : t("patches.ready", { n: all.length })}</strong>
      ${fleet > 0 && html`<span class="muted">${t("patches.covered", { n: served, of: fleet, part: percent(served / fleet) })}</span>`}
    </div>
    ${busy && html`<${Bar} part=${(made + part) / all.length} label=${t("patches.title")} />`}
  </div>`;
}

function Way({ app, way, full, target, devices, names }) {
  const base = names.get(way.from);
  return html`<div class=${`way ${way.kind}`} role="row" data-from=${way.from || "full"} data-state=${way.kind}>
    <span role="cell" class="way-from">${way.from === ""
      ? html`<span class="cell-main">${t("patches.full")}</span><span class="cell-sub">${t("patches.fullHint")}</span>`
      : html`<a class="cell-main" href=${href(to`/apps/${app}/releases/${way.from}`)}>${base ? base.version : way.from.slice(0, 12)}</a>
        <span class="cell-sub">${base ? `seq ${base.seq}` : t("patches.goneBase")}${base && base.seq > target.seq ? ` · ${t("patches.back")}` : ""}</span>`}</span>
    <span role="cell" class="num way-devices">${way.from !== "" && devices > 0 ? html`<span class="unit">${t("patches.devices")} </span>${number(devices)}` : html`<span class="muted">–</span>`}</span>
    <span role="cell" class="way-state"><${State} way=${way} /></span>
    <span role="cell" class="way-size"><${Download} way=${way} full=${full} target=${target} /></span>
  </div>`;
}

const stages = { full: "stage.full", changed: "stage.changed", search: "stage.search", patch: "stage.patch", prove: "stage.prove" };

// stageText says in words what the server does now: "patch 2" is the second patch.
export function stageText(stage) {
  const [name, n] = (stage ?? "").split(" ");
  if (!stages[name]) return t("patches.running");
  return n ? t("stage.patchNumber", { n }) : t(stages[name]);
}

const tones = { queued: "", running: "info", again: "warn", failed: "bad", refused: "", done: "ok" };

// partOf is how much of its stage is done; null while nobody knows.
export function partOf(work) {
  return work.total > 0 ? (work.done ?? 0) / work.total : null;
}

// About where each stage stands in the whole of a way: the first patch takes most of the time.
const places = { full: [0, 1], changed: [0, 0.05], search: [0.05, 0.1], patch: [0.1, 0.85], more: [0.85, 0.9], prove: [0.9, 1] };

// wholeOf is about how much of a way is done, over all stages: it never goes back.
function wholeOf(work) {
  const [name, n] = (work.stage ?? "").split(" ");
  const [from, to] = places[name === "patch" && n > 1 ? "more" : name] ?? [0, 0];
  return from + (to - from) * (partOf(work) ?? 0);
}

function State({ way }) {
  const { work, kind } = way;
  if (kind === "running") {
    const part = partOf(work);
    return html`<span class="way-stage"><span>${stageText(work.stage)}</span><b>${part === null ? "" : percent(part, 0)}</b></span>
      <${Bar} part=${part} label=${stageText(work.stage)} />`;
  }
  const took = kind === "done" && work?.seconds >= 0.1 ? t("patches.took", { time: duration(work.seconds) }) : "";
  return html`<span class="badges"><${Badge} tone=${tones[kind]}>${t(`patches.${kind}`)}<//>${work?.tries > 1 && kind !== "done" && html`<span class="muted small">${t("patches.tries", { n: work.tries })}</span>`}
      ${took && html`<span class="muted small">${took}</span>`}</span>
    ${kind === "refused" || kind === "failed" || kind === "again" ? html`<span class="cell-sub wrap">${reason(work.note)}${work.again && html` · ${t("patches.nextTry")} <${Time} at=${work.again} />`}</span>` : null}`;
}

// reason puts the notes that every server writes into the reader's language; others are shown as they are.
function reason(note = "") {
  if (note.startsWith("no container is smaller")) return t("patches.noneSmaller");
  if (note.startsWith("the release or its base is gone")) return t("patches.gone");
  const budget = note.match(/^not made: the bases of this release took (.+) already/);
  return budget ? t("patches.budget", { time: budget[1] }) : note;
}

function Download({ way, full, target }) {
  const { best, containers } = way;
  if (!best) return html`<span class="muted">–</span>`;
  const whole = way.from === "";
  const base = whole ? target.size : full;
  const part = base > 0 ? best.size / base : null;
  return html`<span class="way-best"><${Size} of=${best.size} />${part !== null && html`<span class="muted small">${t(whole ? "patches.ofFiles" : "patches.ofFull", { part: percent(part, part < 0.01 ? 2 : part < 0.1 ? 1 : 0) })}</span>`}</span>
    ${!whole && part !== null && html`<span class="ratio" aria-hidden="true"><i style=${{ width: `${Math.max(0.6, Math.min(100, part * 100))}%` }}></i></span>`}
    <span class="cell-sub codecs">${containers.map((c, i) => html`<span key=${c.sha256 + c.codec} title=${c.sha256}><code>${c.codec}</code>${containers.length > 1 ? ` ${bytes(c.size)}` : ""}${i < containers.length - 1 ? ", " : ""}</span>`)}</span>`;
}
