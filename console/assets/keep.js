// Values that several parts of the page watch, and storage that may be missing.
import { useEffect, useState } from "./vendor/htm-preact.mjs";

// keep makes a value; who watches it is told when it changes.
export function keep(value) {
  const watchers = new Set();
  return {
    get value() {
      return value;
    },
    set value(next) {
      if (next === value) return;
      value = next;
      for (const w of [...watchers]) w(next);
    },
    watch(fn) {
      watchers.add(fn);
      return () => watchers.delete(fn);
    },
  };
}

// useKept draws a component again whenever the value changes.
export function useKept(kept) {
  const [, draw] = useState(0);
  const drawn = kept.value;
  useEffect(() => {
    if (kept.value !== drawn) draw((n) => n + 1); // it changed between drawing and watching
    return kept.watch(() => draw((n) => n + 1));
  }, [kept]);
  return drawn;
}

export function stored(key) {
  try {
    return localStorage.getItem(`slipstream.${key}`);
  } catch {
    return null;
  }
}

export function store(key, value) {
  try {
    if (value === null) localStorage.removeItem(`slipstream.${key}`);
    else localStorage.setItem(`slipstream.${key}`, value);
  } catch {
    // A browser without storage forgets the choice with the page.
  }
}
