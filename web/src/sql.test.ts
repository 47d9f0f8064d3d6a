import { describe, expect, it } from "vitest";
import { identifier, range, tokens } from "./sql";

const kinds = (sql: string) =>
  tokens(sql).filter((t) => t.kind !== "space").map((t) => `${t.kind}:${t.text}`);

describe("tokens", () => {
  it("gives every character to exactly one token", () => {
    const odd = "SELECT 'it''s', \"a\"\"b\", `c`, 1.5e3 /* open\n é 🙂 'unclosed";
    expect(tokens(odd).map((t) => t.text).join("")).toBe(odd);
  });

  it("tells words, functions, names, strings, numbers and comments apart", () => {
    expect(kinds("SELECT count(x) FROM t1 WHERE a = 'from' -- select")).toEqual([
      "keyword:SELECT", "function:count", "sign:(", "name:x", "sign:)", "keyword:FROM", "name:t1",
      "keyword:WHERE", "name:a", "sign:=", "string:'from'", "comment:-- select",
    ]);
  });

  it("colours an alias as a name though it is a word of SQL", () => {
    expect(kinds("x AS second, second")).toEqual([
      "name:x", "keyword:AS", "name:second", "sign:,", "keyword:second",
    ]);
  });

  it("takes $ columns as one name", () => {
    expect(kinds("$offset")).toEqual(["name:$offset"]);
  });
});

describe("range", () => {
  it("counts bytes as the broker does", () => {
    const sql = "SELECT 'é🙂', carier";
    const start = new TextEncoder().encode("SELECT 'é🙂', ").length;
    const [from, to] = range(sql, start, start + 6);
    expect(sql.slice(from, to)).toBe("carier");
  });

  it("stays within the text", () => {
    expect(range("abc", 3, 9)).toEqual([3, 3]);
  });
});

describe("identifier", () => {
  it("quotes only what has to be quoted", () => {
    expect(["flights", "Carrier", "$offset", "order", 'a"b'].map(identifier)).toEqual([
      "flights", '"Carrier"', '"$offset"', '"order"', '"a""b"',
    ]);
  });
});
