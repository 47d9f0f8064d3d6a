import { describe, expect, it } from "vitest";
import { parseExactly, refusalOf } from "./api";

describe("parseExactly", () => {
  it("leaves ordinary answers alone", () => {
    expect(parseExactly('{"rows":[[1,2.5,"x",null]]}')).toEqual({ rows: [[1, 2.5, "x", null]] });
  });

  it.runIf("rawJSON" in JSON)("keeps whole numbers beyond 2^53", () => {
    expect(parseExactly('[9007199254740993, 1.5e300, 0.1234567890123456789]')).toEqual([
      9007199254740993n, 1.5e300, 0.12345678901234568,
    ]);
  });
});

describe("refusalOf", () => {
  it("takes the broker's words and place", () => {
    const body = { error: { code: 710, message: "no column", line: 1, column: 8, span: { start: 7, end: 13 } } };
    expect(refusalOf(400, JSON.stringify(body))).toMatchObject({
      code: 710, message: "no column", line: 1, column: 8, span: { start: 7, end: 13 },
    });
  });

  it("says what else came", () => {
    expect(refusalOf(502, "<h1>Bad gateway</h1>").message).toBe("HTTP 502: <h1>Bad gateway</h1>");
    expect(refusalOf(500, "").message).toBe("HTTP 500 without a message");
  });
});
