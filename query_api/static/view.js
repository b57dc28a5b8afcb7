// What is looked at: a range, filters and a ranking. It lives in the address, so it can be shared.

export const FILTERS = [
  "model", "endpoint", "backend", "api_key_id", "status_code", "success", "upstream_mode", "stream",
];
export const NAMES = {
  model: "Model", endpoint: "Endpoint", backend: "Backend", api_key_id: "Key",
  status_code: "Status", success: "Success", upstream_mode: "Mode", stream: "Streaming",
};
const HOUR = 3_600;
const DAY = 86_400;
const SPANS = { "1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY };
const FIRST_RANGE = "24h";
export const SORTS = ["requests", "cost", "tokens", "errors", "p95"];
// Longest range for which an interval is still fine enough to look at and short enough to send.
const INTERVALS = [
  ["1m", 60, 2 * HOUR], ["5m", 300, 12 * HOUR], ["15m", 900, 2 * DAY], ["1h", HOUR, 10 * DAY],
  ["1d", DAY, Infinity],
];

let current = read();
const listeners = [];

export const view = () => current;
export const onChange = (listener) => listeners.push(listener);

function read() {
  const query = new URLSearchParams(location.search);
  const start = Number(query.get("start"));
  const end = Number(query.get("end"));
  const own = Number.isInteger(start) && Number.isInteger(end) && start > 0 && end > start;
  const range = query.get("range");
  const filters = FILTERS.map((name) => [name, query.getAll(name)]);
  return {
    range: own ? "own" : Object.hasOwn(SPANS, range) ? range : FIRST_RANGE,
    start: own ? start : null,
    end: own ? end : null,
    filters: Object.fromEntries(filters.filter(([, values]) => values.length)),
    sort: SORTS.includes(query.get("sort")) ? query.get("sort") : SORTS[0],
  };
}

function address(to) {
  const query = new URLSearchParams();
  if (to.range === "own") {
    query.set("start", to.start);
    query.set("end", to.end);
  } else if (to.range !== FIRST_RANGE) query.set("range", to.range);
  for (const [name, value] of pairs(to.filters)) query.append(name, value);
  if (to.sort !== SORTS[0]) query.set("sort", to.sort);
  const text = query.toString();
  return location.pathname + (text ? `?${text}` : "") + location.hash;
}

function change(changes) {
  current = { ...current, ...changes };
  history.pushState(null, "", address(current));
  for (const listener of listeners) listener();
}

addEventListener("popstate", () => {
  const before = address(current);
  current = read();
  // A jump to an anchor is no other view.
  if (address(current) !== before) for (const listener of listeners) listener();
});

export const setRange = (range) => change({ range, start: null, end: null });
export const setOwnRange = (start, end) => change({ range: "own", start, end });
export const setSort = (sort) => change({ sort });
export const hasFilter = (name, value) => (current.filters[name] ?? []).includes(String(value));

/** Add the filter; where it is there already, take it away. */
export function toggleFilter(name, value) {
  const values = current.filters[name] ?? [];
  const text = String(value);
  const left = values.includes(text) ? values.filter((other) => other !== text) : [...values, text];
  const filters = { ...current.filters, [name]: left };
  if (!left.length) delete filters[name];
  change({ filters });
}

export const clearFilters = () => change({ filters: {} });

/** [name, value] of each filter; `without` leaves one name out. */
export function pairs(filters, without = null) {
  return Object.entries(filters)
    .filter(([name]) => name !== without)
    .flatMap(([name, values]) => values.map((value) => [name, value]));
}

/** The view's range as Unix seconds, both inclusive, and the interval that suits it. */
export function resolve(now = Math.floor(Date.now() / 1_000)) {
  const { range, start, end } = current;
  const period = range === "own" ? { start, end } : { start: now - SPANS[range], end: now };
  const length = period.end - period.start;
  const [interval, seconds] = INTERVALS.find(([, , longest]) => length <= longest);
  return { ...period, interval, seconds };
}
