// The overview: problems, the picture, charts, routes, the queue, replicas and jobs.

import { h, s, byId, show, glyph, count, rate, duration, clock, percent, shortName, plural, grouped, marked } from "./dom.js";
import { picture, tierLevel, tiersText } from "./picture.js";
import { chart, tick } from "./charts.js";

const letterOf = (names) => new Map(names.map((name, place) => [name, String.fromCharCode(65 + (place % 26))]));

export function showOverview(overview, history, now) {
  problems(overview);
  const width = byId("picture").clientWidth;
  if (!width) return; // not laid out yet; the observer of the size calls again
  show(byId("picture"), picture(overview, width));
  const status = overview.status;
  show(byId("pipeline-facts"), facts(overview));
  charts(history);
  show(byId("routes"), status ? routes(status.routes) : waiting());
  show(byId("queue"), status ? queue(status) : waiting());
  show(byId("replicas"), status ? replicas(status, overview.replica) : waiting());
  show(byId("jobs"), status ? jobs(status.jobs, now, overview.actions) : waiting());
}

const waiting = () => h("p", { class: "empty" }, "Nothing could be read yet.");

// What several lanes say in the same words is said once.
function together(problems) {
  const found = new Map();
  for (const problem of problems) {
    const [, stage, lane] = problem.check.match(/^(.+), lane (\d+)$/) ?? [];
    const key = lane ? [stage, problem.level, problem.text].join() : problem.check + problem.level;
    const before = found.get(key);
    if (before) {
      before.lanes.push(lane);
      before.check = `${stage}, lanes ${before.lanes.join(", ")}`;
      before.replicas = [...new Set([...before.replicas, ...problem.replicas])];
      if (problem.since < before.since) before.since = problem.since;
    } else found.set(key, { ...problem, lanes: [lane] });
  }
  return [...found.values()];
}

function problems(overview) {
  const found = together(overview.problems);
  byId("problems").hidden = !found.length;
  const several = new Set(found.flatMap((problem) => problem.replicas)).size > 1;
  show(byId("problem-list"), found.map((problem) => h("li", { class: problem.level },
    glyph(problem.level),
    h("div", {},
      h("p", {}, h("b", {}, problem.check), " ", h("span", { class: "tag" }, problem.kind === "work" ? "at work" : problem.needs_person ? "a person must act" : problem.level === "red" ? "no progress" : "waited out")),
      h("p", { class: "text" }, marked(problem.text)),
      h("p", { class: "dim" }, `since ${clock(problem.since)}`, several ? `, seen by ${problem.replicas.map(shortName).join(", ")}` : "")))));
}

function facts(overview) {
  const status = overview.status;
  if (!status?.pipeline) return "The pipeline has not started yet.";
  return [`Deployment ${status.pipeline.deployment}`, `epoch ${status.pipeline.epoch}`, `${status.pipeline.partitions} partitions`,
    `synced up to ${status.synced ? clock(status.synced.time) : "?"}`, status.rechecks_waiting ? plural(status.rechecks_waiting, "write") + " to be checked again" : ""].filter(Boolean).join(" · ");
}

export function charts(history) {
  const given = { samples: history.samples, now: history.now };
  const place = (id) => byId(id).clientWidth;
  show(byId("lag-chart"), chart({ ...given, width: place("lag-chart"), unit: "seconds", mark: duration, label: "Lag over the last 15 minutes",
    series: [{ name: "behind MongoDB", place: 3, kind: "area", read: duration }] }));
  show(byId("rate-chart"), chart({ ...given, width: place("rate-chart"), unit: "a second", mark: (value) => `${tick(value)}/s`, label: "Throughput over the last 15 minutes",
    series: [{ name: "captured", place: 1, kind: "second", read: (value) => `${rate(value)}/s` }, { name: "synced", place: 2, kind: "area", read: (value) => `${rate(value)}/s` }] }));
}

// ---- routes ----

function routeState(route) {
  if (route.suspended) return ["red", "suspended", route.suspended];
  if (!route.declared) return ["degraded", "not declared here", ""];
  if (route.reconcile) {
    const { synced, documents } = route.reconcile;
    return ["degraded", `reconciling${documents ? ` ${percent(synced / Math.max(synced, documents))}` : ""}`, route.reconcile.reason];
  }
  return ["green", "live", ""];
}

function verified(claim) {
  if (!claim) return h("span", { class: "dim" }, "not verified yet");
  const equal = claim.since && claim.as_of;
  const text = claim.open ? `${plural(claim.open, "difference")} open` : equal ? `equal as of ${clock(claim.as_of)}` : `${percent(claim.share)} compared so far`;
  const more = [equal ? `every document since ${clock(claim.since)}` : "", claim.differences ? `${count(claim.differences)} differed` : "", claim.paused ? `paused: ${claim.paused}` : ""].filter(Boolean).join(", ");
  return [meter(claim.share, `${percent(claim.share)} of this pass compared`), h("span", {}, text), more && h("span", { class: "dim" }, more)];
}

function meter(share, label) {
  const width = Math.round(share * 1000) / 10;
  return s("svg", { class: "meter", viewBox: "0 0 100 4", preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("rect", { class: "back", width: 100, height: 4 }), s("rect", { class: "fill", width, height: 4 }));
}

function table(name, headings, rows) {
  return h("table", { class: name, role: "table" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, headings.map(([text, kind]) => h("th", { scope: "col", role: "columnheader", class: kind }, text)))),
    h("tbody", { role: "rowgroup" }, rows));
}
const cell = (label, kind, ...children) => h("td", { role: "cell", class: kind, "data-label": label }, ...children);

