// Charts: small drawings in SVG, each with a table of the same numbers for who cannot see it.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.mjs";
import { number, stamp, t } from "./i18n.js";
import { classes } from "./ui.js";

// useWidth tells how wide an element is, in pixels, so that letters keep their size on every screen.
function useWidth() {
  const ref = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.round(entry.contentRect.width)));
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, []);
  return [ref, width];
}

let drawn = 0;

// useName gives a drawing a name of its own, by which its title is found.
function useName() {
  return useState(() => `chart${++drawn}`)[0];
}

// steps are round values from 0 to most, at most five; of what is counted, whole ones.
function steps(most, counted) {
  if (!(most > 0)) return [0, 1];
  const rough = counted ? Math.max(1, most / 4) : most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = (counted ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).map((m) => m * power).find((s) => s >= rough);
  const out = [];
  for (let v = 0; v < most + step * 0.999; v += step) out.push(Math.round(v / power * 1000) / 1000 * power);
  return out;
}

const decades = (low, high) => {
  const out = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) out.push(10 ** e);
  const [last, each] = [out.length - 1, Math.ceil(out.length / 5)];
  return out.length > 6 ? out.filter((_, i) => i === last || (i % each === 0 && last - i >= each / 2)) : out;
};

// power writes a power of ten shortly once its noughts are hard to count.
const power = (v, format) => (v < 1e5 ? format(v) : `10${String(Math.round(Math.log10(v))).replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d])}`);

// scaleOf maps values to heights: linear from 0, or by powers of ten.
function scaleOf(values, { log, counted, height, format }) {
  const known = values.filter((v) => Number.isFinite(v));
  if (log) {
    const low = Math.max(1e-3, Math.min(0.1, ...known.filter((v) => v > 0)));
    const ticks = decades(low, Math.max(10, ...known));
    const a = Math.log10(ticks[0]);
    const b = Math.log10(ticks.at(-1));
    return { ticks: ticks.map((v) => [v, power(v, format)]), y: (v) => height - (height * (Math.log10(Math.max(v, ticks[0])) - a)) / (b - a || 1) };
  }
  const ticks = steps(Math.max(0, ...known), counted);
  return { ticks: ticks.map((v) => [v, format(v)]), y: (v) => height - (height * v) / ticks.at(-1) };
}

function clock(at, span) {
  const d = new Date(at);
  const lang = document.documentElement.lang;
  const options = span > 3 * 86400e3 ? { month: "short", day: "numeric" } : span > 86400e3 ? { month: "short", day: "numeric", hour: "2-digit" } : span > 300e3 ? { hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  return new Intl.DateTimeFormat(lang, { ...options, hourCycle: "h23" }).format(d);
}

const pad = { left: 52, right: 14, top: 12, bottom: 24 };

function line(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

// useAt is the point that is pointed at, by mouse, finger or arrow keys; the last one by default.
function useAt(count, xOf) {
  const [at, setAt] = useState(null);
  const shown = at === null || at >= count ? count - 1 : at;
  const near = (e) => {
    const box = e.currentTarget.getBoundingClientRect();
    const x = e.clientX - box.left;
    let best = 0;
    for (let i = 1; i < count; i++) if (Math.abs(xOf(i) - x) < Math.abs(xOf(best) - x)) best = i;
    setAt(best);
  };
  const keys = (e) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!move) return;
    e.preventDefault();
    setAt(Math.max(0, Math.min(count - 1, shown + move)));
  };
  return [shown, at !== null, { onPointerMove: near, onPointerDown: near, onPointerLeave: () => setAt(null), onKeyDown: keys, onBlur: () => setAt(null), tabindex: "0" }];
}

function Numbers({ title, head, rows }) {
  return html`<details class="chart-table"><summary>${t("chart.table")}</summary><div class="table-wrap"><table aria-label=${title}>
    <thead><tr>${head.map((h) => html`<th key=${h} scope="col">${h}</th>`)}</tr></thead>
    <tbody>${rows.map((r, i) => html`<tr key=${i}>${r.map((c, j) => html`<td key=${j}>${c}</td>`)}</tr>`)}</tbody></table></div></details>`;
}

