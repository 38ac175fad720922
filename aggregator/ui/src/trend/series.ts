// A chosen signal with all that its drawing needs: name, colour, form, axis, curve. Pure but for names.

import { COLOURS, type Form, type Pick } from "./address";
import { axisKey, fixedScale, formOf, niceScale, type Kind, type Scale } from "./axes";
import { extent, inForce, rowAt, stretches, valueAt, type Curve, type Stretch } from "./curve";
import type { Plain } from "../live";
import type { Window } from "./period";

export interface Series {
  readonly pick: Pick;
  readonly name: string;
  readonly gateway: string;
  readonly unit: string;
  readonly kind: Kind;
  readonly form: Exclude<Form, "">;
  readonly axis: string;
  /** 0…7, and how it is dashed. */
  readonly colour: number;
  readonly dash: number;
  readonly curve: Curve;
  /** Up to when its last value is known to hold. */
  readonly untilMs: number;
}

export interface About {
  readonly name: string;
  readonly gateway: string;
  readonly unit: string;
  readonly kind: Kind;
}

/** Colour and dashes by number: eight colours, then the same dashed. */
export const colourOf = (pick: Pick, place: number): number => (pick.colour || (place % COLOURS) + 1) - 1;

export function seriesOf(pick: Pick, place: number, about: About, curve: Curve, untilMs: number): Series {
  const colour = colourOf(pick, place);
  return {
    pick,
    ...about,
    form: formOf(pick, about.kind, curve.isHeld),
    axis: axisKey(pick, about.kind, about.unit),
    colour: colour % 8,
    dash: Math.floor(colour / 8),
    curve,
    untilMs,
  };
}

/** The same choice with another list: what stays keeps its colour. */
export function recoloured(before: readonly Pick[], after: readonly Pick[]): Pick[] {
  const colours = new Map(before.map((pick, place) => [keyOf(pick), colourOf(pick, place) + 1]));
  const taken = new Set(after.flatMap((pick) => colours.get(keyOf(pick)) ?? (pick.colour || [])));
  return after.map((pick, place) => {
    let number = colours.get(keyOf(pick)) ?? pick.colour;
    if (!number) {
      number = (place % COLOURS) + 1;
      while (taken.has(number) && taken.size < COLOURS) number = (number % COLOURS) + 1;
      taken.add(number);
    }
    return { ...pick, colour: number === (place % COLOURS) + 1 ? 0 : number };
  });
}

/** What tells series apart: a signal may be there twice, once shifted. */
export const keyOf = (pick: Pick): string => `${pick.uid}~${pick.shiftMs}`;

/** Axes of lines in the order of their first one, each with its scale for what is seen. */
export function scalesOf(
  all: readonly Series[], window: Window, bounds: ReadonlyMap<string, readonly [number, number]>, parts: number,
): Map<string, Scale> {
  const found = new Map<string, [number, number]>();
  for (const one of all) {
    if (one.pick.isHidden || one.form === "row") continue;
    const [low, high] = found.get(one.axis) ?? [Infinity, -Infinity];
    const own = extent(one.curve, window[0] - one.pick.shiftMs, window[1] - one.pick.shiftMs) ?? [];
    const all = [low, ...own, ...(one.form === "bar" ? [0] : [])]; // bars stand on zero
    found.set(one.axis, [Math.min(...all), Math.max(high, ...all.slice(1))]);
  }
  return new Map(
    [...found].map(([key, [low, high]]) => {
      const bound = bounds.get(key);
      return [key, bound ? fixedScale(bound[0], bound[1], parts) : niceScale(low, high, parts)];
    }),
  );
}

/** What is known of a series in a window, in the chart's time. */
export function knownOf(one: Series, window: Window): Stretch[] {
  const shift = one.pick.shiftMs;
  return stretches(one.curve, window[0] - shift, window[1] - shift, one.untilMs).map((stretch) => ({
    ...stretch, fromMs: stretch.fromMs + shift, toMs: stretch.toMs + shift,
  }));
}

