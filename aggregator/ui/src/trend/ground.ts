// What lies beneath the lines: marks of time, hatched times of which nothing is known, lanes of quality, rows of
// switches and texts. Drawn on a canvas of its own.

import type { Stretch } from "./curve";
import { xOf, yOf, type Layout, type PlacedAxis, type Rect } from "./layout";
import type { Window } from "./period";

export interface Ink {
  readonly text: string;
  readonly quiet: string;
  readonly rule: string;
  readonly edge: string;
  readonly plate: string;
  readonly hatch: string;
  readonly bad: string;
  readonly focus: string;
  readonly font: string;
  readonly lines: readonly string[];
}

/** The colours of the theme in force, for canvases. */
export function inkOf(element: HTMLElement): Ink {
  const style = getComputedStyle(element);
  const of = (name: string): string => style.getPropertyValue(name).trim();
  return {
    text: of("--text"), quiet: of("--quiet"), rule: of("--rule"), edge: of("--edge"), plate: of("--plate"), hatch: of("--hatch"), bad: of("--bad"), focus: of("--focus"),
    font: style.fontFamily,
    lines: Array.from({ length: 8 }, (_, i) => of(`--s${i + 1}`)),
  };
}

export interface Row {
  readonly name: string;
  readonly colour: string;
  readonly known: readonly Stretch[];
  /** What a stretch says, and whether it is a switch that is off. */
  say(stretch: Stretch): { text: string; isOff: boolean };
}

export interface Ground {
  readonly layout: Layout;
  readonly window: Window;
  readonly ticks: readonly number[];
  readonly unknown: readonly (readonly [number, number])[];
  readonly lanes: readonly { colour: string; known: readonly Stretch[] }[];
  readonly rows: readonly Row[];
  /** Samples without a line. */
  readonly dots: readonly { points: Float64Array; axis: PlacedAxis; colour: string }[];
}

/** A canvas as large as its box, and sharp. */
export function prepared(canvas: HTMLCanvasElement, box: Rect): CanvasRenderingContext2D {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d")!;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  return pen;
}

/** Hatched with slanting lines, six pixels apart. */
function hatch(pen: CanvasRenderingContext2D, rect: Rect, colour: string, width: number, pitch: number): void {
  pen.save();
  pen.beginPath();
  pen.rect(rect.left, rect.top, rect.width, rect.height);
  pen.clip();
  pen.beginPath();
  const first = Math.floor((rect.left - rect.height) / pitch) * pitch;
  for (let x = first; x < rect.left + rect.width; x += pitch) {
    pen.moveTo(x, rect.top + rect.height);
    pen.lineTo(x + rect.height, rect.top);
  }
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.stroke();
  pen.restore();
}

export function drawGround(canvas: HTMLCanvasElement, ground: Ground, ink: Ink): void {
  const { layout, window } = ground;
  const { plot } = layout;
  const pen = prepared(canvas, layout.box);
  const bottom = layout.baseline;
  const between = (from: number, to: number, top: number, height: number): Rect => {
    const left = Math.max(plot.left, xOf(from, window, plot));
    return { left, top, width: Math.min(plot.left + plot.width, xOf(to, window, plot)) - left, height };
  };
  pen.strokeStyle = ink.rule;
  pen.lineWidth = 1;
  for (const tick of ground.ticks) {
    const x = Math.round(xOf(tick, window, plot)) + 0.5;
    pen.beginPath();
    pen.moveTo(x, plot.top);
    pen.lineTo(x, bottom);
    pen.stroke();
  }
  for (const [from, to] of ground.unknown) hatch(pen, between(from, to, plot.top, plot.height), ink.hatch, 4, 12);
  layout.lanes.forEach((rect, i) => {
    const lane = ground.lanes[i]!;
    for (const one of asStates(lane.known)) {
      const exact = between(one.fromMs, one.toMs, rect.top, rect.height);
      if (exact.width <= 0) continue;
      const part = { ...exact, width: Math.max(1.5, exact.width) };
      pen.fillStyle = lane.colour;
      if (one.state === "good") pen.fillRect(part.left, rect.top + rect.height / 2 - 0.5, part.width, 1);
      else if (one.state === "uncertain") for (let x = part.left; x < part.left + part.width; x += 6) pen.fillRect(x, rect.top + 1, Math.min(3, part.left + part.width - x), 3);
      else if (one.state === "bad") {
        pen.strokeStyle = lane.colour;
        pen.strokeRect(part.left, rect.top + 0.5, part.width, rect.height - 1);
        hatch(pen, part, lane.colour, 1.5, 5);
      }
    }
  });
  pen.font = `12px ${ink.font}`;
  pen.textBaseline = "middle";
  layout.rows.forEach((rect, i) => drawRow(pen, ground.rows[i]!, rect, between, ink));
  for (const { points, axis, colour } of ground.dots) {
    pen.fillStyle = colour;
    pen.beginPath();
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = [xOf(points[i]!, window, plot), yOf(points[i + 1]!, axis.scale, plot)];
      if (x < plot.left || x > plot.left + plot.width || y < plot.top - 1 || y > plot.top + plot.height + 1) continue;
      pen.moveTo(x + 2.5, y);
      pen.arc(x, y, 2.5, 0, 7);
    }
    pen.fill();
  }
}

