// One cursor for all charts: a bucket that the pointer, a finger or the arrow keys are on.

const watchers = new Set();
let index = null;

export const cursorIndex = () => index;
export const watchCursor = (watcher) => watchers.add(watcher);

export function setCursor(to, source = null) {
  if (to === index) return;
  index = to;
  for (const watcher of watchers) watcher(index, source);
}

/**
 * Let `plot` move the cursor. `geometry()` gives {left, band, size} of the chart as it is drawn;
 * `onSelect(from, to)` is called with the buckets that were dragged over.
 */
export function followPointer(plot, geometry, onDrag, onSelect) {
  let from = null;

  const at = (event) => {
    const { left, band, size } = geometry();
    const x = event.clientX - plot.getBoundingClientRect().left - left;
    return Math.min(size - 1, Math.max(0, Math.floor(x / band)));
  };
  const end = () => {
    from = null;
    onDrag(null);
  };

  plot.addEventListener("pointermove", (event) => {
    if (!geometry().size) return;
    setCursor(at(event), plot);
    if (from !== null) onDrag([Math.min(from, index), Math.max(from, index)]);
  });
  plot.addEventListener("pointerdown", (event) => {
    if (!geometry().size || event.button) return;
    from = at(event);
    setCursor(from, plot);
  });
  plot.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const range = [Math.min(from, at(event)), Math.max(from, at(event))];
    end();
    if (range[1] > range[0]) onSelect(...range);
  });
  plot.addEventListener("pointercancel", end);
  plot.addEventListener("pointerleave", () => {
    end();
    if (document.activeElement !== plot) setCursor(null);
  });
}

/** Arrow keys, Home, End and the page keys move the cursor; Escape and leaving take it away. */
export function followKeys(plot, geometry) {
  plot.addEventListener("keydown", (event) => {
    const { size } = geometry();
    if (!size) return;
    const last = size - 1;
    const now = index ?? (event.key === "ArrowRight" ? -1 : size);
    const moves = {
      ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1,
      Home: 0, End: last, PageUp: now + 10, PageDown: now - 10,
    };
    if (event.key === "Escape") setCursor(null);
    else if (Object.hasOwn(moves, event.key)) {
      setCursor(Math.min(last, Math.max(0, moves[event.key])), plot);
      event.preventDefault();
    }
  });
  plot.addEventListener("blur", () => setCursor(null));
}
