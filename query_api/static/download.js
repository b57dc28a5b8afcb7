// Files made of what the page shows.

// What a spreadsheet would run as a formula is disarmed, as the service's own CSV does it.
const FORMULA = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** RFC 4180 with a header row. */
export function toCsv(columns, rows) {
  return [columns, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

export function saveCsv(name, columns, rows) {
  save(name, new Blob([toCsv(columns, rows)], { type: "text/csv;charset=utf-8" }));
}

export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
