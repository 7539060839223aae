// The parts that pages are made of.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.mjs";
import { ago, bytes, known, stamp, t } from "./i18n.js";
import { href } from "./router.js";

export { html };

// classes joins the names that are there.
export const classes = (...names) => names.filter(Boolean).join(" ");

const shapes = {
  overview: "M3 3h6v6H3zM11 3h6v4h-6zM11 9h6v8h-6zM3 11h6v6H3z",
  app: "M10 2.500l6.500 3.700v7.600L10 17.500l-6.500-3.700V6.200zM3.500 6.200L10 10l6.500-3.800M10 10v7.500",
  releases: "M4 4h12v4H4zM4 8v8h12V8M8 11h4",
  rollouts: "M3 16V12M7.700 16V9M12.300 16V6M17 16V3",
  devices: "M6 2.500h8v15H6zM9 15h2",
  fleet: "M3 3v14h14M6 13l3-4 3 2 5-6",
  alerts: "M10 3a4.500 4.500 0 0 0-4.500 4.500c0 4-1.500 5.500-1.500 5.500h12s-1.500-1.500-1.500-5.500A4.500 4.500 0 0 0 10 3zM8.500 16a1.600 1.600 0 0 0 3 0",
  protocols: "M4 7h12M13 4l3 3-3 3M16 13H4M7 10l-3 3 3 3",
  audit: "M5 3h10v14H5zM8 7h4M8 10h4M8 13h2",
  tokens: "M13 3.500a3.500 3.500 0 1 1-3.300 4.600L4 14v2.500h3V14h2v-2l1.800-1.800M13.500 7h.01",
  members: "M7 9a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM2 16c0-3 2-5 5-5s5 2 5 5M13 3.300a3 3 0 0 1 0 5.500M15 11.500c2 .7 3 2.300 3 4.500",
  server: "M3 4h14v5H3zM3 11h14v5H3zM6 6.500h.01M6 13.500h.01",
  menu: "M3 5h14M3 10h14M3 15h14",
  close: "M5 5l10 10M15 5L5 15",
  copy: "M7 7h9v9H7zM4 13V4h9",
  check: "M4 10.500l4 4 8-9",
  search: "M9 3.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zM13 13l4 4",
  out: "M8 3H4v14h4M8 10h9M14 7l3 3-3 3",
  next: "M8 5l5 5-5 5",
  sun: "M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM10 1.500v2M10 16.500v2M1.500 10h2M16.500 10h2M4 4l1.400 1.400M14.600 14.600L16 16M16 4l-1.400 1.400M5.400 14.600L4 16",
  moon: "M16.500 12A7 7 0 0 1 8 3.500a7 7 0 1 0 8.500 8.500z",
  warn: "M10 3l8 14H2zM10 8v4M10 14.500h.01",
};

// Icon is a picture beside words: it says nothing by itself.
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false"><path d=${shapes[name]} /></svg>`;
}

// Page is the head of a page with its title, which the window bears too. crumbs are [path, text].
export function Page({ title, crumbs = [], sub, actions, children }) {
  useEffect(() => {
    document.title = `${title} · Slipstream`;
  }, [title]);
  return html`<header class="page-head">
      ${crumbs.length > 0 && html`<nav class="crumbs" aria-label=${t("nav.crumbs")}>
        ${crumbs.map(([to, text]) => html`<span key=${to}><a href=${href(to)}>${text}</a><span class="sep" aria-hidden="true">/</span></span>`)}
      </nav>`}
      <div class="page-title"><h1 tabindex="-1">${title}</h1>${actions && html`<div class="actions">${actions}</div>`}</div>
      ${sub && html`<div class="page-sub">${sub}</div>`}
    </header>
    ${children}`;
}

export function Card({ title, count, actions, children, flush, id }) {
  return html`<section class=${classes("card", flush && "flush")} id=${id} aria-label=${title}>
    ${title && html`<div class="card-head"><h2>${title}${count !== undefined && html`<span class="count">${count}</span>`}</h2>${actions && html`<div class="actions">${actions}</div>`}</div>`}
    ${children}
  </section>`;
}

