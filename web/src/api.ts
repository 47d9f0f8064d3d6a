// What the broker answers, and nothing about how it is shown.
// A number that JavaScript cannot hold exactly is kept as a bigint, never rounded.

export type Cell = null | boolean | number | bigint | string | Cell[];

export interface Column {
  name: string;
  type: string;
}

export interface Stats {
  timeUsedMs: number;
  segmentsProcessed: number;
  segmentsTotal: number;
  indexes: string[];
  docsScanned: number;
  totalDocs: number;
  newestEventAgeMs: number | null;
}

export interface Answer {
  columns: Column[];
  rows: Cell[][];
  stats: Partial<Stats>;
  warnings: string[];
}

export interface Table {
  name: string;
  rows: number | null;
  columns: Column[];
}

export interface Example {
  title: string;
  sql: string;
}

/** Byte offsets into the UTF-8 of the statement, as the broker counts them. */
export interface Span {
  start: number;
  end: number;
}

/** Why there is no answer, in the broker's words. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly code: number | string | null = null,
    readonly span: Span | null = null,
    readonly line: number | null = null,
    readonly column: number | null = null,
  ) {
    super(message);
  }
}

type Source = { source?: string };

/** JSON.parse that keeps whole numbers beyond 2^53 exact. */
export function parseExactly(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const keep = (_key: string, value: unknown, context?: Source) => {
    if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
    const source = context?.source;
    return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value;
  };
  return JSON.parse(text, keep as (key: string, value: unknown) => unknown);
}

export function refusalOf(status: number, text: string): Refusal {
  try {
    const { error } = JSON.parse(text) as { error?: Record<string, unknown> };
    if (error && typeof error["message"] === "string") {
      return new Refusal(
        error["message"],
        (error["code"] as number | string | undefined) ?? null,
        (error["span"] as Span | undefined) ?? null,
        (error["line"] as number | undefined) ?? null,
        (error["column"] as number | undefined) ?? null,
      );
    }
  } catch {
    // Not from the broker itself, perhaps from a proxy before it.
  }
  const start = text.trim().slice(0, 500);
  return new Refusal(start ? `HTTP ${status}: ${start}` : `HTTP ${status} without a message`);
}

export async function ask(sql: string, signal?: AbortSignal): Promise<Answer> {
  const response = await reach("/v1/sql", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sql }),
    signal: signal ?? null,
  });
  const text = await response.text();
  if (!response.ok) throw refusalOf(response.status, text);
  const answer = parseExactly(text) as Partial<Answer>;
  return {
    columns: answer.columns ?? [],
    rows: answer.rows ?? [],
    stats: answer.stats ?? {},
    warnings: answer.warnings ?? [],
  };
}

export async function tables(): Promise<Table[]> {
  const response = await reach("/v1/tables");
  if (!response.ok) throw refusalOf(response.status, await response.text());
  return ((await response.json()) as { tables?: Table[] }).tables ?? [];
}

/** Questions to begin with; a broker without any is as good. */
export async function examples(): Promise<Example[]> {
  try {
    const response = await reach("/v1/examples");
    if (!response.ok) return [];
    return ((await response.json()) as { examples?: Example[] }).examples ?? [];
  } catch {
    return [];
  }
}

async function reach(path: string, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refusal("the broker does not answer; is Tannin still running?");
  }
}
