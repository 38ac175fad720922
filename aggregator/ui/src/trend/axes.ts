// Axes: which signal belongs to which, where a value axis begins and ends, where instants are marked. Pure.

import type { Form, Pick } from "./address";
import { DAY, HOUR, MINUTE, type Window } from "./period";
import { instantOf, offsetOf } from "./zone";

export type Kind = "float" | "integer" | "boolean" | "text";

/** A switch's axis; its two values are words. */
export const SWITCH = "on/off";

/** How a signal is drawn if nobody says: switches and texts as rows, what holds in steps, else lines. */
export function formOf(pick: Pick, kind: Kind, isHeld: boolean): Exclude<Form, ""> {
  if (kind === "text") return "row";
  return pick.form || (kind === "boolean" ? "row" : isHeld ? "step" : "line");
}

/** The key of the axis a signal is drawn on: the number of its own one, else its unit. */
export function axisKey(pick: Pick, kind: Kind, unit: string): string {
  if (pick.axis) return pick.axis;
  if (kind === "boolean") return SWITCH;
  return /^\d{1,2}$/.test(unit) ? `[${unit}]` : unit; // apart from the numbers of own axes
}

/** The lowest number no axis has. */
export function freeAxis(picks: readonly Pick[]): string {
  let number = 1;
  while (picks.some((pick) => pick.axis === String(number))) number++;
  return String(number);
}

export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly step: number;
}

const NICE = [1, 2, 2.5, 4, 5, 10];

/** A scale of exactly `parts` round steps around these values: all axes then share their lines. */
export function niceScale(low: number, high: number, parts: number): Scale {
  if (!(low <= high)) [low, high] = [0, 1];
  if (low === high) {
    const room = Math.abs(low) * 0.05 || 1;
    [low, high] = low === 0 ? [0, 1] : [low - room, high + room];
  }
  const rough = (high - low) / parts;
  let power = 10 ** Math.floor(Math.log10(rough));
  if (!(power > 0 && Number.isFinite(power))) power = rough; // at the ends of what a number can be
  for (const factor of [...NICE, 20, 25, 40, 50]) {
    const step = factor * power;
    const slack = 1e-9 * step;
    let first = Math.floor((low + slack) / step);
    if ((first + parts) * step < high - slack) continue;
    const spare = Math.floor((first + parts) - (high - slack) / step);
    const isPositive = first >= 0;
    first -= Math.floor(spare / 2);
    if (isPositive) first = Math.max(0, first);
    return { low: clean(first * step), high: clean((first + parts) * step), step: clean(step) };
  }
  return { low, high, step: rough };
}

/** A scale between two values that somebody chose. */
export const fixedScale = (low: number, high: number, parts: number): Scale => ({ low, high, step: (high - low) / parts });

const clean = (value: number): number => Number(value.toPrecision(12));

/** Decimal places that tell the steps of a scale apart. */
export function decimals(scale: Scale): number {
  const digits = clean(scale.step).toString();
  const [mantissa = "", exponent = "0"] = digits.split("e");
  return Math.min(12, Math.max(0, (mantissa.split(".")[1]?.length ?? 0) - Number(exponent)));
}

// --- Time ---------------------------------------------------------------------------------------

const STEPS: readonly number[] = [
  1, 2, 5, 10, 20, 50, 100, 200, 500,
  ...[1, 2, 5, 10, 15, 30].map((s) => s * 1000),
  ...[1, 2, 5, 10, 15, 30].map((m) => m * MINUTE),
  ...[1, 2, 3, 6, 12].map((h) => h * HOUR),
  ...[1, 2, 4, 7, 14].map((d) => d * DAY),
];
const MONTHS = [1, 2, 3, 6, 12, 24, 60, 120];
const MONTH = 30.44 * DAY;

export interface Ticks {
  readonly at: readonly number[];
  /** Between two of them, ms; months as long as they are on average. */
  readonly stepMs: number;
}

/** Round instants of a zone's wall clock within a window, at most about `most`. */
export function timeTicks(window: Window, most: number, zone: string): Ticks {
  const rough = (window[1] - window[0]) / Math.max(1, most);
  const step = STEPS.find((one) => one >= rough);
  if (step === undefined) return monthTicks(window, rough, zone);
  const at: number[] = [];
  if (step < HOUR) {
    const offset = offsetOf(zone, window[0]); // changes by half hours, which every such step divides
    for (let t = Math.ceil((window[0] + offset) / step) * step - offset; t <= window[1]; t += step) at.push(t);
    return { at, stepMs: step };
  }
  // 4 January 1970 began a week.
  const origin = step >= 7 * DAY ? 4 * DAY : 0;
  const begin = window[0] + offsetOf(zone, window[0]) - origin;
  for (let wall = Math.floor(begin / step) * step + origin; ; wall += step) {
    const t = instantOf(zone, wall);
    if (t > window[1]) break;
    if (t >= window[0] && t !== at.at(-1)) at.push(t);
  }
  return { at, stepMs: step };
}

function monthTicks(window: Window, rough: number, zone: string): Ticks {
  const months = MONTHS.find((one) => one * MONTH >= rough) ?? Math.ceil(rough / MONTH / 120) * 120;
  const begin = new Date(window[0] + offsetOf(zone, window[0]));
  const first = Math.floor((begin.getUTCFullYear() * 12 + begin.getUTCMonth()) / months) * months;
  const at: number[] = [];
  for (let month = first; ; month += months) {
    const t = instantOf(zone, Date.UTC(Math.floor(month / 12), month % 12, 1));
    if (t > window[1]) break;
    if (t >= window[0]) at.push(t);
  }
  return { at, stepMs: months * MONTH };
}
