// Puts the page together: question in, answer out, counter and tables beside them.

import "./style.css";

import { ask, examples, Refusal, tables, type Answer, type Table } from "./api";
import { chart } from "./chart";
import { Counter, watched, type Count } from "./counter";
import { byId, copies, el } from "./dom";
import { Editor } from "./editor";
import { csv, grouped, statLine } from "./format";
import { grid } from "./grid";
import { series } from "./series";
import { Side } from "./side";
import { curl, python } from "./snippets";
import { range } from "./sql";
import { startTheme } from "./theme";

const KEPT = "tannin.sql";
const TABLES_EVERY_MS = 5000;

const answerPlace = byId("answer");
const runButton = byId<HTMLButtonElement>("run");
const editor = new Editor(byId("editor"), () => void run(), (sql) => keep(sql));
const side = new Side(byId("tables"), (text) => editor.insert(text));
let running: AbortController | null = null;

async function run(): Promise<void> {
  const sql = editor.sql.trim() === "" ? "" : editor.sql;
  if (sql === "") return editor.focus();
  running?.abort();
  const mine = new AbortController();
  running = mine;
  editor.clearUnderline();
  busy(true);
  try {
    const answer = await ask(sql, mine.signal);
    if (running === mine) show(answer);
  } catch (error) {
    if (running === mine && !mine.signal.aborted) refuse(sql, error);
  } finally {
    if (running === mine) {
      running = null;
      busy(false);
    }
  }
}

function busy(on: boolean): void {
  runButton.classList.toggle("busy", on);
  byId("run-label").textContent = on ? "Cancel" : "Run";
  answerPlace.classList.toggle("stale", on);
}

function show(answer: Answer): void {
  const line = el("p", "stats", statLine(answer.stats));
  const copyCsv = el("button", "ghost", "Copy as CSV");
  copyCsv.type = "button";
  copies(copyCsv, () => csv(answer.columns, answer.rows));
  const card = el("div", "card result");
  for (const warning of answer.warnings) card.append(el("p", "warning", warning));
  const lines = series(answer);
  if (lines) card.append(chart(lines));
  card.append(grid(answer));
  answerPlace.replaceChildren(el("div", "under", line, el("span", "spacer"), copyCsv), card);
}

function refuse(sql: string, error: unknown): void {
  const refusal = error instanceof Refusal ? error : new Refusal(String(error));
  const place: string[] = [];
  if (refusal.line !== null) place.push(`line ${refusal.line}`);
  if (refusal.column !== null) place.push(`column ${refusal.column}`);
  if (refusal.span) {
    const [from, to] = range(sql, refusal.span.start, refusal.span.end);
    editor.underline(from, to);
  }
  const title = refusal.code === null ? "No answer" : `Error ${refusal.code}`;
  const head = el("strong", "", title);
  const where = place.length > 0 ? el("span", "muted", place.join(", ")) : null;
  const card = el("div", "card error", el("p", "", head, " ", where), el("p", "message", refusal.message));
  card.setAttribute("role", "alert");
  answerPlace.replaceChildren(card);
}

function keep(sql: string): void {
  try {
    localStorage.setItem(KEPT, sql);
  } catch {
    // Private windows keep nothing.
  }
}

function kept(): string {
  try {
    return localStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

function showCount(count: Count | null): void {
  byId("live").classList.toggle("lost", count === null);
  if (!count) return;
  byId("live").hidden = false;
  byId("live-rows").textContent = grouped(count.rows);
  byId("live-of").textContent = `rows in ${count.table}`;
  const grows = count.perSecond !== null && count.perSecond >= 0.5;
  byId("live-rate").textContent = grows ? `+${grouped(Math.round(count.perSecond ?? 0))}/s` : "";
  side.count(count.table, count.rows);
}

async function followTables(counter: Counter): Promise<void> {
  let before: Table[] = [];
  for (;;) {
    if (!document.hidden) {
      try {
        const now = await tables();
        side.show(now);
        editor.tables = now;
        counter.watch(watched(before, now));
        before = now;
      } catch {
        // The counter shows that the broker is gone; the tables stay as they were.
      }
    }
    await new Promise((resolve) => window.setTimeout(resolve, TABLES_EVERY_MS));
  }
}

async function offerExamples(): Promise<void> {
  const found = await examples();
  const chips = found.map((example) => {
    const chip = el("button", "chip", example.title);
    chip.type = "button";
    chip.title = example.sql;
    chip.addEventListener("click", () => {
      editor.sql = example.sql;
      keep(example.sql);
      void run();
    });
    return chip;
  });
  byId("examples").replaceChildren(...chips);
  const first = found[0];
  if (editor.sql === "" && first) editor.sql = first.sql;
}

const mac = /Mac|iPhone|iPad/.test(navigator.platform);
byId("run-keys").textContent = mac ? "⌘ ↵" : "Ctrl ↵";
runButton.addEventListener("click", () => {
  if (!running) return void run();
  running.abort();
  running = null;
  busy(false);
});
copies(byId("copy-curl"), () => curl(location.origin, editor.sql));
copies(byId("copy-python"), () => python(location.origin, editor.sql));
startTheme(byId("theme"));
editor.sql = kept();
editor.focus();
void followTables(new Counter(showCount));
void offerExamples();
