// Actions: a dialog that says what will happen before it does, and what came of it.
import { path, read, refreshAll } from "../api.js";
import { share, t } from "../i18n.js";
import { Button, Dialog, Icon, Trouble, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";

// Moved is what somebody else, a plan or the guard has changed while the dialog was open.
export class Moved extends Error {}

// unmoved fails when a rollout is no more as it was shown: what was decided may not be meant any more.
export async function unmoved(app, channel, seen) {
  const c = await read(path`/apps/${app}/channels/${channel}`);
  const now = Object.values(c.policy.packages ?? {}).flatMap((p) => p.rollouts ?? []).find((r) => r.id === seen.id);
  if (!now) throw new Moved(t("moved.gone"));
  if (now.to !== seen.to) throw new Moved(t("moved.share", { before: share(seen.to - seen.from), now: share(now.to - now.from) }));
  if ((now.hold ?? "") !== (seen.hold ?? "")) throw new Moved(t(`moved.hold.${now.hold || "none"}`));
  if (now.plan?.at !== seen.plan?.at) throw new Moved(t("moved.stage"));
}

// Action asks, does and tells. effect says in one sentence what will happen to whom; run does it and gives the answer, whose
// warnings are shown; ready false keeps the button from being pressed. onClose(true) is told when it was done.
export function Action({ title, effect, verb, run, onClose, danger, ready = true, children }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const [warnings, setWarnings] = useState(null);
  const go = async (event) => {
    event?.preventDefault();
    if (busy || !ready) return;
    setBusy(true);
    setError(null);
    try {
      const done = await run();
      const said = done?.warnings ?? done?.started?.flatMap((d) => d.warnings ?? []) ?? [];
      if (said.length === 0) return onClose(true);
      setWarnings(said);
    } catch (err) {
      setError(err);
      if (err instanceof Moved || err.status === 409) refreshAll();
    }
    setBusy(false);
    return undefined;
  };
  if (warnings) {
    return html`<${Dialog} title=${title} onClose=${() => onClose(true)} footer=${html`<${Button} kind="primary" onClick=${() => onClose(true)}>${t("action.close")}<//>`}>
      <p class="effect"><${Icon} name="check" /> ${t("action.done")}</p>
      ${warnings.map((w) => html`<p class="warning" key=${w}><${Icon} name="warn" /><span>${w}</span></p>`)}<//>`;
  }
  return html`<${Dialog} title=${title} onClose=${() => !busy && onClose(false)} footer=${html`
      <${Button} onClick=${() => onClose(false)} disabled=${busy}>${t("action.cancel")}<//>
      <${Button} kind=${danger ? "danger" : "primary"} onClick=${go} busy=${busy} disabled=${!ready}>${verb}<//>`}>
    <form class="form" onSubmit=${go}>${children}${effect && html`<div class="will" role="status"><b>${t("action.will")}</b> ${effect}</div>`}</form>
    ${error instanceof Moved && html`<div class="notice warn" role="alert"><${Icon} name="warn" /><div><b>${t("moved.title")}</b> ${error.message} ${t("moved.again")}</div></div>`}
    ${error && !(error instanceof Moved) && html`<${Trouble} error=${error} />`}
    ${error?.status === 409 && html`<p class="muted small">${t("moved.conflict")}</p>`}
  <//>`;
}

// Field is a named input in a form; hint stands beneath it.
export function Field({ label, hint, children }) {
  return html`<label class="field"><span>${label}</span>${children}${hint && html`<small>${hint}</small>`}</label>`;
}

export function Tick({ label, hint, value, onChange }) {
  return html`<label class="tick"><input type="checkbox" checked=${value} onChange=${(e) => onChange(e.target.checked)} /><span>${label}${hint && html`<small>${hint}</small>`}</span></label>`;
}

// points reads "12.5" or "12.5 %" as basis points; null when it is no share.
export function points(text) {
  const m = /^\s*(\d{1,3}(?:[.,]\d{1,2})?)\s*%?\s*$/.exec(text);
  if (!m) return null;
  const n = Math.round(Number(m[1].replace(",", ".")) * 100);
  return n <= 10000 ? n : null;
}
