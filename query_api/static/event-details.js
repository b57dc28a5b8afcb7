// One event with all that is known of it, at the side of the page.

import { h } from "./dom.js";
import { openDialog } from "./dialogs.js";
import { bytes, count, duration, money, number, time } from "./format.js";
import { FILTERS, hasFilter, toggleFilter } from "./view.js";

const GROUPS = [
  ["Request", "request"], ["Response", "response"], ["Performance", "performance"],
  ["Tokens", "token_usage"], ["Cost", "cost"], ["Key", "auth"], ["Routing", "routing"],
];
const NAMES = {
  size_bytes: "Size", message_count: "Messages", input_tokens: "Input tokens",
  output_tokens: "Output tokens", user_agent: "User agent", client_ip: "Client IP",
  status_code: "Status", error_message: "Error", duration_ms: "Duration",
  ttfb_ms: "Time to first byte", upstream_duration_ms: "Upstream", stream: "Streaming",
  tokens_per_second: "Tokens a second", api_key_id: "Key id", api_key_label: "Label",
  auth_method: "Method", upstream_mode: "Mode", mcp_enabled: "MCP", mcp_servers: "MCP servers",
  system_prompt_applied: "System prompt", prompt_tokens: "Prompt", completion_tokens: "Completion",
  total_tokens: "Total", cached_tokens: "Cached", cache_write_tokens: "Cache write",
  reasoning_tokens: "Reasoning", input_cost: "Input", output_cost: "Output", cached_cost: "Cached",
  total_cost: "Total", pricing_model: "Priced as",
};

export function openEvent(event) {
  const json = JSON.stringify(event, null, 2);
  const copy = h("button", { type: "button", class: "button", onclick: async () => {
    await navigator.clipboard.writeText(json);
    copy.textContent = "Copied";
  } }, "Copy as JSON");
  const dialog = openDialog({ title: "Event", className: "drawer", body: [
    h("p", { class: "event-id" }, event.id),
    h("p", { class: "caption" }, time(event.timestamp, "full")),
    ...GROUPS.filter(([, name]) => event[name]).map(([title, name]) =>
      section(title, event[name], () => dialog.close())),
    event.response ? null : h("p", { class: "caption" }, "No response was seen."),
    h("details", {}, h("summary", {}, "As JSON"), h("pre", { tabindex: 0 }, json)),
    copy,
  ] });
}

function section(title, group, close) {
  const fields = Object.entries(group).filter(([, value]) => value !== null && !isEmptyList(value));
  return h("section", { class: "facts" }, h("h3", {}, title), h("dl", {}, fields.map(([name, value]) =>
    h("div", { class: name === "error_message" ? "wide" : null },
      h("dt", {}, NAMES[name] ?? capital(name)),
      h("dd", {}, FILTERS.includes(name) ? filterButton(name, value, close) : write(name, value))))));
}

const isEmptyList = (value) => Array.isArray(value) && !value.length;
const capital = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

function filterButton(name, value, close) {
  const verb = hasFilter(name, value) ? "Remove this filter" : "Show only these";
  return h("button", { type: "button", class: "link", title: verb, onclick: () => {
    close();
    toggleFilter(name, value);
  } }, write(name, value));
}

function write(name, value) {
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (name.endsWith("_ms")) return duration(value);
  if (name === "size_bytes") return bytes(value);
  if (name.endsWith("_cost")) return money(value);
  if (name === "status_code") return String(value);
  return typeof value === "number" ? (Number.isInteger(value) ? count(value) : number(value)) : String(value);
}