/** Times at which nothing is known of any of these. */
export function unknownOf(all: readonly (readonly Stretch[])[], window: Window): [from: number, to: number][] {
  if (!all.length) return [];
  const edges: [ms: number, change: number][] = [];
  for (const known of all)
    for (const one of known) if (one.state === "none" || one.state === "bad") edges.push([one.fromMs, 1], [one.toMs, -1]);
  edges.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const found: [number, number][] = [];
  let open = 0;
  for (const [ms, change] of edges) {
    if (open === all.length && change < 0 && found.length) found[found.length - 1]![1] = ms;
    open += change;
    if (open === all.length && change > 0) found.push([ms, window[1]]);
  }
  const joined: [number, number][] = [];
  for (const [from, to] of found) {
    const last = joined.at(-1);
    if (last && last[1] === from) last[1] = to;
    else if (to > from) joined.push([from, to]);
  }
  return joined;
}

/** One series at one instant. */
export interface Reading {
  readonly value: Plain;
  readonly quality: number;
  readonly state: Stretch["state"];
  /** When it was measured, in the series' own time; null: never. */
  readonly timeMs: number | null;
  readonly number: number;
}

const NEVER: Reading = { value: null, quality: 0, state: "none", timeMs: null, number: NaN };

/** What a series says at an instant of the chart: the newest sample not after it, for as long as it counts. */
export function readingAt(one: Series, chartMs: number): Reading {
  const { curve, kind } = one;
  const ms = chartMs - one.pick.shiftMs;
  const row = inForce(curve, ms);
  const isLast = row === curve.timeMs.length - 1;
  if (row < 0) {
    const { before } = curve;
    if (!before || ms < before.timeMs || (!curve.timeMs.length && ms > one.untilMs && ms > before.timeMs)) return NEVER;
    const value = typeof before.value === "number" && kind === "boolean" ? before.value !== 0 : before.value;
    return { value, quality: before.quality, state: stateOf(before.quality, value), timeMs: before.timeMs, number: numberOf(value) };
  }
  const timeMs = curve.timeMs[row]!;
  if (curve.quality[row] === 255 || (isLast && ms > one.untilMs && ms > timeMs)) return NEVER;
  const value = valueAt(curve, row, kind);
  const quality = curve.quality[row]!;
  return { value, quality, state: stateOf(quality, value), timeMs, number: numberOf(value) };
}

const numberOf = (value: Plain): number => (typeof value === "number" || typeof value === "boolean" ? Number(value) : NaN);
const stateOf = (quality: number, value: Plain): Stretch["state"] =>
  quality >= 128 || value === null ? "bad" : quality >= 64 ? "uncertain" : "good";

/** Worth a lane beneath the lines: not good, and not what is hatched over all of them anyway. */
export function isTrouble(part: Stretch, unknown: readonly (readonly [number, number])[], window: Window): boolean {
  if (part.state === "good") return false;
  if (part.state !== "none") return true;
  const slack = (window[1] - window[0]) / 300;
  return part.toMs - part.fromMs > slack && !unknown.some(([from, to]) => part.fromMs >= from - slack && part.toMs <= to + slack);
}

/** Few enough that each sample can be seen. */
export function isSparse(one: Series, window: Window, width: number): boolean {
  const shift = one.pick.shiftMs;
  const count = rowAt(one.curve.timeMs, window[1] - shift) - rowAt(one.curve.timeMs, window[0] - shift);
  return count > 0 && count * 14 < width;
}

/** Samples within a window as points; of bars, doubtful ones too. */
export function dotsOf(one: Series, window: Window, isAll = false): Float64Array {
  const { timeMs, value, quality } = one.curve;
  const shift = one.pick.shiftMs;
  const found: number[] = [];
  const end = isAll ? timeMs.length : Math.min(timeMs.length, rowAt(timeMs, window[1] - shift) + 1);
  for (let i = isAll ? 0 : rowAt(timeMs, window[0] - shift); i < end; i++)
    if (quality[i]! < 128 && !Number.isNaN(value[i]!)) found.push(timeMs[i]! + shift, value[i]!);
  return Float64Array.from(found);
}
