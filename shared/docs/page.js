"use strict";

const LONGEST = 20_000;
const byId = (id) => document.getElementById(id);

function make(tag, text = "", className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

function resolve(api, schema) {
  const name = schema?.$ref?.split("/").pop();
  return name ? api.components.schemas[name] : schema;
}

function typeOf(api, schema) {
  if (!schema || Object.keys(schema).length === 0) return "bytes";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map(String).join(" | ");
  if (schema.anyOf) return schema.anyOf.map((each) => typeOf(api, each)).join(" | ");
  if (schema.type === "array") return `${typeOf(api, schema.items)}[]`;
  const bounds = [schema.minimum, schema.maximum].map((bound) => bound ?? "");
  const range = bounds.join("") === "" ? "" : ` ${bounds.join("–")}`;
  return (schema.format ?? schema.type ?? "any") + range;
}

/** Lines of a schema, what it refers to written out once. */
function outline(api, schema, indent = "", seen = []) {
  const name = schema.$ref?.split("/").pop();
  const found = resolve(api, schema);
  if (name && seen.includes(name)) return name;
  const inside = name ? [...seen, name] : seen;
  if (found.anyOf) return found.anyOf.map((each) => outline(api, each, indent, inside)).join(" | ");
  if (found.type === "array" && found.items) return `[${outline(api, found.items, indent, inside)}, …]`;
  if (!found.properties) return typeOf(api, found);
  const required = found.required ?? [];
  const lines = Object.entries(found.properties).map(([key, value]) => {
    const mark = required.includes(key) ? "" : "?";
    return `${indent}  ${key}${mark}: ${outline(api, value, `${indent}  `, inside)}`;
  });
  return `{\n${lines.join("\n")}\n${indent}}`;
}

function contents(api, content) {
  const parts = [];
  for (const [media, { schema }] of Object.entries(content ?? {})) {
    parts.push(make("code", media), make("pre", outline(api, schema)));
  }
  return parts;
}

function table(heads, rows) {
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    for (const cell of row) {
      const box = make("td");
      box.append(cell);
      line.append(box);
    }
    body.append(line);
  }
  const head = make("tr");
  head.append(...heads.map((text) => make("th", text)));
  const whole = make("table");
  const top = make("thead");
  top.append(head);
  whole.append(top, body);
  return whole;
}

function parameterRows(api, parameters, inputs) {
  return parameters.map((parameter) => {
    const input = make("input");
    input.setAttribute("aria-label", parameter.name);
    input.placeholder = parameter.schema.default ?? "";
    inputs.set(parameter, input);
    const about = `${parameter.description ?? ""} (${typeOf(api, parameter.schema)})`;
    return [make("code", parameter.name), about, input];
  });
}

function address(path, inputs) {
  const query = new URLSearchParams();
  let filled = path;
  for (const [parameter, input] of inputs) {
    if (input.value === "") continue;
    if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else query.append(parameter.name, input.value);
  }
  const text = query.toString();
  return new URL(`.${filled}${text ? `?${text}` : ""}`, document.baseURI).href;
}

function trial(path, inputs) {
  const shown = make("pre");
  shown.setAttribute("aria-live", "polite");
  const line = () => {
    const token = byId("token").value ? " -H 'Authorization: Bearer …'" : "";
    return `curl '${address(path, inputs)}'${token}`;
  };
  const refresh = () => { shown.textContent = line(); };
  for (const input of inputs.values()) input.addEventListener("input", refresh);
  const button = make("button", "Send");
  button.addEventListener("click", async () => {
    const token = byId("token").value;
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    try {
      const answer = await fetch(address(path, inputs), { headers });
      const text = await answer.text();
      const rest = text.length > LONGEST ? "\n…" : "";
      shown.textContent = `${line()}\n\n${answer.status} ${answer.statusText}\n${text.slice(0, LONGEST)}${rest}`;
    } catch (error) {
      shown.textContent = `${line()}\n\n${error}`;
    }
  });
  refresh();
  return [button, shown];
}

function operationCard(api, path, method, operation) {
  const card = make("details");
  const head = make("summary");
  head.append(make("span", method.toUpperCase(), `method ${method}`), make("span", path, "path"),
    make("span", operation.summary, "about"));
  const body = make("div");
  for (const text of (operation.description ?? "").split("\n\n")) body.append(make("p", text));
  const inputs = new Map();
  if (operation.parameters.length) {
    body.append(make("h3", "Parameters"),
      table(["name", "meaning", "value"], parameterRows(api, operation.parameters, inputs)));
  }
  if (method === "get") body.append(make("h3", "Try it"), ...trial(path, inputs));
  if (operation.requestBody) {
    body.append(make("h3", "Body"), ...contents(api, operation.requestBody.content));
  }
  for (const [status, response] of Object.entries(operation.responses)) {
    body.append(make("h3", `${status}: ${response.description}`), ...contents(api, response.content));
  }
  card.append(head, body);
  return card;
}

function show(api) {
  document.title = api.info.title;
  byId("title").textContent = `${api.info.title} ${api.info.version}`;
  byId("about").textContent = api.info.description;
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags[0];
      groups.set(tag, [...(groups.get(tag) ?? []), operationCard(api, path, method, operation)]);
    }
  }
  byId("operations").replaceChildren();
  for (const [tag, cards] of groups) byId("operations").append(make("h2", tag), ...cards);
}

fetch("openapi.json").then((answer) => answer.json()).then(show).catch((error) => {
  byId("operations").replaceChildren(make("p", `openapi.json could not be read: ${error}`));
});
