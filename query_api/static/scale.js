// Where axes have their ticks.

/** Ticks from 0 to at or above `max`, about four of them, at 1, 2, 2.5 or 5 times a power of ten. */
export function valueTicks(max, { integers = false } = {}) {
  const rough = (max || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const sizes = integers && power < 10 ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10];
  let step = power * sizes.find((size) => size * power >= rough - 1e-12 * power);
  if (integers) step = Math.max(1, step);
  const ticks = [0];
  // Steps are multiplied, not added up: 0.1 added ten times is not 1.
  for (let number = 1; ticks.at(-1) < max || number < 2; number += 1) ticks.push(number * step);
  return ticks;
}

const MINUTE = 60;
const HOUR = 3_600;
const DAY = 86_400;
const STEPS = [
  MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR,
  12 * HOUR, DAY, 2 * DAY, 5 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 365 * DAY,
];

/**
 * Which buckets carry a label, at most `most`: {index, start, form}. `starts` are Unix seconds;
 * `offset(second)` is how far the viewer's zone is ahead of UTC.
 */
export function timeTicks(starts, most, offset) {
  const length = starts.at(-1) - starts[0];
  const step = STEPS.find((size) => length / size <= most) ?? STEPS.at(-1);
  const local = starts.map((start) => start + offset(start));
  const ticks = [];
  starts.forEach((start, index) => {
    const number = Math.floor(local[index] / step);
    const first = index === 0 ? local[0] % step === 0 : Math.floor(local[index - 1] / step) < number;
    if (!first) return;
    const midnight = local[index] % DAY === 0;
    ticks.push({ index, start, form: step >= DAY || midnight ? "day" : "clock" });
  });
  return ticks;
}
