// What the guard saw of a rollout: its verdict, and its evidence over time.
import { path, use } from "../api.js";
import { LineChart, interval } from "../charts.js";
import { number, percent, t } from "../i18n.js";
import { Badge, Card, Icon, Shown, Time, html } from "../ui.js";
import { evidence, levelTone, verdictText } from "./words.js";

const MOST = 160; // points of a chart; looks in between are left out, but for those at which something was done

export function GuardCard({ app, channel, rollout }) {
  const looks = use(path`/apps/${app}/channels/${channel}/rollouts/${rollout.id}/evidence`, () => 10_000);
  const v = rollout.guard?.verdict;
  return html`<${Card} id="guard" title=${t("guard.title")} actions=${v && html`<${Badge} tone=${levelTone[v.level]}>${t(`level.${v.level}`)}<//>`}>
    <${Shown} from=${looks} lines=${6}>${({ looks: all }) => {
      if (all.length === 0) return html`<p class="muted">${t("guard.notYet")}</p>`;
      const newest = all.at(-1).verdict;
      return html`<p>${verdictText(newest)}</p><${Charts} looks=${thin(all)} verdict=${newest} /><${Deeds} looks=${all} />${more(newest) && html`<p class="muted small guard-says">${t("guard.own")} ${newest.reason}</p>`}`;
    }}<//><//>`;
}

// more says whether the server's own words tell more than ours: of silence, of networks, of arms that are not what they should be.
const more = (v) => v.level === "inconclusive" || v.level === "warning" || v.not_counted > 0 || v.silent_treated + v.silent_control > 0;

function thin(looks) {
  if (looks.length <= MOST) return looks;
  const each = Math.ceil(looks.length / MOST);
  return looks.filter((l, i) => l.action || l.resumed || (looks.length - 1 - i) % each === 0);
}

function Charts({ looks, verdict }) {
  const times = looks.map((l) => new Date(l.at).getTime());
  const treated = looks.map(({ verdict: v }) => (v.treated > 0 ? v.failed_treated / v.treated : null));
  const control = looks.map(({ verdict: v }) => (v.control > 0 ? v.failed_control / v.control : null));
  const treatedBand = looks.map(({ verdict: v }) => interval(v.failed_treated, v.treated));
  const controlBand = looks.map(({ verdict: v }) => interval(v.failed_control, v.control));
  const marks = looks.filter((l) => l.action || l.resumed).map((l) => ({ at: new Date(l.at).getTime(), label: t(l.resumed ? "guard.resumed" : l.action === "advance" ? "guard.advanced" : "guard.did.halt"), tone: l.action === "halt" ? "bad" : "" }));
  const rates = [{ name: t("guard.release"), tone: "a", values: treated, low: treatedBand.map((b) => b[0]), high: treatedBand.map((b) => b[1]) }];
  if (control.some((v) => v !== null)) rates.push({ name: t("guard.control"), tone: "b", values: control, low: controlBand.map((b) => b[0]), high: controlBand.map((b) => b[1]) });
  return html`<div class="columns">
    <${LineChart} title=${t("guard.rateChart")} desc=${`${verdictText(verdict)} ${t("guard.rateNote")}`} times=${times} series=${rates} marks=${marks} format=${(n) => percent(n)} bounds=${verdict.control > 0 ? [] : [{ value: verdict.ceiling, label: t("guard.ceiling"), tone: "warn" }]} />
    <${LineChart} title=${t("guard.evidenceChart")} desc=${t("guard.evidenceNote", { n: evidence(verdict.threshold) })} times=${times} log=${true} marks=${marks} format=${evidence}
      series=${[{ name: t("guard.evidence"), tone: "a", values: looks.map((l) => l.verdict.e) }, { name: t("guard.without"), tone: "b", values: looks.map((l) => l.verdict.e_without) }]}
      bounds=${[{ value: verdict.threshold, label: t("guard.threshold", { n: number(verdict.threshold) }), tone: "bad" }, { value: verdict.needed, label: t("guard.needed", { n: number(verdict.needed) }), tone: "warn" }]} />
  </div><p class="muted small">${t("guard.rateNote")} ${t("guard.evidenceNote", { n: evidence(verdict.threshold) })}</p>`;
}

// Deeds are the looks at which something was done, the newest first.
function Deeds({ looks }) {
  const deeds = looks.filter((l) => l.action || l.resumed).reverse();
  if (deeds.length === 0) return null;
  return html`<ul class="deeds">${deeds.slice(0, 20).map((l) => html`<li key=${l.n}><${Icon} name=${l.action === "halt" ? "warn" : "check"} /><div><b>${t(l.resumed ? "guard.did.resumed" : `guard.did.${l.action}`)}</b> <span class="muted"><${Time} at=${l.at} /></span><p class="muted small">${verdictText(l.verdict)}</p></div></li>`)}</ul>`;
}
