// Dead letters: search, detail, replay, discard.

import { h, byId, show, count, plural, clock, ago, keyText, marked } from "./dom.js";
import { newest, post } from "./api.js";

let found = [], next = null, total = 0, more = false, now = new Date();
const chosen = new Set();
const getLetters = newest(), getLetter = newest();
let tools;

const form = () => byId("search");
const query = () => Object.fromEntries(new FormData(form()));

export function setUpLetters(given) {
  tools = given;
  form().addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  form().addEventListener("change", (event) => event.target.tagName === "SELECT" && search());
  byId("more").addEventListener("click", () => search(next));
  byId("letter-list").addEventListener("change", (event) => choose(event.target));
  byId("letter-list").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-letter]");
    if (button) detail(button.dataset.letter);
  });
  byId("replay-chosen").addEventListener("click", () => replay([...chosen]));
  byId("discard-chosen").addEventListener("click", () => discard([...chosen]));
  byId("replay-all").addEventListener("click", replayAll);
  byId("letter-close").addEventListener("click", () => byId("letter-dialog").close());
  byId("letter-detail").addEventListener("click", (event) => {
    const { act, id } = event.target.dataset;
    if (!act) return;
    byId("letter-dialog").close();
    if (act === "replay") replay([id]);
    if (act === "discard") discard([id]);
    if (act === "explain") tools.explain(event.target.dataset.route, event.target.dataset.key);
  });
}

export function filterBy(route) {
  form().reset();
  const select = form().elements.route;
  if (![...select.options].some((option) => option.value === route)) select.append(h("option", { value: route }, route));
  select.value = route;
}

export async function search(after = null) {
  if (!after) byId("more").hidden = true; // of what is not asked for any more
  try {
    const answer = await getLetters("/dead-letters", { ...query(), after });
    if (!answer) return;
    found = after ? [...found, ...answer.letters] : answer.letters;
    if (!after) {
      total = answer.total;
      more = answer.more_than_total;
      chosen.clear();
      choices(answer.counts);
    }
    next = answer.next;
    now = new Date(answer.now);
    render();
  } catch (error) {
    tools.failed(error);
  }
}

function choices(counts) {
  for (const name of ["route", "reason"]) {
    const select = form().elements[name], value = select.value, sums = new Map();
    for (const each of counts) sums.set(each[name], (sums.get(each[name]) ?? 0) + each.count);
    if (value && !sums.has(value)) sums.set(value, 0);
    show(select, h("option", { value: "" }, "all"), [...sums].sort().map(([text, sum]) => h("option", { value: text }, `${text} (${count(sum)})`)));
    select.value = value;
  }
}

function render() {
  byId("found").textContent = total ? `${more ? "more than " : ""}${plural(total, "dead letter")}` : "No dead letter matches.";
  byId("more").hidden = !next;
  show(byId("letter-list"), found.length ? list() : null);
  offerActions();
}

function list() {
  const row = (letter) => h("tr", { role: "row" },
    h("td", { role: "cell", class: "check" }, letter.status === "open" && h("input", { type: "checkbox", "aria-label": `Choose ${keyText(letter.key)}`, "data-id": letter.id })),
    h("th", { scope: "row", role: "rowheader" }, h("span", { class: "mono" }, keyText(letter.key)), h("span", { class: "path" }, letter.route)),
    h("td", { role: "cell", "data-label": "Why" }, h("b", {}, letter.reason), h("span", { class: "dim" }, letter.error ?? marked((letter.status === "open" ? letter.hint_short : "") ?? ""))),
    h("td", { role: "cell", class: "number", "data-label": "Tries" }, count(letter.attempts)),
    h("td", { role: "cell", "data-label": "Failed" }, h("time", { datetime: letter.last_seen, title: letter.last_seen }, ago(letter.last_seen, now)),
      letter.status === "open" ? "" : h("span", { class: "dim" }, letter.discarded ? "discarded" : "resolved")),
    h("td", { role: "cell", class: "act" }, h("button", { type: "button", class: "quiet", "data-letter": letter.id }, "Details", h("span", { class: "hidden" }, ` of ${keyText(letter.key)}`))));
  const all = h("input", { type: "checkbox", "aria-label": "Choose all that are shown", "data-id": "all" });
  const head = [[all, "check"], ["Document"], ["Why"], ["Tries", "number"], ["Failed"], [h("span", { class: "hidden" }, "Actions"), "act"]];
  return h("table", { class: "letters", role: "table" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head.map(([text, kind]) => h("th", { scope: "col", role: "columnheader", class: kind }, text)))),
    h("tbody", { role: "rowgroup" }, found.map(row)));
}

