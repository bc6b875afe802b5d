// The pipeline as a picture: five stations, what flows between them, and how each of them is. The same in words for
// whoever cannot see it. Drawn for the width that there is: side by side, or one below the other.

import { s, h, count, rate, duration, plural, shortName } from "./dom.js";

const WORST = ["red", "degraded", "green"];
const worst = (levels) => WORST.find((level) => levels.includes(level)) || "none";

function levelOfServer(server) {
  if (!server) return "none";
  return { reachable: "green", unreachable: "degraded", refusing: "red" }[server.state];
}

// Another replica may not reach what this one reaches.
const reached = (server, name, levels) => (server?.state === "reachable" && levels(`server ${name}`).length ? "reachable here" : server?.state ?? "unknown");

export function stations(overview) {
  const status = overview.status;
  const levels = (...checks) => overview.problems.filter((problem) => problem.kind !== "work" && checks.some((check) => problem.check.startsWith(check))).map((problem) => problem.level);
  const { mongodb, typesense } = overview.servers;
  const active = status?.tiers.find((tier) => tier.state === "active");
  const live = status?.live_replicas ?? 0;
  const capture = status?.stages.capture;
  const captured = status?.captured, lag = status?.lag_s;
  const entries = status?.queue.entries;
  return [
    { name: "MongoDB", level: worst([levelOfServer(mongodb), ...levels("server mongodb", "oplog")]), word: reached(mongodb, "mongodb", levels),
      facts: [status ? `~ ${plural(status.documents, "document")}` : "", status ? plural(status.routes.length, "route") : ""] },
    { name: "Capture", level: capture ? worst(["green", ...levels("capture", "position", "backlog", "progress, capture")]) : "red", word: capture ?? "nobody captures",
      facts: [status?.capturing ? `by ${shortName(status.capturing)}` : "", captured ? `up to ${duration(captured.age_s)} ago` : ""] },
    { name: "Queue", level: active ? worst(["green", ...levels("queue", "tier", "server primary", "server backup")]) : "none",
      word: entries === null || entries === undefined ? "cannot be read" : `${plural(entries, "entry", "entries")}`, tiers: status?.tiers ?? [] },
    { name: "Sync", level: live ? worst([status?.stages.sync === "retrying" ? "degraded" : "green", ...levels("lane", "sync", "progress, lanes")]) : "red", word: live ? (status?.stages.sync ?? "unknown") : "no replica is live",
      facts: [plural(live, "replica"), lag === null || lag === undefined ? "" : `${duration(lag)} behind`] },
    { name: "Typesense", level: worst([levelOfServer(typesense), ...levels("server typesense", "target", "fields")]), word: reached(typesense, "typesense", levels),
      facts: [status ? plural(status.dead_letters_open, "dead letter") : "", status?.reconcile ? "a reconcile runs" : ""] },
  ];
}

const TIER = { active: "in use", reserve: "reserve", unreachable: "unreachable", refusing: "refusing", "left out": "left out" };
const tierLevel = (tier) => ({ active: "green", reserve: "none", unreachable: "degraded", refusing: "red" })[tier.state] || "none";
const shapes = { green: "M0-4.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9Z", degraded: "M0-5 5.200 4.500H-5.200Z", red: "M-4.500-4.500h9v9h-9Z", none: "M0-3.200a3.200 3.200 0 1 0 0 6.400 3.200 3.200 0 0 0 0-6.400Z" };
const mark = (level, x, y) => s("path", { class: `mark ${level}`, d: shapes[level], transform: `translate(${x} ${y})` });

function station(each, x, y, width, height, ends) {
  const inner = x + 16;
  const lines = each.tiers
    ? each.tiers.map((tier, number) => {
        const row = y + 76 + number * 22;
        return s("g", { class: tier.state === "active" ? "tier active" : "tier" }, mark(tierLevel(tier), inner + 4, row - 4),
          s("text", { x: inner + 16, y: row }, tier.title), s("text", { class: "right", x: x + width - 14, y: row, "text-anchor": "end" }, TIER[tier.state]));
      })
    : each.facts.filter(Boolean).map((fact, number) => s("text", { class: "fact", x: inner, y: y + 76 + number * 19 }, fact));
  return s("g", { class: `station ${each.level}` },
    s("rect", { class: ends ? "box end" : "box", x, y, width, height, rx: ends ? 14 : 6 }),
    s("rect", { class: `edge ${each.level}`, x: x + 1, y: y + 14, width: 3, height: height - 28, rx: 1.5 }),
    s("text", { class: "name", x: inner, y: y + 27 }, each.name),
    mark(each.level, inner + 5, y + 44), s("text", { class: "word", x: inner + 16, y: y + 49 }, each.word), lines);
}

function flow(path, perSecond, x, y, anchor) {
  const speed = !perSecond ? "still" : perSecond < 20 ? "slow" : perSecond < 500 ? "brisk" : "fast";
  return s("g", { class: `flow ${speed}` }, s("path", { class: "pipe", d: path }), s("path", { class: "drops", d: path }),
    s("text", { class: "rate", x, y, "text-anchor": anchor }, perSecond === null || perSecond === undefined ? "" : `${rate(perSecond)}/s`));
}

export function picture(overview, width) {
  const all = stations(overview);
  const rates = overview.status?.rates ?? {};
  const between = [rates.captured_per_s, rates.captured_per_s, rates.synced_per_s, rates.synced_per_s];
  const drawn = width >= 760 ? across(all, between, width) : down(all, between, width);
  const words = all.map((each) => `${each.name}: ${each.word}`).join("; ");
  return [drawn, h("p", { class: "hidden" }, `The pipeline. ${words}. Captured ${rate(rates.captured_per_s)} a second, synced ${rate(rates.synced_per_s)} a second.`)];
}

function across(all, between, width) {
  const gap = Math.max(46, Math.min(74, width * 0.058));
  const unit = (width - 4 * gap) / 5.5;
  const widths = [unit, unit, unit * 1.5, unit, unit];
  const height = 150, middle = height / 2;
  let x = 0;
  const parts = all.map((each, number) => {
    const found = [station(each, x, 4, widths[number], height - 8, number === 0 || number === 4)];
    x += widths[number];
    if (number < 4) {
      found.push(flow(`M${x + 5} ${middle}H${x + gap - 6}`, between[number], x + gap / 2, middle - 12, "middle"));
      found.push(s("path", { class: "tip", d: `M${x + gap - 10} ${middle - 4}l5 4-5 4` }));
      x += gap;
    }
    return found;
  });
  return s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" }, parts);
}

function down(all, between, width) {
  const gap = 34;
  let y = 2;
  const parts = all.map((each, number) => {
    const height = each.tiers ? 82 + 22 * Math.max(1, each.tiers.length) - 10 : 75 + 19 * Math.max(1, each.facts.filter(Boolean).length);
    const found = [station(each, 1, y, width - 2, height, number === 0 || number === 4)];
    y += height;
    if (number < 4) {
      found.push(flow(`M30 ${y + 4}V${y + gap - 5}`, between[number], 44, y + gap / 2 + 5, "start"));
      found.push(s("path", { class: "tip", d: `M26 ${y + gap - 9}l4 5 4-5` }));
      y += gap;
    }
    return found;
  });
  return s("svg", { viewBox: `0 0 ${width} ${y + 2}`, width, height: y + 2, "aria-hidden": "true" }, parts);
}

export const tiersText = (tier) => TIER[tier.state];
export { tierLevel };
