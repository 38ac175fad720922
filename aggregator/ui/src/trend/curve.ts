// Samples of one signal as they are drawn: history and present put together, breaks kept. Pure.
// A row whose value is no number, or whose quality is bad, is a break: nothing may be drawn from it on. Holes
// are rows too: the server puts them where a signal that speaks by itself was silent.

import type { Plain } from "../live";

/** In place of a quality: here is no sample. */
export const HOLE = 0xff;
const BAD = 0x80;
const UNCERTAIN = 0x40;

export interface Sample {
  readonly timeMs: number;
  readonly value: Plain;
  readonly quality: number;
}

/** Known to have been there, and not to be given. */
export interface Missing {
  readonly fromMs: number;
  readonly toMs: number;
  readonly reason: string;
}

/** Samples by time. Of a text the value is its place in `texts`. */
export interface Curve {
  readonly timeMs: Float64Array;
  readonly value: Float64Array;
  readonly quality: Uint8Array;
  readonly texts: readonly string[];
  /** Digits of integers that a number rounds, by row. */
  readonly exact: ReadonlyMap<number, string>;
  /** Each value holds until the next: drawn in steps. */
  readonly isHeld: boolean;
  /** Samples in the range, however many are shown. */
  readonly samples: number;
  /** Some samples are not shown, or not at their instant. */
  readonly isReduced: boolean;
  /** So far may an instant be from where it is drawn. */
  readonly coarseMs: number;
  readonly before: Sample | null;
  readonly missing: readonly Missing[];
}

export const NO_CURVE: Curve = {
  timeMs: new Float64Array(0), value: new Float64Array(0), quality: new Uint8Array(0), texts: [], exact: new Map(),
  isHeld: false, samples: 0, isReduced: false, coarseMs: 0, before: null, missing: [],
};

export const isBreak = (value: number, quality: number): boolean => quality >= BAD || Number.isNaN(value);
export const isUncertain = (quality: number): boolean => quality >= UNCERTAIN && quality < BAD;

/** First row at or after an instant. */
export function rowAt(times: ArrayLike<number>, ms: number): number {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle]! < ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What the live channel brought of one signal since the page opened; the oldest go when there are too many. */
export class Tail {
  static readonly MOST = 20_000;
  readonly #samples: Sample[] = [];

