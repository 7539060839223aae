// Who is signed in. This module alone knows how requests say so: all others ask it.
import { keep } from "./keep.js";

const KEY = "slipstream.token";
const BASE = "/v1/admin";

// me is null while nobody is signed in, else {name, role, app?}.
export const me = keep(null);

const actions = {
  viewer: ["look"],
  operator: ["look", "change rollouts"],
  publisher: ["look", "change rollouts", "publish releases"],
  owner: ["look", "change rollouts", "publish releases", "manage apps", "manage tokens", "look after the server"],
};

// may says whether who is signed in may do something: offer nothing else. The server decides all the same.
export function may(action, app) {
  const who = me.value;
  if (!who) return false;
  const can = who.actions ?? actions[who.role] ?? [];
  return can.includes(action) && (!who.app || !app || who.app === app);
}

// headers are what every request carries.
export function headers() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// resume looks whether this tab is signed in already.
export async function resume() {
  if (!sessionStorage.getItem(KEY)) return null;
  const answer = await fetch(`${BASE}/whoami`, { headers: headers(), cache: "no-store" });
  if (answer.status === 401) {
    forget();
    return null;
  }
  if (!answer.ok) throw new Error(String(answer.status));
  me.value = await answer.json();
  return me.value;
}

// signIn takes an API token. It gives the problem document when the server does not, else null.
export async function signIn(token) {
  const answer = await fetch(`${BASE}/whoami`, { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) return body;
  sessionStorage.setItem(KEY, token);
  me.value = body;
  return null;
}

export function signOut() {
  forget();
}

function forget() {
  sessionStorage.removeItem(KEY);
  me.value = null;
}

// expired is told by the API client that a request was not let in.
export function expired() {
  if (me.value) forget();
}
