// One release: where it is offered, the patches that lead to it, what is in it and who signed it.
import { path, query, use, useLive } from "../api.js";
import { bytes, share, t } from "../i18n.js";
import { go, href, to } from "../router.js";
import { may } from "../session.js";
import { send } from "../api.js";
import { Badge, Bar, Button, Card, Confirm, Copy, Digest, Facts, Page, Shown, Size, Time, html } from "../ui.js";
import { useMemo, useState } from "../vendor/htm-preact.mjs";
import { Files } from "./files.js";
import { manifestOf } from "./manifest.js";
import { OfferButton } from "./offer.js";
import { RolloutState } from "./overview.js";
import { Patches } from "./patches.js";
import { platformText } from "./words.js";
import { Where, runtimeText, useStanding } from "./releases.js";

const RARELY = 300_000; // what is signed does not change; what does is asked for beside it

export function Release({ app, release: ref }) {
  const from = use(path`/apps/${app}/releases/${ref}`, () => RARELY);
  const title = from.data ? `${from.data.package} ${from.data.version}` : ref.length === 64 ? ref.slice(0, 12) : ref;
  return html`<${Page} title=${title} crumbs=${[[to`/apps/${app}`, app], [to`/apps/${app}/releases`, t("nav.releases")]]}
      sub=${from.data && html`<${Sub} release=${from.data} />`} actions=${from.data && html`<${Actions} app=${app} release=${from.data} /><${OfferButton} app=${app} release=${from.data} />`}>
    <${Shown} from=${from} lines=${8}>${(r) => html`<${Body} app=${app} release=${r} />`}<//>
  <//>`;
}

function Sub({ release: r }) {
  return html`<span>${t("release.seqOn", { seq: String(r.seq), platform: platformText(r.platform) })}</span>${r.runtime?.range !== "*" && html`<code>${runtimeText(r.runtime)}</code>`}<span><${Time} at=${r.published} /></span><${Digest} of=${r.digest} /><${Where} release=${r} standing=${useStanding(r.app)} />`;
}

function Actions({ app, release: r }) {
  const [asking, setAsking] = useState(false);
  if (!may("manage", app) || r.channels?.length || r.withdrawn?.length) return null;
  return html`<${Button} kind="danger" onClick=${() => setAsking(true)}>${t("release.delete")}<//>
    ${asking && html`<${Confirm} title=${t("release.deleteTitle", { name: `${r.package} ${r.version}` })} effect=${t("release.deleteEffect", { version: r.version })} verb=${t("release.delete")}
      run=${() => send("DELETE", path`/apps/${app}/releases/${r.digest}`)} onClose=${(done) => (done ? go(to`/apps/${app}/releases`) : setAsking(false))} />`}`;
}