/** Neighbours in the same state as one. */
function asStates(known: readonly Stretch[]): Stretch[] {
  const found: Stretch[] = [];
  for (const one of known) {
    const last = found.at(-1);
    if (last && last.state === one.state && last.toMs === one.fromMs) found[found.length - 1] = { ...last, toMs: one.toMs };
    else found.push(one);
  }
  return found;
}

const NAME = 13;

/** Stretches that say the same one after the other as one. */
function alike(row: Row): (Stretch & { text: string; isOff: boolean })[] {
  const found: (Stretch & { text: string; isOff: boolean })[] = [];
  for (const stretch of row.known) {
    const said = stretch.state === "good" || stretch.state === "uncertain" ? row.say(stretch) : { text: "", isOff: false };
    const last = found.at(-1);
    if (last && last.toMs === stretch.fromMs && last.state === stretch.state && last.text === said.text)
      found[found.length - 1] = { ...last, toMs: stretch.toMs };
    else found.push({ ...stretch, ...said });
  }
  return found;
}

function drawRow(
  pen: CanvasRenderingContext2D, row: Row, rect: Rect, between: (from: number, to: number, top: number, height: number) => Rect, ink: Ink,
): void {
  const top = rect.top + NAME + 2;
  const height = rect.height - NAME - 5;
  for (const one of alike(row)) {
    const part = between(one.fromMs, one.toMs, top, height);
    const width = Math.max(1, part.width);
    if (part.width <= 0 || one.state === "none") continue;
    if (one.state === "bad") {
      hatch(pen, { ...part, width }, row.colour, 1.5, 6);
      pen.strokeStyle = row.colour;
      pen.strokeRect(part.left + 0.5, top + 0.5, Math.max(0, width - 1), height - 1);
      continue;
    }
    const { text, isOff } = one;
    pen.fillStyle = row.colour;
    if (isOff) pen.fillRect(part.left, top + height - 2, width, 2);
    else {
      pen.globalAlpha = one.state === "uncertain" ? 0.5 : 1;
      pen.fillRect(part.left, top, width, height);
      pen.globalAlpha = 1;
      pen.fillStyle = ink.plate;
      pen.fillRect(part.left, top, 1, height); // where one block ends and the next begins
    }
    if (width < 26) continue;
    pen.save();
    pen.beginPath();
    pen.rect(part.left + 2, top, width - 6, height);
    pen.clip();
    pen.fillStyle = isOff ? ink.quiet : ink.plate;
    pen.fillText(text, part.left + 6, top + height / 2 + 0.5);
    pen.restore();
  }
  pen.save();
  pen.beginPath();
  pen.rect(rect.left, rect.top, rect.width, NAME + 2);
  pen.clip();
  pen.fillStyle = ink.plate;
  const width = Math.min(rect.width, pen.measureText(row.name).width + 6);
  pen.fillRect(rect.left, rect.top + 1, width, NAME);
  pen.fillStyle = ink.text;
  pen.fillText(row.name, rect.left + 3, rect.top + NAME / 2 + 1.5);
  pen.restore();
}
