// Tokens of a statement for colouring. Every character belongs to exactly one token, in order,
// so that the coloured text always lies exactly under the typed one.

export type Kind = "keyword" | "function" | "name" | "string" | "number" | "comment" | "sign" | "space";

export interface Token {
  kind: Kind;
  text: string;
}

const KEYWORDS = new Set(
  (
    "all and any as asc between both by case cast cross current date day desc describe distinct " +
    "else end escape except exclude exists explain extract false fetch filter first following " +
    "for from full group having hour ilike in inner intersect interval into is join last left " +
    "like limit minute month natural not null nulls offset on or order outer over partition plan " +
    "preceding range right row rows second select set show similar substring table then time " +
    "timestamp to trim true unbounded union using values when where window with year"
  ).split(" "),
);

export function isKeyword(word: string): boolean {
  return KEYWORDS.has(word.toLowerCase());
}

const TOKEN = new RegExp(
  [
    String.raw`(?<space>\s+)`,
    String.raw`(?<comment>--[^\n]*|/\*[\s\S]*?(?:\*/|$))`,
    String.raw`(?<string>'(?:[^']|'')*(?:'|$))`,
    String.raw`(?<quoted>"(?:[^"]|"")*(?:"|$)|\x60[^\x60]*(?:\x60|$))`,
    String.raw`(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)`,
    String.raw`(?<word>[\p{L}_$][\p{L}\p{N}_$]*)`,
    String.raw`(?<sign>[\s\S])`,
  ].join("|"),
  "gyu",
);

export function tokens(sql: string): Token[] {
  const found: Token[] = [];
  for (const match of sql.matchAll(TOKEN)) {
    const groups = match.groups as Record<string, string | undefined>;
    const text = match[0];
    let kind: Kind = "sign";
    if (groups["space"] !== undefined) kind = "space";
    else if (groups["comment"] !== undefined) kind = "comment";
    else if (groups["string"] !== undefined) kind = "string";
    else if (groups["quoted"] !== undefined) kind = "name";
    else if (groups["number"] !== undefined) kind = "number";
    else if (groups["word"] !== undefined) kind = wordKind(text, sql, match.index + text.length);
    // What follows AS is a name, whatever word it is; CAST(x AS type) loses its colour for it.
    if (kind === "keyword" && afterAs(found)) kind = "name";
    found.push({ kind, text });
  }
  return found;
}

function afterAs(before: Token[]): boolean {
  const last = before.findLast(({ kind }) => kind !== "space" && kind !== "comment");
  return last?.kind === "keyword" && last.text.toLowerCase() === "as";
}

function wordKind(word: string, sql: string, end: number): Kind {
  const called = /^\s*\(/.test(sql.slice(end, end + 40));
  if (isKeyword(word) && !(called && /^(left|right)$/i.test(word))) return "keyword";
  return called ? "function" : "name";
}

/** Where a range of UTF-8 bytes lies in the UTF-16 text of the page. */
export function range(sql: string, start: number, end: number): [number, number] {
  let bytes = 0;
  let from = sql.length;
  let to = sql.length;
  let at = 0;
  for (const character of sql) {
    if (bytes >= start && at < from) from = at;
    if (bytes >= end && at < to) to = at;
    bytes += utf8Length(character.codePointAt(0) ?? 0);
    at += character.length;
  }
  return [from, Math.max(from, to)];
}

function utf8Length(code: number): number {
  if (code < 0x80) return 1;
  if (code < 0x800) return 2;
  return code < 0x10000 ? 3 : 4;
}

/** A name as it must be written in a statement: quoted only when it has to be. */
export function identifier(name: string): string {
  const plain = /^[a-z_][a-z0-9_]*$/.test(name) && !isKeyword(name);
  return plain ? name : `"${name.replaceAll('"', '""')}"`;
}
