// Who is signed in. This module alone knows how requests say so: by a cookie that scripts cannot read.
import { keep } from "./keep.js";

const WHERE = "/v1/session";

// me is null while nobody is signed in, else {name, role, actions, apps, …} as the server describes a session.
export const me = keep(null);

// may says whether who is signed in may do something: read, publish, operate, manage, admit or server. Offer nothing else;
// the server decides all the same. Without an app it is about what concerns all of them.
export function may(action, app) {
  const who = me.value;
  if (!who?.actions.includes(action)) return false;
  return who.apps.length === 0 || (app ? who.apps.includes(app) : action !== "manage" && action !== "server");
}

// everywhere says whether who is signed in sees all apps, and so what the server tells of all of them.
export function everywhere() {
  return me.value?.apps.length === 0;
}

async function ask(method, body, where = "") {
  const answer = await fetch(WHERE + where, { method, cache: "no-store", ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }) });
  const text = await answer.text();
  let said = {};
  try {
    said = text ? JSON.parse(text) : {};
  } catch {
    // A proxy may answer with a page of its own.
  }
  return { ok: answer.ok, status: answer.status, said };
}

// resume looks whether this browser is signed in already. A code in the address, which the command puts there, signs it in;
// the problem is given when it does not.
export async function resume() {
  const code = new URLSearchParams(location.hash.slice(1)).get("signin");
  if (code) {
    history.replaceState(null, "", location.pathname + location.search); // it is good once: nobody needs it in the history
    const problem = await signIn({ code });
    if (!problem) return null;
    const { ok, said } = await ask("GET");
    if (!ok) return problem;
    me.value = said;
    return null;
  }
  const failed = new URLSearchParams(location.hash.slice(1)).get("problem");
  if (failed) history.replaceState(null, "", location.pathname + location.search);
  const { ok, status, said } = await ask("GET");
  if (ok) {
    me.value = said;
    goBack();
  } else if (failed) return { status: 401, code: failed, detail: "" };
  else if (status >= 500) throw new Error(said.detail);
  return null;
}

const BACK = "slipstream.back";

// leaveForSSO remembers the page that was asked for: the identity provider sends the browser to the first one.
export function leaveForSSO() {
  sessionStorage.setItem(BACK, location.pathname + location.search);
}

function goBack() {
  const back = sessionStorage.getItem(BACK);
  sessionStorage.removeItem(BACK);
  if (back?.startsWith("/console/") && location.pathname === "/console/") {
    history.replaceState(null, "", back);
    dispatchEvent(new PopStateEvent("popstate"));
  }
}

// signIn takes {token} or {code}. It gives the problem document when the server takes neither, else null.
export async function signIn(by) {
  const { ok, status, said } = await ask("POST", by);
  if (!ok) return { status, ...said };
  me.value = said;
  return null;
}

// signOut ends the session. While the server cannot, one stays signed in, and is told: the cookie is good still.
export async function signOut() {
  const { ok, status, said } = await ask("DELETE");
  if (!ok && status !== 401) throw thrown(status, said);
  me.value = null;
}

// expired is told by the API client that a request of a session was not let in. An answer that comes late says nothing
// of who signed in since.
export function expired(whose) {
  if (me.value === whose) me.value = null;
}

// ways says how people may sign in: {password, requireOTP, sso?: {name, path}}.
export async function ways() {
  return mine("GET", "/ways");
}

// mine asks for something about one's own account, below /v1/session. A problem is thrown with its code and hint.
export async function mine(method, where, body) {
  const { ok, status, said } = await ask(method, body, where);
  if (ok) return said;
  if (status === 401 && said.code === "unauthorized" && me.value && where === "/account") expired(me.value);
  throw thrown(status, said);
}

function thrown(status, said) {
  return Object.assign(new Error(said.detail ?? String(status)), { status, code: said.code, hint: said.hint, faults: said.errors ?? [] });
}

// take makes a session that was just begun the one of this page.
export function take(session) {
  me.value = session;
}
