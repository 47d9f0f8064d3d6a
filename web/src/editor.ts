// The SQL box: a plain text area over its own coloured text. Both wrap alike, so the colours, the
// underline of an error and the list of completions are always where the letters are.

import type { Table } from "./api";
import { choices, prefix, type Choice } from "./completion";
import { el } from "./dom";
import { tokens } from "./sql";

export class Editor {
  readonly #area = el("textarea", "editor-text");
  readonly #paint = el("pre", "editor-paint");
  readonly #list = el("ul", "complete");
  #wrong: [number, number] | null = null;
  #choices: Choice[] = [];
  #chosen = -1;
  #tables: Table[] = [];

  constructor(parent: HTMLElement, onRun: () => void, onChange: (sql: string) => void) {
    this.#area.spellcheck = false;
    this.#area.setAttribute("aria-label", "SQL");
    this.#area.setAttribute("autocapitalize", "off");
    this.#area.setAttribute("autocomplete", "off");
    this.#area.rows = 1;
    this.#paint.setAttribute("aria-hidden", "true");
    this.#list.hidden = true;
    parent.append(this.#paint, this.#area, this.#list);
    this.#area.addEventListener("input", () => {
      this.#wrong = null;
      this.#offer();
      this.#draw();
      onChange(this.sql);
    });
    this.#area.addEventListener("blur", () => this.#close());
    this.#area.addEventListener("click", () => this.#close());
    this.#area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.#close();
        onRun();
      } else if (!this.#list.hidden) {
        this.#choose(event);
      }
    });
    this.#draw();
  }

  get sql(): string {
    return this.#area.value;
  }

  set sql(text: string) {
    this.#area.value = text;
    this.#wrong = null;
    this.#close();
    this.#draw();
  }

  set tables(tables: Table[]) {
    this.#tables = tables;
  }

  focus(): void {
    this.#area.focus();
  }

  /** Underlines a part of the statement; of nothing at the end, the last letter. */
  underline(start: number, end: number): void {
    const last = this.sql.length;
    const from = Math.min(start, Math.max(0, last - 1));
    this.#wrong = [from, Math.max(from + 1, Math.min(end, last))];
    this.#draw();
  }

  clearUnderline(): void {
    this.#wrong = null;
    this.#draw();
  }

  insert(text: string): void {
    const { selectionStart, selectionEnd, value } = this.#area;
    const space = /[\w"]$/.test(value.slice(0, selectionStart)) ? " " : "";
    this.#replace(selectionStart, selectionEnd, space + text);
  }

  #replace(start: number, end: number, text: string): void {
    this.#area.focus();
    this.#area.setSelectionRange(start, end);
    // Keeps the browser's own undo; where it is gone, the text is set directly.
    if (!document.execCommand("insertText", false, text)) {
      this.#area.setRangeText(text, start, end, "end");
      this.#area.dispatchEvent(new Event("input"));
    }
    this.#close();
  }

  #draw(): void {
    const caret = this.#area.selectionStart - prefix(this.sql, this.#area.selectionStart).length;
    const fragment = document.createDocumentFragment();
    let at = 0;
    for (const token of tokens(this.sql)) {
      if (at === caret) fragment.append(el("span", "caret-mark"));
      for (const [text, wrong] of this.#split(token.text, at)) {
        const className = `t-${token.kind}${wrong ? " wrong" : ""}`;
        fragment.append(token.kind === "space" && !wrong ? text : el("span", className, text));
      }
      at += token.text.length;
    }
    // A last empty line has no height of its own.
    fragment.append("\u200b");
    this.#paint.replaceChildren(fragment);
    this.#placeList();
  }

  #split(text: string, at: number): [string, boolean][] {
    if (!this.#wrong) return [[text, false]];
    const from = Math.min(Math.max(this.#wrong[0] - at, 0), text.length);
    const to = Math.min(Math.max(this.#wrong[1] - at, from), text.length);
    const parts: [string, boolean][] = [
      [text.slice(0, from), false],
      [text.slice(from, to), true],
      [text.slice(to), false],
    ];
    return parts.filter(([part]) => part !== "");
  }

  #offer(): void {
    const { selectionStart, selectionEnd } = this.#area;
    const here = selectionStart === selectionEnd;
    this.#choices = here ? choices(this.sql, selectionStart, this.#tables) : [];
    this.#chosen = -1;
    this.#list.hidden = this.#choices.length === 0;
    this.#list.replaceChildren(
      ...this.#choices.map((choice) => {
        const item = el("li", "", el("span", "", choice.label), el("small", "", choice.detail));
        item.addEventListener("mousedown", (event) => {
          event.preventDefault();
          this.#accept(choice);
        });
        return item;
      }),
    );
  }

  #placeList(): void {
    const mark = this.#paint.querySelector<HTMLElement>(".caret-mark");
    if (this.#list.hidden || !mark) return;
    this.#list.style.left = `${mark.offsetLeft}px`;
    this.#list.style.top = `${mark.offsetTop + mark.offsetHeight + 4}px`;
  }

  #choose(event: KeyboardEvent): void {
    const moves: Record<string, number> = { ArrowDown: 1, ArrowUp: -1 };
    const move = moves[event.key];
    if (move !== undefined) {
      event.preventDefault();
      const length = this.#choices.length;
      this.#chosen = (this.#chosen + move + length + (this.#chosen < 0 && move < 0 ? 1 : 0)) % length;
      [...this.#list.children].forEach((item, at) =>
        item.classList.toggle("chosen", at === this.#chosen),
      );
    } else if (event.key === "Tab" || (event.key === "Enter" && this.#chosen >= 0)) {
      event.preventDefault();
      this.#accept(this.#choices[Math.max(0, this.#chosen)]);
    } else if (event.key === "Escape" || event.key === "Enter") {
      this.#close();
    }
  }

  #accept(choice: Choice | undefined): void {
    if (!choice) return;
    const caret = this.#area.selectionStart;
    this.#replace(caret - prefix(this.sql, caret).length, caret, choice.insert);
  }

  #close(): void {
    this.#list.hidden = true;
  }
}
