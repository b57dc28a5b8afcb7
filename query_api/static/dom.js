// Elements are made here and nowhere else. Text enters the page as text nodes alone, so nothing that
// an event holds is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element: `on…` are listeners, `class` and the rest attributes; null and false leave one out. */
export function h(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Replace what `container` holds; what had the focus has it again, found by its `data-focus`. */
export function fill(container, ...children) {
  const held = document.activeElement;
  const key = held && container.contains(held) ? held.dataset.focus : undefined;
  container.replaceChildren(...children.flat().filter(Boolean));
  if (key) {
    const again = [...container.querySelectorAll("[data-focus]")];
    again.find((element) => element.dataset.focus === key)?.focus({ preventScroll: true });
  }
}

/** Tell a screen reader, without a change on the page. */
export function say(text) {
  $("status").textContent = text;
}