function choose(box) {
  const boxes = [...byId("letter-list").querySelectorAll("tbody input")];
  if (box.dataset.id === "all") boxes.forEach((each) => (each.checked = box.checked));
  chosen.clear();
  boxes.filter((each) => each.checked).forEach((each) => chosen.add(each.dataset.id));
  offerActions();
}

// Whether anything may be changed is known with the first overview, which may come after the letters.
export function offerActions() {
  const may = tools.actions(), why = may ? "" : "Nothing can be changed while API_TOKEN is not set.";
  const open = form().elements.status.value === "open" && !form().elements.text.value.trim();
  for (const [id, text, possible] of [
    ["replay-chosen", chosen.size ? `Replay ${count(chosen.size)}` : "Replay chosen", chosen.size > 0],
    ["discard-chosen", chosen.size ? `Discard ${count(chosen.size)}` : "Discard chosen", chosen.size > 0],
    ["replay-all", "Replay all that match", open && total > 0],
  ]) {
    const button = byId(id);
    button.textContent = text;
    button.disabled = !may || !possible;
    button.title = why;
  }
  for (const box of byId("letter-list").querySelectorAll("input")) if (box.dataset.id !== "all") box.checked = chosen.has(box.dataset.id);
}

async function detail(id) {
  try {
    const letter = await getLetter(`/dead-letters/${encodeURIComponent(id)}`);
    if (!letter) return;
    const row = (name, value, kind) => value !== null && value !== "" && [h("dt", {}, name), h("dd", { class: kind }, value)];
    const may = tools.actions() && letter.status === "open";
    show(byId("letter-detail"),
      h("dl", {}, row("Document", keyText(letter.key), "mono"), row("Route", letter.route), row("Reason", letter.reason),
        row("Error", letter.error ?? marked("Hidden, because a server's words may quote the document. DASHBOARD_SHOW_VALUES=true shows them, and so does `tsync dead-letters show`."), letter.error ? "mono" : "dim"),
        row("What to do", letter.hint && marked(letter.hint)), row("Typesense shows", letter.typesense_shows), row("Tries", count(letter.attempts)),
        row("Failed", `first ${clock(letter.first_seen)}, last ${clock(letter.last_seen)}`),
        row("Status", letter.discarded ? `discarded ${clock(letter.resolved_at)}` : letter.status === "open" ? "open" : `resolved ${clock(letter.resolved_at)}`),
        row("Replay", letter.can_be_replayed ? "" : "cannot help: this key has no Typesense id"), row("Letter", letter.id, "mono small")),
      h("div", { class: "buttons" },
        h("button", { type: "button", class: "quiet", "data-act": "explain", "data-route": letter.route, "data-key": keyText(letter.key) }, "Explain this document"),
        h("button", { type: "button", class: "quiet", "data-act": "discard", "data-id": letter.id, disabled: !may }, "Discard"),
        h("button", { type: "button", "data-act": "replay", "data-id": letter.id, disabled: !may || !letter.can_be_replayed }, "Replay")));
    byId("letter-dialog").showModal();
  } catch (error) {
    tools.failed(error);
  }
}

const filed = (answer) => (answer.chosen ? `${plural(answer.chosen, "document")} will be synced again; the overview shows the job.` : "Nothing can be replayed: these are not open any more, or have no Typesense id.");

async function replay(ids) {
  await tools.act(async () => filed(await post("/dead-letters/replay", { ids })));
  await search();
}

async function discard(ids) {
  const sure = await tools.confirm(`Discard ${plural(ids.length, "dead letter")}?`, "The records are closed, and nothing else changes: Typesense keeps what it shows. A document that fails again, also at a verification, has a record again.", "Discard");
  if (!sure) return;
  await tools.act(async () => `${plural((await post("/dead-letters/discard", { ids })).discarded, "dead letter")} discarded.`);
  await search();
}

async function replayAll() {
  const { route, reason } = query();
  if (!(await tools.confirm(`Replay ${more ? "more than " : ""}${plural(total, "dead letter")}?`, "Each document is synced again as it is now. Those that fail again stay here.", "Replay"))) return;
  await tools.act(async () => filed(await post("/dead-letters/replay", { all: true, route, reason })));
  await search();
}
