// The query service as the page sees it. Addresses are relative, so any path in front will do.

const TOKEN = "routiium-analytics-token";

/** What the service, or the way to it, said instead of an answer. */
export class Problem extends Error {
  constructor(status, type, message, advice) {
    super(message);
    Object.assign(this, { status, type, advice });
  }
}

export const token = () => sessionStorage.getItem(TOKEN) ?? "";

/** Kept for this tab's session alone; empty forgets it. */
export function keepToken(text) {
  if (text) sessionStorage.setItem(TOKEN, text);
  else sessionStorage.removeItem(TOKEN);
}

const ADVICE = {
  unauthorized: "Enter a token that may query: one of ROUTIIUM_ANALYTICS_QUERY_TOKENS.",
  forbidden: "Use a token with that right; the service's operator has them.",
  store_unavailable: "Look at the store's server and its disk; the page tries again by itself.",
  queue_unavailable: "Look at the broker (ROUTIIUM_ANALYTICS_BROKER_URL); the page tries again.",
  invalid_parameter: "Change the range or the filters.",
  unreachable: "See whether query_api is running and whether this machine is online.",
};

/** The JSON of `GET analytics/<path>`; raises Problem. */
export async function get(path, query = [], signal = undefined) {
  return (await request("GET", address(path, query), { signal })).json();
}

/** The JSON of `POST analytics/<path>`; `as` is a token to use instead of the session's. */
export async function post(path, body = undefined, as = undefined) {
  return (await request("POST", address(path, []), { body, as })).json();
}

/** A file of the service as a Blob. */
export async function file(path, query) {
  return (await request("GET", address(path, query), {})).blob();
}

export function address(path, query) {
  const text = new URLSearchParams(query).toString();
  return `analytics/${path}${text ? `?${text}` : ""}`;
}

async function request(method, url, { body, as, signal }) {
  const headers = {};
  const bearer = as || token();
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const content = body === undefined ? undefined : JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: content, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw problem(0, "unreachable", "The query service does not answer.");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  try {
    const { message, type } = (await answer.json()).error;
    return problem(answer.status, type, `${message.charAt(0).toUpperCase()}${message.slice(1)}.`);
  } catch {
    return problem(answer.status, "other", `The query service answered ${answer.status}.`);
  }
}

function problem(status, type, message) {
  return new Problem(status, type, message, ADVICE[type] ?? "The query service's log says more.");
}
