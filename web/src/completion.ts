// What may follow the letters before the caret: tables and columns first, then words of SQL.

import type { Table } from "./api";
import { identifier } from "./sql";

export interface Choice {
  label: string;
  insert: string;
  detail: string;
}

const WORDS =
  "SELECT FROM WHERE GROUP BY ORDER HAVING LIMIT OFFSET DISTINCT COUNT(*) SUM MIN MAX AVG BETWEEN LIKE CASE WHEN THEN ELSE END CAST JOIN LEFT ON AND OR NOT NULL FILTER DESC ASC EXPLAIN date_trunc"
    .split(" ");

/** The word that ends at the caret. */
export function prefix(sql: string, caret: number): string {
  return /[\p{L}_$][\p{L}\p{N}_$]*$/u.exec(sql.slice(0, caret))?.[0] ?? "";
}

export function choices(sql: string, caret: number, tables: Table[], most = 8): Choice[] {
  const typed = prefix(sql, caret);
  if (typed.length < 2) return [];
  const lower = typed.toLowerCase();
  const found = new Map<string, Choice>();
  const offer = (label: string, insert: string, detail: string) => {
    const matches = label.toLowerCase().startsWith(lower) && label !== typed;
    if (matches && !found.has(label)) found.set(label, { label, insert, detail });
  };
  for (const table of tables) offer(table.name, identifier(table.name), "table");
  const named = tables.filter((table) => sql.includes(table.name));
  for (const table of named.length > 0 ? named : tables) {
    for (const column of table.columns) {
      offer(column.name, identifier(column.name), `${column.type} · ${table.name}`);
    }
  }
  for (const word of WORDS) offer(word, word, "");
  return [...found.values()].slice(0, most);
}
