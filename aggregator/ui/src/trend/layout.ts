// Where everything of a chart lies, in CSS pixels of its box. Pure.

import type { Scale } from "./axes";
import type { Window } from "./period";

export interface Rect {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** A value axis as it is drawn. */
export interface PlacedAxis {
  readonly key: string;
  readonly name: string;
  readonly scale: Scale;
  readonly labels: readonly string[];
  readonly colour: string;
  readonly side: "left" | "right";
  /** From the plot's edge outwards. */
  readonly offset: number;
  /** Too many for the room: it counts, but is not drawn. */
  readonly isShown: boolean;
}

export interface Layout {
  readonly box: Rect;
  /** Lines are drawn here. */
  readonly plot: Rect;
  /** Thin lanes beneath, one for each line that is not good throughout. */
  readonly lanes: readonly Rect[];
  /** One for each switch and text. */
  readonly rows: readonly Rect[];
  /** Below this line instants are written. */
  readonly baseline: number;
}

export const ROW = 34;
const LANE = 5;
const LANE_STEP = 8;
const LANES_MOST = 12;
const TOP = 26;
const TIME_LABELS = 38;
const SIDE_LEAST = 14;

/** Parts an axis of this height is divided in. */
export const partsOf = (height: number): number => Math.min(8, Math.max(2, Math.floor(height / 56)));

/** Room for the words of an axis, its name above them among these. */
const widthOf = (axis: { name: string; labels: readonly string[] }): number =>
  14 + 7 * Math.max(2, Math.min(8, axis.name.length), ...axis.labels.map((label) => label.length));

/** Height of what lies beneath the lines. */
export const belowOf = (lanes: number, rows: number): number => {
  const count = Math.min(lanes, LANES_MOST);
  return count * LANE_STEP + (count ? 3 : 0) + rows * ROW + TIME_LABELS;
};

/** Sides and offsets of axes, the first on the left, then turn by turn; in a narrow box two of them are drawn. */
export function placed(
  axes: readonly { key: string; name: string; scale: Scale; labels: readonly string[]; colour: string }[],
  boxWidth: number,
): PlacedAxis[] {
  const room = { left: 0, right: 0 };
  return axes.map((axis, i) => {
    const side = i % 2 ? "right" : "left";
    const width = widthOf(axis);
    const offset = room[side];
    const isShown = (boxWidth >= 640 || i < 2) && offset + width < boxWidth * 0.3;
    if (isShown) room[side] += width;
    return { ...axis, side, offset, isShown };
  });
}

/** Everything's place in a box. */
export function layoutOf(box: Rect, axes: readonly PlacedAxis[], hasLines: boolean, lanes: number, rows: number): Layout {
  const edge = (side: "left" | "right"): number => {
    const last = axes.filter((axis) => axis.side === side && axis.isShown).at(-1);
    return last ? last.offset + widthOf(last) : SIDE_LEAST;
  };
  const [left, right] = [edge("left"), edge("right")];
  const width = Math.max(10, box.width - left - right);
  const count = Math.min(lanes, LANES_MOST);
  const height = hasLines ? Math.max(60, box.height - TOP - belowOf(lanes, rows)) : 0;
  const top = hasLines ? TOP : 4;
  const plot = { left, top, width, height };
  let at = top + height + (count ? 3 : 0);
  const laid = (n: number, step: number, size: number): Rect[] =>
    Array.from({ length: n }, () => {
      const rect = { left, top: at, width, height: size };
      at += step;
      return rect;
    });
  const laneRects = laid(count, LANE_STEP, LANE);
  const rowRects = laid(rows, ROW, ROW);
  return { box, plot, lanes: laneRects, rows: rowRects, baseline: at };
}

export const xOf = (ms: number, window: Window, plot: Rect): number => plot.left + ((ms - window[0]) / (window[1] - window[0])) * plot.width;
export const msOf = (x: number, window: Window, plot: Rect): number => window[0] + ((x - plot.left) / plot.width) * (window[1] - window[0]);
export const yOf = (value: number, scale: Scale, plot: Rect): number =>
  plot.top + plot.height * (1 - (value - scale.low) / (scale.high - scale.low));
