// The management API: requests, and what is on screen kept up to date.
import { useEffect, useState } from "./vendor/htm-preact.mjs";
import { keep } from "./keep.js";
import { expired, me } from "./session.js";

const BASE = "/v1/admin";

// online is false from a request that could not be sent until one that could.
export const online = keep(true);

// Problem is what the server answers when it does not do what was asked.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || String(status));
    this.status = status;
    this.code = body.code || String(status);
    this.hint = body.hint || "";
    this.faults = body.errors || [];
  }
}

// Offline is a request that did not reach the server.
export class Offline extends Error {}

// path joins parts into an API path: path`/apps/${app}/releases`.
export function path(strings, ...values) {
  return strings.reduce((all, s, i) => all + s + (i < values.length ? encodeURIComponent(values[i]) : ""), "");
}

// query adds parameters; empty ones are left out.
export function query(base, params) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== "" && v !== undefined && v !== null) q.set(k, v);
  const text = q.toString();
  return text ? `${base}?${text}` : base;
}

async function ask(method, where, body, signal) {
  const whose = me.value;
  let answer;
  try {
    answer = await fetch(BASE + where, {
      method,
      signal,
      cache: "no-store",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (err) {
    if (err.name === "AbortError") throw err;
    online.value = false;
    throw new Offline(err.message);
  }
  let text;
  try {
    text = await answer.text();
  } catch (err) {
    if (err.name === "AbortError") throw err;
    online.value = false;
    throw new Offline(err.message);
  }
  online.value = true;
  if (answer.ok) return text;
  if (answer.status === 401) expired(whose);
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // A proxy may answer with a page of its own.
  }
  throw new Problem(answer.status, problem);
}

// send makes a change and gives the answer; everything on screen is asked for again, unless refresh is false.
export async function send(method, where, body, { refresh = true } = {}) {
  const text = await ask(method, where, body);
  if (refresh) refreshAll();
  return text ? JSON.parse(text) : null;
}

// read asks once, for what is not kept on screen.
export async function read(where) {
  return JSON.parse(await ask("GET", where));
}

const SLOW = 10_000;
const entries = new Map(); // by path: what was read last, and who looks at it
const MOST = 60; // paths that are remembered

function entryOf(where) {
  let e = entries.get(where);
  if (!e) {
    e = { where, text: null, data: undefined, error: null, watchers: new Set(), timer: 0, version: 0, going: null, again: false, due: 0 };
    entries.set(where, e);
    if (entries.size > MOST) {
      for (const [k, old] of entries) if (old.watchers.size === 0 && old !== e) {
        entries.delete(k);
        break;
      }
    }
  }
  return e;
}

function tell(e) {
  e.version++;
  for (const w of [...e.watchers]) w.draw();
}

let person = 0; // counts those who were signed in, one after the other

async function load(e) {
  const whose = person;
  clearTimeout(e.timer);
  e.timer = 0;
  if (e.going) {
    e.again = true;
    return e.going;
  }
  e.going = (async () => {
    try {
      const text = await ask("GET", e.where);
      if (whose !== person) return; // it was asked for by somebody else
      const changed = text !== e.text || e.error;
      e.error = null;
      if (changed) {
        e.text = text;
        e.data = JSON.parse(text);
        tell(e);
      }
    } catch (err) {
      if (whose !== person) return;
      // What was there stays on screen while the network is away.
      const same = e.error && e.error.message === err.message && e.error.code === err.code;
      e.error = err;
      if (!same) tell(e);
    } finally {
      e.going = null;
    }
  })();
  await e.going;
  if (e.again) {
    e.again = false;
    return load(e);
  }
  schedule(e);
}

function schedule(e) {
  clearTimeout(e.timer);
  e.timer = 0;
  if (e.watchers.size === 0 || document.hidden) return;
  const pauses = [...e.watchers].map((w) => w.every(e.data)).filter((ms) => ms > 0);
  if (pauses.length === 0) return;
  e.due = Date.now() + Math.min(...pauses);
  e.timer = setTimeout(() => load(e), Math.min(...pauses));
}

// refreshAll asks again for everything that is on screen.
export function refreshAll() {
  for (const e of entries.values()) if (e.watchers.size > 0) load(e);
}

// forgetAll drops what was read: the next who signs in may see less.
export function forgetAll() {
  person++;
  for (const [k, e] of entries) {
    clearTimeout(e.timer);
    if (e.watchers.size === 0) entries.delete(k);
    else Object.assign(e, { text: null, data: undefined, error: null });
  }
}

document.addEventListener("visibilitychange", () => {
  for (const e of entries.values()) {
    clearTimeout(e.timer);
    if (document.hidden || e.watchers.size === 0) continue;
    if (Date.now() >= e.due) load(e);
    else schedule(e);
  }
});
window.addEventListener("online", refreshAll);

// use keeps what a path answers on screen: {data, error, again}. It is asked for again every 10 seconds while the page is
// visible, or as often as every(data) says in milliseconds; 0 is never. where null asks nothing.
export function use(where, every) {
  const [, draw] = useState(0);
  const e = where ? entryOf(where) : null;
  const drawn = e?.version;
  useEffect(() => {
    if (!where) return undefined;
    const mine = entryOf(where);
    const watcher = { draw: () => draw((n) => n + 1), every: every || (() => SLOW) };
    mine.watchers.add(watcher);
    if (mine.version !== drawn) watcher.draw(); // the answer came between drawing and watching
    load(mine);
    return () => {
      mine.watchers.delete(watcher);
      if (mine.watchers.size === 0) clearTimeout(mine.timer);
    };
  }, [where]);
  if (!e) return { data: undefined, error: null, again() {} };
  return { data: e.data, error: e.error, again: () => load(e) };
}

// useLive asks for everything on screen again as soon as the signed states of a channel change.
export function useLive(app, channel) {
  useEffect(() => {
    if (!app || !channel) return undefined;
    let source = null;
    const open = () => {
      if (source || document.hidden) return;
      source = new EventSource(query("/v1/live", { app, channel }));
      source.addEventListener("changed", refreshAll);
    };
    const shut = () => {
      source?.close();
      source = null;
    };
    const turn = () => (document.hidden ? shut() : open());
    open();
    document.addEventListener("visibilitychange", turn);
    return () => {
      document.removeEventListener("visibilitychange", turn);
      shut();
    };
  }, [app, channel]);
}
