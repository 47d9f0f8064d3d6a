import { describe, expect, it } from "vitest";
import { rate, watched } from "./counter";

const table = (name: string, rows: number) => ({ name, rows, columns: [] });

describe("rate", () => {
  it("is rows a second over the samples", () => {
    expect(rate([{ at: 0, rows: 10 }, { at: 2000, rows: 2010 }])).toBe(1000);
    expect(rate([{ at: 0, rows: 10 }])).toBeNull();
    expect(rate([{ at: 0, rows: 10 }, { at: 1000, rows: 4 }])).toBe(0);
  });
});

describe("watched", () => {
  it("is the table that grows, else the greatest", () => {
    const before = [table("weather", 900), table("flights", 5)];
    expect(watched([], before)).toBe("weather");
    expect(watched(before, [table("weather", 900), table("flights", 9)])).toBe("flights");
    expect(watched([], [])).toBeNull();
  });
});
