import { describe, expect, it } from "vitest";
import type { Answer, Cell, Column } from "./api";
import { series, ticks, timeTicks } from "./series";

function answer(types: Record<string, string>, rows: Cell[][]): Answer {
  const columns: Column[] = Object.entries(types).map(([name, type]) => ({ name, type }));
  return { columns, rows, stats: {}, warnings: [] };
}

const at = (second: number) => `2013-01-01 00:00:0${second}.0`;

describe("series", () => {
  it("draws every numeric column over time, in the order of time", () => {
    const rows = [[at(2), 5, "1.5"], [at(1), 4, null]];
    const found = series(answer({ second: "TIMESTAMP", n: "LONG", d: "BIG_DECIMAL" }, rows));
    expect(found?.times).toEqual([1_356_998_401_000, 1_356_998_402_000]);
    expect(found?.lines).toEqual([
      { name: "n", points: [4, 5] },
      { name: "d", points: [null, 1.5] },
    ]);
  });

  it("draws one line for each name beside the time", () => {
    const rows = [[at(1), "UA", 3], [at(1), "DL", 4], [at(2), "UA", 5]];
    const found = series(answer({ second: "TIMESTAMP", carrier: "STRING", n: "LONG" }, rows));
    expect(found?.lines).toEqual([
      { name: "UA", points: [3, 5] },
      { name: "DL", points: [4, null] },
    ]);
  });

  it("keeps the heaviest lines and tells of the others", () => {
    const rows = Array.from({ length: 20 }, (_, i) => [at(1 + (i % 2)), `c${i >> 1}`, i]);
    const found = series(answer({ second: "TIMESTAMP", c: "STRING", n: "LONG" }, rows));
    expect(found?.lines[0]?.name).toBe("c9");
    expect(found?.hidden).toBe(4);
  });

  it("draws nothing without time first, a number, or two instants", () => {
    expect(series(answer({ n: "LONG", t: "TIMESTAMP" }, [[1, at(1)], [2, at(2)]]))).toBeNull();
    expect(series(answer({ t: "TIMESTAMP", s: "STRING" }, [[at(1), "x"], [at(2), "y"]]))).toBeNull();
    expect(series(answer({ t: "TIMESTAMP", n: "LONG" }, [[at(1), 1], [at(1), 2]]))).toBeNull();
  });

  it("takes epoch milliseconds only in a column called like a time", () => {
    const rows = [[1_700_000_000_000, 1], [1_700_000_060_000, 2]];
    expect(series(answer({ event_time: "LONG", n: "LONG" }, rows))?.times).toHaveLength(2);
    expect(series(answer({ distance: "LONG", n: "LONG" }, rows))).toBeNull();
  });
});

describe("ticks", () => {
  it("covers the values with round steps", () => {
    expect(ticks(0, 1150, 4)).toEqual([0, 500, 1000, 1500]);
    expect(ticks(-3, 7, 4)).toEqual([-5, 0, 5, 10]);
    expect(ticks(5, 5, 4).length).toBeGreaterThan(1);
  });

  it("labels time as finely as it is shown", () => {
    const start = Date.UTC(2013, 0, 1);
    expect(timeTicks(start, start + 60_000, 4).map(([, label]) => label)).toEqual([
      "00:00:00", "00:00:15", "00:00:30", "00:00:45", "00:01:00",
    ]);
    expect(timeTicks(start, start + 5 * 86_400_000, 5)[1]?.[1]).toBe("2013-01-02");
  });
});
