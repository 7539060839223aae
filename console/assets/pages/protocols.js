// Which foreign protocols an app answers, with their options.
import { path, use } from "../api.js";
import { t, known } from "../i18n.js";
import { to } from "../router.js";
import { Badge, Card, Empty, Page, Shown, html } from "../ui.js";

export function Protocols({ app }) {
  const list = use(path`/apps/${app}/protocols`, () => 30_000);
  return html`<${Page} title=${t("nav.protocols")} crumbs=${[[to`/apps/${app}`, app]]} sub=${t("protocols.sub")}>
    <${Shown} from=${list}>${({ protocols }) => protocols.length === 0 ? html`<${Card}><${Empty} title=${t("protocols.none")} /><//>` : protocols.map((p) => html`<${Card} key=${p.name} title=${p.name}
      actions=${p.on ? html`<${Badge} tone="ok">${t("protocols.on")}<//>` : html`<${Badge}>${t("protocols.off")}<//>`}>
      <p class="muted">${known(`protocol.${p.name}`) ? t(`protocol.${p.name}`) : ""}</p>
      ${p.on && p.options && Object.keys(p.options).length > 0 && html`<pre class="code">${JSON.stringify(p.options, null, 2)}</pre>`}
      ${!p.on && html`<p class="small muted">${t("protocols.how")} <code>slipstream protocol enable ${p.name} --app ${app}</code></p>`}
    <//>`)}<//>
  <//>`;
}
