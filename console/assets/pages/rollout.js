// A rollout: how far it is, how it goes, and what people may do about it.
import { path, query, use, useLive } from "../api.js";
import { number, percent, share, t } from "../i18n.js";
import { href, to } from "../router.js";
import { may } from "../session.js";
import { told } from "../told.js";
import { Badge, Bar, Button, Card, Copy, Empty, Facts, Icon, Page, Shown, Size, Stat, Time, classes, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { WithdrawDialog } from "./back.js";
import { Compared } from "./compare.js";
import { GuardCard } from "./guard.js";
import { RolloutState } from "./overview.js";
import { Reasons } from "./reasons.js";
import { EndDialog, FinishDialog, MoveDialog, PauseDialog, PlanDialog, PlanFreezeDialog, PlanOffDialog, ResumeDialog, RetryDialog, ShareBox, SkipDialog } from "./rollout-actions.js";
import { ALL, Conditions, evidence, kindText, modeText, platformText, priorityText, range, runtimeText, verdictText, waitsText } from "./words.js";

const dialogs = { pause: PauseDialog, resume: ResumeDialog, finish: FinishDialog, end: EndDialog, skip: SkipDialog, planFreeze: PlanFreezeDialog, plan: PlanDialog, planOff: PlanOffDialog, retry: RetryDialog, move: MoveDialog };

export function RolloutPage({ app, channel, rollout: id }) {
  useLive(app, channel);
  const found = use(path`/apps/${app}/channels/${channel}`);
  const status = use(query("/status", { app }));
  const spread = use(path`/apps/${app}/spread`, () => 60_000);
  const crumbs = [[to`/apps/${app}`, app], [to`/apps/${app}/channels/${channel}`, channel]];
  return html`<${Shown} from=${found} lines=${8}>${(c) => {
    const [pkg, pp] = Object.entries(c.policy.packages ?? {}).find(([, p]) => (p.rollouts ?? []).some((r) => r.id === id)) ?? [];
    if (!pp) return html`<${Page} title=${id} crumbs=${crumbs}><${Card}><${Empty} title=${t("rollout.gone")}><a href=${href(to`/apps/${app}/channels/${channel}`)}>${t("rollout.goneBack")}</a><//><//><//>`;
    const decided = pp.rollouts.find((r) => r.id === id);
    const live = status.data?.apps[0]?.channels.find((s) => s.name === channel)?.packages.find((p) => p.name === pkg)?.rollouts.find((r) => r.id === id);
    const withdrawn = (pp.withdrawn ?? []).find((w) => w.digest === decided.manifest && (w.platform === decided.platform || w.platform === "any"));
    const rollout = { ...live, ...decided, isWithdrawn: Boolean(withdrawn) };
    const at = { app, channel, pkg, policy: c.policy, spread: spread.data };
    return html`<${Rollout} at=${at} rollout=${rollout} standing=${!status.data || Boolean(live)} withdrawn=${withdrawn} places=${c.places?.[id]} list=${pp.rollouts} crumbs=${crumbs} />`;
  }}<//>`;
}