function Axes({ scale, width, height, times, xOf }) {
  const room = Math.max(1, Math.floor((width - pad.left) / 92));
  const each = Math.max(1, Math.ceil(times.length / room));
  const span = times.length > 1 ? times.at(-1) - times[0] : 0;
  const labels = times.map((at, i) => [at, i]).filter(([, i]) => (times.length - 1 - i) % each === 0);
  let last = Infinity;
  return html`<g class="axes">
    ${scale.ticks.map(([v, text]) => html`<g key=${v}><line x1=${pad.left} x2=${width - pad.right} y1=${pad.top + scale.y(v)} y2=${pad.top + scale.y(v)} /><text x=${pad.left - 8} y=${pad.top + scale.y(v) + 4} text-anchor="end">${text}</text></g>`)}
    ${labels.reverse().map(([at, i]) => {
      const x = xOf(i);
      if (last - x < 64) return null;
      last = x;
      return html`<text key=${i} x=${Math.max(pad.left + 16, Math.min(x, width - 28))} y=${height + pad.top + 18} text-anchor="middle">${clock(at, span)}</text>`;
    })}
  </g>`;
}

// LineChart draws values over time. series are {name, tone, values, low?, high?}, one value for each of times (milliseconds),
// null where there is none; low and high are the ends of an interval around it. bounds are {value, label, tone}, marks
// {at, label, tone} moments. log draws powers of ten.
export function LineChart({ title, desc, times, series, bounds = [], marks = [], log, format = number, height = 190 }) {
  const [ref, width] = useWidth();
  const id = useName();
  const inner = Math.max(10, width - pad.left - pad.right);
  const [from, to] = [times[0], times.at(-1)];
  const xAt = (at) => pad.left + (to > from ? ((at - from) / (to - from)) * inner : inner / 2);
  const xOf = (i) => xAt(times[i]);
  const [at, pointed, handlers] = useAt(times.length, xOf);
  const scale = scaleOf([...series.flatMap((s) => [...s.values, ...(s.high ?? [])]), ...bounds.map((b) => b.value)].filter((v) => v !== null && v !== undefined), { log, height, format });
  const y = (v) => pad.top + scale.y(v);
  const below = (b) => y(b.value) < pad.top + 12 || bounds.some((o) => o.value > b.value && y(b.value) - y(o.value) < 14);
  const runs = (s) => s.values.map((v, i) => (v === null || v === undefined ? null : [xOf(i), y(v)])).filter(Boolean);
  const band = (s) => {
    const known = s.values.map((v, i) => i).filter((i) => s.high?.[i] !== null && s.high?.[i] !== undefined);
    return known.length > 1 ? `${line(known.map((i) => [xOf(i), y(s.high[i])]))}${line(known.reverse().map((i) => [xOf(i), y(s.low[i])])).replace("M", "L")}Z` : "";
  };
  return html`<figure class="chart" ref=${ref}>
    <figcaption>${title}</figcaption>
    <div class="legend">${series.map((s) => html`<span key=${s.name} class=${classes("key", s.tone)}><i></i>${s.name} <b>${s.values[at] === null || s.values[at] === undefined ? "–" : format(s.values[at])}${s.low && s.values[at] !== null && s.values[at] !== undefined ? html` <small>${t("chart.between", { low: format(s.low[at]), high: format(s.high[at]) })}</small>` : ""}</b></span>`)}
      ${pointed && html`<span class="legend-at">${stamp(times[at])}</span>`}</div>
    ${width > 0 && html`<svg width=${width} height=${height + pad.top + pad.bottom} role="img" aria-labelledby=${`${id}t ${id}d`} ...${handlers}>
      <title id=${`${id}t`}>${title}</title><desc id=${`${id}d`}>${desc}</desc>
      <${Axes} scale=${scale} width=${width} height=${height} times=${times} xOf=${xOf} />
      ${marks.map((m, i) => html`<g key=${`${m.at}${m.label}`} class=${classes("mark", m.tone)}><line x1=${xAt(m.at)} x2=${xAt(m.at)} y1=${pad.top} y2=${pad.top + height} /><text x=${Math.min(xAt(m.at) + 4, width - 60)} y=${pad.top + 9} text-anchor=${xAt(m.at) > width - 120 ? "end" : "start"} dx=${xAt(m.at) > width - 120 ? -8 : 0}>${marks[i + 1] && xAt(marks[i + 1].at) - xAt(m.at) < 64 ? "" : m.label}</text></g>`)}
      ${series.map((s) => html`<path key=${`b${s.name}`} class=${classes("band", s.tone)} d=${band(s)} />`)}
      ${bounds.map((b) => html`<g key=${b.label} class=${classes("bound", b.tone)}><line x1=${pad.left} x2=${width - pad.right} y1=${y(b.value)} y2=${y(b.value)} /><text x=${pad.left + 6} y=${below(b) ? y(b.value) + 13 : y(b.value) - 4}>${b.label}</text></g>`)}
      ${series.map((s) => html`<g key=${s.name} class=${classes("line", s.tone)}><path d=${line(runs(s))} />${runs(s).length < 2 && runs(s).map(([cx, cy]) => html`<circle key=${cx} cx=${cx} cy=${cy} r="3" />`)}
        ${s.values[at] !== null && s.values[at] !== undefined && html`<circle class="now" cx=${xOf(at)} cy=${y(s.values[at])} r="3.5" />`}</g>`)}
      ${pointed && html`<line class="cross" x1=${xOf(at)} x2=${xOf(at)} y1=${pad.top} y2=${pad.top + height} />`}
    </svg>`}
    <${Numbers} title=${title} head=${[t("chart.time"), ...series.map((s) => s.name)]} rows=${times.map((when, i) => [stamp(when), ...series.map((s) => (s.values[i] === null || s.values[i] === undefined ? "–" : format(s.values[i])))]).reverse().slice(0, 200)} />
  </figure>`;
}