// Badge is one word about a thing; tone is ok, warn, bad, info or nothing.
export function Badge({ tone, children, title }) {
  return html`<span class=${classes("badge", tone)} title=${title}>${children}</span>`;
}

export function Stat({ label, value, sub, tone, to }) {
  const inner = html`<span class="stat-label">${label}</span><span class=${classes("stat-value", tone)}>${value}</span>${sub && html`<span class="stat-sub" title=${typeof sub === "string" ? sub : undefined}>${sub}</span>`}`;
  return to ? html`<a class="stat" href=${href(to)}>${inner}</a>` : html`<div class="stat">${inner}</div>`;
}

// Facts is a list of names and values; rows without a value are left out.
export function Facts({ rows }) {
  return html`<dl class="facts">${rows.filter(([, v]) => v !== undefined && v !== null && v !== "" && v !== false)
    .map(([k, v]) => html`<div key=${k}><dt>${k}</dt><dd>${v}</dd></div>`)}</dl>`;
}

// Table draws rows by columns {key, head, cell(row), num, hide}. hide names a width below which a column goes: "small", "medium" or "large".
export function Table({ columns, rows, rowKey, label, onRow }) {
  const cls = (c) => classes(c.num && "num", c.hide && `hide-${c.hide}`, c.grow && "grow");
  return html`<div class="table-wrap"><table aria-label=${label}>
    <thead><tr>${columns.map((c) => html`<th key=${c.key} scope="col" class=${cls(c)}>${c.head}</th>`)}</tr></thead>
    <tbody>${rows.map((r) => html`<tr key=${rowKey(r)} class=${onRow?.(r)}>${columns.map((c) => html`<td key=${c.key} class=${cls(c)}>${c.cell(r)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><p class="empty-title">${title}</p>${children && html`<div class="empty-text">${children}</div>`}</div>`;
}

// Loading holds the place of what is being read, and appears only when that takes a while.
export function Loading({ lines = 3 }) {
  return html`<div class="loading" role="status"><span class="sr">${t("state.loading")}</span>${Array.from({ length: lines }, (_, i) => html`<div class="bone" key=${i}></div>`)}</div>`;
}

// Trouble shows a problem with its code and what to do about it.
export function Trouble({ error, again }) {
  if (!error) return null;
  const text = known(`problem.${error.code}`) ? t(`problem.${error.code}`) : error.status ? t("problem.title", { status: String(error.status) }) : t("problem.offline");
  return html`<div class="trouble" role="alert">
    <${Icon} name="warn" />
    <div><p class="trouble-title">${text}${error.code && html` <code>${error.code}</code>`}</p>
      ${error.status && error.message && html`<p>${error.message}</p>`}
      ${error.hint && html`<p class="hint">${error.hint}</p>`}
      ${error.faults?.length > 0 && html`<ul>${error.faults.map((f, i) => html`<li key=${i}>${f.message}${f.location && html` <code>${f.location}</code>`}</li>`)}</ul>`}
      ${again && html`<p><${Button} onClick=${again}>${t("action.again")}<//></p>`}
    </div>
  </div>`;
}

// Shown draws what was read by use(): bones at first, then the data; a problem stands above what was there before.
export function Shown({ from, lines, children }) {
  const { data, error, again } = from;
  if (data === undefined) return error ? html`<${Trouble} error=${error} again=${again} />` : html`<${Loading} lines=${lines} />`;
  return html`${error?.status && html`<${Trouble} error=${error} again=${again} />`}${children(data)}`;
}

export function Button({ onClick, kind, type = "button", disabled, busy, children, label, pressed }) {
  return html`<button type=${type} class=${classes("button", kind, busy && "busy")} disabled=${disabled || busy} onClick=${onClick} aria-label=${label} aria-pressed=${pressed}
    title=${label} aria-busy=${busy ? "true" : undefined}>${children}</button>`;
}

// Time says how long ago something was, and the exact time on pointing at it.
export function Time({ at, exact }) {
  const [, draw] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => draw((n) => n + 1), 30_000);
    return () => clearInterval(timer);
  }, []);
  if (!at) return "–";
  return html`<time datetime=${at} title=${stamp(at)}>${exact ? stamp(at) : ago(at)}</time>`;
}

export function Size({ of }) {
  return html`<span title=${t("size.bytes", { n: of })}>${bytes(of)}</span>`;
}

// Digest shows the first digits of a digest, and copies all of them.
export function Digest({ of, to }) {
  if (!of) return "–";
  const short = html`<code title=${of}>${of.slice(0, 12)}</code>`;
  return html`<span class="digest">${to ? html`<a href=${href(to)}>${short}</a>` : short}<${Copy} text=${of} label=${t("action.copyDigest")} /></span>`;
}

export function Copy({ text, label }) {
  const [done, setDone] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      return; // only a secure page may write there
    }
    setDone(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 1500);
  };
  if (!navigator.clipboard) return null;
  return html`<button type="button" class="copy" onClick=${copy} aria-label=${done ? t("action.copied") : label} title=${done ? t("action.copied") : label}><${Icon} name=${done ? "check" : "copy"} /></button>`;
}

// Bar shows a part of one as a bar; part null is "under way, nobody knows how far".
export function Bar({ part, tone, label }) {
  const known = part !== null && part !== undefined;
  const percent = known ? Math.max(0, Math.min(100, part * 100)) : 0;
  return html`<div class=${classes("bar", tone, !known && "unknown")} role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${known ? Math.round(percent) : undefined}><i style=${known ? { width: `${percent}%` } : {}}></i></div>`;
}

export function Search({ value, onInput, label }) {
  return html`<label class="search"><${Icon} name="search" /><input type="search" value=${value} placeholder=${label} aria-label=${label} autocomplete="off" spellcheck="false" onInput=${(e) => onInput(e.target.value)} /></label>`;
}

// Choice is a list to choose one of: options are [value, text].
export function Choice({ value, options, onChange, label }) {
  return html`<select class="choice" aria-label=${label} value=${value} onChange=${(e) => onChange(e.target.value)}>
    ${options.map(([v, text]) => html`<option key=${v} value=${v} selected=${v === value}>${text}</option>`)}
  </select>`;
}

export function Pager({ page, pages, onPage }) {
  if (pages < 2) return null;
  return html`<nav class="pager" aria-label=${t("nav.pages")}>
    <${Button} disabled=${page <= 1} onClick=${() => onPage(page - 1)}>${t("action.previous")}<//>
    <span>${t("nav.pageOf", { page, pages })}</span>
    <${Button} disabled=${page >= pages} onClick=${() => onPage(page + 1)}>${t("action.next")}<//>
  </nav>`;
}

// Dialog is a question above the page; onClose is told when it is left by Escape or by its cross.
export function Dialog({ title, onClose, children, footer }) {
  const ref = useRef(null);
  useEffect(() => {
    const d = ref.current;
    const before = document.activeElement;
    d.showModal();
    return () => {
      if (d.open) d.close();
      before?.focus?.();
    };
  }, []);
  return html`<dialog ref=${ref} class="dialog" aria-label=${title} onCancel=${(e) => {
    e.preventDefault();
    onClose();
  }}>
    <div class="dialog-head"><h2>${title}</h2><${Button} kind="ghost" onClick=${onClose} label=${t("action.close")}><${Icon} name="close" /><//></div>
    <div class="dialog-body">${children}</div>
    ${footer && html`<div class="dialog-foot">${footer}</div>`}
  </dialog>`;
}

// Confirm asks before something that is not easily taken back. effect says in one sentence what will happen to how many
// devices; run does it and may fail with a problem, which is shown.
export function Confirm({ title, effect, verb, run, onClose, danger = true, children }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const go = async () => {
    setBusy(true);
    setError(null);
    try {
      await run();
      onClose(true);
    } catch (err) {
      setError(err);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} onClose=${() => !busy && onClose(false)} footer=${html`
      <${Button} onClick=${() => onClose(false)} disabled=${busy}>${t("action.cancel")}<//>
      <${Button} kind=${danger ? "danger" : "primary"} onClick=${go} busy=${busy}>${verb}<//>`}>
    <p class="effect">${effect}</p>${children}
    <${Trouble} error=${error} />
  <//>`;
}
