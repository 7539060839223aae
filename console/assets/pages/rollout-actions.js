// What people do with a rollout, each behind a dialog that says to how many devices.
import { path, send } from "../api.js";
import { number, share, t } from "../i18n.js";
import { go, to } from "../router.js";
import { told } from "../told.js";
import { html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { Action, Field, points, unmoved } from "./action.js";
import { ALL, about, audience, waitsText } from "./words.js";

// change sends one change of a rollout, unless it has moved meanwhile.
async function change(at, r, body) {
  await unmoved(at.app, at.channel, r);
  return send("PATCH", path`/apps/${at.app}/channels/${at.channel}/rollouts/${r.id}`, body);
}

// more says how many devices a wider share adds, as far as devices are known.
function more(at, r, from, until) {
  const known = audience(at.spread, at.channel, at.pkg, r.platform);
  if (known === null || known === 0) return null;
  return about((known * (until - from)) / ALL);
}

function shareEffect(at, r, until) {
  if (until < r.to) return t("share.less", { version: r.version });
  const n = more(at, r, r.to, until);
  const key = r.when?.length > 0 ? "share.moreNamed" : "share.more";
  return n === null ? t("share.moreUnknown") : t(key, { n, part: share(until - r.to) });
}

const handy = [100, 500, 1000, 2500, 5000, 10000];

// ShareBox is the share of a rollout with its slider; nothing happens before the dialog.
export function ShareBox({ at, rollout: r }) {
  const [text, setText] = useState(null);
  const [asked, ask] = useState(null); // what was seen and wanted when the dialog was opened
  const width = r.to - r.from;
  const room = ALL - r.from;
  const wanted = text === null ? width : points(text);
  const until = wanted === null ? null : r.from + Math.min(wanted, room);
  const changed = until !== null && until !== r.to;
  const halted = r.hold === "halted" && until > r.to;
  const set = (n) => setText(String(n / 100));
  return html`<div class="share-box">
    <div class="share-line">
      <input type="range" min="0" max=${room} step=${room > 1000 ? 50 : 1} value=${wanted ?? width} aria-label=${t("rollout.share")} onInput=${(e) => set(Number(e.target.value))} />
      <label class="share-number"><input type="text" inputmode="decimal" name="share" aria-label=${t("share.percent")} value=${text ?? String(width / 100)} aria-invalid=${wanted === null ? "true" : undefined} onInput=${(e) => setText(e.target.value)} /><span>%</span></label>
    </div>
    <div class="share-steps">${handy.filter((n) => n <= room).map((n) => html`<button type="button" key=${n} class=${n === wanted ? "button small on" : "button small"} onClick=${() => set(n)}>${share(n)}</button>`)}</div>
    <p class="share-effect">${wanted === null ? t("share.notOne") : halted ? t("share.halted") : changed ? shareEffect(at, r, until) : html`<span class="muted">${t("share.now", { part: share(width) })}</span>`}</p>
    ${changed && html`<div class="share-go"><button type="button" class="button" onClick=${() => setText(null)}>${t("action.cancel")}</button><button type="button" class="button primary" name="set-share" disabled=${halted} onClick=${() => ask({ seen: r, until })}>${t("share.set", { part: share(until - r.from) })}</button></div>`}
    ${asked && html`<${ShareDialog} at=${at} rollout=${asked.seen} until=${asked.until} onClose=${(done) => {
      ask(null);
      if (done) setText(null);
    }} />`}
  </div>`;
}

function ShareDialog({ at, rollout: r, until, onClose }) {
  const after = share(until - r.from);
  return html`<${Action} title=${t("share.title", { version: r.version })} verb=${t("share.set", { part: after })} effect=${shareEffect(at, r, until)}
    run=${() => change(at, r, { to: until })} onClose=${onClose}>
    <p>${t("share.fromTo", { version: r.version, before: share(r.to - r.from), after })}</p>
    ${r.plan && !isLast(r) && html`<p class="muted">${t("share.keepsPlan")}</p>`}<//>`;
}

const isLast = (r) => r.plan.at >= r.plan.stages.length - 1;

export function PauseDialog({ at, rollout: r, onClose }) {
  return html`<${Action} title=${t("pause.title", { version: r.version })} verb=${t("pause.verb")} run=${() => change(at, r, { hold: "paused" })} onClose=${onClose}
    effect=${t("pause.effect", { n: r.devices?.confirmed ?? 0 })} />`;
}

export function ResumeDialog({ at, rollout: r, onClose }) {
  const halted = r.hold === "halted";
  return html`<${Action} title=${t("resume.title", { version: r.version })} verb=${t("resume.verb")} danger=${halted} run=${() => change(at, r, { hold: "none" })} onClose=${onClose}
    effect=${halted ? t("resume.haltedEffect") : t("resume.effect", { part: share(r.to - r.from) })} />`;
}

export function FinishDialog({ at, rollout: r, arms, onClose }) {
  const winner = arms > 1;
  const n = more(at, r, r.to - r.from, ALL);
  return html`<${Action} title=${t("finish.title", { version: r.version })} verb=${t("finish.verb")} run=${() => change(at, r, winner ? { winner: true } : { finish: true })} onClose=${onClose}
    effect=${n === null ? t("finish.effectUnknown") : t("finish.effect", { n })}>
    ${winner && html`<p>${t("finish.winner")}</p>`}${r.plan && html`<p class="muted">${t("finish.noPlan")}</p>`}<//>`;
}

export function EndDialog({ at, rollout: r, onClose }) {
  return html`<${Action} title=${t("end.title", { version: r.version })} verb=${t("end.verb")} danger=${true} run=${() => change(at, r, { end: true })} onClose=${(done) => {
    onClose(done);
    if (done) go(to`/apps/${at.app}/channels/${at.channel}`);
  }} effect=${t("end.effect", { n: r.devices?.confirmed ?? 0 })}><p class="muted">${t("end.notWithdraw")}</p><//>`;
}

export function SkipDialog({ at, rollout: r, onClose }) {
  const next = r.plan.stages[r.plan.at + 1];
  const until = Math.max(r.to, r.from + next.share);
  return html`<${Action} title=${t("skip.title")} verb=${t("skip.verb")} run=${() => change(at, r, { skip: true })} onClose=${onClose}
    effect=${shareEffect(at, r, until)}><p>${t("skip.to", { part: share(next.share) })} ${waitsText(r, at.policy.freeze) && html`<span class="muted">${waitsText(r, at.policy.freeze)}</span>`}</p><//>`;
}

export function PlanFreezeDialog({ at, rollout: r, onClose }) {
  const frozen = r.plan.frozen;
  return html`<${Action} title=${frozen ? t("thaw.title") : t("planFreeze.title")} verb=${frozen ? t("freeze.thaw") : t("planFreeze.verb")} run=${() => change(at, r, { freeze: !frozen })} onClose=${onClose}
    effect=${frozen ? t("thaw.effect") : t("planFreeze.effect", { part: share(r.to - r.from) })} />`;
}

// stagesText writes stages as the command and the API take them.
export function stagesText(stages) {
  return stages.map((s) => `${s.share / 100}%${s.soak ? `:${soak(s.soak)}` : ""}${s.soak && s.minDevices ? `:${s.minDevices}` : ""}`).join(", ");
}

function soak(seconds) {
  if (seconds % 86400 === 0) return `${seconds / 86400}d`;
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  if (seconds % 60 === 0) return `${seconds / 60}m`;
  return `${seconds}s`;
}

export const plain = "1%:1h, 5%:2h, 20%:4h, 50%:8h, 100%";

export function PlanFields({ plan, onChange }) {
  const set = (k) => (e) => onChange({ ...plan, [k]: e.target.value });
  return html`<${Field} label=${t("plan.stages")} hint=${t("plan.stagesHint")}><input name="stages" value=${plan.stages} onInput=${set("stages")} spellcheck="false" autocomplete="off" /><//>
    <div class="pair"><${Field} label=${t("plan.start")} hint=${t("plan.startHint")}><input type="datetime-local" value=${plan.start} onInput=${set("start")} /><//>
    <${Field} label=${t("plan.windows")} hint=${t("plan.windowsHint")}><input value=${plan.windows} onInput=${set("windows")} placeholder="mon-fri 09:00-17:00 Europe/Berlin" spellcheck="false" autocomplete="off" /><//></div>`;
}

// planBody is a plan as the API takes it.
export function planBody(plan) {
  const windows = plan.windows.split(";").map((w) => w.trim()).filter(Boolean);
  return { stages: plan.stages.replace(/\s+/g, ""), ...(plan.start ? { start: new Date(plan.start).toISOString().replace(/\.\d+Z$/, "Z") } : {}), ...(windows.length > 0 ? { windows } : {}) };
}

const windowText = (w) => [w.days?.join(","), `${w.from}-${w.to}`, w.zone].filter(Boolean).join(" ");

export function PlanDialog({ at, rollout: r, onClose }) {
  const [plan, setPlan] = useState({ stages: r.plan ? stagesText(r.plan.stages) : plain, start: "", windows: (r.plan?.windows ?? []).map(windowText).join("; ") });
  return html`<${Action} title=${r.plan ? t("plan.change") : t("plan.give")} verb=${t("plan.set")} run=${() => change(at, r, { plan: planBody(plan) })} onClose=${onClose}
    effect=${t("plan.effect", { part: share(r.to - r.from) })}><${PlanFields} plan=${plan} onChange=${setPlan} /><//>`;
}

export function PlanOffDialog({ at, rollout: r, onClose }) {
  return html`<${Action} title=${t("planOff.title")} verb=${t("planOff.verb")} run=${() => change(at, r, { plan: { stages: "none" } })} onClose=${onClose} effect=${t("planOff.effect", { part: share(r.to - r.from) })} />`;
}

export function RetryDialog({ at, rollout: r, onClose }) {
  const d = told(r);
  const n = (d.rolled_back ?? 0) + (d.failed ?? 0);
  return html`<${Action} title=${t("retry.title", { version: r.version })} verb=${t("retry.verb")} run=${() => change(at, r, { retry: true })} onClose=${onClose} effect=${t("retry.effect", { n })} />`;
}

// MoveDialog puts a rollout elsewhere on the list that devices walk.
export function MoveDialog({ at, rollout: r, list, onClose }) {
  const here = list.findIndex((o) => o.id === r.id);
  const [place, setPlace] = useState(String(here));
  return html`<${Action} title=${t("move.title", { version: r.version })} verb=${t("move.verb")} ready=${Number(place) !== here} run=${() => change(at, r, { move: Number(place) })} onClose=${onClose} effect=${t("move.effect")}>
    <${Field} label=${t("move.place")}><select value=${place} onChange=${(e) => setPlace(e.target.value)}>${list.map((o, i) => html`<option key=${o.id} value=${String(i)} selected=${String(i) === place}>${number(i + 1)}. ${i === here ? t("move.here") : o.version}</option>`)}</select><//><//>`;
}

