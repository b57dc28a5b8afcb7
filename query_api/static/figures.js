// The few figures that matter first, each against the period before.

import { $, fill, h } from "./dom.js";
import { compact, count, duration, money, NOTHING, number, share } from "./format.js";
import { hasFilter, toggleFilter } from "./view.js";

/** `now` and `before` are aggregates; `before` may be null. */
export function showFigures(now, before, seconds) {
  const rate = (a) => (a && a.total_requests ? a.failed_requests / a.total_requests : null);
  const tokens = (a) => (a ? a.total_input_tokens + a.total_output_tokens : null);
  const unpriced = now.unpriced_requests ? `, ${compact(now.unpriced_requests)} unpriced` : "";
  const each = now.total_requests ? now.total_cost / now.total_requests : null;
  fill($("figures"),
    figure("requests", "Requests", compact(now.total_requests), {
      note: `${number((now.total_requests / seconds) * 60)} a minute`, title: count(now.total_requests),
      change: relative(now.total_requests, before?.total_requests) }),
    figure("errors", "Error rate", share(rate(now)), {
      note: failedButton(now.failed_requests), worseUp: true,
      change: points(rate(now), rate(before)) }),
    figure("cost", "Cost", money(now.total_cost), {
      note: `${each === null ? NOTHING : money(each * 1_000)} a thousand${unpriced}`,
      change: relative(now.total_cost, before?.total_cost) }),
    figure("tokens", "Tokens", compact(tokens(now)), {
      note: `${compact(now.total_input_tokens)} in · ${compact(now.total_output_tokens)} out`,
      title: count(tokens(now)), change: relative(tokens(now), tokens(before)) }),
    figure("p95", "Latency p95", duration(now.latency_ms.p95), {
      note: `p50 ${duration(now.latency_ms.p50)} · p99 ${duration(now.latency_ms.p99)}`,
      worseUp: true, change: relative(now.latency_ms.p95, before?.latency_ms.p95) }),
    figure("speed", "Output speed", now.avg_tokens_per_second === null
      ? NOTHING : `${number(now.avg_tokens_per_second)} tok/s`, {
      note: `mean duration ${now.total_requests ? duration(now.avg_duration_ms) : NOTHING}`,
      worseDown: true, change: relative(now.avg_tokens_per_second, before?.avg_tokens_per_second) }),
  );
}

/** What is shown before the first answer. */
export function awaitFigures() {
  const names = ["Requests", "Error rate", "Cost", "Tokens", "Latency p95", "Output speed"];
  fill($("figures"), names.map((name) => h("div", { class: "figure waiting" },
    h("dt", {}, name), h("dd", { class: "value" }, h("span", { class: "bone" }, "000")),
    h("dd", { class: "note" }, "loading…"))));
}

function figure(name, label, value, { note, title, change, worseUp, worseDown }) {
  return h("div", { class: "figure", id: `figure-${name}` },
    h("dt", {}, label),
    h("dd", { class: "value", title: title ?? null }, value, changeMark(change, worseUp, worseDown)),
    h("dd", { class: "note" }, note));
}

function failedButton(failed) {
  if (!failed) return "none failed";
  const on = hasFilter("success", false);
  return h("button", { type: "button", class: "link", "data-focus": "failed", "aria-pressed": String(on),
    onclick: () => toggleFilter("success", false) }, `${compact(failed)} failed`);
}

function relative(now, before) {
  if (!before || now === null || now === undefined) return null;
  return { size: now / before - 1, slight: 0.03, text: percent(now / before - 1) };
}

function points(now, before) {
  if (now === null || before === null) return null;
  const size = now - before;
  return { size, slight: 0.005, text: `${Math.abs(100 * size).toFixed(1)} pt` };
}

function percent(size) {
  const value = Math.abs(100 * size);
  return value > 999 ? "> 999%" : `${value < 10 ? value.toFixed(1) : Math.round(value)}%`;
}

function changeMark(change, worseUp, worseDown) {
  if (!change || Math.abs(change.size) < 0.0005) return null;
  const up = change.size > 0;
  const slight = Math.abs(change.size) < change.slight;
  const feel = slight ? "even" : (up && worseUp) || (!up && worseDown) ? "worse" : worseUp || worseDown ? "better" : "even";
  return h("span", { class: `change ${feel}`, title: "against the period of the same length before" },
    h("span", { "aria-hidden": "true" }, up ? "↑ " : "↓ "),
    h("span", { class: "hidden" }, up ? "up " : "down "), change.text);
}
