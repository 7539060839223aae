// Paths below /console/: which page is shown, and links between them.
import { keep, useKept } from "./keep.js";

const BASE = "/console";

function here() {
  return location.pathname.slice(BASE.length).replace(/\/+$/, "") + location.search || "/";
}

// place is the path and query below the base: "/apps/shop/releases?package=main".
export const place = keep(here());

// href is the address of a path below the base.
export function href(to) {
  return BASE + (to.startsWith("/") ? to : `/${to}`);
}

// go shows another page; replace leaves no step back behind.
export function go(to, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", href(to));
  else {
    history.pushState(null, "", href(to));
    window.scrollTo(0, 0);
  }
  place.value = here();
}

window.addEventListener("popstate", () => {
  place.value = here();
});

// Every plain link to a page of the console is followed without loading anything.
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const a = event.target.closest?.("a[href]");
  if (!a || a.target || a.hasAttribute("download") || a.origin !== location.origin || !a.pathname.startsWith(`${BASE}/`)) return;
  event.preventDefault();
  const to = a.pathname.slice(BASE.length) + a.search;
  if (to.replace(/\/+$/, "") !== place.value.replace(/\/+$/, "")) go(to);
});

// match compares a path with a pattern such as "/apps/:app/releases/:release" and gives the named parts, or null.
export function match(pattern, path) {
  const want = pattern.split("/").filter(Boolean);
  const have = path.split("/").filter(Boolean);
  if (want.length !== have.length) return null;
  const found = {};
  for (let i = 0; i < want.length; i++) {
    if (want[i][0] === ":") {
      try {
        found[want[i].slice(1)] = decodeURIComponent(have[i]);
      } catch {
        return null;
      }
    } else if (want[i] !== have[i]) return null;
  }
  return found;
}

// usePlace gives {path, params}: the path below the base and its query.
export function usePlace() {
  const [path, search] = useKept(place).split("?");
  return { path: path || "/", params: new URLSearchParams(search || "") };
}

// setParams changes the query in place: filters belong to the address, not to the way back.
export function setParams(changes) {
  const [path, search] = place.value.split("?");
  const params = new URLSearchParams(search || "");
  for (const [k, v] of Object.entries(changes)) {
    if (v === "" || v === null || v === undefined) params.delete(k);
    else params.set(k, v);
  }
  const text = params.toString();
  go(text ? `${path}?${text}` : path, { replace: true });
}

// to makes a path from parts: to`/apps/${app}`.
export function to(strings, ...values) {
  return strings.reduce((all, s, i) => all + s + (i < values.length ? encodeURIComponent(values[i]) : ""), "");
}
