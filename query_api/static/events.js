// The latest events, newest first. What comes in while older pages are open is put on top.

import { labelOf } from "./breakdowns.js";
import { $, fill, h, say } from "./dom.js";
import { openEvent } from "./event-details.js";
import { compact, duration, money, time } from "./format.js";
import { clearFilters, setOwnRange, view } from "./view.js";

export const PAGE = 25;

let shown = [];
let cursor = null;
let parts = null;
// Of the page that is being read: it ends with what it would be added to.
let reading = null;

/**
 * `readPage(cursor, signal)` answers the page that follows; `saveAll()` exports the range's events;
 * `tell(problem)` says why a page could not be read.
 */
export function mountEvents(readPage, saveAll, tell) {
  parts = {
    caption: h("p", { class: "caption" }),
    rows: h("tbody", {}),
    table: null,
    empty: h("div", { class: "empty" }, "Loading…"),
    more: h("button", { type: "button", class: "button", hidden: true, onclick: () => older(readPage, tell) },
      `Show ${PAGE} older`),
  };
  const columns = ["Time", "Status", "Model", "Endpoint", "Backend", "Key", "Duration", "Tokens", "Cost"];
  const right = new Set(["Duration", "Tokens", "Cost"]);
  parts.table = h("table", { class: "event-table", hidden: true },
    h("thead", {}, h("tr", {}, columns.map((name) =>
      h("th", { scope: "col", class: `${right.has(name) ? "number " : ""}col-${name.toLowerCase()}` }, name)))),
    parts.rows);
  fill($("events"),
    h("div", { class: "section-head" }, h("h2", { id: "events-title" }, "Latest events"), parts.caption,
      h("button", { type: "button", class: "quiet", onclick: saveAll, "aria-label": "Events as CSV" }, "CSV")),
    h("article", { class: "panel flush", "aria-labelledby": "events-title" }, parts.table, parts.empty),
    parts.more);
}

/** A new view: whatever was shown is of another one. */
export function resetEvents() {
  shown = [];
  cursor = null;
  stopReading();
}

function stopReading() {
  reading?.abort();
  reading = null;
  parts.more.disabled = false;
}

export function failEvents(problem) {
  if (!shown.length) fill(parts.empty, h("p", {}, `${problem.message} ${problem.advice}`));
}

/** `page` is the newest page; `stats` of the store tell what to do when there is none. */
export function showEvents(page, stats) {
  const known = new Set(shown.map(({ id }) => id));
  const fresh = page.events.filter(({ id }) => !known.has(id));
  // No event in common: what lies between is unknown, so the older ones can't stay.
  const joined = fresh.length < page.events.length && (shown.length > PAGE || reading);
  if (joined) shown = merge(fresh, shown).filter((event) => event.timestamp >= page.start);
  else {
    stopReading();
    shown = page.events;
    cursor = page.next_cursor;
  }
  render(known.size > 0 ? new Set(fresh.map(({ id }) => id)) : new Set());
  if (!shown.length) fill(parts.empty, nothing(stats));
}

async function older(readPage, tell) {
  const mine = new AbortController();
  reading = mine;
  parts.more.disabled = true;
  try {
    const page = await readPage(cursor, mine.signal);
    if (mine.signal.aborted) return;
    const known = new Set(shown.map(({ id }) => id));
    shown = merge(shown, page.events.filter(({ id }) => !known.has(id)));
    cursor = page.next_cursor;
    render(new Set());
    say(`${shown.length} events are shown`);
  } catch (problem) {
    if (!mine.signal.aborted) tell(problem);
  } finally {
    if (reading === mine) stopReading();
  }
}

const merge = (some, others) =>
  [...some, ...others].sort((a, b) => b.timestamp - a.timestamp || (a.id < b.id ? 1 : -1));

function render(fresh) {
  parts.caption.textContent = shown.length
    ? `newest ${shown.length}${cursor ? "" : ", which is all of them"}` : "";
  parts.table.hidden = !shown.length;
  parts.empty.hidden = Boolean(shown.length);
  parts.more.hidden = !cursor;
  const rows = new Map([...parts.rows.children].map((row) => [row.dataset.id, row]));
  const now = new Date().toDateString();
  fill(parts.rows, shown.map((event) => rows.get(event.id) ?? row(event, fresh.has(event.id), now)));
}

function row(event, fresh, today) {
  const { request, response, performance, auth, routing } = event;
  const sameDay = new Date(event.timestamp * 1_000).toDateString() === today;
  const tokens = [inputTokens(event), outputTokens(event)];
  const open = () => openEvent(event);
  const cell = (name, text, full = null) => h("td", { class: `col-${name}`, title: full ?? text }, text);
  const figure = (name, text) => h("td", { class: `number col-${name}` }, text);
  return h("tr", { "data-id": event.id, class: fresh ? "fresh" : null, onclick: open },
    h("td", { class: "col-time" }, h("button", { type: "button", class: "pick", "data-focus": event.id,
      title: time(event.timestamp, "full"), onclick: (click) => { click.stopPropagation(); open(); } },
      time(event.timestamp, sameDay ? "second" : "moment"))),
    h("td", { class: "col-status" }, statusBadge(response)),
    cell("model", request.model ?? "no model"),
    cell("endpoint", request.endpoint),
    cell("backend", routing.backend),
    cell("key", auth.api_key_label ?? (auth.api_key_id ? labelOf("api_key_id", auth.api_key_id) : "–"),
      auth.api_key_id ?? "no key"),
    figure("duration", duration(performance.duration_ms)),
    figure("tokens", tokens.every((n) => n === null) ? "–" : tokens.map(compact).join(" → ")),
    figure("cost", money(event.cost?.total_cost)));
}

export function statusBadge(response) {
  if (!response) return h("span", { class: "badge rest" }, "none");
  return h("span", { class: `badge ${response.success ? "good" : "bad"}` }, String(response.status_code));
}

export const inputTokens = ({ token_usage: usage, request }) =>
  usage ? usage.prompt_tokens : request.input_tokens;
export const outputTokens = ({ token_usage: usage, response }) =>
  usage ? usage.completion_tokens : (response?.output_tokens ?? null);

/** What to do where there is no event. */
function nothing(stats) {
  const parts = [h("p", { class: "empty-title" }, "No events in this view")];
  if (Object.keys(view().filters).length) {
    parts.push(h("button", { type: "button", class: "button", onclick: clearFilters }, "Remove all filters"));
  } else if (stats && !stats.total_events) {
    parts.push(h("p", {}, "The store is empty. Post a first event to ingest; it is here a moment later:"),
      h("pre", { tabindex: 0 }, FIRST_EVENT));
  }
  if (stats?.newest_timestamp) {
    const newest = stats.newest_timestamp;
    parts.push(h("p", {}, `The store's newest event is of ${time(newest, "full")}.`),
      h("button", { type: "button", class: "button", onclick: () => setOwnRange(newest - 86_400, newest) },
        "Show the day before it"));
  }
  return parts;
}

const FIRST_EVENT = `curl http://127.0.0.1:8087/analytics/events -H 'Content-Type: application/json' -d '{
  "request": {"endpoint": "/v1/chat/completions", "model": "gpt-4o-mini"},
  "response": {"status_code": 200},
  "performance": {"duration_ms": 840},
  "token_usage": {"prompt_tokens": 120, "completion_tokens": 45}
}'`;
