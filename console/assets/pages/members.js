// Members: who signs in by name, and what they may do. An invitation is shown once, as the link that one passes on.
import { path, send, use } from "../api.js";
import { t } from "../i18n.js";
import { go, href, to } from "../router.js";
import { may, me } from "../session.js";
import { Badge, Button, Card, Copy, Dialog, Empty, Facts, Page, Shown, Table, Time, html } from "../ui.js";
import { useState } from "../vendor/htm-preact.mjs";
import { Action, Field } from "./action.js";

const roles = ["viewer", "operator", "publisher", "owner"];

function scope(apps) {
  return apps.length === 0 ? t("members.allApps") : apps.join(", ");
}

function State({ of: m }) {
  if (m.disabled) return html`<${Badge} tone="bad">${t("members.disabled")}<//>`;
  if (!m.password && !m.sso) return html`<${Badge} tone="warn">${t("members.invited")}<//>`;
  return html`<${Badge} tone="ok">${t("members.active")}<//>`;
}

// link is the whole address of an invitation: that the server knows of itself, else the one this page came from.
const link = (invitation) => invitation.url || location.origin + invitation.path;

// Invitation shows the link that lets a member in.
function Invitation({ of: invitation, onClose }) {
  const url = link(invitation);
  return html`<${Dialog} title=${t("members.linkTitle", { name: invitation.member })} onClose=${onClose} footer=${html`<${Button} kind="primary" onClick=${onClose}>${t("action.close")}<//>`}>
    <p class="effect">${t("members.linkNote")} <${Time} at=${invitation.expires} exact /></p>
    <div class="digest invitation"><code class="wrap">${url}</code><${Copy} text=${url} label=${t("members.copyLink")} /></div>
  <//>`;
}

export function Members() {
  const found = use("/members", () => 30_000);
  const [asked, ask] = useState(null);
  return html`<${Page} title=${t("nav.members")} actions=${html`<${Button} kind="primary" onClick=${() => ask({ add: true })}>${t("members.add")}<//>`}>
    <${Card} flush=${true}><${Shown} from=${found} lines=${5}>${({ members }) => members.length === 0 ? html`<${Empty} title=${t("members.none")}>${t("members.noneHint")}<//>` : html`<${Table} label=${t("nav.members")} rows=${members} rowKey=${(m) => m.name} onRow=${(m) => (m.disabled ? "dim" : "")} columns=${[
      { key: "name", head: t("members.name"), grow: true, cell: (m) => html`<a class="cell-main" href=${href(to`/members/${m.name}`)}>${m.display || m.name}</a><span class="cell-sub">${m.display ? `${m.name} · ` : ""}${m.email}</span>` },
      { key: "role", head: t("members.role"), cell: (m) => html`${t(`role.${m.role}`)}<span class="cell-sub">${scope(m.apps)}</span>` },
      { key: "state", head: t("members.state"), cell: (m) => html`<${State} of=${m} />` },
      { key: "factor", head: t("members.factor"), hide: "small", cell: (m) => (m.secondFactor ? t("members.yes") : m.sso ? t("members.sso") : t("members.no")) },
      { key: "seen", head: t("members.seen"), hide: "small", num: true, cell: (m) => (m.seen ? html`<${Time} at=${m.seen} />` : t("members.never")) },
    ]} />`}<//><//>
    ${asked?.add && html`<${Edit} onClose=${() => ask(null)} onMade=${(invitation) => ask({ invitation })} />`}
    ${asked?.invitation && html`<${Invitation} of=${asked.invitation} onClose=${() => ask(null)} />`}<//>`;
}

// Edit makes a member, or changes the one that is given.
function Edit({ member, onClose, onMade }) {
  const apps = use("/apps", () => 60_000);
  const all = me.value.apps.length === 0; // who looks after some apps gives others no more
  const [f, setForm] = useState({ name: "", display: member?.display ?? "", email: member?.email ?? "", role: member?.role ?? "publisher", apps: member?.apps ?? (all ? [] : me.value.apps) });
  const set = (k) => (e) => setForm({ ...f, [k]: e.target.value });
  const chosen = (e) => setForm({ ...f, apps: [...e.target.selectedOptions].map((o) => o.value).filter(Boolean) });
  const run = async () => {
    const said = { display: f.display.trim(), email: f.email.trim(), role: f.role, apps: f.apps };
    if (member) return send("PATCH", path`/members/${member.name}`, said);
    const made = await send("POST", "/members", { name: f.name.trim(), ...said });
    onMade(made.invitation);
    return null;
  };
  const names = (apps.data?.apps ?? []).map((a) => [a.name, a.display || a.name]);
  return html`<${Action} title=${member ? t("members.changeTitle", { name: member.name }) : t("members.add")} verb=${member ? t("members.save") : t("members.invite")} ready=${Boolean(member) || f.name.trim() !== ""} run=${run}
    effect=${`${t(`members.can.${f.role}`)} ${scope(f.apps)}`} onClose=${(done) => (member || !done) && onClose()}>
    ${!member && html`<${Field} label=${t("members.name")} hint=${t("members.nameHint")}><input name="name" value=${f.name} onInput=${set("name")} maxlength="64" autocomplete="off" spellcheck="false" autocapitalize="none" /><//>`}
    <${Field} label=${t("members.display")}><input name="display" value=${f.display} onInput=${set("display")} maxlength="200" autocomplete="off" /><//>
    <${Field} label=${t("members.email")} hint=${t("members.emailHint")}><input name="email" type="email" value=${f.email} onInput=${set("email")} maxlength="254" autocomplete="off" /><//>
    <div class="pair"><${Field} label=${t("members.role")}><select name="role" value=${f.role} onChange=${set("role")}>${roles.map((r) => html`<option key=${r} value=${r} selected=${r === f.role}>${t(`role.${r}`)}</option>`)}</select><//>
    <${Field} label=${t("members.apps")} hint=${t("members.appsHint")}><select name="apps" multiple size=${Math.min(5, Math.max(2, names.length + 1))} onChange=${chosen}>
      ${all && html`<option value="" selected=${f.apps.length === 0}>${t("members.allApps")}</option>`}
      ${names.map(([n, text]) => html`<option key=${n} value=${n} selected=${f.apps.includes(n)}>${text}</option>`)}</select><//></div><//>`;
}

