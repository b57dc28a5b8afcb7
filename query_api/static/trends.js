// The four charts over time.

import { Chart } from "./chart.js";
import { fill, $ } from "./dom.js";
import { compact, count, duration, money, share } from "./format.js";
import { setOwnRange } from "./view.js";

const EACH = { "1m": "minute", "5m": "5 minutes", "15m": "15 minutes", "1h": "hour", "1d": "day" };
const onSelect = (start, end) => setOwnRange(start, Math.min(end, Math.floor(Date.now() / 1_000)));
const axisMoney = (value) => money(value).replace(/[.,]00$/, "");

const charts = {
  requests: new Chart({ id: "requests", title: "Requests", kind: "bars", format: count,
    axis: compact, integers: true, empty: "No requests in this range", onSelect }),
  latency: new Chart({ id: "latency", title: "Latency", kind: "lines", format: duration,
    empty: "No durations in this range", onSelect }),
  tokens: new Chart({ id: "tokens", title: "Tokens", kind: "bars", format: compact,
    integers: true, empty: "No tokens in this range", onSelect }),
  costs: new Chart({ id: "costs", title: "Cost by model", kind: "bars", format: money,
    axis: axisMoney, empty: "Nothing in this range has a price", onSelect }),
};

export function mountTrends() {
  fill($("trends"), Object.values(charts).map((chart) => chart.element));
}

export function failTrends(problem) {
  for (const chart of Object.values(charts)) chart.fail(problem);
}

export const failCosts = (problem) => charts.costs.fail(problem);

/** `series` is the answer of timeseries, `aggregate` the figures of the whole range. */
export function showTrends(series, aggregate) {
  const buckets = bucketsOf(series);
  const caption = `per ${EACH[series.interval]}`;
  const values = (name) => series.points.map((point) => point[name]);
  const one = (label, tone, list, summary) => ({ label, tone, values: list, summary });
  const pending = series.points.map((p) => p.requests - p.successful_requests - p.failed_requests);
  const { total_requests: all, successful_requests: good, failed_requests: bad } = aggregate;
  const unanswered = all - good - bad;
  charts.requests.update({ buckets, caption, series: [
    one("Succeeded", "tone-1", values("successful_requests"), good),
    one("Failed", "tone-bad", values("failed_requests"), bad),
    ...(unanswered ? [one("No response", "tone-rest", pending, unanswered)] : []),
  ] });
  charts.latency.update({ buckets, caption, series: ["p50", "p95", "p99"].map((name) =>
    one(name, `tone-${name}`, series.points.map((p) => p.latency_ms[name]), aggregate.latency_ms[name])) });
  const { total_input_tokens: input, total_cached_tokens: cached } = aggregate;
  const cachedPart = cached && input ? ` · ${share(cached / input)} cached` : "";
  charts.tokens.update({ buckets, caption: caption + cachedPart, series: [
    one("Input", "tone-5", values("input_tokens"), input),
    one("Output", "tone-4", values("output_tokens"), aggregate.total_output_tokens),
  ] });
}

/** `models` are the ones drawn by themselves; `byModel` is a timeseries of them alone. */
export function showCosts(series, aggregate, models, byModel) {
  const buckets = bucketsOf(series);
  const place = new Map(buckets.map(({ start }, index) => [start, index]));
  const rest = series.points.map((point) => point.cost);
  const drawn = models.map((model, number) => {
    const values = buckets.map(() => 0);
    for (const point of byModel.points.filter(({ group }) => group === model)) {
      const index = place.get(point.start);
      if (index === undefined) continue;
      values[index] = point.cost;
      rest[index] -= point.cost;
    }
    return { label: model, tone: `tone-${number + 1}`, values, summary: aggregate.cost_by_model[model] };
  });
  const named = drawn.reduce((sum, { summary }) => sum + summary, 0);
  const left = aggregate.total_cost - named;
  if (left > 1e-9 * aggregate.total_cost) {
    // A sum of doubles less its parts may be a hair below nothing.
    drawn.push({ label: "Other", tone: "tone-rest", values: rest.map((cost) => Math.max(0, cost)),
      summary: left });
  }
  const caption = `per ${EACH[series.interval]}`;
  charts.costs.update({ buckets, caption, series: drawn });
}

function bucketsOf({ points, start, end, interval }) {
  const length = { "1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "1d": 86_400 }[interval];
  return points.map((point, index) => {
    const close = points[index + 1]?.start ?? point.start + length;
    return { start: point.start, end: close, partial: point.start < start || close - 1 > end };
  });
}
