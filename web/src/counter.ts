// How many rows the watched table has and how fast they arrive, asked once a second while the page
// is seen. One question at a time: a slow broker is never asked faster than it answers.

import { ask, type Table } from "./api";

export interface Count {
  table: string;
  rows: number;
  perSecond: number | null;
}

interface Sample {
  at: number;
  rows: number;
}

const WINDOW_MS = 5000;

/** Rows a second over the samples; null until there are two of them a while apart. */
export function rate(samples: Sample[]): number | null {
  const [first, last] = [samples[0], samples[samples.length - 1]];
  if (!first || !last || last.at - first.at < 500) return null;
  return Math.max(0, ((last.rows - first.rows) * 1000) / (last.at - first.at));
}

/** The table that grows, else the one that is greatest. */
export function watched(before: Table[], now: Table[]): string | null {
  const old = new Map(before.map((table) => [table.name, table.rows ?? 0]));
  const grown = (table: Table) => (table.rows ?? 0) - (old.get(table.name) ?? table.rows ?? 0);
  const sorted = [...now].sort((a, b) => grown(b) - grown(a) || (b.rows ?? 0) - (a.rows ?? 0));
  return sorted[0]?.name ?? null;
}

export class Counter {
  #table: string | null = null;
  #samples: Sample[] = [];

  constructor(readonly onCount: (count: Count | null) => void) {
    void this.#run();
  }

  watch(table: string | null): void {
    if (table === this.#table) return;
    this.#table = table;
    this.#samples = [];
  }

  async #run(): Promise<void> {
    for (;;) {
      if (this.#table !== null && !document.hidden) await this.#sample(this.#table);
      await new Promise((resolve) => window.setTimeout(resolve, 1000));
    }
  }

  async #sample(table: string): Promise<void> {
    try {
      const answer = await ask(`SELECT COUNT(*) FROM "${table.replaceAll('"', '""')}"`);
      const rows = Number(answer.rows[0]?.[0] ?? 0);
      if (table !== this.#table) return;
      const at = performance.now();
      this.#samples = this.#samples.filter((sample) => at - sample.at < WINDOW_MS);
      this.#samples.push({ at, rows });
      this.onCount({ table, rows, perSecond: rate(this.#samples) });
    } catch {
      this.#samples = [];
      this.onCount(null);
    }
  }
}
