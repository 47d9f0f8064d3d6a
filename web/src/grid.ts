// The answer as a table. Only the first rows are drawn; how many of how many is always said.

import type { Answer, Cell, Column } from "./api";
import { el } from "./dom";
import { cell, count, exact, grouped, isNumeric } from "./format";

const PAGE_ROWS = 500;

export function grid(answer: Answer): HTMLElement {
  const body = el("tbody");
  const head = el("tr");
  for (const column of answer.columns) {
    const name = el("span", "column", column.name);
    const header = el("th", isNumeric(column) ? "number" : "", name, el("small", "", column.type));
    header.scope = "col";
    head.append(header);
  }
  const bars = barScale(answer);
  const more = el("button", "ghost", "Show more");
  const note = el("p", "shown");
  let shown = 0;
  const draw = () => {
    const upTo = Math.min(answer.rows.length, shown + PAGE_ROWS);
    const rows = answer.rows.slice(shown, upTo).map((row) => line(answer.columns, row, bars));
    body.append(...rows);
    shown = upTo;
    const all = shown === answer.rows.length;
    note.textContent = all
      ? count(answer.rows.length, "row")
      : `first ${grouped(shown)} of ${count(answer.rows.length, "row")} shown`;
    more.hidden = all;
  };
  more.type = "button";
  more.addEventListener("click", draw);
  draw();
  const table = el("table", "grid", el("thead", "", head), body);
  return el("div", "", el("div", "scroll", table), el("div", "foot", note, more));
}

function line(columns: Column[], row: Cell[], bars: BarScale | null): HTMLElement {
  const tr = el("tr");
  columns.forEach((column, at) => {
    const value = row[at] ?? null;
    const td = el("td", isNumeric(column) ? "number" : "", cell(value));
    if (value === null) td.classList.add("null");
    if (cell(value) !== exact(value) || exact(value).length > 60) td.title = exact(value);
    if (bars?.column === at && typeof value === "number") {
      td.classList.add("gauge");
      td.style.setProperty("--part", `${(100 * value) / bars.greatest}%`);
    }
    tr.append(td);
  });
  return tr;
}

interface BarScale {
  column: number;
  greatest: number;
}

/** A small grouped answer, names first, gets bars behind its first number. */
function barScale({ columns, rows }: Answer): BarScale | null {
  const column = columns.findIndex(isNumeric);
  const first = columns[0];
  const named = first !== undefined && (first.type === "STRING" || first.type === "BOOLEAN");
  if (!named || column < 1 || rows.length < 2 || rows.length > PAGE_ROWS) return null;
  const values = rows.map((row) => row[column]);
  if (!values.every((value) => typeof value === "number" && value >= 0)) return null;
  const greatest = Math.max(...(values as number[]));
  return greatest > 0 ? { column, greatest } : null;
}
