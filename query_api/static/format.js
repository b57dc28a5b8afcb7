// Numbers, money, durations and times as people read them; times in the viewer's zone.

export const ZONE = (() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return zone && zone !== "Etc/Unknown" ? zone : "UTC";
})();

const LOCALE = navigator.language || "en";
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const few = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 3 });
const shares = new Intl.NumberFormat(LOCALE, { style: "percent", maximumFractionDigits: 1 });
const smallShares = new Intl.NumberFormat(LOCALE, { style: "percent", maximumSignificantDigits: 2 });

export const NOTHING = "–";

const orNothing = (format) => (value) =>
  value === null || value === undefined ? NOTHING : format(value);

export const count = orNothing((value) => whole.format(value));
/** 1234567 → 1.23M. */
export const compact = orNothing((value) =>
  Math.abs(value) < 10_000 ? whole.format(value) : short.format(value),
);
export const share = orNothing((value) =>
  value > 0 && value < 0.01 ? smallShares.format(value) : shares.format(value),
);
export const number = orNothing((value) => few.format(value));

let currency = "USD";
/** Costs are shown in the currency that events name; sums add currencies as they are. */
export function useCurrency(code) {
  if (/^[A-Z]{3}$/.test(code)) currency = code;
}

export const money = orNothing((value) => {
  const size = Math.abs(value);
  const digits =
    size === 0 || size >= 0.1
      ? { minimumFractionDigits: 2, maximumFractionDigits: 2 }
      : { maximumSignificantDigits: 2 };
  if (size >= 100_000) return largeMoney(value, 4);
  return new Intl.NumberFormat(LOCALE, {
    style: "currency", currency, currencyDisplay: "narrowSymbol", ...digits,
  }).format(value);
});

/** The same for narrow columns: 0.0001 → "<$0.01", 12345.6 → "$12.3K". */
export const shortMoney = orNothing((value) => {
  if (value > 0 && value < 0.01) return `<${money(0.01)}`;
  return value >= 10_000 ? largeMoney(value, 3) : money(value);
});

const largeMoney = (value, maximumSignificantDigits) => new Intl.NumberFormat("en", {
  style: "currency", currency, currencyDisplay: "narrowSymbol", notation: "compact", maximumSignificantDigits,
}).format(value);

/** Milliseconds → "840 ms", "1.25 s", "2 min 5 s". */
export const duration = orNothing((ms) => {
  if (ms < 1 && ms > 0) return `${few.format(ms)} ms`;
  if (ms < 1_000) return `${whole.format(ms)} ms`;
  if (ms < 99_500) return `${few.format(ms / 1_000)} s`;
  return span(ms / 1_000);
});

/** Seconds → "12 s", "3 min", "2 h 5 min", "4 d". */
export const span = orNothing((seconds) => {
  if (seconds < 1) return "under 1 s";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return two(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(minutes / 60);
  return two(Math.floor(hours / 24), "d", hours % 24, "h");
});

function two(large, largeUnit, small, smallUnit) {
  return small ? `${large} ${largeUnit} ${small} ${smallUnit}` : `${large} ${largeUnit}`;
}

export const bytes = orNothing((value) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${unit ? few.format(value) : value} ${units[unit]}`;
});

const formatter = (options) =>
  new Intl.DateTimeFormat(LOCALE, { timeZone: ZONE, hourCycle: "h23", ...options });
const day = { day: "numeric", month: "short" };
const clock = { hour: "2-digit", minute: "2-digit" };
const forms = {
  day: formatter(day),
  clock: formatter(clock),
  minute: formatter({ ...day, ...clock }),
  second: formatter({ ...clock, second: "2-digit" }),
  moment: formatter({ ...day, ...clock, second: "2-digit" }),
  full: formatter({ ...day, ...clock, year: "numeric", second: "2-digit", timeZoneName: "short" }),
};

/** Unix seconds in one of the forms `day`, `clock`, `minute`, `second`, `moment`, `full`. */
export function time(seconds, form) {
  if (seconds === null || seconds === undefined) return NOTHING;
  return forms[form].format(new Date(seconds * 1_000));
}

/** How far the viewer's zone is ahead of UTC at that second, in seconds. */
export const offset = (seconds) => -60 * new Date(seconds * 1_000).getTimezoneOffset();

/** "Europe/Berlin (UTC+1)". */
export function zoneName() {
  const minutes = -new Date().getTimezoneOffset();
  const sign = minutes < 0 ? "−" : "+";
  const hours = Math.floor(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  const ahead = minutes ? `UTC${sign}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}` : "";
  return ahead && ZONE !== "UTC" ? `${ZONE} (${ahead})` : ZONE;
}
