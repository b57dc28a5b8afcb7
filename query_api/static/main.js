// The page: what is asked for, when, and who shows it.

import { address, file, get, token } from "./api.js";
import { DIMENSIONS, failBreakdown, learnLabels, mountBreakdowns, showBreakdown } from "./breakdowns.js";
import { askClear, askToken, closeMenu, tokenDialogIsOpen } from "./dialogs.js";
import { $, fill, h, say } from "./dom.js";
import { save } from "./download.js";
import { failEvents, mountEvents, PAGE, resetEvents, showEvents } from "./events.js";
import { awaitFigures, showFigures } from "./figures.js";
import { bytes, compact, span, time, useCurrency } from "./format.js";
import { loadView } from "./loading.js";
import { failPipeline, mountPipeline, showLetters, showPipeline } from "./pipeline.js";
import { mountToolbar, showPeriod, shownPeriod, showView } from "./toolbar.js";
import { failCosts, failTrends, mountTrends, showCosts, showTrends } from "./trends.js";
import { onChange, pairs, view } from "./view.js";

const LEAST_PAUSE = 5_000;
const WHOLE_EVERY = 60_000;
// A view that takes long to answer is asked for less often: at most a fifth of the time is asking.
const PAUSE_PER_LOAD = 4;

let live = true;
let loading = null;
let timer = 0;
let wholeAt = 0;
let last = { stats: null, before: null, aggregate: null, events: null, keys: null };

const shows = {
  aggregate: (answer, period) => {
    last.aggregate = answer;
    redrawFigures(period);
  },
  before: (answer, period) => {
    last.before = answer;
    if (last.aggregate) redrawFigures(period);
  },
  trends: ({ series, aggregate }) => showTrends(series, aggregate),
  costs: ({ series, aggregate, byModel, models }) => showCosts(series, aggregate, models, byModel),
  events: (answer) => {
    last.events = answer;
    useCurrency(answer.events.find(({ cost }) => cost)?.cost.currency ?? "");
    learnLabels(answer.events);
    if (last.keys) showBreakdown("api_key_id", last.keys);
    showEvents(answer, last.stats);
    showView();
  },
  stats: (answer) => {
    last.stats = answer;
    if (last.events && !last.events.count) showEvents(last.events, answer);
    showStore(answer);
  },
  labels: ({ events }) => {
    learnLabels(events);
    showBreakdown("api_key_id", last.keys);
    showView();
  },
  pipeline: showPipeline,
  letters: showLetters,
};
for (const by of DIMENSIONS) {
  shows[`top:${by}`] = (answer) => {
    if (by === "api_key_id") last.keys = answer;
    showBreakdown(by, answer);
  };
}

const fails = { aggregate: failTrends, series: failTrends, byModel: failCosts, events: failEvents,
  pipeline: failPipeline };
for (const by of DIMENSIONS) fails[`top:${by}`] = (problem) => failBreakdown(by, problem);

const redrawFigures = ({ start, end }) => showFigures(last.aggregate, last.before, end - start + 1);

async function refresh({ whole = false } = {}) {
  clearTimeout(timer);
  loading?.abort();
  const mine = new AbortController();
  loading = mine;
  const begun = performance.now();
  const problems = new Map();
  document.body.dataset.state = "loading";
  whole ||= Date.now() - wholeAt > WHOLE_EVERY;
  await loadView({
    whole,
    signal: mine.signal,
    arrive: (part, answer, period) => {
      showPeriod(period);
      shows[part]?.(answer, period);
    },
    fail: (part, problem) => {
      problems.set(problem.type, problem);
      fails[part]?.(problem);
      if (problem.status === 401) signIn(problem);
    },
  });
  if (mine.signal.aborted) return;
  if (whole) wholeAt = Date.now();
  showProblems([...problems.values()]);
  performance.mark("complete");
  beat();
  document.body.dataset.state = problems.size ? "failed" : "ready";
  schedule(performance.now() - begun);
}

