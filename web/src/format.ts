// Text for people: numbers, durations, cells, and the line of statistics under an answer.

import type { Cell, Column, Stats } from "./api";

const NUMERIC = new Set(["INT", "LONG", "FLOAT", "DOUBLE", "BIG_DECIMAL"]);

export function isNumeric(column: Column): boolean {
  return NUMERIC.has(column.type);
}

export function grouped(value: number | bigint): string {
  return value.toLocaleString("en-US");
}

/** At most three significant digits below ten, whole numbers above; ms, s, min, h, d. */
export function duration(ms: number): string {
  if (ms < 9.95) return `${(Math.round(ms * 10) / 10).toString()} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 120) return `${(Math.round(seconds * 10) / 10).toString()} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** A cell as it is shown; `exact` is what it is copied as. */
export function cell(value: Cell): string {
  if (typeof value === "number" && !Number.isInteger(value)) {
    return Number(value.toPrecision(10)).toString();
  }
  return exact(value);
}

export function exact(value: Cell): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return `[${value.map(exact).join(", ")}]`;
  return String(value);
}

/** `1.8 ms · 3 of 41 segments · inverted(carrier) · 1,204 of 336,776 rows · newest event 7 ms old` */
export function statLine(stats: Partial<Stats>): string {
  const parts: string[] = [];
  if (stats.timeUsedMs !== undefined) parts.push(duration(stats.timeUsedMs));
  if (stats.segmentsTotal) {
    const processed = grouped(stats.segmentsProcessed ?? 0);
    parts.push(`${processed} of ${count(stats.segmentsTotal, "segment")}`);
  }
  if (stats.indexes?.length) parts.push(stats.indexes.join(", "));
  if (stats.totalDocs) {
    parts.push(`${grouped(stats.docsScanned ?? 0)} of ${count(stats.totalDocs, "row")}`);
  }
  const age = stats.newestEventAgeMs;
  if (age !== undefined && age !== null) parts.push(`newest event ${duration(age)} old`);
  return parts.join(" · ");
}

export function count(value: number, noun: string): string {
  return `${grouped(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** The whole answer as CSV (RFC 4180). A null is an empty field, an empty string is quoted. */
export function csv(columns: Column[], rows: Cell[][]): string {
  const field = (value: Cell) => {
    if (value === null) return "";
    const text = exact(value);
    return text === "" || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns.map((column) => field(column.name)), ...rows.map((row) => row.map(field))];
  return lines.map((line) => line.join(",")).join("\r\n") + "\r\n";
}