function Rollout({ at, rollout: r, standing, withdrawn, places, list, crumbs }) {
  const [asked, setAsked] = useState(null); // which dialog, and the rollout as it was seen when it was opened
  const ask = (dialog) => setAsked({ dialog, seen: r });
  const close = () => setAsked(null);
  const operate = may("operate", at.app);
  const Asked = dialogs[asked?.dialog];
  const arms = r.salt ? list.filter((o) => o.salt === r.salt).length : 1;
  const whole = r.from === 0 && r.to === ALL;
  const actions = operate && html`
    ${!withdrawn && (r.hold ? html`<${Button} kind=${r.hold === "halted" ? "" : "primary"} onClick=${() => ask("resume")}>${t("resume.verb")}<//>` : html`<${Button} onClick=${() => ask("pause")}>${t("pause.verb")}<//>`)}
    ${!withdrawn && !(whole && r.control === 0) && r.hold !== "halted" && html`<${Button} onClick=${() => ask("finish")}>${t("finish.verb")}<//>`}
    <${Button} onClick=${() => ask("end")}>${t("end.verb")}<//>
    ${!withdrawn && html`<${Button} kind="danger" onClick=${() => ask("withdraw")}>${t("withdraw.verb")}<//>`}`;
  return html`<${Page} title=${`${at.pkg} ${r.version}`} crumbs=${crumbs} actions=${actions}
      sub=${html`<${RolloutState} rollout=${r} />${!standing && html`<${Badge}>${t("rollout.dormant")}<//>`}<span>${t("release.seqOn", { seq: String(r.seq), platform: platformText(r.platform) })}</span><span>${r.by} · <${Time} at=${r.created} /></span><span class="digest"><code>${r.id}</code><${Copy} text=${r.id} label=${t("rollout.copyId")} /></span>`}>
    <${Notices} rollout=${r} standing=${standing} withdrawn=${withdrawn} />
    <${Figures} at=${at} rollout=${r} standing=${standing} />
    <div class="columns">
      <${Card} title=${t("rollout.share")}>${operate && !withdrawn && r.hold !== "halted" ? html`<${ShareBox} at=${at} rollout=${r} />` : html`<p class="big">${range(r)}</p><${Bar} part=${(r.to - r.from) / ALL} label=${t("rollout.share")} tone=${r.hold ? "bad" : ""} />`}<//>
      <${PlanCard} rollout=${r} freeze=${at.policy.freeze} operate=${operate && !withdrawn} ask=${ask} />
    </div>
    ${standing && html`<${Funnel} rollout=${r} />`}
    <${GuardCard} app=${at.app} channel=${at.channel} rollout=${r} />
    <${Reasons} app=${at.app} of=${{ channel: at.channel, package: at.pkg, release: r.manifest }} title=${t("reasons.title")} />
    ${(arms > 1 || r.control > 0) && standing && html`<${Compared} app=${at.app} channel=${at.channel} of=${{ package: at.pkg, rollout: arms > 1 ? list.filter((o) => o.salt === r.salt).map((o) => o.id) : [r.id] }} />`}
    <${About} app=${at.app} rollout=${r} places=${places} operate=${operate} ask=${ask} list=${list} />
    ${asked?.dialog === "withdraw" && html`<${WithdrawDialog} ...${at} release=${r} onClose=${close} />`}
    ${Asked && html`<${Asked} at=${at} rollout=${asked.seen} arms=${arms} list=${list} onClose=${close} />`}
  <//>`;
}

function Notices({ rollout: r, standing, withdrawn }) {
  if (withdrawn) return html`<div class="notice bad"><${Icon} name="warn" /><div><b>${t("withdraw.is")}</b> <${Time} at=${withdrawn.at} />${withdrawn.reason && ` · ${withdrawn.reason}`} <p class="muted">${t("withdraw.isWhat")}</p></div></div>`;
  if (r.hold === "halted") return html`<div class="notice bad" role="status"><${Icon} name="warn" /><div><b>${t("guard.halted")}</b> <${Time} at=${r.guard?.verdict?.crossed?.at ?? r.guard?.at} /><p>${verdictText(r.guard?.verdict)}</p><p class="muted">${t("guard.haltedNext")}</p></div></div>`;
  if (r.hold) return html`<div class="notice warn"><${Icon} name="warn" /><div><b>${t("pause.is")}</b> <span class="muted">${t("pause.isWhat")}</span></div></div>`;
  if (!standing) return html`<div class="notice"><${Icon} name="next" /><div>${t("rollout.dormantWhat")}</div></div>`;
  return null;
}

// Figures are of what stands; of a rollout that is no longer in force, what the guard saw last.
function Figures({ at, rollout: r, standing }) {
  const looks = use(path`/apps/${at.app}/channels/${at.channel}/rollouts/${r.id}/evidence`, () => 10_000);
  const v = r.guard?.verdict ?? looks.data?.looks?.at(-1)?.verdict;
  const d = told(r);
  const ended = (d.confirmed ?? 0) + (d.rolled_back ?? 0);
  return html`<div class="stats">
    <${Stat} label=${t("rollout.share")} value=${share(r.to - r.from)} sub=${r.control > 0 && r.to < ALL ? t("rollout.controlOf", { part: share(r.control) }) : t("health.noControl")} />
    <${Stat} label=${t("kind.confirmed")} value=${standing ? number(d.confirmed ?? 0) : "–"} sub=${!standing ? t("rollout.dormant") : ended > 0 ? t("health.success", { part: percent((d.confirmed ?? 0) / ended) }) : t("health.nothing")} />
    <${Stat} label=${t("guard.rate")} value=${v?.treated > 0 ? percent(v.failed_treated / v.treated) : "–"} tone=${v && ["alarm", "warning"].includes(v.level) ? "bad" : ""} sub=${v?.control > 0 ? t("health.control", { rate: percent(v.failed_control / v.control) }) : t("health.noControl")} />
    <${Stat} label=${t("guard.evidence")} value=${v ? evidence(v.e) : "–"} tone=${v?.level === "alarm" ? "bad" : v?.level === "warning" ? "warn" : ""} sub=${v ? t("guard.ofThreshold", { n: evidence(v.threshold) }) : t("guard.notYet")} />
  </div>`;
}

// PlanCard shows a plan's steps: those done, the one in force, and when the next may come.
function PlanCard({ rollout: r, freeze, operate, ask }) {
  const p = r.plan;
  if (!p) {
    return html`<${Card} title=${t("plan.title")}><p class="muted">${t("plan.none")}</p>${operate && r.to - r.from < ALL && html`<p class="card-foot"><${Button} kind="small" onClick=${() => ask("plan")}>${t("plan.give")}<//></p>`}<//>`;
  }
  const last = p.at >= p.stages.length - 1;
  return html`<${Card} title=${t("plan.title")} actions=${p.frozen && html`<${Badge} tone="warn">${t("plan.frozen")}<//>`}>
    <ol class="stages">${p.stages.map((s, i) => html`<li key=${i} class=${classes(i < p.at && "done", i === p.at && "now")} aria-current=${i === p.at ? "step" : undefined}>
      <span class="stage-dot">${i < p.at ? html`<${Icon} name="check" />` : i + 1}</span><b>${share(s.share)}</b>
      <span class="muted small">${i < p.at || i === p.at ? html`${t("plan.since")} <${Time} at=${p.began?.[i]} />${s.soak ? " · " : ""}` : ""}${s.soak ? t("plan.stageAsks", { time: span(s.soak), n: s.minDevices ?? 0 }) : ""}</span></li>`)}</ol>
    <p class="plan-next">${last ? t("plan.done") : waitsText(r, freeze) || t("plan.soon")}</p>
    ${(p.windows ?? []).length > 0 && html`<p class="muted small">${t("plan.windows")}: ${p.windows.map((w) => [w.days?.join(", "), `${w.from}–${w.to}`, w.zone || "UTC"].filter(Boolean).join(" ")).join("; ")}</p>`}
    ${operate && html`<p class="card-foot">${!last && !r.hold && html`<${Button} kind="small" onClick=${() => ask("skip")}>${t("skip.verb")}<//>`}
      ${!last && html`<${Button} kind="small" onClick=${() => ask("planFreeze")}>${p.frozen ? t("freeze.thaw") : t("planFreeze.verb")}<//>`}
      <${Button} kind="small" onClick=${() => ask("plan")}>${t("plan.change")}<//><${Button} kind="small" onClick=${() => ask("planOff")}>${t("planOff.verb")}<//></p>`}
  <//>`;
}

// span writes seconds as the largest unit that fits.
export function span(seconds) {
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) if (seconds >= size && seconds % size === 0) return t(`unit.${unit}`, { n: seconds / size });
  return t("time.seconds", { n: seconds });
}

const way = [["enrolled", ""], ["fetched", ""], ["staged", ""], ["started", ""], ["confirmed", "ok"], ["rolled_back", "bad"], ["failed", "bad"], ["refused", "warn"], ["left", ""]];

function Funnel({ rollout: r }) {
  const d = told(r);
  const most = Math.max(1, ...way.map(([k]) => d[k] ?? 0));
  if (Object.keys(r.devices ?? {}).length === 0) return html`<${Card} title=${t("funnel.title")}><p class="muted">${t("health.nothing")}</p><//>`;
  return html`<${Card} title=${t("funnel.title")}><dl class="funnel">${way.filter(([k], i) => i < 5 || d[k] > 0).map(([k, tone]) => html`<div key=${k}><dt>${kindText(k)}</dt><dd><${Bar} part=${(d[k] ?? 0) / most} tone=${tone} label=${kindText(k)} /></dd><dd class="num">${number(d[k] ?? 0)}</dd></div>`)}</dl>
    <p class="muted small">${t("funnel.note")}</p><//>`;
}

function About({ app, rollout: r, places, operate, ask, list }) {
  const a = r.apply ?? {};
  return html`<${Card} title=${t("rollout.about")} actions=${operate && html`${list.length > 1 && html`<${Button} kind="small" onClick=${() => ask("move")}>${t("move.verb")}<//>`}<${Button} kind="small" onClick=${() => ask("retry")}>${t("retry.verb")}<//>`}><${Facts} rows=${[
    [t("release.title"), html`<a href=${href(to`/apps/${app}/releases/${r.manifest}`)}>${r.version}</a> (<${Size} of=${r.size} />)`],
    [t("release.runtime"), runtimeText(r.runtime)],
    [t("when.title"), r.when?.length > 0 ? html`<${Conditions} of=${r.when} />` : t("when.everybody")],
    [t("rollout.positions"), `${number(r.from)} – ${number(r.to)}`],
    [t("offer.control"), share(r.control)],
    [t("rollout.salt"), r.salt],
    [t("offer.cap"), r.cap > 0 ? t("rollout.places", { given: places ?? 0, cap: r.cap }) : null],
    [t("apply.mode"), modeText(a.mode || "next_launch")],
    [t("apply.priority"), priorityText(a.priority || "normal")],
    [t("apply.mandatory"), a.mandatory ? t("word.yes") : null],
    [t("apply.message"), a.message],
    [t("field.notes"), r.notes],
    [t("retry.count"), r.retry > 0 ? number(r.retry) : null],
  ]} /><//>`;
}