// One beat for each refresh: a dot that never rests would have the page painted all the time.
function beat() {
  if (!live || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  $("live").firstElementChild.animate({ opacity: [0.2, 1], transform: ["scale(1.5)", "none"] }, 900);
}

function signIn(problem) {
  const reason = token() ? `${problem.message} ${problem.advice}`
    : "This service asks for a token. Enter one that may query.";
  if (!tokenDialogIsOpen()) askToken(reason, () => refresh({ whole: true }));
}

function showProblems(problems) {
  if (!problems.length) {
    fill($("notice"));
    $("updated").textContent = `Updated ${time(Date.now() / 1_000, "second")}`;
    return;
  }
  const signedOut = problems.some(({ status }) => status === 401);
  // The same alert is not set anew: a screen reader would read it out at each refresh.
  const text = problems.map(({ message, advice }) => `${message} ${advice}`).join(" ");
  if ($("notice").textContent.startsWith(text)) return;
  fill($("notice"), h("div", { class: "notice" }, h("p", {}, text),
    h("button", { type: "button", class: "button", onclick: () =>
      signedOut ? askToken("Enter a token that may query.", () => refresh({ whole: true })) : refresh({ whole: true }) },
    signedOut ? "Enter a token" : "Try again")));
}

function schedule(took) {
  clearTimeout(timer);
  if (!live || document.hidden || tokenDialogIsOpen()) return;
  timer = setTimeout(refresh, Math.max(LEAST_PAUSE, PAUSE_PER_LOAD * took));
}

function setLive(on) {
  live = on;
  $("live").setAttribute("aria-pressed", on);
  $("live-text").textContent = on ? "Live" : "Paused";
  if (on) refresh();
  else clearTimeout(timer);
}

function showStore(stats) {
  const facts = [`${stats.backend_type} store`, `${compact(stats.total_events)} events`];
  if (stats.size_bytes) facts.push(bytes(stats.size_bytes));
  facts.push(stats.ttl_seconds ? `each kept for ${span(stats.ttl_seconds)}` : "kept for ever");
  if (stats.oldest_timestamp) facts.push(`since ${time(stats.oldest_timestamp, "full")}`);
  $("store").textContent = facts.join(" · ");
}

async function exportEvents() {
  closeMenu();
  const { start, end } = shownPeriod();
  const query = [["start", start], ["end", end], ...pairs(view().filters), ["format", "csv"], ["columns", "all"]];
  const name = `analytics_${start}_to_${end}.csv`;
  try {
    if (token()) save(name, await file("export", query));
    else h("a", { href: address("export", query), download: name }).click();
    say("The export was started");
  } catch (problem) {
    showProblems([problem]);
  }
}

function olderEvents(cursor, signal) {
  return get("events", [["cursor", cursor], ["limit", PAGE]], signal);
}

function tellOlder(problem) {
  if (problem.status === undefined) throw problem;
  showProblems([problem]);
  if (problem.status === 401) signIn(problem);
}

function begin() {
  mountToolbar();
  mountTrends();
  mountBreakdowns();
  mountEvents(olderEvents, exportEvents, tellOlder);
  mountPipeline(() => refresh({ whole: true }));
  awaitFigures();
  showView();
  onChange(() => {
    last = { ...last, before: null, events: null };
    resetEvents();
    showView();
    refresh({ whole: true });
  });
  $("live").addEventListener("click", () => setLive(!live));
  $("refresh").addEventListener("click", () => refresh({ whole: true }));
  $("export").addEventListener("click", exportEvents);
  $("token").addEventListener("click", () => {
    closeMenu();
    askToken("The token that this page asks the service with.", () => refresh({ whole: true }));
  });
  $("clear").addEventListener("click", () => {
    closeMenu();
    askClear(last.stats?.total_events ?? null, () => {
      resetEvents();
      refresh({ whole: true });
    });
  });
  document.addEventListener("visibilitychange", () => !document.hidden && live && refresh());
  refresh({ whole: true });
}

begin();
