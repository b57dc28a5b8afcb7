// Top models, endpoints, backends and keys; a click filters by one of them.

import { $, fill, h } from "./dom.js";
import { saveCsv } from "./download.js";
import { compact, count, duration, money, share, shortMoney } from "./format.js";
import { hasFilter, NAMES, toggleFilter, view } from "./view.js";

export const DIMENSIONS = ["model", "api_key_id", "endpoint", "backend"];
const TITLES = { model: "Models", endpoint: "Endpoints", backend: "Backends", api_key_id: "Keys" };
const ABSENT = { model: "no model", api_key_id: "no key" };
const SIZES = {
  requests: (group) => group.requests,
  cost: (group) => group.cost,
  tokens: (group) => group.input_tokens + group.output_tokens,
  errors: (group) => group.failed_requests,
  p95: (group) => group.latency_ms.p95 ?? 0,
};
const COLUMNS = [
  ["requests", "Requests", (group) => compact(group.requests)],
  ["errors", "Errors", (group) => share(group.requests ? group.failed_requests / group.requests : null)],
  ["tokens", "Tokens", (group) => compact(group.input_tokens + group.output_tokens)],
  ["p95", "p95", (group) => duration(group.latency_ms.p95)],
  ["cost", "Cost", (group) => shortMoney(group.cost), (group) => money(group.cost)],
];

const panels = {};
const labels = new Map();

export function mountBreakdowns() {
  fill($("breakdowns"), DIMENSIONS.map((by) => panel(by)));
}

function panel(by) {
  const titleId = `top-${by}-title`;
  const parts = { body: h("div", { class: "top-body" }, waiting()), more: h("p", { class: "caption" }), groups: [] };
  panels[by] = parts;
  const csv = h("button", { type: "button", class: "quiet", "aria-label": `${TITLES[by]} as CSV`,
    onclick: () => saveGroups(by, parts.groups) }, "CSV");
  return h("article", { class: "panel top", id: `top-${by}`, "aria-labelledby": titleId },
    h("div", { class: "panel-head" }, h("h3", { id: titleId }, TITLES[by]), parts.more,
      h("div", { class: "panel-tools" }, csv)),
    parts.body);
}

const waiting = () => h("p", { class: "empty" }, "Loading…");

/** Keys are ids; where their events gave them a label, it is shown. */
export function learnLabels(events) {
  for (const { auth } of events) {
    if (auth.api_key_id) labels.set(auth.api_key_id, auth.api_key_label ?? labels.get(auth.api_key_id));
  }
}

/** Keys of which no event has been seen yet. */
export const unseenKeys = ({ groups }) =>
  groups.map(({ value }) => value).filter((value) => value !== null && !labels.has(value));

export const labelOf = (by, value) => (by === "api_key_id" && labels.get(value)) || String(value);

export function failBreakdown(by, problem) {
  if (!panels[by].groups.length) {
    fill(panels[by].body, h("p", { class: "empty" }, `${problem.message} ${problem.advice}`));
  }
}

export function showBreakdown(by, { groups, total_groups: total }) {
  const { body, more } = panels[by];
  panels[by].groups = groups;
  more.textContent = total > groups.length ? `first ${groups.length} of ${count(total)}` : "";
  if (!groups.length) {
    fill(body, h("p", { class: "empty" }, "Nothing here in this range. Try a longer one or fewer filters."));
    return;
  }
  const sort = view().sort;
  const most = Math.max(...groups.map(SIZES[sort])) || 1;
  const head = COLUMNS.map(([name, title]) =>
    h("th", { scope: "col", class: `number col-${name}${name === sort ? " sorted" : ""}` }, title));
  fill(body, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, NAMES[by]), head)),
    h("tbody", {}, groups.map((group) => row(by, group, sort, SIZES[sort](group) / most)))));
}

function row(by, group, sort, part) {
  const { value } = group;
  const on = value !== null && hasFilter(by, value);
  const bar = h("span", { class: "bar-fill", "aria-hidden": "true" });
  bar.style.width = `${100 * part}%`;
  const name = value === null
    ? h("span", { class: "absent" }, ABSENT[by] ?? "none")
    : h("button", { type: "button", class: "pick", title: String(value), "aria-pressed": String(on),
        "data-focus": `${by}:${value}`, onclick: () => toggleFilter(by, value) }, labelOf(by, value));
  return h("tr", { class: on ? "on" : null },
    h("th", { scope: "row" }, name, bar),
    COLUMNS.map(([column, , write, full = null]) =>
      h("td", { class: `number col-${column}${column === sort ? " sorted" : ""}`, title: full?.(group) },
        write(group))));
}

function saveGroups(by, groups) {
  const columns = [by, "requests", "successful_requests", "failed_requests", "input_tokens",
    "output_tokens", "cost", "avg_duration_ms", "p50_ms", "p95_ms", "p99_ms"];
  const rows = groups.map((g) => [g.value, ...columns.slice(1, 8).map((name) => g[name]),
    g.latency_ms.p50, g.latency_ms.p95, g.latency_ms.p99]);
  saveCsv(`${TITLES[by].toLowerCase()}.csv`, columns, rows);
}
