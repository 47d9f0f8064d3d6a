import { describe, expect, it } from "vitest";
import { cell, csv, duration, statLine } from "./format";

describe("statLine", () => {
  it("reads as a sentence of the terminal does", () => {
    const line = statLine({
      timeUsedMs: 1.8, segmentsProcessed: 3, segmentsTotal: 41, indexes: ["inverted(carrier)"],
      docsScanned: 1204, totalDocs: 336_776, newestEventAgeMs: 7,
    });
    expect(line).toBe(
      "1.8 ms · 3 of 41 segments · inverted(carrier) · 1,204 of 336,776 rows · newest event 7 ms old",
    );
  });

  it("leaves out what was not measured", () => {
    expect(statLine({ timeUsedMs: 12.4, segmentsTotal: 0, indexes: [], newestEventAgeMs: null })).toBe("12 ms");
  });
});

describe("duration", () => {
  it("goes from parts of a millisecond to days", () => {
    expect([0.26, 9.96, 250.4, 1500, 600_000, 36_000_000, 864_000_000].map(duration)).toEqual([
      "0.3 ms", "10 ms", "250 ms", "1.5 s", "10 min", "10 h", "10 d",
    ]);
  });
});

describe("cell", () => {
  it("shows ten digits of a fraction and every digit of a whole number", () => {
    expect(cell(12.639071414087108)).toBe("12.63907141");
    expect(cell(9007199254740993n)).toBe("9007199254740993");
    expect(cell(null)).toBe("null");
  });
});

describe("csv", () => {
  it("quotes what has to be quoted and tells null from empty", () => {
    const columns = [{ name: "a", type: "STRING" }, { name: "b,c", type: "DOUBLE" }];
    expect(csv(columns, [['say "x"', 0.1 + 0.2], ["", null]])).toBe(
      'a,"b,c"\r\n"say ""x""",0.30000000000000004\r\n"",\r\n',
    );
  });
});
