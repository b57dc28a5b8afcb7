// Everything that a view needs, asked for at once; each answer is handed on as it comes.

import { get } from "./api.js";
import { DIMENSIONS, unseenKeys } from "./breakdowns.js";
import { PAGE } from "./events.js";
import { pairs, resolve, view } from "./view.js";
import { ZONE } from "./format.js";

const TOP = 8;
const LETTERS = 20;
export const DRAWN_MODELS = 5;

/** Ask again for what changes by itself; `whole` also asks for the period before and the store. */
export async function loadView({ whole, signal, arrive, fail }) {
  const period = resolve();
  const { filters, sort } = view();
  const range = [["start", period.start], ["end", period.end]];
  const selected = [...range, ...pairs(filters)];
  const inTime = [["interval", period.interval], ["tz", ZONE]];
  const answers = {};

  const ask = async (part, path, query) => {
    try {
      answers[part] = await get(path, query, signal);
      if (!signal.aborted) arrive(part, answers[part], period);
    } catch (problem) {
      if (signal.aborted || problem.name === "AbortError") return;
      if (problem.status === undefined) throw problem;
      answers[part] = null;
      fail(part, problem);
    }
  };

  const trends = async () => {
    await Promise.all([
      ask("aggregate", "aggregate", selected),
      ask("series", "timeseries", [...selected, ...inTime]),
    ]);
    if (!answers.aggregate || !answers.series || signal.aborted) return;
    arrive("trends", answers, period);
    await costs();
  };
  const costs = async () => {
    const models = Object.entries(answers.aggregate.cost_by_model)
      .filter(([, cost]) => cost > 0)
      .sort(([, a], [, b]) => b - a)
      .slice(0, DRAWN_MODELS)
      .map(([model]) => model);
    const query = [...range, ...pairs(filters, "model"), ...models.map((model) => ["model", model]),
      ...inTime, ["group_by", "model"]];
    if (models.length) await ask("byModel", "timeseries", query);
    else answers.byModel = { points: [] };
    if (answers.byModel && !signal.aborted) arrive("costs", { ...answers, models }, period);
  };
  // A dimension's own filter is left out, so that its other values can be picked as well.
  const top = (by) => ask(`top:${by}`, "top",
    [...range, ...pairs(filters, by), ["by", by], ["sort", sort], ["limit", TOP]]);
  const queue = async () => {
    await ask("pipeline", "pipeline", []);
    if (answers.pipeline?.dead_letters) await ask("letters", "dead-letters", [["limit", LETTERS]]);
    else if (!signal.aborted) arrive("letters", null, period);
  };
  // Rankings know keys by their ids: a few of their events tell what people call them.
  const labels = async () => {
    const unseen = answers["top:api_key_id"] ? unseenKeys(answers["top:api_key_id"]) : [];
    const query = [...range, ...unseen.map((key) => ["api_key_id", key]), ["limit", PAGE]];
    if (unseen.length) await ask("labels", "events", query);
  };
  const before = () => {
    const length = period.end - period.start + 1;
    const earlier = [["start", Math.max(0, period.start - length)], ["end", period.start - 1]];
    return ask("before", "aggregate", [...earlier, ...pairs(filters)]);
  };

  await Promise.all([
    trends(),
    ask("events", "events", [...selected, ["limit", PAGE]]),
    ...DIMENSIONS.map(top),
    queue(),
    ...(whole ? [ask("stats", "stats", []), before()] : []),
  ]);
  if (whole && !signal.aborted) await labels();
  return Object.values(answers).every((answer) => answer !== null);
}
