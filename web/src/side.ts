// The tables beside the question: rows, columns and types; a click writes the name.

import type { Table } from "./api";
import { el } from "./dom";
import { grouped } from "./format";
import { identifier } from "./sql";

export class Side {
  readonly #open = new Set<string>();
  #drawn = "";

  constructor(
    readonly parent: HTMLElement,
    readonly insert: (text: string) => void,
  ) {}

  show(tables: Table[]): void {
    const shape = JSON.stringify(tables.map((table) => [table.name, table.columns]));
    if (shape !== this.#drawn) {
      this.#drawn = shape;
      const items = tables.map((table) => this.#item(table));
      const none = el("p", "muted", "No tables yet. Create one with ", el("code", "", "tannin table create"), ".");
      this.parent.replaceChildren(...(items.length > 0 ? items : [none]));
    }
    for (const table of tables) this.count(table.name, table.rows);
  }

  count(name: string, rows: number | null): void {
    for (const item of this.parent.querySelectorAll<HTMLElement>("[data-table]")) {
      if (item.dataset["table"] !== name) continue;
      const place = item.querySelector(".rows");
      if (place) place.textContent = rows === null ? "" : grouped(rows);
    }
  }

  #item(table: Table): HTMLElement {
    const name = el("span", "table-name", table.name);
    const summary = el("summary", "", name, el("span", "rows"));
    const columns = table.columns.map((column) => {
      const button = el("button", "", el("span", "", column.name), el("small", "", column.type));
      button.type = "button";
      button.addEventListener("click", () => this.insert(identifier(column.name)));
      return el("li", "", button);
    });
    const details = el("details", "", summary, el("ul", "", ...columns));
    details.dataset["table"] = table.name;
    details.open = this.#open.has(table.name);
    details.addEventListener("toggle", () => {
      if (details.open) this.#open.add(table.name);
      else this.#open.delete(table.name);
    });
    name.title = "Double-click to insert";
    name.addEventListener("dblclick", () => this.insert(identifier(table.name)));
    return details;
  }
}
