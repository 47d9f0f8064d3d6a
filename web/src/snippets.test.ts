import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { curl, python, shell } from "./snippets";

const SQL = "SELECT 'it''s', \"$offset\", `x` \\ é\nFROM t -- !$HOME";

describe("curl", () => {
  it("survives a real shell unchanged", () => {
    const args = curl("http://h:1", SQL).replace("curl", `printf '%s\\0'`);
    const words = execFileSync("sh", ["-c", args], { encoding: "utf8" }).split("\0").slice(0, -1);
    expect(words.slice(0, 5)).toEqual(["-s", "http://h:1/v1/sql", "-H", "content-type: application/json", "-d"]);
    expect(JSON.parse(words[5] ?? "")).toEqual({ sql: SQL });
  });

  it("leaves a plain word plain", () => {
    expect(shell("http://h:1/v1/sql")).toBe("http://h:1/v1/sql");
  });
});

describe("python", () => {
  it("writes a long statement line by line", () => {
    expect(python("http://h:1", "SELECT 1\nFROM t")).toContain('sql = (\n    "SELECT 1\\n"\n    "FROM t"\n)');
  });

  it("writes a short one as one string", () => {
    expect(python("http://h:1", "SELECT 'a'")).toContain(`sql = "SELECT 'a'"`);
  });
});
