// A chart in a panel: stacked bars or lines over time, a legend that reads what is under the cursor,
// and the same figures as a table and as CSV.

import { followKeys, followPointer, setCursor, watchCursor } from "./cursor.js";
import { fill, h, svg } from "./dom.js";
import { saveCsv } from "./download.js";
import { offset, time, ZONE } from "./format.js";
import { timeTicks, valueTicks } from "./scale.js";

const HEIGHT = 196;
const TOP = 10;
const BOTTOM = 24;
const RIGHT = 6;
const CHARACTER = 6.6;

export class Chart {
  /** `kind` is "bars" or "lines"; `format` writes a value, `axis` one at the axis. */
  constructor({ id, title, kind, format, axis = format, integers = false, empty, onSelect }) {
    Object.assign(this, { id, title, kind, format, axis, integers, empty, onSelect });
    this.data = null;
    this.geometry = { left: 0, band: 1, size: 0 };
    this.element = this.#panel();
    const geometry = () => this.geometry;
    followPointer(this.plot, geometry, (range) => this.#shade(range), (from, to) => this.#zoom(from, to));
    followKeys(this.plot, geometry);
    watchCursor((index, source) => this.#read(index, source));
    new ResizeObserver(() => this.#draw()).observe(this.plot);
  }

  #panel() {
    const titleId = `${this.id}-title`;
    this.legend = h("ul", { class: "legend" });
    this.caption = h("p", { class: "caption" });
    this.message = h("p", { class: "plot-message" });
    this.picture = svg("svg", { "aria-hidden": "true" });
    this.plot = h(
      "div",
      { class: "plot", tabindex: 0, role: "slider", "aria-labelledby": titleId, "aria-valuemin": 0 },
      this.picture,
      this.message,
    );
    this.table = h("div", { class: "plot-table", tabindex: 0, role: "region", hidden: true,
      "aria-label": `${this.title}, as a table` });
    this.switch = h("button", { type: "button", class: "quiet", "aria-pressed": "false",
      "aria-label": `${this.title} as a table`, onclick: () => this.#switchTable() }, "Table");
    const csv = h("button", { type: "button", class: "quiet", "aria-label": `${this.title} as CSV`,
      onclick: () => this.#save() }, "CSV");
    const head = h("div", { class: "panel-head" }, h("h3", { id: titleId }, this.title),
      this.caption, h("div", { class: "panel-tools" }, this.switch, csv));
    return h("article", { class: "panel chart", id: this.id, "aria-labelledby": titleId },
      head, this.legend, this.plot, this.table);
  }

  /** `buckets` are {start, end, partial}, `series` {label, tone, values, summary}. */
  update(data) {
    this.data = data;
    this.caption.textContent = data.caption;
    this.element.dataset.state = "ready";
    this.#draw();
    this.#read(null);
    if (!this.table.hidden) this.#fillTable();
  }

  fail(problem) {
    if (this.data) return;
    this.element.dataset.state = "failed";
    this.message.textContent = `${problem.message} ${problem.advice}`;
  }

  #top() {
    const { buckets, series } = this.data;
    const heights = buckets.map((_, index) => {
      const values = series.map(({ values }) => values[index] ?? 0);
      return this.kind === "bars" ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values);
    });
    return Math.max(0, ...heights);
  }

  #draw() {
    const width = this.plot.clientWidth;
    if (!this.data || !width) return;
    const { buckets, series } = this.data;
    const top = this.#top();
    const ticks = valueTicks(top, { integers: this.integers });
    const labels = ticks.map(this.axis);
    const left = Math.ceil(Math.max(...labels.map((label) => label.length)) * CHARACTER) + 10;
    const band = (width - left - RIGHT) / buckets.length;
    this.geometry = { left, band, size: buckets.length };
    const y = (value) => HEIGHT - BOTTOM - (value / ticks.at(-1)) * (HEIGHT - BOTTOM - TOP);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.shade = svg("rect", { class: "shade", y: TOP, height: HEIGHT - TOP - BOTTOM, width: 0 });
    this.line = svg("path", { class: "cursor-line" });
    this.when = svg("text", { class: "cursor-time", y: HEIGHT - 7 });
    this.whenBack = svg("rect", { class: "cursor-back", y: HEIGHT - 20, height: 18, rx: 4, width: 0 });
    this.picture.replaceChildren(
      ...this.#grid(ticks, labels, y, left, width),
      ...this.#times(left, band, width),
      this.shade,
      ...(this.kind === "bars" ? bars(series, buckets, left, band, y) : lines(series, left, band, y)),
      this.line, this.whenBack, this.when,
    );
    this.message.textContent = top > 0 ? "" : this.empty;
    this.plot.setAttribute("aria-valuemax", buckets.length - 1);
  }

  #grid(ticks, labels, y, left, width) {
    return ticks.flatMap((tick, number) => [
      svg("path", { class: tick ? "grid-line" : "base-line", d: `M${left} ${y(tick)}H${width - RIGHT}` }),
      svg("text", { class: "axis", x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, labels[number]),
    ]);
  }

  #times(left, band, width) {
    const starts = this.data.buckets.map(({ start }) => start);
    const most = Math.max(2, Math.floor((width - left) / 66));
    return timeTicks(starts, most, offset)
      .map((tick) => ({ ...tick, x: left + (tick.index + (this.kind === "bars" ? 0 : 0.5)) * band }))
      .filter(({ x }) => x < width - 24)
      .map(({ x, start, form }) => svg("text", { class: "axis", x: Math.max(x, left), y: HEIGHT - 7,
        "text-anchor": x < left + 20 ? "start" : "middle" }, time(start, form)));
  }

  #form() {
    const { buckets } = this.data;
    const day = buckets[0].end - buckets[0].start >= 80_000;
    return day ? "day" : buckets.at(-1).end - buckets[0].start > 86_400 ? "minute" : "clock";
  }

  /** Show the bucket at `index`; null shows the whole range's figures. */
  #read(index, source = null) {
    if (!this.data) return;
    const { buckets, series } = this.data;
    const bucket = index === null ? undefined : buckets[index];
    fill(this.legend, series.map(({ label, tone, values, summary }) =>
      h("li", {}, h("span", { class: `swatch ${tone}` }), h("span", { class: "legend-name" }, label),
        h("b", {}, this.format(bucket ? values[index] : summary)))));
    this.#place(bucket, index, source === this.plot);
    const spoken = bucket ? `${time(bucket.start, this.#form())}: ` : "Whole range: ";
    const said = series.map(({ label, values, summary }) =>
      `${label} ${this.format(bucket ? values[index] : summary)}`);
    this.plot.setAttribute("aria-valuenow", index ?? 0);
    this.plot.setAttribute("aria-valuetext", spoken + said.join(", "));
  }

