// Why a device gets what it gets, step by step, as the server decides for it now.
import { path, send } from "../api.js";
import { number, t } from "../i18n.js";
import { href, to } from "../router.js";
import { Badge, Button, Card, Icon, Trouble, classes, html } from "../ui.js";
import { useEffect, useState } from "../vendor/htm-preact.mjs";
import { Field } from "./action.js";
import { reasonText } from "./words.js";

const tone = { update: "info", rollback: "warn", blocked: "bad", upgrade_runtime: "warn", none: "ok" };
const asked = ["country", "locale", "os", "model"];

// question is what is known of a device, as the API takes it. Extra facts are those that devices do not report.
function question(device, row, extra) {
  const attributes = {};
  const facts = { id: device.device, platform: row.platform || undefined, runtime: row.runtime || undefined };
  for (const k of ["os", "model", "locale"]) if (extra[k]) facts[k] = extra[k];
  if (extra.country) attributes.country = extra.country;
  const refused = device.trials.filter((x) => x.package === row.package && x.arm !== "control" && x.outcome === "failed" && x.release && x.version && x.release !== row.release).map((x) => x.release);
  return { device: { ...facts, ...(Object.keys(attributes).length > 0 ? { attributes } : {}) }, package: row.package, running: row.version ? row.release : undefined, refused: [...new Set(refused)] };
}

export function ExplainCard({ app, device, row }) {
  const [extra, setExtra] = useState({});
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const channel = row.channel || "production";
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      setFound(await send("POST", path`/apps/${app}/channels/${channel}/explain`, question(device, row, extra), { refresh: false }));
    } catch (err) {
      setError(err);
    }
    setBusy(false);
  };
  useEffect(() => {
    run();
  }, [row.release, row.channel]);
  return html`<${Card} title=${t("explain.title", { channel })} count=${device.packages.length > 1 ? row.package : undefined}>
    ${error && html`<${Trouble} error=${error} again=${run} />`}
    ${found && html`<${Explained} app=${app} channel=${channel} found=${found} />`}
    <details class="more"><summary>${t("explain.more")}</summary><form class="explain-form" onSubmit=${(e) => {
      e.preventDefault();
      run();
    }}>${asked.map((k) => html`<${Field} key=${k} label=${k}><input value=${extra[k] ?? ""} onInput=${(e) => setExtra({ ...extra, [k]: e.target.value.trim() })} spellcheck="false" autocomplete="off" /><//>`)}
      <${Button} type="submit" busy=${busy}>${t("explain.again")}<//></form><p class="muted small">${t("explain.note")}</p></details>
  <//>`;
}

function Explained({ app, channel, found }) {
  const d = found.decision;
  return html`<p class="verdict"><${Badge} tone=${tone[d.verdict]}>${t(`verdict.${d.verdict}`)}<//> ${d.version && html`<b>${d.version}</b>`} <span>${reasonText(d.reason)}</span></p>
    <ol class="explain">${found.steps.map((s, i) => html`<li key=${i} class=${classes(i === found.steps.length - 1 && "last", s.reason === "new_release" && "hit")}>
      <div>${s.rollout && s.version ? html`<a class="cell-main" href=${href(to`/apps/${app}/channels/${channel}/rollouts/${s.rollout}`)}>${s.version}</a> ` : ""}${s.reason && html`<${Badge} title=${s.reason}>${reasonText(s.reason)}<//>`}
      ${s.rollout && found.position?.[s.rollout] !== undefined && html`<span class="muted small">${t("explain.position", { n: number(found.position[s.rollout]) })}</span>`}</div>
      <p class="muted">${s.text}</p></li>`)}</ol>
    <p class="muted small"><${Icon} name="next" /> ${t("explain.state", { epoch: String(found.epoch), platform: found.platform })}</p>`;
}