function Body({ app, release: r }) {
  const manifest = useMemo(() => manifestOf(r), [r.digest, r.envelope]);
  const list = use(query(path`/apps/${app}/releases`, { package: r.package, limit: 200 }), () => 60_000);
  const names = useMemo(() => new Map((list.data?.releases ?? []).map((x) => [x.digest, x])), [list.data]);
  return html`${r.notes && html`<${Card} title=${t("release.notes")}><p class="notes">${r.notes}</p><//>`}
    <${Patches} app=${app} release=${r} names=${names} />
    <${Offered} app=${app} release=${r} />
    <${About} app=${app} release=${r} manifest=${manifest} names=${names} />
    <${Files} app=${app} release=${r} manifest=${manifest} names=${names} />`;
}

// Offered shows the rollouts that name the release, with what devices reported of it there.
function Offered({ app, release: r }) {
  const channels = use(path`/apps/${app}/channels`);
  const status = use(query("/status", { app }));
  const first = r.channels?.[0] ?? channels.data?.channels[0]?.name;
  useLive(app, first);
  const seen = new Map((status.data?.apps[0]?.channels ?? []).flatMap((c) => c.packages.flatMap((p) => p.rollouts.map((x) => [x.id, x]))));
  return html`<${Card} title=${t("release.offered")} flush>
    <${Shown} from=${channels}>${(data) => {
      const rows = data.channels.flatMap((c) => {
        const p = c.policy.packages?.[r.package];
        const withdrawn = p?.withdrawn?.find((w) => w.digest === r.digest);
        return (p?.rollouts ?? []).filter((e) => e.manifest === r.digest).map((e) => ({ channel: c.name, entry: { ...e, ...seen.get(e.id), isWithdrawn: Boolean(withdrawn) }, withdrawn, stands: seen.has(e.id) }));
      });
      if (rows.length === 0) return html`<p class="patches-none muted">${t("release.nowhere")}</p>`;
      return rows.map(({ channel, entry, withdrawn, stands }) => html`<div class="force inset" key=${channel + entry.id}>
        <div class="force-release"><span class="cell-main">${channel}</span><span class="cell-sub"><${Time} at=${entry.created} />${entry.by && ` · ${entry.by}`}${entry.apply?.mandatory ? ` · ${t("rollout.mandatory")}` : ""}</span></div>
        <div class="force-share"><span class="small">${share((entry.to ?? 10000) - (entry.from ?? 0))}</span><${Bar} part=${((entry.to ?? 10000) - (entry.from ?? 0)) / 10000} label=${t("rollout.share")} tone=${entry.hold === "halted" || withdrawn ? "bad" : entry.hold ? "warn" : ""} /></div>
        <div class="counts">${withdrawn?.reason || entry.waits || (!stands && !withdrawn ? t("rollout.covered") : "")}</div>
        <div class="force-state">${stands || withdrawn ? html`<${RolloutState} rollout=${entry} />` : html`<${Badge}>${t("rollout.superseded")}<//>`}</div>
      </div>`);
    }}<//>
  <//>`;
}

function About({ app, release: r, manifest: m, names }) {
  const link = (d) => html`<a href=${href(to`/apps/${app}/releases/${d}`)} title=${d}>${names.get(d)?.version ?? d.slice(0, 12)}</a>`;
  const commas = (list) => list.map((x, i) => html`<span key=${i}>${x}${i < list.length - 1 ? ", " : ""}</span>`);
  const requires = Object.entries(m.requires ?? {}).map(([pkg, q]) => html`<span key=${pkg}>${pkg} ${Array.isArray(q) ? commas(q.map(link)) : `seq ≥ ${q}`} </span>`);
  return html`<${Card} title=${t("release.about")}><${Facts} rows=${[
    [t("release.size"), html`<${Size} of=${r.size} /> · ${t("count.files", { n: r.files })}`],
    [t("release.entry"), m.entry && html`<code>${m.entry}</code>`],
    [t("release.created"), html`<${Time} at=${r.created} exact />`],
    [t("release.published"), html`<${Time} at=${r.published} exact />`],
    [t("release.runtime"), html`<code>${runtimeText(r.runtime)}</code>`],
    [t("release.signedBy"), r.keyids?.length ? r.keyids.map((k) => html`<span class="digest" key=${k}><code>${k}</code><${Copy} text=${k} label=${t("action.copyKey")} /></span>`) : html`<span class="muted">${t("release.unsigned")}</span>`],
    [t("release.fallback"), m.fallback?.length ? commas(m.fallback.map(link)) : html`<span class="muted">${t("release.embeddedOnly")}</span>`],
    [t("release.requires"), requires.length > 0 && requires],
    [t("release.data"), m.data && t("release.dataFormats", { reads: (m.data.reads ?? []).join(", ") || "–", writes: m.data.writes || "–" })],
    [t("release.digest"), html`<code class="wrap">${r.digest}</code>`],
    [t("release.envelope"), r.envelope && t("release.envelopeSize", { size: bytes(Math.floor((r.envelope.length * 3) / 4)) })],
  ]} /><//>`;
}
