// Tokens: what programs sign in with. The secret of one is shown once.
import { path, send, use } from "../api.js";
import { t } from "../i18n.js";
import { me } from "../session.js";
import { Badge, Button, Card, Empty, Page, Shown, Table, Time, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { Action, Field } from "./action.js";
import { Once } from "./telling.js";
import { Seen } from "./words.js";

const roles = ["viewer", "operator", "publisher", "owner"];

export function Tokens() {
  const found = use("/tokens", () => 30_000);
  const [asked, ask] = useState(null);
  return html`<${Page} title=${t("nav.tokens")} actions=${html`<${Button} kind="primary" onClick=${() => ask({ make: true })}>${t("tokens.make")}<//>`}>
    <${Card} flush=${true}><${Shown} from=${found} lines=${5}>${({ tokens }) => tokens.length === 0 ? html`<${Empty} title=${t("tokens.none")} />` : html`<${Table} label=${t("nav.tokens")} rows=${tokens} rowKey=${(k) => k.id} onRow=${(k) => (expired(k) ? "dim" : "")} columns=${[
      { key: "name", head: t("field.name"), cell: (k) => html`<span class="cell-main">${k.name}</span><span class="cell-sub"><code>${k.id}</code>${k.member ? ` · ${t("tokens.of", { member: k.member })}` : ""}</span>` },
      { key: "role", head: t("tokens.role"), cell: (k) => t(`role.${k.role}`) },
      { key: "app", head: t("nav.app"), hide: "small", cell: (k) => k.app || t("targets.allApps") },
      { key: "created", head: t("tokens.created"), hide: "medium", cell: (k) => html`<${Time} at=${k.created} />` },
      { key: "used", head: t("tokens.used"), hide: "small", cell: (k) => (k.lastUsed ? html`<${Seen} at=${k.lastUsed} />` : t("tokens.never")) },
      { key: "expires", head: t("tokens.expires"), cell: (k) => (expired(k) ? html`<${Badge} tone="bad">${t("tokens.expired")}<//>` : k.expires ? html`<${Time} at=${k.expires} />` : t("tokens.noEnd")) },
      { key: "do", head: "", num: true, cell: (k) => html`<${Button} kind="small" label=${t("tokens.revokeOf", { name: k.name })} onClick=${() => ask({ revoke: k })}>${t("tokens.revoke")}<//>` },
    ]} />`}<//><//>
    ${asked?.make && html`<${MakeDialog} onClose=${() => ask(null)} />`}
    ${asked?.revoke && html`<${Action} title=${t("tokens.revokeTitle", { name: asked.revoke.name })} verb=${t("tokens.revoke")} danger=${true} effect=${t("tokens.revokeEffect")} run=${() => send("DELETE", path`/tokens/${asked.revoke.id}`)} onClose=${() => ask(null)} />`}<//>`;
}

const expired = (k) => Boolean(k.expires) && new Date(k.expires) < new Date();

function MakeDialog({ onClose }) {
  const apps = use("/apps", () => 60_000);
  const own = me.value.apps.length === 1 ? me.value.apps[0] : null;
  const [f, setForm] = useState({ name: "", role: "publisher", app: own ?? "", days: "90" });
  const [made, setMade] = useState(null);
  const set = (k) => (e) => {
    const { value } = e.target;
    setForm((was) => ({ ...was, [k]: value }));
  };
  const run = async () => {
    const expires = f.days ? { expires: new Date(Date.now() + Number(f.days) * 86400e3).toISOString() } : {};
    const token = await send("POST", "/tokens", { name: f.name.trim(), role: f.role, ...(f.app ? { app: f.app } : {}), ...expires });
    setMade(token);
    return null;
  };
  if (made) return html`<${Once} title=${t("tokens.made", { name: made.name })} secret=${made.secret} note=${t("tokens.madeNote")} onClose=${onClose} />`;
  return html`<${Action} title=${t("tokens.make")} verb=${t("tokens.make")} ready=${f.name.trim() !== ""} run=${run} onClose=${(done) => !done && onClose()} effect=${t(`tokens.can.${f.role}`)}>
    <${Field} label=${t("field.name")} hint=${t("tokens.nameHint")}><input name="name" value=${f.name} onInput=${set("name")} maxlength="64" autocomplete="off" spellcheck="false" /><//>
    <div class="pair"><${Field} label=${t("tokens.role")}><select name="role" value=${f.role} onChange=${set("role")}>${roles.map((r) => html`<option key=${r} value=${r} selected=${r === f.role}>${t(`role.${r}`)}</option>`)}</select><//>
    <${Field} label=${t("targets.onlyApp")}><select name="app" value=${f.app} onChange=${set("app")}>${!own && html`<option value="">${t("targets.allApps")}</option>`}${(apps.data?.apps ?? []).map((a) => html`<option key=${a.name} value=${a.name}>${a.display || a.name}</option>`)}</select><//></div>
    <${Field} label=${t("tokens.expires")}><select name="days" value=${f.days} onChange=${set("days")}>${[["7", "tokens.week"], ["30", "tokens.month"], ["90", "tokens.quarter"], ["365", "tokens.year"], ["", "tokens.noEnd"]].map(([d, key]) => html`<option key=${d} value=${d} selected=${d === f.days}>${t(key)}</option>`)}</select><//><//>`;
}
