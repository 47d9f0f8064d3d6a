// A dashboard of Superset in a real Chromium: every chart has to get its rows and to draw them.
//
//   node e2e/superset.mjs http://127.0.0.1:8088 --dashboard flights --answers answers.json --screenshot superset.png
//
// Writes what the charts asked and were told, for others to check. Exits 1 when a chart shows an error.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    dashboard: { type: "string", default: "flights" },
    answers: { type: "string" },
    screenshot: { type: "string" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  },
});
const superset = (positionals[0] ?? "http://127.0.0.1:8088").replace(/\/$/, "");
const WAIT_MS = 120_000;

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

async function signIn(request) {
  await request.post(`${superset}/login/`, { form: { username: "admin", password: "admin" } });
  const me = await request.get(`${superset}/api/v1/me/`);
  expect(me.ok(), `admin was not let in: ${me.status()}`);
}

/** What each chart asked and was told, by the name that `charts` has for its id. */
function listen(page, charts) {
  const answers = [];
  page.on("response", async (response) => {
    if (!response.url().includes("/api/v1/chart/data")) return;
    const asked = response.request().postDataJSON();
    const chart = charts[asked.form_data?.slice_id] ?? `filter ${asked.form_data?.groupby}`;
    answers.push({ chart, status: response.status(), asked, told: await response.json().catch(() => null) });
  });
  return answers;
}

const ERRORS = "[role=alert], .ant-alert-error";

async function drawn(page, names) {
  for (const name of names) {
    const chart = page.locator(`[data-test-chart-name="${name}"]`);
    await chart.scrollIntoViewIfNeeded({ timeout: WAIT_MS });
    const content = chart.locator(`canvas, table, .header-line, ${ERRORS}`).first();
    await content.waitFor({ state: "visible", timeout: WAIT_MS });
    const errors = await chart.locator(ERRORS).allTextContents();
    expect(errors.length === 0, `${name} shows: ${errors.join("; ")}`);
    console.log(`ok    ${name}`);
  }
}

const profile = mkdtempSync(join(tmpdir(), "tannin-superset-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: values.chromium,
  headless: true,
  viewport: { width: 1360, height: 1800 },
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
  ],
});
try {
  const page = context.pages()[0] ?? (await context.newPage());
  await signIn(context.request);
  const api = async (path) => (await context.request.get(`${superset}${path}`)).json();
  const { result } = await api(`/api/v1/dashboard/${values.dashboard}/charts`);
  const charts = Object.fromEntries(result.map(({ id, slice_name }) => [id, slice_name]));
  expect(result.length > 0, `dashboard ${values.dashboard} has no charts`);
  const answers = listen(page, charts);
  await page.goto(`${superset}/superset/dashboard/${values.dashboard}/`, { timeout: WAIT_MS });
  await drawn(page, Object.values(charts));
  await page.waitForFunction(() => !document.querySelector(".loading"), null, { timeout: WAIT_MS });
  const faults = await page.$$eval(ERRORS, (all) => all.map((one) => one.textContent));
  expect(faults.length === 0, `the dashboard shows: ${faults.join("; ")}`);
  if (values.answers) writeFileSync(values.answers, JSON.stringify(answers));
  if (values.screenshot) {
    await page.evaluate(() => scrollTo(0, 0));
    await page.waitForTimeout(1_000); // lines are drawn in an animation
    await page.screenshot({ path: values.screenshot });
  }
} catch (error) {
  process.exitCode = 1;
  console.log(`FAIL  ${error.message}`);
  if (values.screenshot) await context.pages()[0]?.screenshot({ path: `${values.screenshot}.failed.png` });
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
