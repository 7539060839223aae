// What is said alike on several pages: of rollouts, of conditions, of what devices told.
import { ago, known, number, percent, share, stamp, t } from "../i18n.js";
import { Badge, Time, html } from "../ui.js";

export const ALL = 10000;

// or is a text, or the server's own word where there is none.
const or = (key, word) => (word && known(key) ? t(key) : (word ?? ""));

export const kindText = (k) => or(`kind.${k}`, k);
export const reasonText = (r) => or(`reason.${r}`, r);
export const stepText = (s) => or(`step.${s}`, s);
export const modeText = (m) => or(`mode.${m}`, m);
export const priorityText = (p) => or(`priority.${p}`, p);
export const opText = (o) => or(`op.${o}`, o);

export function runtimeText(runtime) {
  if (!runtime) return "";
  if (runtime.fingerprint) return runtime.fingerprint.slice(0, 12);
  return runtime.range === "*" || !runtime.range ? t("runtime.every") : runtime.range;
}

export function platformText(platform) {
  return platform === "any" ? t("platform.every") : platform;
}

// condition is one in words, as the command takes it.
export function condition(c) {
  const value = Array.isArray(c.value) ? (c.value.length > 3 ? t("when.list", { n: c.value.length }) : c.value.join(", ")) : String(c.value ?? "");
  return `${c.attr} ${opText(c.op)} ${value}`.trim();
}

export function Conditions({ of }) {
  if (!of?.length) return null;
  return html`<span class="badges">${of.map((c, i) => html`<${Badge} key=${i}>${condition(c)}<//>`)}</span>`;
}

// positions says the part of all positions that a rollout means.
export function range(r) {
  return r.from > 0 ? `${share(r.from)} – ${share(r.to)}` : share(r.to);
}

// audience counts the known devices of a channel that a release could be for. Conditions and runtimes are not looked at:
// what is made of it is said as "about".
export function audience(spread, channel, pkg, platform) {
  if (!spread) return null;
  return spread.groups
    .filter((g) => (!g.channel || g.channel === channel) && g.package === pkg && (platform === "any" || !platform || g.platform === platform))
    .reduce((n, g) => n + g.devices, 0);
}

// about rounds what is an estimate anyway.
export function about(n) {
  if (n < 20) return Math.round(n);
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(n)) - 1);
  return Math.round(n / digits) * digits;
}

// health is what the guard counted of a rollout, in both arms.
export function health(r) {
  const v = r.guard?.verdict;
  if (!v || v.treated === 0) return null;
  return {
    treated: v.treated, failed: v.failed_treated, rate: v.failed_treated / v.treated,
    control: v.control, controlFailed: v.failed_control, controlRate: v.control > 0 ? v.failed_control / v.control : null,
  };
}

export const levelTone = { alarm: "bad", warning: "warn", inconclusive: "warn", clean: "ok", no_data: "" };

// evidence writes the guard's number: it means nothing beyond its first digits.
export function evidence(e) {
  if (e < 0.01) return `< ${number(0.01, 2)}`;
  if (e >= 1e6) return `> ${number(1e6)}`;
  return number(e, e < 10 ? 1 : 0);
}

// verdictText says a verdict in one sentence.
export function verdictText(v) {
  if (!v) return t("guard.notYet");
  if (v.level === "no_data") return t("guard.noData");
  const arms = v.control > 0
    ? t("guard.arms", { failed: v.failed_treated, n: v.treated, rate: percent(v.failed_treated / (v.treated || 1)), controlFailed: v.failed_control, control: v.control, controlRate: percent(v.failed_control / v.control) })
    : t("guard.armAlone", { failed: v.failed_treated, n: v.treated, rate: percent(v.failed_treated / (v.treated || 1)), ceiling: percent(v.ceiling) });
  const e = evidence(Math.max(v.e, v.crossed?.e ?? 0));
  return `${arms} ${t(`guard.says.${v.level}`, { e, threshold: evidence(v.threshold) })}`;
}

// waitsText says why a plan stays where it is; freeze is the channel's.
export function waitsText(r, freeze) {
  const p = r.plan;
  const now = Date.now();
  if (!p || p.at >= p.stages.length - 1) return "";
  if (r.hold) return t(`waits.${r.hold}`);
  if (p.frozen) return t("waits.frozen");
  if (freeze && !(freeze.until && new Date(freeze.until) < now)) return t("waits.channelFrozen");
  if (p.at < 0) return p.start && new Date(p.start) > now ? t("waits.start", { at: stamp(p.start) }) : t("waits.window");
  const until = new Date(p.began.at(-1)).getTime() + (p.stages[p.at].soak ?? 0) * 1000;
  if (until > now) return t("waits.time", { when: ago(until, now) });
  const said = r.guard?.waits ?? "";
  return said.includes("to go") ? "" : said;
}

const HOUR = 3_600_000;

// Seen says when something was last heard of, which the server keeps to the hour.
export function Seen({ at }) {
  if (at && Date.now() - new Date(at) < HOUR) return t("time.withinHour");
  return html`<${Time} at=${at} />`;
}

// brief shortens a digest among words.
export function brief(text) {
  return /^[0-9a-f]{64}$/.test(text ?? "") ? text.slice(0, 12) : (text ?? "");
}
