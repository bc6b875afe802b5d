// The page: which view is shown, what is asked when, the token, and what was done.

import { byId, show, h, glyph, duration } from "./dom.js";
import { get, post, token, keepToken, tryToken } from "./api.js";
import { showOverview } from "./overview.js";
import { setUpLetters, search, filterBy, offerActions } from "./letters.js";
import { setUpExplain, offerRoutes, explain } from "./explain.js";

const INTERVAL_MS = 2000;
const HISTORY_MS = 5000;
const VIEWS = ["overview", "letters", "explain"];
const WORDS = { green: "Healthy", degraded: "Degraded, the pipeline copes", red: "Needs attention" };

let overview = null, history = { samples: [], now: null }, historyAt = 0, timer = 0, asking = false, view = "overview";

// ---- views ----

function showView() {
  const wanted = location.hash.slice(1);
  if (wanted === "main") return;
  const before = view;
  view = VIEWS.includes(wanted) ? wanted : "overview";
  showChosen();
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${{ overview: "Overview", letters: "Dead letters", explain: "Explain" }[view]} · tsync-stream`;
  if (before !== view) scrollTo(0, 0);
  if (view === "letters") search();
  render();
}

// The overview is empty until the first answer.
function showChosen() {
  for (const name of VIEWS) byId(name).hidden = name !== view || (name === "overview" && !overview);
  byId("connecting").hidden = view !== "overview" || Boolean(overview);
}

function render() {
  const level = overview ? overview.level : "none";
  show(byId("state"), glyph(level), overview ? WORDS[level] : "Connecting");
  byId("token-button").textContent = token() ? "Forget token" : "Enter token";
  showChosen();
  if (!overview) return;
  const stale = byId("stale");
  stale.hidden = !overview.problem;
  if (overview.problem) stale.textContent = overview.status ? `What you see was true ${duration(overview.age_s)} ago. ${overview.problem}` : overview.problem;
  const letters = overview.status?.dead_letters_open ?? 0;
  byId("letters-count").hidden = !letters;
  byId("letters-count").textContent = letters;
  byId("about").textContent = [`tsync-stream ${overview.version}`, overview.replica && `answered by ${overview.replica}`,
    overview.actions ? "" : "API_TOKEN is not set, so nothing can be changed here", overview.values ? "" : "contents of documents are hidden"].filter(Boolean).join(" · ");
  if (overview.status) offerRoutes(overview.status.routes);
  offerActions();
  if (view === "overview") showOverview(overview, history, new Date());
}

// ---- asking ----

async function refresh() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  try {
    overview = await get("/overview");
    if (view === "overview" && Date.now() - historyAt >= HISTORY_MS) {
      history = await get("/history");
      historyAt = Date.now();
    }
    render();
  } catch (error) {
    failed(error, true);
  }
  asking = false;
  if (!document.hidden) timer = setTimeout(refresh, INTERVAL_MS);
}

function failed(error, quietly = false) {
  if (error.status === 401) {
    if (!byId("token-dialog").open) askForToken(token() ? error.message : "");
    return;
  }
  if (!quietly) return say(error.message, "red");
  show(byId("state"), glyph("red"), "No answer");
  byId("stale").hidden = false;
  byId("stale").textContent = error.message;
}

let saying = 0;
function say(text, level = "green") {
  const place = byId("said");
  show(place, glyph(level), h("span", {}, text));
  place.hidden = false;
  clearTimeout(saying);
  saying = setTimeout(() => (place.hidden = true), 8000);
}

// ---- the token ----

let waiting = null;

function askForToken(error = "") {
  byId("token-error").textContent = error;
  byId("token-form").reset();
  if (!byId("token-dialog").open) byId("token-dialog").showModal();
  return new Promise((resolve) => (waiting = resolve));
}

byId("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = new FormData(event.target).get("token").trim();
  try {
    await tryToken(given);
  } catch (error) {
    byId("token-error").textContent = error.message;
    return;
  }
  keepToken(given);
  byId("token-dialog").close("used");
});
byId("token-cancel").addEventListener("click", () => byId("token-dialog").close());
byId("token-dialog").addEventListener("close", () => {
  waiting?.(byId("token-dialog").returnValue === "used");
  byId("token-dialog").returnValue = "";
  waiting = null;
  refresh();
});
byId("token-button").addEventListener("click", () => {
  if (!token()) return askForToken();
  keepToken("");
  render();
  refresh();
});

// ---- doing ----

async function act(step) {
  if (!token() && !(await askForToken())) return;
  try {
    say(await step());
  } catch (error) {
    if (error.status === 401) keepToken("");
    failed(error);
  }
  refresh();
}

function confirm(title, text, yes) {
  const dialog = byId("confirm-dialog");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
byId("confirm-yes").addEventListener("click", () => byId("confirm-dialog").close("yes"));
byId("confirm-no").addEventListener("click", () => byId("confirm-dialog").close("no"));

byId("jobs").addEventListener("click", async (event) => {
  const { action, job, kind } = event.target.closest("button")?.dataset ?? {};
  if (!action) return;
  if (action === "cancel" && !(await confirm(`Cancel this ${kind}?`, "What it has queued already is still synced.", `Cancel the ${kind}`))) return;
  await act(async () => {
    await post(`/jobs/${encodeURIComponent(job)}/${action}`);
    return { cancel: "The job is cancelled.", pause: "The job is paused.", resume: "The job goes on." }[action];
  });
});
byId("routes").addEventListener("click", (event) => {
  const { route } = event.target.dataset ?? {};
  if (route) filterBy(route);
});

setUpLetters({
  act, confirm, failed, actions: () => Boolean(overview?.actions),
  explain: (route, id) => {
    location.hash = "explain";
    explain(route, id);
  },
});
setUpExplain(failed);
addEventListener("hashchange", showView);
document.addEventListener("visibilitychange", () => !document.hidden && refresh());
new ResizeObserver(() => overview && view === "overview" && render()).observe(byId("main"));
showView();
refresh();
