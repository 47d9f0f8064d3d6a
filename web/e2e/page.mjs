// The page in a real Chromium against a running broker: every part a reader relies on, once.
//
//   node e2e/page.mjs http://127.0.0.1:8099 [--screenshot page.png] [--table flights]
//
// Expects a table that grows and has a TIMESTAMP column. Exits 1 at the first thing that is wrong.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    screenshot: { type: "string" },
    table: { type: "string", default: "flights" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  },
});
const broker = (positionals[0] ?? process.env.TANNIN_BROKER ?? "http://127.0.0.1:8099").replace(/\/$/, "");
const table = values.table;
const WAIT_MS = 15_000;

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

async function until(what, condition) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${WAIT_MS / 1000} s in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function ask(page, sql) {
  await page.fill("textarea[aria-label=SQL]", sql);
  await page.press("textarea[aria-label=SQL]", "Control+Enter");
  await page.waitForFunction(() => !document.querySelector("#run.busy"), null, { timeout: WAIT_MS });
}

const cells = (page, selector) => page.$$eval(selector, (found) => found.map((cell) => cell.textContent));
const liveRows = async (page) => Number((await page.textContent("#live-rows")).replaceAll(",", ""));
const timeColumn = async () => {
  const { tables } = await (await fetch(`${broker}/v1/tables`)).json();
  const found = tables.find(({ name }) => name === table);
  expect(found, `the broker has no table ${table}`);
  const column = found.columns.find(({ type }) => type === "TIMESTAMP");
  expect(column, `${table} has no TIMESTAMP column`);
  return column.name;
};

const steps = {
  async "tables are listed with their columns"(page) {
    const place = `[data-table="${table}"]`;
    await page.waitForSelector(place, { timeout: WAIT_MS });
    await page.click(`${place} summary`);
    expect((await cells(page, `${place} li span`)).length > 1, "no columns under the table");
    await page.click(`${place} summary`);
  },
  async "the counter grows"(page) {
    const first = await until("the counter", () => liveRows(page));
    await until(`more than ${first} rows`, async () => (await liveRows(page)) > first);
  },
  async "words of SQL are coloured"(page) {
    await page.fill("textarea[aria-label=SQL]", `SELECT COUNT(*) AS n FROM ${table} -- all`);
    expect((await cells(page, ".t-keyword")).join(" ") === "SELECT AS FROM", "keywords are not coloured");
    expect((await cells(page, ".t-comment"))[0] === "-- all", "comments are not coloured");
  },
  async "an answer is a table with its statistics"(page) {
    await ask(page, `SELECT COUNT(*) AS n FROM ${table}`);
    const [value] = await cells(page, ".grid td.number");
    expect(Number(value) > 0, `COUNT(*) shows ${value}`);
    const stats = await page.textContent(".stats");
    expect(/ms|\ds/.test(stats) && stats.includes("segment"), `the line of statistics is: ${stats}`);
  },
  async "a null is shown as such"(page) {
    await ask(page, `SELECT CASE WHEN 1 = 2 THEN 1 END AS nothing FROM ${table} LIMIT 1`);
    const { error } = await page.evaluate(() => ({ error: document.querySelector(".error")?.textContent }));
    expect(!error, `the question was refused: ${error}`);
    expect((await cells(page, ".grid td.null")).length > 0, "a null is not shown as null");
  },
  async "a whole number beyond 2^53 keeps its digits"(page) {
    await ask(page, "SELECT CAST('9007199254740993' AS BIGINT) AS great");
    const [value] = await cells(page, ".grid td.number");
    expect(value === "9007199254740993", `shown as ${value}`);
  },
  async "time against a number is a chart"(page) {
    const time = await timeColumn();
    const second = `date_trunc('second', ${time})`;
    const sql = `SELECT ${second} AS second, COUNT(*) AS events FROM ${table}`;
    await ask(page, `${sql}\nGROUP BY 1\nORDER BY 1 DESC\nLIMIT 120`);
    const path = await page.waitForSelector("figure.chart path.line-0", { timeout: WAIT_MS });
    expect((await path.getAttribute("d")).includes("L"), "the chart has no line");
    if (values.screenshot) await page.screenshot({ path: values.screenshot });
  },
  async "copied commands carry the question"(page) {
    const sql = "SELECT 'it''s' AS quoted";
    await page.fill("textarea[aria-label=SQL]", sql);
    await page.click("#copy-curl");
    await page.waitForFunction(() => document.querySelector("#copy-curl").textContent === "Copied");
    const curl = await page.evaluate(() => navigator.clipboard.readText());
    expect(curl.startsWith(`curl -s ${broker}/v1/sql`), `copied: ${curl}`);
    expect(curl.includes(`'\\''it'\\'''\\''s'\\''`), `not quoted for a shell: ${curl}`);
    await page.click("#copy-python");
    await page.waitForFunction(() => document.querySelector("#copy-python").textContent === "Copied");
    const python = await page.evaluate(() => navigator.clipboard.readText());
    expect(python.includes(JSON.stringify(sql)), `copied: ${python}`);
  },
  async "an error points at its place"(page) {
    await ask(page, `SELECT carier FROM ${table} GROUP BY carier`);
    await page.waitForSelector(".error", { timeout: WAIT_MS });
    expect((await page.textContent(".error .message")).length > 10, "the error says nothing");
    const marked = (await cells(page, ".wrong")).join("");
    expect(marked === "carier", `underlined is ${JSON.stringify(marked)}`);
  },
  async "the next answer takes the error away"(page) {
    await ask(page, `SELECT COUNT(*) AS n FROM ${table}`);
    expect((await page.$(".error, .wrong")) === null, "the error is still there");
  },
  async "dark and light"(page) {
    const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const before = await colour();
    await page.click("#theme");
    expect((await colour()) !== before, "the theme does not change");
    await page.click("#theme");
  },
  async "the API shows its endpoints and tries them"(page) {
    await page.goto(`${broker}/help`, { timeout: WAIT_MS });
    const entry = page.locator("details", { hasText: "POST /query/sql" }).first();
    await entry.locator("summary").click();
    await entry.locator("textarea").fill(JSON.stringify({ sql: `SELECT COUNT(*) FROM ${table}` }));
    await entry.locator("button").click();
    const answered = () => entry.locator("pre").textContent();
    const answer = await until("the answer", async () => ((await answered()) ?? "").length > 5 && answered());
    expect(answer.startsWith("200 ") && answer.includes("resultTable"), `the answer is: ${answer}`);
  },
};

const profile = mkdtempSync(join(tmpdir(), "tannin-page-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: values.chromium,
  headless: true,
  viewport: { width: 1360, height: 900 },
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
  ],
});
let failed = 0;
let step = "start";
try {
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: broker });
  const page = context.pages()[0] ?? (await context.newPage());
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(broker, { timeout: WAIT_MS });
  for (const [name, run] of Object.entries(steps)) {
    step = name;
    await run(page);
    expect(faults.length === 0, `the page threw: ${faults.join("; ")}`);
    console.log(`ok    ${name}`);
  }
} catch (error) {
  failed = 1;
  console.log(`FAIL  ${step}: ${error.message}`);
  if (values.screenshot) await context.pages()[0]?.screenshot({ path: `${values.screenshot}.failed.png` });
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(`${Object.keys(steps).length} checks, ${failed ? "failed" : "all passed"}`);
process.exitCode = failed;
