// A channel's freeze: every plan stays where it is.
import { path, send } from "../api.js";
import { t } from "../i18n.js";
import { html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { Action, Field } from "./action.js";

const patch = (app, channel, freeze) => send("PATCH", path`/apps/${app}/channels/${channel}`, { freeze });

export function FreezeDialog({ app, channel, onClose }) {
  const [reason, setReason] = useState("");
  const [until, setUntil] = useState("");
  const run = () => patch(app, channel, { on: true, reason, ...(until ? { until: new Date(until).toISOString() } : {}) });
  return html`<${Action} title=${t("freeze.ask", { channel })} verb=${t("freeze.verb")} run=${run} onClose=${onClose} effect=${t("freeze.effect")}>
    <${Field} label=${t("field.reason")}><input name="reason" value=${reason} onInput=${(e) => setReason(e.target.value)} maxlength="500" /><//>
    <${Field} label=${t("freeze.until")} hint=${t("freeze.untilHint")}><input type="datetime-local" value=${until} onInput=${(e) => setUntil(e.target.value)} /><//><//>`;
}

export function ThawDialog({ app, channel, onClose }) {
  return html`<${Action} title=${t("freeze.thawAsk", { channel })} verb=${t("freeze.thaw")} run=${() => patch(app, channel, { on: false })} onClose=${onClose} effect=${t("freeze.thawEffect")} />`;
}
