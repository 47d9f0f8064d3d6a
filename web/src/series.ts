// Which lines an answer draws over time: pure, so that the chart only has to draw.
// Points are sorted by time; a missing or non-finite value is a gap, never a zero.

import type { Answer, Cell, Column } from "./api";
import { exact, isNumeric } from "./format";

export interface Line {
  name: string;
  points: (number | null)[];
}

export interface Series {
  times: number[];
  lines: Line[];
  /** How many further lines the answer has than are drawn. */
  hidden: number;
}

const LINES_MAX = 6;
const ROWS_MAX = 50_000;

/** Epoch milliseconds of a cell of a time column; null where it is none. */
export function timeOf(value: Cell, column: Column): number | null {
  if (column.type === "TIMESTAMP" && typeof value === "string") {
    const ms = Date.parse(`${value.replace(" ", "T")}Z`);
    return Number.isNaN(ms) ? null : ms;
  }
  // Epoch milliseconds of 1990 to 2100 in a column that is called like a time.
  const named = /(time|date|ts|millis|_ms|day|hour|minute|second)$/i.test(column.name);
  const whole = column.type === "LONG" && typeof value === "number";
  return whole && named && value > 6.3e11 && value < 4.1e12 ? value : null;
}

/**
 * The lines of an answer whose first column is time: one for each numeric column, or, when there is
 * one column of names beside it, one for each name.
 */
export function series({ columns, rows }: Answer): Series | null {
  const [time, ...rest] = columns;
  if (!time || rows.length < 2 || rows.length > ROWS_MAX) return null;
  const times = rows.map((row) => timeOf(row[0] ?? null, time));
  if (times.filter((at) => at !== null).length < 2) return null;
  if (times.some((at, row) => at === null && rows[row]?.[0] !== null)) return null;
  const numbers = rest.map((column, at) => ({ column, at: at + 1 })).filter((c) => isNumeric(c.column));
  const names = rest.map((column, at) => ({ column, at: at + 1 })).filter((c) => c.column.type === "STRING");
  const measure = numbers[0];
  if (!measure) return null;
  const byName = names.length === 1 && names[0] !== undefined;
  const cells: [number, string, number | null][] = [];
  rows.forEach((row, at) => {
    const ms = times[at];
    if (ms === null || ms === undefined) return;
    if (byName) cells.push([ms, exact(row[names[0]!.at] ?? null), number(row[measure.at])]);
    else for (const n of numbers) cells.push([ms, n.column.name, number(row[n.at])]);
  });
  return arrange(cells);
}

function arrange(cells: [number, string, number | null][]): Series | null {
  const times = [...new Set(cells.map(([ms]) => ms))].sort((a, b) => a - b);
  if (times.length < 2) return null;
  const position = new Map(times.map((ms, at) => [ms, at]));
  const lines = new Map<string, (number | null)[]>();
  for (const [ms, name, value] of cells) {
    let points = lines.get(name);
    if (!points) lines.set(name, (points = new Array<number | null>(times.length).fill(null)));
    points[position.get(ms) ?? 0] = value;
  }
  const all = [...lines].map(([name, points]) => ({ name, points }));
  const some = all.filter((line) => line.points.some((value) => value !== null));
  if (some.length === 0) return null;
  if (some.length > LINES_MAX) some.sort((a, b) => weight(b) - weight(a));
  return { times, lines: some.slice(0, LINES_MAX), hidden: Math.max(0, some.length - LINES_MAX) };
}

const weight = (line: Line) => line.points.reduce<number>((sum, value) => sum + Math.abs(value ?? 0), 0);

function number(value: Cell | undefined): number | null {
  const found = typeof value === "string" && value !== "" ? Number(value) : value;
  if (typeof found === "bigint") return Number(found);
  return typeof found === "number" && Number.isFinite(found) ? found : null;
}

/** Round steps that cover [low, high]: about `wanted` of them. */
export function ticks(low: number, high: number, wanted: number): number[] {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / wanted));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => span / s <= wanted) ?? 10 * power;
  const found: number[] = [];
  for (let at = Math.floor(low / step); at * step < high + step; at += 1) {
    found.push(Number((at * step).toPrecision(12)));
    if (at * step >= high) break;
  }
  return found;
}

const MINUTE = 60_000;
const DAY = 86_400_000;
const TIME_STEPS = [
  1, 10, 100, 1000, 2000, 5000, 10_000, 15_000, 30_000, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE,
  15 * MINUTE, 30 * MINUTE, 60 * MINUTE, 120 * MINUTE, 180 * MINUTE, 360 * MINUTE, 720 * MINUTE, DAY,
  2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 182 * DAY, 365 * DAY, 3650 * DAY,
];

/** Round instants within [low, high], in UTC, with labels as long as the step needs. */
export function timeTicks(low: number, high: number, wanted: number): [number, string][] {
  const step = TIME_STEPS.find((s) => (high - low) / s <= wanted) ?? 36_500 * DAY;
  const found: [number, string][] = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) {
    found.push([at, timeLabel(at, step)]);
  }
  return found;
}

export function timeLabel(ms: number, step: number): string {
  const text = new Date(ms).toISOString();
  if (step >= 28 * DAY) return text.slice(0, 7);
  if (step >= DAY) return text.slice(0, 10);
  if (step >= MINUTE) return ms % DAY === 0 ? text.slice(5, 10) : text.slice(11, 16);
  return step >= 1000 ? text.slice(11, 19) : text.slice(14, 23);
}