function routes(found) {
  const rows = found.map((route) => {
    const [level, word, why] = routeState(route);
    return h("tr", { role: "row" },
      h("th", { scope: "row", role: "rowheader" }, route.name, h("span", { class: "path" }, `${route.source} → ${route.target}`)),
      cell("State", "", h("span", { class: "mark-word" }, glyph(level), word), why && h("span", { class: "dim" }, why)),
      cell("Lag", "number", route.lag_s === null ? "–" : duration(route.lag_s)),
      cell("Captured/s", "number", rate(route.captured_per_s)),
      cell("Synced/s", "number", rate(route.synced_per_s)),
      cell("Documents", "number", count(route.documents)),
      cell("Dead letters", "number", route.dead_letters_open ? h("a", { href: "#letters", "data-route": route.name }, count(route.dead_letters_open)) : "0"),
      cell("Verified", "verified", verified(route.verified)));
  });
  return table("routes", [["Route"], ["State"], ["Lag", "number"], ["Captured/s", "number"], ["Synced/s", "number"], ["Documents", "number"], ["Dead letters", "number"], ["Verified", "verified"]], rows);
}

// ---- queue and replicas ----

function queue(status) {
  const letters = letterOf(status.replicas.map((replica) => replica.name));
  const most = Math.max(100, ...status.queue.partitions.map((partition) => partition.entries ?? 0));
  return [
    h("ul", { class: "tiers" }, status.tiers.map((tier) => h("li", { class: tier.state === "active" ? "active" : null },
      h("p", {}, glyph(tierLevel(tier)), h("b", {}, tier.title), h("span", { class: "tag" }, tiersText(tier))),
      h("p", { class: "dim" }, tier.why)))),
    h("h3", {}, "Entries by partition"),
    h("ul", { class: "partitions" }, status.queue.partitions.map((partition) => h("li", {},
      h("span", { class: "number" }, partition.partition),
      meter((partition.entries ?? 0) / most, `partition ${partition.partition}: ${partition.entries === null ? "cannot be read" : plural(partition.entries, "entry", "entries")}`),
      h("span", { class: "amount" }, count(partition.entries)),
      h("span", { class: "owner" }, partition.owner ? [h("span", { class: "badge" }, letters.get(partition.owner) ?? "?"), h("span", { class: "hidden" }, ` ${partition.owner}`)] : [glyph("red"), "no owner"])))),
  ];
}

function replicas(status, me) {
  const letters = letterOf(status.replicas.map((replica) => replica.name));
  return h("ul", { class: "replicas" }, status.replicas.map((replica) => {
    const level = replica.state === "live" ? (replica.problems.some((problem) => problem.level === "red") ? "red" : replica.problems.length ? "degraded" : "green") : "red";
    const owned = status.queue.partitions.filter((partition) => partition.owner === replica.name).map((partition) => partition.partition);
    return h("li", {},
      h("p", { class: "head" }, h("span", { class: "badge" }, letters.get(replica.name)), h("b", { class: "mono" }, replica.name), replica.name === me && h("span", { class: "tag" }, "this one")),
      h("p", { class: "mark-word" }, glyph(level), replica.state === "live" ? (level === "green" ? "live" : `live, ${plural(replica.problems.length, "problem")}`) : replica.state,
        replica.captures && h("span", { class: "tag strong" }, "captures")),
      h("p", { class: "dim" }, owned.length ? `owns partitions ${owned.join(", ")}` : "owns no partition", ` · ${rate(replica.synced_per_s)}/s synced`,
        replica.captures ? ` · ${rate(replica.captured_per_s)}/s captured` : "", replica.started_at ? ` · since ${clock(replica.started_at)}` : ""));
  }));
}

// ---- jobs ----

function jobButton(job, action, actions) {
  const word = action[0].toUpperCase() + action.slice(1);
  return h("button", { type: "button", class: "quiet", "data-action": action, "data-job": job.job, "data-kind": job.kind, disabled: !actions, title: actions ? null : "API_TOKEN is not set" }, word, h("span", { class: "hidden" }, ` ${job.kind} ${job.job}`));
}

const pace = (job) => [job.left_s === null ? "" : `about ${duration(job.left_s)} left`, job.rate_per_s ? `at most ${count(job.rate_per_s)}/s` : ""].filter(Boolean).join(", ");

function jobs(found, now, actions) {
  const open = found.open.map((job) => h("li", { class: job.paused ? "paused" : null },
    h("div", { class: "what" },
      h("p", {}, h("b", {}, job.kind), job.route && [" of ", h("b", {}, job.route)], h("span", { class: "dim mono" }, ` ${job.job}`)),
      h("p", { class: "dim text" }, marked(grouped(job.text)))),
    h("div", { class: "progress" }, job.share !== null && [meter(job.share, `${percent(job.share)} done`), h("span", {}, percent(job.share))], pace(job) && h("span", { class: "dim" }, pace(job))),
    h("div", { class: "steps" },
      job.steerable && jobButton(job, job.paused ? "resume" : "pause", actions),
      job.cancellable && jobButton(job, "cancel", actions))));
  const ended = found.ended.map((job) => h("li", {}, glyph(job.well ? "green" : "degraded"), h("span", {}, h("b", {}, job.kind), job.route && ` of ${job.route}`, `, ${clock(job.ended_at)}`), h("span", { class: "dim" }, grouped(job.text))));
  return [
    open.length ? h("ul", { class: "jobs" }, open) : h("p", { class: "empty" }, "No job is open."),
    ended.length ? h("details", {}, h("summary", {}, `${plural(ended.length, "job")} ended recently`), h("ul", { class: "ended" }, ended)) : null,
  ];
}
