// Line charts of the last fifteen minutes. A gap in the samples is a gap in the line: nobody captured then.

import { h, s } from "./dom.js";

const SPAN_S = 15 * 60;
const GAP_S = 15;
const HEIGHT = 132;
const LEFT = 50, RIGHT = 10, TOP = 10, BOTTOM = 22;

function niceTop(value) {
  if (value <= 0) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * size).find((top) => top >= value);
}

// `series`: [{ name, place, kind, read }], where `place` is the value's place in a sample. `unit` is said, `mark` writes a value beside the axis.
export function chart({ samples, now, width, series, unit, mark, label }) {
  const end = now ? new Date(now).getTime() / 1000 : Date.now() / 1000;
  const shown = samples
    .map((sample) => ({ at: new Date(sample[0]).getTime() / 1000 - end + SPAN_S, values: sample }))
    .filter((sample) => sample.at >= 0);
  const values = series.map(({ place }) => shown.map((sample) => sample.values[place]).filter((value) => value !== null));
  const top = niceTop(Math.max(0, ...values.flat()));
  const x = (at) => LEFT + (at / SPAN_S) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const grid = [0, 0.5, 1].map((share) => [
    s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(share * top), y2: y(share * top) }),
    s("text", { class: "tick", x: LEFT - 8, y: y(share * top) + 4, "text-anchor": "end" }, share ? mark(share * top) : "0"),
  ]);
  const times = [0, 5, 10, 15].map((minute) =>
    s("text", { class: "tick", x: x(minute * 60), y: HEIGHT - 5, "text-anchor": minute === 0 ? "start" : minute === 15 ? "end" : "middle" }, minute === 15 ? "now" : `${15 - minute} min`),
  );
  const lines = series.map(({ place, kind }) => runs(shown, place).map((run) => {
    const points = run.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    const ends = [x(run[0][0]).toFixed(1), x(run[run.length - 1][0]).toFixed(1)];
    return [
      kind === "area" && s("path", { class: "under", d: `M${ends[0]},${y(0)}L${points.join("L")}L${ends[1]},${y(0)}Z` }),
      s("path", { class: `line ${kind}`, d: `M${points.join("L")}${run.length === 1 ? "h1" : ""}` }),
    ];
  }));
  const told = series.map(({ name }, number) => (values[number].length
    ? `${name}: now ${tick(values[number].at(-1))} ${unit}, highest ${tick(Math.max(...values[number]))}`
    : `${name}: nothing is known yet`)).join("; ");
  return [
    h("p", { class: "legend" }, series.map(({ name, kind, read }, number) => h("span", { class: `key ${kind}` },
      s("svg", { width: 18, height: 8, "aria-hidden": "true" }, s("line", { class: `line ${kind}`, x1: 0, x2: 18, y1: 4, y2: 4 })),
      ` ${name} `, h("b", {}, values[number].length ? read(values[number].at(-1)) : "?")))),
    s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": `${label}. ${told}.` }, grid, times, lines),
  ];
}

function runs(shown, place) {
  const found = [];
  let before = -Infinity;
  for (const { at, values } of shown) {
    if (values[place] === null) {
      before = -Infinity;
      continue;
    }
    if (at - before > GAP_S) found.push([]);
    found[found.length - 1].push([at, values[place]]);
    before = at;
  }
  return found;
}

export function tick(value) {
  return value >= 10000 ? `${Math.round(value / 1000)}k` : value >= 1000 ? `${(value / 1000).toFixed(1)}k` : String(Math.round(value * 10) / 10);
}