  /** Take in the newest; one that is there already, or late, is not taken. */
  take(sample: Sample): boolean {
    let last = this.#samples.at(-1);
    if (last && last.quality === HOLE && last.timeMs >= sample.timeMs) {
      this.#samples.pop();
      last = this.#samples.at(-1);
    }
    if (last && sample.timeMs <= last.timeMs) return false;
    this.#samples.push(sample);
    if (this.#samples.length > Tail.MOST) this.#samples.splice(0, Tail.MOST / 10);
    return true;
  }

  /** After this instant it is not known what the signal was, until the next sample. */
  lose(timeMs: number): void {
    const last = this.#samples.at(-1);
    if (last?.quality === HOLE) return;
    const afterMs = Math.max(timeMs, last?.timeMs ?? -Infinity) + 1;
    if (Number.isFinite(afterMs)) this.#samples.push({ timeMs: afterMs, value: null, quality: HOLE });
  }

  /** Forget what history has by now. */
  forget(untilMs: number): void {
    const times = this.#samples.map((one) => one.timeMs);
    this.#samples.splice(0, rowAt(times, untilMs));
  }

  /** Those after an instant. */
  after(ms: number): readonly Sample[] {
    let at = this.#samples.length;
    while (at > 0 && this.#samples[at - 1]!.timeMs > ms) at--;
    return at === 0 ? this.#samples : this.#samples.slice(at);
  }
}

/** History and, behind its last sample, the present: no sample twice, and a hole where there is one. */
export function joined(history: Curve, tail: readonly Sample[]): Curve {
  const lastMs = lastSample(history);
  const fresh = tail.filter((one) => one.timeMs > lastMs);
  if (!fresh.length) return history;
  // A hole that history ends with is none if the present begins before it.
  let rows = history.timeMs.length;
  if (rows && history.quality[rows - 1] === HOLE && history.timeMs[rows - 1]! >= fresh[0]!.timeMs) rows--;
  const size = rows + fresh.length;
  const [timeMs, value, quality] = [new Float64Array(size), new Float64Array(size), new Uint8Array(size)];
  timeMs.set(history.timeMs.subarray(0, rows));
  value.set(history.value.subarray(0, rows));
  quality.set(history.quality.subarray(0, rows));
  const texts = [...history.texts];
  const exact = new Map(history.exact);
  fresh.forEach((one, i) => {
    const row = rows + i;
    timeMs[row] = one.timeMs;
    value[row] = asNumber(one.value, texts, (digits) => exact.set(row, digits));
    quality[row] = one.quality;
  });
  const samples = history.samples + fresh.filter((one) => one.quality !== HOLE).length;
  return { ...history, timeMs, value, quality, texts, exact, samples };
}

function lastSample(curve: Curve): number {
  for (let i = curve.timeMs.length - 1; i >= 0; i--) if (curve.quality[i] !== HOLE) return curve.timeMs[i]!;
  return curve.before?.timeMs ?? -Infinity;
}

function asNumber(value: Plain, texts: string[], wide: (digits: string) => void): number {
  if (value === null) return NaN;
  if (typeof value !== "string") return Number(value);
  if (!texts.length && /^-?\d{16,20}$/.test(value)) {
    wide(value);
    return Number(value);
  }
  const known = texts.indexOf(value);
  return known >= 0 ? known : texts.push(value) - 1;
}

/** The value of one row as it was. */
export function valueAt(curve: Curve, row: number, kind: string): Plain {
  const value = curve.value[row]!;
  if (curve.quality[row] === HOLE || Number.isNaN(value)) return null;
  if (kind === "text") return curve.texts[value] ?? "";
  if (kind === "boolean") return value !== 0;
  return curve.exact.get(row) ?? value;
}

/** Lowest and highest drawable value in a window, with the rows beside it that the line comes from; null: none. */
export function extent(curve: Curve, fromMs: number, toMs: number): [low: number, high: number] | null {
  let [low, high] = [Infinity, -Infinity];
  const first = Math.max(0, rowAt(curve.timeMs, fromMs) - 1);
  const last = Math.min(curve.timeMs.length - 1, rowAt(curve.timeMs, toMs));
  for (let i = first; i <= last; i++) {
    const value = curve.value[i]!;
    if (isBreak(value, curve.quality[i]!) || !Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const before = curve.before;
  if (first === 0 && before && typeof before.value === "number" && before.quality < BAD && curve.isHeld) {
    low = Math.min(low, before.value);
    high = Math.max(high, before.value);
  }
  return low <= high ? [low, high] : null;
}

/** Points (x, y, x, y, …) of what is sure, of what is uncertain, and of samples that no line leads to. */
export interface Strokes {
  readonly sure: Float64Array;
  readonly unsure: Float64Array;
  readonly lone: Float64Array;
}

/**
 * A curve as lines.
 *
 * `untilMs` is up to when the last value is known to hold: the line goes on to there, and no further.
 */
export function strokes(curve: Curve, isStepped: boolean, untilMs: number, shiftMs = 0): Strokes {
  const sure: number[] = [];
  const unsure: number[] = [];
  const lone: number[] = [];
  const gap = (points: number[]) => {
    if (points.length && !Number.isNaN(points[points.length - 1]!)) points.push(points[points.length - 2]!, NaN);
  };
  // The row a line may come from: its time, value, and whether it is uncertain.
  let [x0, y0, isUnsure0, hasLine] = [0, NaN, false, false];
  const leave = (x: number) => {
    if (Number.isNaN(y0)) return;
    if (isStepped && x > x0) {
      stroke(isUnsure0 ? unsure : sure, x0, y0, x, y0);
    } else if (!hasLine) lone.push(x0, y0);
  };
  const stroke = (points: number[], xa: number, ya: number, xb: number, yb: number) => {
    const n = points.length;
    if (!(n && points[n - 2] === xa && points[n - 1] === ya)) {
      gap(points);
      points.push(xa, ya);
    }
    points.push(xb, yb);
  };
  const take = (x: number, value: number, quality: number) => {
    if (isBreak(value, quality)) {
      leave(x);
      [y0, hasLine] = [NaN, false];
      return;
    }
    const isUnsure = isUncertain(quality);
    const isFirst = Number.isNaN(y0);
    if (!isFirst) {
      if (isStepped) {
        stroke(isUnsure0 ? unsure : sure, x0, y0, x, y0);
        if (value !== y0) stroke(isUnsure || isUnsure0 ? unsure : sure, x, y0, x, value);
      } else stroke(isUnsure || isUnsure0 ? unsure : sure, x0, y0, x, value);
    }
    [x0, y0, isUnsure0, hasLine] = [x, value, isUnsure, !isFirst];
  };
  const { before } = curve;
  const first = curve.timeMs[0] ?? untilMs;
  if (before && before.timeMs < first && (typeof before.value === "number" || typeof before.value === "boolean")) {
    take(before.timeMs + shiftMs, Number(before.value), before.quality);
  }
  for (let i = 0; i < curve.timeMs.length; i++) take(curve.timeMs[i]! + shiftMs, curve.value[i]!, curve.quality[i]!);
  leave(untilMs + shiftMs);
  return { sure: Float64Array.from(sure), unsure: Float64Array.from(unsure), lone: Float64Array.from(lone) };
}

/** The points a window needs: those in it and one on either side. Nothing is copied. */
export function clipped(points: Float64Array, fromMs: number, toMs: number): Float64Array {
  const count = points.length / 2;
  const at = (ms: number): number => {
    let [low, high] = [0, count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[2 * middle]! < ms) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return points.subarray(2 * Math.max(0, at(fromMs) - 1), 2 * Math.min(count, at(toMs) + 1));
}

/** A stretch of time and what is known in it. */
export interface Stretch {
  readonly fromMs: number;
  readonly toMs: number;
  /** Row of the value, -1 for the one before the first row. */
  readonly row: number;
  readonly state: "good" | "uncertain" | "bad" | "none";
}

/** The whole window as stretches, each value until the next; beyond `untilMs`, and in holes, nothing is known. */
export function stretches(curve: Curve, fromMs: number, toMs: number, untilMs: number): Stretch[] {
  const found: Stretch[] = [];
  const add = (from: number, to: number, row: number, state: Stretch["state"]) => {
    [from, to] = [Math.max(from, fromMs), Math.min(to, toMs)];
    if (to > from) found.push({ fromMs: from, toMs: to, row, state });
  };
  const rows = curve.timeMs.length;
  const first = curve.timeMs[0] ?? Math.max(untilMs, fromMs);
  const { before } = curve;
  if (before) {
    const end = rows ? first : Math.max(untilMs, before.timeMs);
    add(-Infinity, end, -1, stateOf(before.quality, before.value === null));
  } else add(-Infinity, first, -1, "none");
  for (let i = Math.max(0, rowAt(curve.timeMs, fromMs) - 1); i < rows && curve.timeMs[i]! <= toMs; i++) {
    const isLast = i === rows - 1;
    const end = isLast ? Math.max(untilMs, curve.timeMs[i]!) : curve.timeMs[i + 1]!;
    const quality = curve.quality[i]!;
    add(curve.timeMs[i]!, end, i, quality === HOLE ? "none" : stateOf(quality, Number.isNaN(curve.value[i]!)));
  }
  if (rows || before) add(Math.max(untilMs, curve.timeMs[rows - 1] ?? -Infinity), toMs, -1, "none");
  return merged(found);
}

const stateOf = (quality: number, isEmpty: boolean): Stretch["state"] =>
  quality >= BAD || isEmpty ? "bad" : quality >= UNCERTAIN ? "uncertain" : "good";

/** Neighbours of the same row and state as one. */
function merged(all: readonly Stretch[]): Stretch[] {
  const found: Stretch[] = [];
  for (const one of all) {
    const last = found.at(-1);
    if (last && last.row === one.row && last.state === one.state && last.toMs === one.fromMs)
      found[found.length - 1] = { ...last, toMs: one.toMs };
    else found.push(one);
  }
  return found;
}

/** The sample nearest to an instant, in `window`: what a ruler snaps to. -1: there is none. */
export function nearest(curve: Curve, ms: number): number {
  const after = rowAt(curve.timeMs, ms);
  let [left, right] = [after - 1, after];
  while (left >= 0 && curve.quality[left] === HOLE) left--;
  while (right < curve.timeMs.length && curve.quality[right] === HOLE) right++;
  if (right >= curve.timeMs.length) return left;
  if (left < 0) return right;
  return ms - curve.timeMs[left]! <= curve.timeMs[right]! - ms ? left : right;
}

/** The row in force at an instant: the newest not after it. -1: none. */
export const inForce = (curve: Curve, ms: number): number => {
  const after = rowAt(curve.timeMs, ms);
  return curve.timeMs[after] === ms ? after : after - 1;
};
