// Lines over time as SVG, drawn anew for each width; the pointer reads the nearest instant.

import { el, svg } from "./dom";
import { cell } from "./format";
import { ticks, timeLabel, timeTicks, type Line, type Series } from "./series";

const HEIGHT = 260;
const TOP = 14;
const BOTTOM = 26;
const RIGHT = 16;

export function chart(data: Series): HTMLElement {
  const stage = el("div", "chart-stage");
  const tip = el("div", "chart-tip");
  tip.hidden = true;
  const names = data.lines.map((line, at) => el("span", "", el("i", `line-${at}`), line.name));
  const legend = el("div", "legend", ...names);
  if (data.hidden > 0) legend.append(el("span", "muted", `and ${data.hidden} more in the table`));
  const figure = el("figure", "chart", legend, stage);
  stage.append(tip);
  let width = 0;
  const redraw = () => {
    if (stage.clientWidth === 0 || stage.clientWidth === width) return;
    width = stage.clientWidth;
    stage.querySelector("svg")?.remove();
    stage.prepend(draw(data, width, tip));
  };
  new ResizeObserver(redraw).observe(stage);
  return figure;
}

interface Scale {
  x(ms: number): number;
  y(value: number): number;
  left: number;
}

function draw(data: Series, width: number, tip: HTMLElement): SVGElement {
  const values = data.lines.flatMap((line) => line.points.filter((v): v is number => v !== null));
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  // Counts are read against zero; a narrow range far from it is not.
  const floor = low > 0 && low < 0.6 * high ? 0 : low;
  const rows = ticks(floor, high, 4);
  const [bottom, top] = [rows[0] ?? 0, rows[rows.length - 1] ?? 1];
  const first = data.times[0] ?? 0;
  const last = data.times[data.times.length - 1] ?? 1;
  const left = 14 + 7.2 * Math.max(...rows.map((value) => axisLabel(value).length));
  const scale: Scale = {
    x: (ms) => left + ((ms - first) / (last - first || 1)) * (width - left - RIGHT),
    y: (value) => HEIGHT - BOTTOM - ((value - bottom) / (top - bottom || 1)) * (HEIGHT - TOP - BOTTOM),
    left,
  };
  const root = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img" });
  for (const value of rows) {
    const y = scale.y(value);
    root.append(svg("line", { class: "rule", x1: left, x2: width - RIGHT, y1: y, y2: y }));
    root.append(svg("text", { class: "axis end", x: left - 8, y: y + 4 }, axisLabel(value)));
  }
  for (const [ms, label] of timeTicks(first, last, Math.max(2, Math.floor(width / 110)))) {
    root.append(svg("text", { class: "axis middle", x: scale.x(ms), y: HEIGHT - 6 }, label));
  }
  data.lines.forEach((line, at) => root.append(...path(data.times, line, at, scale)));
  const hair = svg("line", { class: "hair", y1: TOP, y2: HEIGHT - BOTTOM, x1: -9, x2: -9 });
  root.append(hair);
  pointer(root, data, scale, hair, tip);
  return root;
}

function path(times: number[], line: Line, at: number, scale: Scale): SVGElement[] {
  let d = "";
  let pen = "M";
  const alone: SVGElement[] = [];
  line.points.forEach((value, index) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const [x, y] = [scale.x(times[index] ?? 0).toFixed(1), scale.y(value).toFixed(1)];
    d += `${pen}${x} ${y}`;
    const single = pen === "M" && (line.points[index + 1] ?? null) === null;
    if (single) alone.push(svg("circle", { class: `dot line-${at}`, cx: x, cy: y, r: 2.2 }));
    pen = "L";
  });
  return [svg("path", { class: `line line-${at}`, d }), ...alone];
}

function pointer(root: SVGElement, data: Series, scale: Scale, hair: SVGElement, tip: HTMLElement) {
  const { times, lines } = data;
  const step = ((times[times.length - 1] ?? 0) - (times[0] ?? 0)) / times.length;
  root.addEventListener("pointermove", (event) => {
    const x = event.clientX - root.getBoundingClientRect().left;
    const at = nearest(times, x, scale);
    const ms = times[at] ?? 0;
    hair.setAttribute("x1", String(scale.x(ms)));
    hair.setAttribute("x2", String(scale.x(ms)));
    const day = new Date(ms).toISOString().slice(0, 10);
    const time = step >= 86_400_000 ? day : `${day} ${timeLabel(ms, step >= 1000 ? 1000 : 1).slice(0, 12)}`;
    const rows = lines.map((line, number) =>
      el("div", "", el("i", `line-${number}`), `${line.name} `, el("b", "", cell(line.points[at] ?? null))),
    );
    tip.replaceChildren(el("div", "muted", step >= 1000 ? time : new Date(ms).toISOString()), ...rows);
    tip.hidden = false;
    const rightHalf = x > root.clientWidth / 2;
    tip.style.left = rightHalf ? "" : `${scale.x(ms) + 12}px`;
    tip.style.right = rightHalf ? `${root.clientWidth - scale.x(ms) + 12}px` : "";
  });
  root.addEventListener("pointerleave", () => {
    tip.hidden = true;
    hair.setAttribute("x1", "-9");
    hair.setAttribute("x2", "-9");
  });
}

function nearest(times: number[], x: number, scale: Scale): number {
  let best = 0;
  times.forEach((ms, at) => {
    if (Math.abs(scale.x(ms) - x) < Math.abs(scale.x(times[best] ?? 0) - x)) best = at;
  });
  return best;
}

function axisLabel(value: number): string {
  return value.toLocaleString("en-US", { notation: "compact", maximumFractionDigits: 2 });
}