  #place(bucket, index, named) {
    const { left, band } = this.geometry;
    const x = left + (index + 0.5) * band;
    this.line.setAttribute("d", bucket ? `M${x} ${TOP}V${HEIGHT - BOTTOM}` : "");
    this.when.textContent = bucket && named ? time(bucket.start, this.#form()) : "";
    const width = this.when.textContent.length * CHARACTER + 14;
    const shown = this.when.textContent ? width : 0;
    const middle = Math.min(this.plot.clientWidth - width / 2, Math.max(width / 2, x || 0));
    this.when.setAttribute("x", middle);
    this.whenBack.setAttribute("x", middle - width / 2);
    this.whenBack.setAttribute("width", shown);
  }

  #shade(range) {
    if (!this.shade) return;
    const { left, band } = this.geometry;
    this.shade.setAttribute("x", range ? left + range[0] * band : 0);
    this.shade.setAttribute("width", range ? (range[1] - range[0] + 1) * band : 0);
  }

  #zoom(from, to) {
    const { buckets } = this.data;
    setCursor(null);
    this.onSelect(buckets[from].start, buckets[to].end - 1);
  }

  #switchTable() {
    const shown = this.table.hidden;
    this.switch.setAttribute("aria-pressed", shown);
    this.table.hidden = !shown;
    this.plot.hidden = shown;
    if (shown && this.data) this.#fillTable();
  }

  #fillTable() {
    const { buckets, series } = this.data;
    const head = ["From", ...series.map(({ label }) => label)];
    fill(this.table, h("table", {},
      h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, buckets.map((bucket, index) => h("tr", {},
        h("th", { scope: "row" }, time(bucket.start, this.#form())),
        series.map(({ values }) => h("td", {}, this.format(values[index]))))))));
  }

  #save() {
    if (!this.data) return;
    const { buckets, series } = this.data;
    const rows = buckets.map(({ start }, index) =>
      [new Date(start * 1_000).toISOString(), time(start, "full"), ...series.map(({ values }) => values[index])]);
    saveCsv(`${this.id}.csv`, ["start", `start (${ZONE})`, ...series.map(({ label }) => label)], rows);
  }
}

/** One path for each series; what is not a whole bucket is drawn paler. */
function bars(series, buckets, left, band, y) {
  const gap = band > 8 ? 2 : band > 3 ? 1 : 0;
  const bases = buckets.map(() => 0);
  return series.flatMap(({ values, tone }) => {
    const paths = { whole: "", partial: "" };
    values.forEach((value, index) => {
      if (!value) return;
      const low = y(bases[index]);
      bases[index] += value;
      const height = Math.max(0.75, low - y(bases[index]));
      const wide = Math.max(0.8, band - gap);
      paths[buckets[index].partial ? "partial" : "whole"] +=
        `M${left + index * band + gap / 2} ${low}h${wide}v${-height}h${-wide}z`;
    });
    return Object.entries(paths).filter(([, d]) => d)
      .map(([name, d]) => svg("path", { class: `area ${tone} ${name}`, d }));
  });
}

/** A gap where there is no value; a point alone is a dot, by its round cap. */
function lines(series, left, band, y) {
  return series.map(({ values, tone }) => {
    let d = "";
    let open = false;
    values.forEach((value, index) => {
      const known = value !== null && value !== undefined;
      if (known) d += `${open ? "L" : "M"}${left + (index + 0.5) * band} ${y(value)}${open ? "" : "h0"}`;
      open = known;
    });
    return svg("path", { class: `line ${tone}`, d });
  });
}
