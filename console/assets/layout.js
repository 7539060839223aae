// What stands around every page: the way to all others, and who is signed in.
import { html, useState } from "./vendor/htm-preact.mjs";
import { use } from "./api.js";
import { language, t } from "./i18n.js";
import { store, stored, useKept } from "./keep.js";
import { appSections, serverSections } from "./pages.js";
import { go, href, place, to } from "./router.js";
import { everywhere, may, me, signOut } from "./session.js";
import { Button, Choice, Icon, Trouble } from "./ui.js";

export function Brand() {
  return html`<a class="brand" href=${href("/")}><svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" /><path d="M6 12.500h11.500a3.500 3.500 0 1 0-3.400-4.300M6 17h17a3.600 3.600 0 1 1-3.500 4.500M6 21.500h8" /></svg><span>Slipstream</span></a>`;
}

export function TopBar({ open, onMenu }) {
  return html`<div class="topbar"><${Brand} /><button type="button" class="button ghost" aria-expanded=${open ? "true" : "false"} aria-controls="side" aria-label=${t("nav.menu")} onClick=${onMenu}><${Icon} name=${open ? "close" : "menu"} /></button></div>`;
}

function Entry({ to: target, icon, text, path, count }) {
  const inside = target === "/" ? path === "/" : path === target || path.startsWith(`${target}/`);
  return html`<a class="entry" href=${href(target)} aria-current=${inside ? "page" : undefined}><${Icon} name=${icon} /><span>${text}</span>${count > 0 && html`<b class="bubble">${count > 99 ? "99+" : count}</b>`}</a>`;
}

// open alerts are worth a number beside the entry.
function useOpenAlerts() {
  const { data } = use("/alerts?active=true&limit=100", () => 30_000);
  return data?.alerts?.length ?? 0;
}

export function Sidebar({ path, app, onClose }) {
  const { data } = use("/apps", () => 60_000);
  const alerts = useOpenAlerts();
  const apps = data?.apps ?? [];
  const current = app ?? remembered(apps);
  if (app) store("app", app);
  const choose = (name) => go(to`/apps/${name}`);
  return html`<aside id="side" class="side">
    <${Brand} />
    <nav aria-label=${t("nav.main")}>
      <${Entry} to="/" icon="overview" text=${t("nav.overview")} path=${path} />
      ${current && html`<div class="group">
        <div class="group-head">${apps.length > 1
          ? html`<${Choice} label=${t("nav.app")} value=${current} onChange=${choose} options=${apps.map((a) => [a.name, a.display || a.name])} />`
          : html`<span class="group-name">${apps[0]?.display || current}</span>`}</div>
        ${appSections.filter((s) => may(s.needs ?? "read", current)).map((s) => {
          const target = to`/apps/${current}` + s.path;
          return html`<${Entry} key=${s.path} to=${target} icon=${s.icon} text=${t(s.title)} path=${s.path === "" && path !== target ? "" : path} />`;
        })}
      </div>`}
      <div class="group">
        <div class="group-head"><span class="group-name">${t("nav.server")}</span></div>
        ${serverSections.filter((s) => may(s.needs ?? "read") && (!s.everywhere || everywhere())).map((s) => html`<${Entry} key=${s.path} to=${s.path} icon=${s.icon} text=${t(s.title)} path=${path} count=${s.path === "/alerts" ? alerts : 0} />`)}
      </div>
    </nav>
    <${Person} />
    <button type="button" class="veil" tabindex="-1" aria-hidden="true" onClick=${onClose}></button>
  </aside>`;
}

function remembered(apps) {
  const last = stored("app");
  return apps.some((a) => a.name === last) ? last : apps[0]?.name;
}

function Person() {
  const who = useKept(me);
  const [error, setError] = useState(null);
  return html`<div class="person">
    <a class="person-who" href=${href("/account")}><span class="person-name" title=${who.name}>${who.name}</span><span class="person-role">${t(`role.${who.role}`)}${who.apps.length > 0 ? ` · ${who.apps.join(", ")}` : ""}</span></a>
    <div class="person-tools"><${Language} /><${Theme} /><${Button} kind="ghost" label=${t("nav.signOut")} onClick=${() => signOut().catch(setError)}><${Icon} name="out" /><//></div>
    <${Trouble} error=${error} />
  </div>`;
}

export function Language() {
  const l = useKept(language);
  const next = l === "en" ? "zh" : "en";
  return html`<button type="button" class="button ghost language" lang=${next} onClick=${() => {
    language.value = next;
    place.value = `${place.value}`;
  }}>${next === "zh" ? "中文" : "EN"}</button>`;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function Theme() {
  const [dark, setDark] = useState(isDark());
  const turn = () => {
    const next = dark ? "light" : "dark";
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    if (next === system) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    store("theme", next === system ? null : next);
    setDark(!dark);
  };
  return html`<${Button} kind="ghost" label=${dark ? t("nav.light") : t("nav.dark")} onClick=${turn}><${Icon} name=${dark ? "sun" : "moon"} /><//>`;
}
