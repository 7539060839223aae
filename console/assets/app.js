// The frame: who is signed in, what is around a page, and which page it is.
import { html, render, useEffect, useRef, useState } from "./vendor/htm-preact.mjs";
import { forgetAll, online, refreshAll } from "./api.js";
import { language, t } from "./i18n.js";
import { useKept } from "./keep.js";
import { Sidebar, TopBar } from "./layout.js";
import { pages } from "./pages.js";
import { match, usePlace } from "./router.js";
import { me, resume } from "./session.js";
import { SignIn } from "./signin.js";
import { Button, Empty, Page } from "./ui.js";

me.watch((who) => {
  if (!who) forgetAll();
});

function Missing() {
  return html`<${Page} title=${t("page.missing")}><${Empty} title=${t("missing.title")}><a href="/console/">${t("missing.back")}</a><//><//>`;
}

function Banner() {
  if (useKept(online)) return null;
  return html`<div class="banner" role="status">${t("banner.offline")} <${Button} kind="small" onClick=${refreshAll}>${t("action.again")}<//></div>`;
}

function Frame() {
  const { path } = usePlace();
  const [open, setOpen] = useState(false);
  const main = useRef(null);
  const first = useRef(true);
  useEffect(() => {
    setOpen(false);
    if (first.current) first.current = false;
    else main.current?.querySelector("h1")?.focus({ preventScroll: true });
  }, [path]);
  let shown = html`<${Missing} />`;
  let found = {};
  for (const p of pages) {
    const parts = match(p.path, path);
    if (parts) {
      found = parts;
      shown = html`<${p.page} key=${path} ...${parts} />`;
      break;
    }
  }
  return html`<a class="skip" href="#main" onClick=${(e) => {
    e.preventDefault();
    main.current.focus();
  }}>${t("nav.skip")}</a>
    <div class=${open ? "frame open" : "frame"}>
      <${TopBar} open=${open} onMenu=${() => setOpen(!open)} />
      <${Sidebar} path=${path} app=${found.app} onClose=${() => setOpen(false)} />
      <main id="main" ref=${main} tabindex="-1"><${Banner} />${shown}</main>
    </div>`;
}

// missed is the problem of a sign-in link that was no good.
let missed = null;

function Root() {
  const who = useKept(me);
  useKept(language);
  return who ? html`<${Frame} />` : html`<${SignIn} problem=${missed} />`;
}

async function start() {
  try {
    missed = await resume();
  } catch {
    online.value = false;
  }
  document.getElementById("app").replaceChildren();
  render(html`<${Root} />`, document.getElementById("app"));
}

start();
