import { describe, expect, it } from "vitest";
import { choices } from "./completion";

const tables = [
  { name: "flights", rows: 1, columns: [{ name: "carrier", type: "STRING" }, { name: "Delay", type: "INT" }] },
  { name: "airlines", rows: 1, columns: [{ name: "carrier", type: "STRING" }, { name: "callsign", type: "STRING" }] },
];
const labels = (sql: string) => choices(sql, sql.length, tables).map((choice) => choice.insert);

describe("choices", () => {
  it("offers the columns of the tables that are named", () => {
    expect(choices("SELECT ca FROM flights", 9, tables).map((c) => c.label)).toEqual(["carrier", "CASE", "CAST"]);
  });

  it("quotes names that need it", () => {
    expect(labels("SELECT del")).toEqual(['"Delay"']);
  });

  it("waits for two letters and stops when all is typed", () => {
    expect(labels("SELECT f")).toEqual([]);
    expect(labels("SELECT 1 FROM flights")).toEqual([]);
  });
});
