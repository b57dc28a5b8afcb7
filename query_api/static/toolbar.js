// The controls above the page: range, filters, ranking, and what the menu holds.

import { labelOf } from "./breakdowns.js";
import { askRange, closeMenu, offerLink } from "./dialogs.js";
import { $, fill, h, say } from "./dom.js";
import { time, zoneName } from "./format.js";
import { clearFilters, NAMES, pairs, resolve, setRange, setSort, toggleFilter, view } from "./view.js";

export function mountToolbar() {
  for (const option of radios("range")) option.addEventListener("click", () => setRange(option.value));
  for (const option of radios("sort")) option.addEventListener("change", () => setSort(option.value));
  $("own-range").addEventListener("click", () => askRange(zoneName()));
  $("copy-link").addEventListener("click", copyLink);
  addEventListener("click", (event) => {
    if (!$("menu").contains(event.target)) closeMenu();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && $("menu").open) {
      closeMenu();
      $("menu").querySelector("summary").focus();
    }
  });
  $("zone").textContent = `Times in ${zoneName()}`;
}

const radios = (name) => document.querySelectorAll(`input[name=${name}]`);

async function copyLink() {
  const { start, end } = shown;
  const link = new URL(location.href);
  link.hash = "";
  link.searchParams.delete("range");
  link.searchParams.set("start", start);
  link.searchParams.set("end", end);
  closeMenu();
  try {
    await navigator.clipboard.writeText(link.href);
  } catch {
    // Over plain HTTP from another machine there is no clipboard; elsewhere it may be denied.
    offerLink(link.href);
    return;
  }
  say("The link is copied");
  $("updated").textContent = "Link copied";
}

/** Show which view it is. */
export function showView() {
  const { range, sort, filters } = view();
  for (const option of radios("range")) option.checked = option.value === range;
  for (const option of radios("sort")) option.checked = option.value === sort;
  $("own-range").classList.toggle("chosen", range === "own");
  const all = pairs(filters);
  fill($("chips"),
    all.map(([name, value]) => chip(name, value)),
    all.length > 1 ? h("li", {}, h("button", { type: "button", class: "quiet", onclick: clearFilters },
      "Remove all filters")) : null);
}

function chip(name, value) {
  const text = labelOf(name, value);
  return h("li", {}, h("button", { type: "button", class: "chip", "data-focus": `chip:${name}:${value}`,
    "aria-label": `Remove the filter ${NAMES[name]} ${text}`, title: value,
    onclick: () => toggleFilter(name, value) },
  h("span", { class: "chip-name" }, NAMES[name]), h("span", { class: "chip-value" }, text),
  h("span", { "aria-hidden": "true" }, "✕")));
}

let shown = resolve();
/** The period of what is on the page; the view's own moves on with the clock. */
export const shownPeriod = () => shown;

export function showPeriod({ start, end }) {
  shown = { start, end };
  const sameDay = new Date(start * 1_000).toDateString() === new Date(end * 1_000).toDateString();
  $("period").textContent = `${time(start, "minute")} – ${time(end, sameDay ? "clock" : "minute")}`;
  $("period").title = `${time(start, "full")} – ${time(end, "full")}`;
  $("period").dataset.start = start;
  $("period").dataset.end = end;
}
