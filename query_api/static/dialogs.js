// Dialogs: the browser's own, so that focus, Escape and what lies behind are its affair.

import { $, fill, h, say } from "./dom.js";
import { keepToken, post, token } from "./api.js";
import { count } from "./format.js";
import { setOwnRange, resolve } from "./view.js";

/** Show a dialog; it is gone from the page once it is closed. */
export function openDialog({ title, body, className = "", onClose = null }) {
  const titleId = `dialog-${Math.random().toString(36).slice(2)}`;
  const close = h("button", { type: "button", class: "button icon", "aria-label": "Close",
    onclick: () => dialog.close() }, "✕");
  const dialog = h("dialog", { class: `dialog ${className}`, "aria-labelledby": titleId },
    h("div", { class: "dialog-head" }, h("h2", { id: titleId }, title), close),
    h("div", { class: "dialog-body" }, body.filter(Boolean)));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

function form(fields, submitText, onSubmit, className = "primary") {
  const trouble = h("p", { class: "trouble", role: "alert" });
  const submit = h("button", { type: "submit", class: `button ${className}` }, submitText);
  return h("form", { class: "form", onsubmit: async (event) => {
    event.preventDefault();
    submit.disabled = true;
    trouble.textContent = "";
    try {
      await onSubmit(new FormData(event.target));
    } catch (problem) {
      trouble.textContent = `${problem.message} ${problem.advice ?? ""}`;
    } finally {
      submit.disabled = false;
    }
  } }, fields, trouble, h("div", { class: "form-end" }, submit));
}

const field = (label, attributes, hint = null) =>
  h("label", { class: "field" }, h("span", {}, label), h("input", attributes),
    hint && h("small", {}, hint));

const secret = (name, label, hint) =>
  field(label, { type: "password", name, autocomplete: "off", spellcheck: "false" }, hint);

let tokenDialog = null;

/** Ask for the token that reads; `reason` says why. One dialog at a time. */
export function askToken(reason, onKept) {
  if (tokenDialog) return;
  const forget = token() && h("button", { type: "button", class: "quiet", onclick: () => {
    keepToken("");
    tokenDialog.close();
    onKept();
  } }, "Forget the token");
  tokenDialog = openDialog({ title: "Access token", onClose: () => { tokenDialog = null; }, body: [
    h("p", {}, reason),
    form([secret("token", "Token", "Kept in this tab until it is closed, and sent to this service alone.")],
      "Use this token", (data) => {
        keepToken(String(data.get("token")).trim());
        tokenDialog.close();
        onKept();
      }),
    forget || null,
  ] });
}

export const tokenDialogIsOpen = () => tokenDialog !== null;

/** Ask twice, then remove everything; `total` is how many events the store holds. */
export function askClear(total, onCleared) {
  const body = h("div", {});
  const dialog = openDialog({ title: "Clear all data", body: [body] });
  const events = total === null ? "every event" : `all ${count(total)} events`;
  const second = () => {
    fill(body,
      h("p", {}, "This can't be undone. Type ", h("b", {}, "clear"), " to go on."),
      form([
        field("Confirmation", { name: "word", required: true, pattern: " *[Cc][Ll][Ee][Aa][Rr] *",
          autocomplete: "off", title: "the word clear" }),
        secret("admin", "Admin token", "Used once and not kept. Empty where the service asks for none."),
      ], `Delete ${events}`, async (data) => {
        await post("clear", undefined, String(data.get("admin")).trim());
        dialog.close();
        say("Everything was cleared");
        onCleared();
      }, "danger"));
    body.querySelector("input").focus();
  };
  fill(body,
    h("p", {}, `This deletes ${events} in the store, whatever the range and the filters, and also what `
      + "still waits in the queue and the dead letters."),
    h("div", { class: "form-end" },
      h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Keep everything"),
      h("button", { type: "button", class: "button danger", onclick: second }, "Go on…")));
}

/** Put dead letters back: those with these ids, or all. */
export function askReplay(ids, onReplayed) {
  const what = ids ? "this dead letter" : "all dead letters";
  const dialog = openDialog({ title: "Replay", body: [
    h("p", {}, `This puts ${what} back into the queue. What still can't be written comes back here.`),
    form([secret("admin", "Admin token", "Used once and not kept. Empty where the service asks for none.")],
      "Replay", async (data) => {
        await post("dead-letters/replay", ids ? { ids } : {}, String(data.get("admin")).trim());
        dialog.close();
        say("Put back into the queue");
        onReplayed();
      }),
  ] });
}

/** Two moments in the viewer's zone. */
export function askRange(zone) {
  const { start, end } = resolve();
  const local = (seconds) => {
    const ahead = -60 * new Date(seconds * 1_000).getTimezoneOffset();
    return new Date((seconds + ahead) * 1_000).toISOString().slice(0, 19);
  };
  const moment = (label, name, seconds) =>
    field(label, { type: "datetime-local", name, step: 1, required: true, value: local(seconds) });
  const dialog = openDialog({ title: "Own range", body: [
    form([moment("From", "start", start), moment("To", "end", end), h("small", {}, `Times in ${zone}`)],
      "Show this range", (data) => {
        const [from, to] = ["start", "end"].map((name) =>
          Math.floor(new Date(String(data.get(name))).getTime() / 1_000));
        if (!(to > from)) throw new Error("The end must be after the start.");
        dialog.close();
        setOwnRange(from, to);
      }),
  ] });
}

/** A link that is selected, to be copied by hand. */
export function offerLink(link) {
  const dialog = openDialog({ title: "Link to this view", body: [
    h("p", {}, "This browser does not let the page copy it: it is selected, for you to copy."),
    h("div", { class: "form" }, field("Link", { readonly: true, value: link })),
  ] });
  const input = dialog.querySelector("input");
  input.focus();
  input.select();
}

export function closeMenu() {
  $("menu").open = false;
}
