// One document on both sides.

import { h, byId, show, glyph, clock, plural, keyText, count, marked } from "./dom.js";
import { newest } from "./api.js";

const VERDICTS = { equal: ["green", "Equal: Typesense shows what it should"], differs: ["red", "Different: Typesense does not show what it should"], unknown: ["degraded", "Unknown: not everything could be read"] };
const EXPECTED = { shown: "Typesense should show it", refused: "it cannot be written", absent: "Typesense should not have it" };
const OUTCOMES = { equal: ["green", "equal"], different: ["red", "different"], missing: ["red", "missing in Typesense"], extra: ["red", "only in Typesense"] };

const getExplanation = newest();
let failed;

export function setUpExplain(given) {
  failed = given;
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
}

export function offerRoutes(routes) {
  const select = byId("ask").elements.route, value = select.value;
  show(select, routes.filter((route) => route.declared).map((route) => h("option", { value: route.name }, route.name)));
  if (value) select.value = value;
}

export function explain(route, id) {
  const { elements } = byId("ask");
  elements.route.value = route;
  elements.id.value = id;
  ask();
}

async function ask() {
  const place = byId("explanation"), button = byId("ask").querySelector("button");
  place.setAttribute("aria-busy", "true");
  button.disabled = true;
  try {
    const found = await getExplanation("/explain", Object.fromEntries(new FormData(byId("ask"))));
    if (!found) return;
    show(place, rendered(found));
  } catch (error) {
    show(place);
    failed(error);
  }
  button.disabled = false;
  place.removeAttribute("aria-busy");
}

function rendered(found) {
  const [level, text] = VERDICTS[found.verdict];
  return [
    h("div", { class: `verdict ${level}` }, glyph(level), h("div", {}, h("h3", {}, text), h("p", {}, marked(found.next.text)))),
    h("div", { class: "sides" }, side("MongoDB", found.source, source(found)), side("Typesense", found.target, target(found))),
    fields(found),
    h("h3", {}, "On its way"),
    h("dl", {}, way(found).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
  ];
}

const side = (name, place, lines) => h("section", { "aria-label": name }, h("h3", {}, name), h("p", { class: "path" }, place), lines.filter(Boolean).map((line) => h("p", {}, line)));

function source(found) {
  if (found.keys === null) return ["It could not be read."];
  if (!found.keys.length) return [found.possible ? "No document has this id." : "No key can have this id."];
  return found.keys.map(({ key, role, hidden_by: parts }) => [h("span", { class: "mono" }, JSON.stringify(key)), " ",
    role === "owner" ? "is the document with this id" : role === "hidden" ? `is hidden by ${parts.length ? parts.join(", ") : "the route's view"}` : "has the same id as the document above"]);
}

function target(found) {
  if (found.collection === null) return ["It could not be read."];
  if (!found.collection) return ["There is no collection."];
  return [found.shown ? "It shows a document with this id." : "It shows no document with this id.", found.expected && `As MongoDB is now, ${EXPECTED[found.expected]}.`, found.refusal];
}

function fields(found) {
  if (!found.fields.length) return null;
  const values = "mapped" in found.fields[0];
  const value = (each, type, content) => [h("span", { class: "dim" }, type ?? "–"), values && type !== null && h("span", { class: "mono" }, JSON.stringify(content))];
  return [
    h("h3", {}, "Fields"),
    !values && h("p", { class: "dim" }, "Values are hidden; DASHBOARD_SHOW_VALUES=true shows them."),
    h("table", { class: "fields", role: "table" },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ["Field", "MongoDB", "Typesense", "Comparison"].map((text) => h("th", { scope: "col", role: "columnheader" }, text)))),
      h("tbody", { role: "rowgroup" }, [...found.fields].sort((one, other) => (one.outcome === "equal") - (other.outcome === "equal")).map((each) => {
        const [level, word] = OUTCOMES[each.outcome];
        return h("tr", { role: "row" }, h("th", { scope: "row", role: "rowheader", class: "mono" }, each.field),
          h("td", { role: "cell", "data-label": "MongoDB" }, value(each, each.mapped_type, each.mapped)),
          h("td", { role: "cell", "data-label": "Typesense" }, value(each, each.shown_type, each.shown)),
          h("td", { role: "cell", "data-label": "Comparison" }, h("span", { class: "mark-word" }, glyph(level), word)));
      }))),
    found.not_compared.length ? h("p", { class: "dim" }, `Not compared, because the collection computes them: ${found.not_compared.join(", ")}.`) : null,
  ];
}

function way(found) {
  const waiting = found.waiting === null ? "could not be read" : found.waiting.entries.length
    ? found.waiting.entries.map((entry) => `${entry.operation} of ${clock(entry.time)}`).join(", ")
    : found.waiting.complete ? "none of this document" : `none among the oldest ${count(found.waiting.looked_at)}`;
  return [
    ["Partition", `${found.partition}, owned by ${found.owner ? `${found.owner} (${found.owner_state})` : "nobody"}`],
    ["Waiting entries", waiting],
    ["Dead letter", found.dead_letters.length ? found.dead_letters.map((letter) => `${letter.reason} (${letter.status}), ${plural(letter.attempts, "try", "tries")}, last ${clock(letter.last_seen)}`).join("; ") : "none"],
    ["To be checked again", found.rechecks.length ? plural(found.rechecks.length, "write") : "nothing"],
    found.refreshing_since && ["Refresh", `open, for changes since ${clock(found.refreshing_since)}`],
    found.reconcile && ["Reconcile", `open: ${found.reconcile.reason}`],
    found.jobs.length && ["Jobs", found.jobs.map((job) => `${job.kind} ${job.job}`).join(", ")],
    found.suspended && ["Suspended", found.suspended],
    ["Everything synced up to", found.synced ? clock(found.synced) : "not known"],
    found.unseen.length && ["Could not be read", found.unseen.join("; ")],
  ].filter(Boolean).map(([name, value]) => [name, typeof value === "string" ? value : keyText(value)]);
}