// ColumnChart draws counts over time as columns that stand on each other. series are {name, tone, values}.
export function ColumnChart({ title, desc, times, step, series, height = 170 }) {
  const [ref, width] = useWidth();
  const id = useName();
  const inner = Math.max(10, width - pad.left - pad.right);
  const span = times.at(-1) - times[0] + step;
  const wide = Math.max(1, (step / span) * inner);
  const xOf = (i) => pad.left + ((times[i] - times[0] + step / 2) / span) * inner;
  const [at, pointed, handlers] = useAt(times.length, xOf);
  const sums = times.map((_, i) => series.reduce((n, s) => n + s.values[i], 0));
  const scale = scaleOf(sums, { counted: true, height, format: number });
  const gap = wide > 6 ? Math.min(3, wide * 0.2) : 0;
  return html`<figure class="chart" ref=${ref}>
    <figcaption>${title}</figcaption>
    <div class="legend">${series.map((s) => html`<span key=${s.name} class=${classes("key", "block", s.tone)}><i></i>${s.name} <b>${number(pointed ? s.values[at] : s.values.reduce((n, v) => n + v, 0))}</b></span>`)}
      ${pointed && html`<span class="legend-at">${stamp(times[at])}</span>`}</div>
    ${width > 0 && html`<svg width=${width} height=${height + pad.top + pad.bottom} role="img" aria-labelledby=${`${id}t ${id}d`} ...${handlers}>
      <title id=${`${id}t`}>${title}</title><desc id=${`${id}d`}>${desc}</desc>
      <${Axes} scale=${scale} width=${width} height=${height} times=${times} xOf=${xOf} />
      ${times.map((when, i) => {
        let base = 0;
        return series.map((s) => {
          const [low, high] = [base, (base += s.values[i])];
          return s.values[i] > 0 && html`<rect key=${`${when}${s.name}`} class=${classes("column", s.tone, pointed && at === i && "now")} x=${xOf(i) - (wide - gap) / 2} width=${Math.max(1, wide - gap)} y=${pad.top + scale.y(high)} height=${Math.max(0.5, scale.y(low) - scale.y(high))} />`;
        });
      })}
    </svg>`}
    <${Numbers} title=${title} head=${[t("chart.time"), ...series.map((s) => s.name)]} rows=${times.map((when, i) => [stamp(when), ...series.map((s) => number(s.values[i]))]).reverse().slice(0, 200)} />
  </figure>`;
}

// Parts draws shares of a whole as one bar. parts are {name, value, tone}; the list beneath says the same in words.
export function Parts({ title, parts }) {
  const all = parts.reduce((n, p) => n + p.value, 0);
  let x = 0;
  return html`<svg class="parts" viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label=${title}>
    <title>${title}</title>
    ${all > 0 && parts.map((p) => {
      const from = x;
      x += (p.value / all) * 1000;
      return html`<rect key=${p.name} class=${p.tone} x=${from} width=${Math.max(1, x - from - 2)} y="0" height="16" />`;
    })}
  </svg>`;
}

// interval is Wilson's 95 % interval of a share: k of n.
export function interval(k, n) {
  if (!(n > 0)) return [null, null];
  const z = 1.96;
  const p = k / n;
  const mid = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, mid - half), Math.min(1, mid + half)];
}
