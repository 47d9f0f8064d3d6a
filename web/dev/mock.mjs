// A pretended broker for working on the page without the engine: `npm run mock [port]`, then
// `npm run dev` (hot reload) or open the port itself (the built page). Never part of the product.
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const port = Number(process.argv[2] ?? 8099);
const dist = fileURLToPath(new URL("../dist", import.meta.url));
const started = Date.now();
const events = () => 336_776 + Math.floor((Date.now() - started) / 10);
const files = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/assets/app.js": ["assets/app.js", "text/javascript; charset=utf-8"],
  "/assets/app.css": ["assets/app.css", "text/css; charset=utf-8"],
};
const tables = () => [
  { name: "airlines", rows: 16, columns: columns({ carrier: "STRING", name: "STRING" }) },
  { name: "airports", rows: 1458, columns: columns({ faa: "STRING", name: "STRING", lat: "DOUBLE" }) },
  {
    name: "flights",
    rows: events(),
    columns: columns({ event_time: "TIMESTAMP", carrier: "STRING", origin: "STRING", dep_delay: "INT", distance: "INT" }),
  },
];
const columns = (types) => Object.entries(types).map(([name, type]) => ({ name, type }));
const stamp = (ms) => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")}.0`;
const names = ["United Air Lines", "JetBlue Airways", "ExpressJet", "Delta Air Lines", "American Airlines", "Envoy Air"];

function answer(sql) {
  if (/select\s+count\(\*\)\s+from\s+"?\w+"?\s*$/i.test(sql)) {
    return { columns: columns({ "count(*)": "LONG" }), rows: [[events()]] };
  }
  if (/date_trunc/i.test(sql)) {
    const now = Math.floor(Date.now() / 1000) * 1000;
    const rows = Array.from({ length: 120 }, (_, at) => [
      stamp(now - (120 - at) * 1000),
      1000 + Math.round(120 * Math.sin(at / 9) + 40 * Math.random()),
      Math.round(300 + 60 * Math.cos(at / 15)),
    ]);
    return { columns: columns({ second: "TIMESTAMP", events: "LONG", late: "LONG" }), rows };
  }
  if (/wide/i.test(sql)) {
    const rows = Array.from({ length: 2345 }, (_, at) => [at, at % 7 ? `value ${at}` : null, at / 3]);
    return { columns: columns({ id: "LONG", text: "STRING", third: "DOUBLE" }), rows };
  }
  const rows = names.map((name, at) => [name, 58_665 - at * 8123, at === 3 ? null : 12.639071414087108 - at]);
  return { columns: columns({ name: "STRING", flights: "LONG", delay: "DOUBLE" }), rows };
}

function refusal(sql) {
  const found = /carier|SELEC\b|flight\b(?!s)/.exec(sql);
  if (!found) return null;
  const start = Buffer.byteLength(sql.slice(0, found.index));
  const before = sql.slice(0, found.index).split("\n");
  const message = `there is no column \`${found[0]}\`; did you mean \`carrier\`?`;
  const span = { start, end: start + Buffer.byteLength(found[0]) };
  return { error: { code: 710, message, line: before.length, column: before.at(-1).length + 1, span } };
}

/** JSON text, written by hand: JavaScript cannot hold this number. */
const GREAT = '{"columns":[{"name":"great","type":"LONG"}],"rows":[[9007199254740993]],"stats":{},"warnings":[]}';

const stats = () => ({
  timeUsedMs: 1.8, segmentsProcessed: 3, segmentsTotal: 41, indexes: ["inverted(carrier)"],
  docsScanned: 1204, totalDocs: events(), newestEventAgeMs: 7,
});

const examples = [
  { title: "Flights by airline", sql: "SELECT a.name, COUNT(*) AS flights, AVG(dep_delay) AS delay\nFROM flights f\nJOIN airlines a ON f.carrier = a.carrier\nGROUP BY a.name\nORDER BY flights DESC" },
  { title: "The last minutes", sql: "SELECT date_trunc('second', event_time) AS second, COUNT(*) AS events\nFROM flights\nGROUP BY 1\nORDER BY 1 DESC\nLIMIT 120" },
  { title: "Many rows", sql: "SELECT * FROM wide" },
];

createServer((request, response) => {
  const send = (status, body) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  };
  const path = new URL(request.url, "http://mock").pathname;
  const file = files[path];
  if (file && existsSync(`${dist}/${file[0]}`)) {
    response.writeHead(200, { "content-type": file[1] });
    createReadStream(`${dist}/${file[0]}`).pipe(response);
  } else if (path === "/v1/tables") send(200, { tables: tables() });
  else if (path === "/v1/examples") send(200, { examples });
  else if (path === "/v1/sql" && request.method === "POST") {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      const { sql } = JSON.parse(body);
      if (sql.includes("9007199254740993")) return response.end(GREAT);
      const fault = refusal(sql);
      if (fault) send(400, fault);
      else send(200, { ...answer(sql), stats: stats(), warnings: [] });
    });
  } else send(404, { error: { code: 404, message: `nothing at ${path}` } });
}).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}`));
