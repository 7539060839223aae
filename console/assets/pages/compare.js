// Arms of a test beside each other: what each came to, and whether a difference is more than chance.
import { path, query, use } from "../api.js";
import { number, percent, share, t } from "../i18n.js";
import { Card, Icon, Shown, Table, html } from "../ui.js";

const armName = (name) => (name === "control" ? t("guard.control") : name);

// Compared shows what the server found. of names the package and the rollouts whose arms are meant.
export function Compared({ app, channel, of, title = t("compare.title") }) {
  const where = query(path`/apps/${app}/channels/${channel}/compare`, { package: of.package });
  const found = use(of.rollout.reduce((w, id) => `${w}&rollout=${encodeURIComponent(id)}`, where), () => 20_000);
  return html`<${Card} title=${title} flush=${true}><${Shown} from=${found}>${(c) => html`
    <${Table} label=${t("compare.title")} rows=${c.arms} rowKey=${(a) => a.name} columns=${[
      { key: "name", head: t("compare.arm"), cell: (a) => html`<span class="cell-main">${armName(a.name)}</span>` },
      { key: "share", head: t("rollout.share"), num: true, cell: (a) => share(a.share) },
      { key: "enrolled", head: t("kind.enrolled"), num: true, cell: (a) => number(a.enrolled) },
      { key: "confirmed", head: t("kind.confirmed"), num: true, hide: "small", cell: (a) => number(a.confirmed) },
      { key: "failed", head: t("kind.failed"), num: true, cell: (a) => number(a.failed) },
      { key: "rate", head: t("health.worked"), num: true, cell: (a) => (a.confirmed + a.failed > 0 ? percent(a.confirmed / (a.confirmed + a.failed)) : "–") },
    ]} />
    ${c.doubt && html`<p class="warning compare-text"><${Icon} name="warn" /><span>${c.doubt}</span></p>`}
    ${c.results.map((r) => html`<div class="compare-result" key=${r.test.metric}><h3>${r.test.metric === "works" ? t("compare.works") : r.test.metric}</h3>
      ${r.pairs.map((p) => html`<${Difference} key=${p.a + p.b} pair=${p} rate=${r.test.kind === "yes_no"} />`)}<p class="muted">${r.winner ? t("compare.winner", { winner: armName(r.winner) }) : r.doubt || t("compare.none")}</p></div>`)}`}<//><//>`;
}

// Difference draws the interval of B minus A around nothing.
function Difference({ pair: p, rate }) {
  if (!p.known) return null;
  const most = Math.max(Math.abs(p.low), Math.abs(p.high), 1e-9) * 1.15;
  const x = (v) => 250 + (v / most) * 240;
  const write = (v) => (rate ? percent(v) : number(v, 3));
  const said = t("compare.difference", { b: armName(p.b), a: armName(p.a), low: write(p.low), high: write(p.high) });
  return html`<figure class="gap"><svg viewBox="0 0 500 26" role="img" aria-label=${said}><title>${said}</title>
      <line class="axis" x1="4" x2="496" y1="13" y2="13" /><line class="zero" x1="250" x2="250" y1="2" y2="24" />
      <line class=${p.winner ? "span sure" : "span"} x1=${x(p.low)} x2=${x(p.high)} y1="13" y2="13" /><circle class=${p.winner ? "dot sure" : "dot"} cx=${x(p.diff)} cy="13" r="5" /></svg>
    <figcaption>${said}</figcaption></figure>`;
}
