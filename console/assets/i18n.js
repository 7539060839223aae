// Words, numbers and times in the language of who looks.
import { keep, store, stored } from "./keep.js";
import enFrame from "./i18n/en.js";
import enOperations from "./i18n/en.operations.js";
import zhFrame from "./i18n/zh.js";
import zhOperations from "./i18n/zh.operations.js";

const en = { ...enFrame, ...enOperations };
const catalogues = { en, zh: { ...zhFrame, ...zhOperations } };
const locales = { en: "en", zh: "zh-CN" };

function preferred() {
  const chosen = stored("language");
  if (catalogues[chosen]) return chosen;
  const first = (navigator.languages ?? [navigator.language]).map((l) => l.slice(0, 2)).find((l) => catalogues[l]);
  return first ?? "en";
}

export const language = keep(preferred());
language.watch((l) => {
  store("language", l);
  dress();
});

function dress() {
  document.documentElement.lang = locales[language.value];
}
dress();

// t says the text of a key. {name} in it is replaced; a text with forms is chosen by the number n.
export function t(key, values = {}) {
  let text = catalogues[language.value][key] ?? en[key] ?? key;
  if (typeof text === "object") {
    const form = new Intl.PluralRules(locales[language.value]).select(values.n ?? 0);
    text = text[form] ?? text.other;
  }
  return text.replace(/\{(\w+)\}/g, (all, name) => {
    const v = values[name];
    if (v === undefined) return all;
    return typeof v === "number" ? number(v) : String(v);
  });
}

// known says whether there is a text for a key that was put together.
export function known(key) {
  return en[key] !== undefined;
}

export function number(n, digits = 0) {
  return new Intl.NumberFormat(locales[language.value], { maximumFractionDigits: digits }).format(n);
}

// percent writes a part of one: 0.123 is 12.3 %.
export function percent(part, digits = 1) {
  return new Intl.NumberFormat(locales[language.value], { style: "percent", maximumFractionDigits: digits }).format(part);
}

// share writes basis points, of which 10000 are all.
export function share(points) {
  return percent(points / 10000, 2);
}

// bytes writes a size by powers of 1000, as the command does.
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${number(n, i === 0 || n >= 100 ? 0 : 1)} ${units[i]}`;
}

export function stamp(at) {
  return new Intl.DateTimeFormat(locales[language.value], { dateStyle: "medium", timeStyle: "short" }).format(new Date(at));
}

const steps = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];

// ago writes how long something is past, or ahead.
export function ago(at, now = Date.now()) {
  const seconds = (new Date(at).getTime() - now) / 1000;
  const format = new Intl.RelativeTimeFormat(locales[language.value], { numeric: "auto" });
  for (const [unit, size] of steps) if (Math.abs(seconds) >= size) return format.format(Math.round(seconds / size), unit);
  return Math.abs(seconds) < 10 ? t("time.now") : format.format(Math.round(seconds), "second");
}

// seconds writes a length of time: "1 h 5 min", "2.4 s".
export function duration(seconds) {
  if (seconds < 10) return `${number(seconds, 1)} s`;
  if (seconds < 90) return `${number(seconds)} s`;
  if (seconds < 5400) return `${number(seconds / 60)} min`;
  const hours = Math.floor(seconds / 3600);
  return hours < 48 ? `${hours} h ${Math.round((seconds % 3600) / 60)} min` : `${number(hours / 24)} d`;
}
