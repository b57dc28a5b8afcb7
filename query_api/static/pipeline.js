// The way from ingest to the store: what waits, who writes, and what could not be written.

import { askReplay } from "./dialogs.js";
import { $, fill, h } from "./dom.js";
import { bytes, compact, count, span, time } from "./format.js";

let parts = null;

export function mountPipeline(refresh) {
  parts = { refresh, body: h("div", { class: "pipeline" }, h("p", { class: "empty" }, "Loading…")),
    letters: h("div", {}) };
  fill($("pipeline"),
    h("div", { class: "section-head" }, h("h2", { id: "pipeline-title" }, "Pipeline")), parts.body, parts.letters);
}

function mark(state, text) {
  const health = $("health");
  health.dataset.state = state;
  health.textContent = text;
}

export function failPipeline(problem) {
  mark("bad", "Pipeline unknown");
  fill(parts.body, h("p", { class: "empty panel" }, `${problem.message} ${problem.advice}`));
}

export function showPipeline(state) {
  const alive = state.workers.filter((worker) => worker.alive).length;
  const wrong = state.warnings.length;
  if (wrong) mark("bad", `${wrong} ${wrong === 1 ? "warning" : "warnings"}`);
  else if (state.dead_letters) mark("warn", `${compact(state.dead_letters)} dead letters`);
  else if (!alive) mark("warn", "No worker");
  else mark("good", state.backlog ? `${compact(state.backlog)} waiting` : "Healthy");
  fill(parts.body,
    wrong ? h("ul", { class: "warnings" }, state.warnings.map((text) => h("li", {}, text))) : null,
    h("dl", { class: "facts-row panel" },
      fact("Backlog", count(state.backlog), `of ${compact(state.limits.events)} · ${bytes(state.backlog_bytes)}`,
        meter(state)),
      fact("Lag", state.backlog ? span(state.oldest_pending_seconds ?? 0) : "none", "age of the oldest that waits"),
      fact("Workers", `${alive} of ${state.workers.length} alive`,
        alive ? "" : "start one: python -m worker.main"),
      fact("Written", compact(state.written_total), `${compact(state.duplicates_total)} repeats ignored`),
      fact("Dead letters", count(state.dead_letters), state.dead_letters_dropped
        ? `${compact(state.dead_letters_dropped)} older ones dropped` : `room for ${compact(state.dead_letters_limit)}`)),
    state.workers.length ? workers(state.workers) : null);
}

function fact(name, value, note, extra = null) {
  return h("div", { class: "fact", id: `fact-${name.toLowerCase().replace(" ", "-")}` },
    h("dt", {}, name), h("dd", { class: "fact-value" }, value), h("dd", { class: "note" }, note, extra));
}

function meter({ backlog, backlog_bytes: size, limits }) {
  const part = Math.max(backlog / limits.events, size / limits.bytes);
  const filled = h("span", { class: "meter-fill" });
  filled.style.width = `${Math.min(100, 100 * part)}%`;
  return h("span", { class: `meter${part > 0.8 ? " full" : ""}`, "aria-hidden": "true" }, filled);
}

function workers(list) {
  const cells = (worker) => [
    h("td", {}, h("span", { class: `badge ${worker.alive ? "good" : "bad"}` }, worker.alive ? "alive" : "stuck")),
    h("td", {}, worker.seconds_since_progress < 2 ? "just now" : `${span(worker.seconds_since_progress)} ago`),
    h("td", { class: "number" }, compact(worker.written)),
    h("td", { class: "number" }, compact(worker.duplicates)),
    h("td", { class: "trouble" }, worker.trouble ?? ""),
  ];
  return h("div", { class: "panel flush scroll", tabindex: 0, role: "region", "aria-label": "Workers" },
    h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, ["Worker", "State", "Progress"].map((name) => h("th", { scope: "col" }, name)),
        ["Written", "Repeats"].map((name) => h("th", { scope: "col", class: "number" }, name)),
        h("th", { scope: "col" }, "Trouble"))),
      h("tbody", {}, list.map((worker) =>
        h("tr", {}, h("th", { scope: "row", class: "mono" }, worker.name), cells(worker))))));
}

/** `answer` is of dead-letters; null where there are none. */
export function showLetters(answer) {
  if (!answer?.dead_letters.length) {
    fill(parts.letters);
    return;
  }
  const { dead_letters: letters, total } = answer;
  const all = h("button", { type: "button", class: "button", "data-focus": "replay-all",
    onclick: () => askReplay(null, parts.refresh) }, "Replay all…");
  fill(parts.letters,
    h("div", { class: "section-head letters-head" }, h("h3", {}, "Dead letters"),
      h("p", { class: "caption" }, letters.length < total ? `newest ${letters.length} of ${count(total)}` : ""), all),
    h("ul", { class: "letters panel flush" }, letters.map(letter)));
}

function letter({ id, event_id: eventId, reason, at, source, attempts, event }) {
  return h("li", { "data-id": id },
    h("div", { class: "letter-head" },
      h("b", { class: "letter-reason" }, reason),
      h("button", { type: "button", class: "quiet", "data-focus": `replay:${id}`, "aria-label": `Replay ${eventId || id}`,
        onclick: () => askReplay([id], parts.refresh) }, "Replay…")),
    h("p", { class: "caption" }, [time(at, "moment"), eventId ? `event ${eventId}` : "no id", source,
      attempts ? `${attempts} ${attempts === 1 ? "attempt" : "attempts"}` : ""].filter(Boolean).join(" · ")),
    event ? h("details", {}, h("summary", { "data-focus": `event:${id}` }, "The event"),
      h("pre", { tabindex: 0 }, typeof event === "string" ? event : JSON.stringify(event, null, 2))) : null);
}