export function MemberPage({ member: name }) {
  const from = use(path`/members/${name}`, () => 15_000);
  const [asked, ask] = useState(null);
  const at = path`/members/${name}`;
  const close = () => ask(null);
  const invite = (reset) => async () => {
    const invitation = await send("POST", `${at}/invitation`, { reset });
    ask({ invitation });
    return null;
  };
  const m = from.data;
  return html`<${Page} title=${m?.display || name} crumbs=${[["/members", t("nav.members")]]} sub=${m && html`<code>${m.name}</code><${State} of=${m} />`} actions=${m && may("admit") && html`
      <${Button} onClick=${() => ask("edit")}>${t("members.change")}<//>
      <${Button} onClick=${() => ask("link")}>${t("members.link")}<//>
      <${Button} onClick=${() => ask("reset")}>${t("members.reset")}<//>
      <${Button} onClick=${() => ask("disabled")}>${m.disabled ? t("members.enable") : t("members.disable")}<//>
      <${Button} kind="danger" onClick=${() => ask("remove")}>${t("members.remove")}<//>`}>
    <${Shown} from=${from} lines=${5}>${() => html`
      <${Card} title=${t("members.about")}><${Facts} rows=${[
        [t("members.role"), t(`role.${m.role}`)], [t("members.apps"), scope(m.apps)], [t("members.email"), m.email],
        [t("members.factor"), m.secondFactor ? `${t("members.yes")} · ${t("members.recovery", { n: m.recovery })}` : t("members.no")], [t("members.ssoTie"), m.sso && t("members.yes")],
        [t("members.made"), html`<${Time} at=${m.created} exact />`], [t("members.seen"), m.seen ? html`<${Time} at=${m.seen} />` : t("members.never")],
      ]} /><//>
      <${Card} title=${t("members.sessions")} count=${m.sessions?.length ?? 0} flush actions=${m.sessions?.length > 0 && html`<${Button} kind="small" onClick=${() => ask("out")}>${t("members.signOut")}<//>`}>
        <${Sessions} of=${m.sessions ?? []} /><//>`}<//>
    ${asked === "edit" && html`<${Edit} member=${m} onClose=${close} />`}
    ${asked === "link" && html`<${Action} title=${t("members.link")} verb=${t("members.link")} effect=${t("members.linkEffect")} run=${invite(false)} onClose=${(done) => !done && close()} />`}
    ${asked === "reset" && html`<${Action} title=${t("members.reset")} verb=${t("members.reset")} danger effect=${t("members.resetEffect")} run=${invite(true)} onClose=${(done) => !done && close()} />`}
    ${asked === "disabled" && html`<${Action} title=${m.disabled ? t("members.enable") : t("members.disable")} verb=${m.disabled ? t("members.enable") : t("members.disable")} danger=${!m.disabled} effect=${m.disabled ? t("members.enableEffect") : t("members.disableEffect")} run=${() => send("PATCH", at, { disabled: !m.disabled })} onClose=${close} />`}
    ${asked === "out" && html`<${Action} title=${t("members.signOut")} verb=${t("members.signOut")} danger effect=${t("members.signOutEffect")} run=${() => send("DELETE", `${at}/sessions`)} onClose=${close} />`}
    ${asked === "remove" && html`<${Action} title=${t("members.remove")} verb=${t("members.remove")} danger effect=${t("members.removeEffect")} run=${() => send("DELETE", at)} onClose=${(done) => (done ? go("/members") : close())} />`}
    ${asked?.invitation && html`<${Invitation} of=${asked.invitation} onClose=${close} />`}<//>`;
}

function Sessions({ of: list }) {
  if (list.length === 0) return html`<${Empty} title=${t("members.nowhere")} />`;
  return html`<${Table} label=${t("members.sessions")} rows=${list} rowKey=${(s) => s.id} columns=${[
    { key: "agent", head: t("members.browser"), grow: true, cell: (s) => html`<span class="cell-main">${browserName(s.agent)}</span>${s.current && html` <${Badge} tone="info">${t("members.current")}<//>`}<span class="cell-sub">${t(`via.${s.via}`)}</span>` },
    { key: "since", head: t("members.since"), hide: "small", cell: (s) => html`<${Time} at=${s.created} />` },
    { key: "seen", head: t("members.used"), cell: (s) => html`<${Time} at=${s.seen} />` },
  ]} />`;
}

// browserName makes a short name of what a browser says it is.
function browserName(agent) {
  if (!agent) return t("members.unnamed");
  const name = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]].find(([k]) => agent.includes(k))?.[1];
  const system = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS", "macOS"], ["CrOS", "ChromeOS"], ["Linux", "Linux"]].find(([k]) => agent.includes(k))?.[1];
  return name ? `${name}${system ? ` · ${system}` : ""}` : agent.slice(0, 60);
}
