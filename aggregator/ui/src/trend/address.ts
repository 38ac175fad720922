// The whole view as text in the address bar, and back. Grammar: docs/pages/trend.md. Pure.

import { following, HOUR, isLive, standing, type Period } from "./period";

export type Form = "" | "line" | "step" | "bar" | "row";

/** One chosen signal and how it is drawn. */
export interface Pick {
  readonly uid: string;
  /** "" by unit; else the number of an axis of its own. */
  readonly axis: string;
  /** "" as suits the signal. */
  readonly form: Form;
  /** 1…COLOURS; 0: by its place in the list. */
  readonly colour: number;
  /** Drawn so much later than it was, to compare with the time before. */
  readonly shiftMs: number;
  readonly isHidden: boolean;
}

/** Everything a copied link reproduces. */
export interface View {
  readonly picks: readonly Pick[];
  /** Fixed axes: key (see axes.ts) to lowest and highest. */
  readonly bounds: ReadonlyMap<string, readonly [number, number]>;
  readonly period: Period;
  readonly ruler: number | null;
  readonly second: number | null;
  readonly hasBalloon: boolean;
}

export const COLOURS = 24;
export const PICKS_MAX = 64;
const FORMS: readonly string[] = ["", "line", "step", "bar", "row"];
const UNITS: readonly [string, number][] = [["d", 86_400_000], ["h", 3_600_000], ["m", 60_000], ["s", 1000]];

export const pick = (uid: string, rest: Partial<Pick> = {}): Pick => ({
  uid, axis: "", form: "", colour: 0, shiftMs: 0, isHidden: false, ...rest,
});

export const blank = (): View => ({
  picks: [], bounds: new Map(), period: following(HOUR), ruler: null, second: null, hasBalloon: true,
});

/** `90s`, `15m`, `8h`, `7d`: the largest unit that is exact. */
export function writtenSpan(ms: number): string {
  const whole = Math.max(1000, Math.round(ms / 1000) * 1000);
  const [name, size] = UNITS.find(([, size]) => whole % size === 0)!;
  return `${whole / size}${name}`;
}

/** null: not understood. */
export function readSpan(text: string): number | null {
  const found = /^(\d{1,9})([dhms])$/.exec(text);
  const ms = found ? Number(found[1]) * UNITS.find(([name]) => name === found[2])![1] : 0;
  return ms > 0 ? ms : null;
}

const writtenTime = (ms: number): string => new Date(Math.round(ms)).toISOString().replace(".000Z", "Z");

function readTime(text: string): number | null {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)$/.test(text)) return null;
  const ms = Date.parse(text);
  return Number.isFinite(ms) ? ms : null;
}

/** The part of the address behind `?`. */
export function written(view: View): string {
  const parts: [string, string][] = view.picks.map((one) => ["s", writtenPick(one)]);
  for (const [key, [low, high]] of view.bounds) parts.push(["y", `${key}~${low}~${high}`]);
  const { period } = view;
  if (isLive(period)) {
    parts.push(["live", writtenSpan(period.spanMs)]);
    if (period.widthMs < period.spanMs) parts.push(["width", writtenSpan(period.widthMs)]);
  } else {
    const [from, to] = period.whole;
    const [left, right] = period.window;
    parts.push(["from", writtenTime(from)], ["to", writtenTime(to)]);
    if (left !== from || right !== to) parts.push(["window", `${writtenTime(left)}~${writtenTime(right)}`]);
  }
  if (view.ruler !== null) parts.push(["ruler", writtenTime(view.ruler)]);
  if (view.second !== null) parts.push(["ruler2", writtenTime(view.second)]);
  if (!view.hasBalloon) parts.push(["balloon", "off"]);
  // What stands in a query unharmed is left readable.
  return parts.map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%3A", ":")}`).join("&");
}

function writtenPick({ uid, axis, form, colour, shiftMs, isHidden }: Pick): string {
  const fields = [uid, axis, form, colour ? String(colour) : "", shiftMs ? writtenSpan(shiftMs) : "", isHidden ? "off" : ""];
  return fields.join("~").replace(/~+$/, "");
}

/** The view an address means, and the parts of it that mean nothing. */
export function read(query: string): { view: View; faults: string[] } {
  const faults: string[] = [];
  const given = new URLSearchParams(query);
  const of = <T>(name: string, parse: (text: string) => T | null): T | null => {
    const text = given.get(name);
    if (text === null || text === "") return null;
    const found = parse(text);
    if (found === null) faults.push(`${name}=${text}`);
    return found;
  };
  const view = blank();
  const picks: Pick[] = [];
  for (const text of given.getAll("s")) {
    const one = readPick(text);
    if (!one || picks.length === PICKS_MAX) faults.push(`s=${text}`);
    else if (!picks.some((other) => other.uid === one.uid && other.shiftMs === one.shiftMs)) picks.push(one);
  }
  const bounds = new Map<string, readonly [number, number]>();
  for (const text of given.getAll("y")) {
    const bound = readBound(text);
    if (bound) bounds.set(...bound);
    else faults.push(`y=${text}`);
  }
  return {
    view: {
      picks,
      bounds,
      period: readPeriod(of) ?? view.period,
      ruler: of("ruler", readTime),
      second: of("ruler2", readTime),
      hasBalloon: given.get("balloon") !== "off",
    },
    faults,
  };
}

function readPeriod(of: <T>(name: string, parse: (text: string) => T | null) => T | null): Period | null {
  const live = of("live", readSpan);
  if (live !== null) return following(live, of("width", readSpan) ?? live);
  const [from, to] = [of("from", readTime), of("to", readTime)];
  if (from === null || to === null || to <= from) return null;
  const window = of("window", (text) => {
    const [left, right] = text.split("~").map(readTime);
    return left != null && right != null && left < right ? ([left, right] as const) : null;
  });
  return standing([from, to], window ?? [from, to]);
}

function readPick(text: string): Pick | null {
  const [uid = "", axis = "", form = "", colour = "", shift = "", hidden = "", more] = text.split("~");
  const shiftMs = shift === "" ? 0 : readSpan(shift);
  const isRight = /^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$/.test(uid) && /^\d{0,2}$/.test(axis) && FORMS.includes(form)
    && /^\d{0,2}$/.test(colour) && Number(colour) <= COLOURS && shiftMs !== null && ["", "off"].includes(hidden) && more === undefined;
  return isRight ? { uid, axis, form: form as Form, colour: Number(colour), shiftMs: shiftMs, isHidden: hidden === "off" } : null;
}

function readBound(text: string): [string, readonly [number, number]] | null {
  const at = /^(.*)~([^~]+)~([^~]+)$/.exec(text);
  if (!at) return null;
  const [low, high] = [Number(at[2]), Number(at[3])];
  return Number.isFinite(low) && Number.isFinite(high) && low < high ? [at[1]!, [low, high]] : null;
}
