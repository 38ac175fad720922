// Which time is shown: the whole range of the time bar, and the window in it that the chart shows.
// Pure; now is an argument. Times are ms since 1970 UTC.

export type Window = readonly [from: number, to: number];

/** Ends at the present: a range of `spanMs`, of which the last `widthMs` are the window. */
export interface Following {
  readonly spanMs: number;
  readonly widthMs: number;
}

/** Stands still. */
export interface Standing {
  readonly whole: Window;
  readonly window: Window;
}

export type Period = Following | Standing;

export const MINUTE = 60_000;
export const HOUR = 3_600_000;
export const DAY = 86_400_000;
const SHORTEST_MS = 200;
const LONGEST_MS = 30 * 365 * DAY;

export const PRESETS: readonly [name: string, spanMs: number][] = [
  ["15m", 15 * MINUTE],
  ["1h", HOUR],
  ["8h", 8 * HOUR],
  ["24h", DAY],
  ["7d", 7 * DAY],
  ["30d", 30 * DAY],
];

export const following = (spanMs: number, widthMs = spanMs): Period => {
  const span = within(spanMs, SHORTEST_MS, LONGEST_MS);
  return { spanMs: span, widthMs: within(widthMs, SHORTEST_MS, span) };
};

/** A standing range with its window; the range grows where the window reaches beyond it. */
export function standing(whole: Window, window: Window = whole): Standing {
  const [from, to] = [Math.min(...window), Math.max(...window)];
  const middle = (from + to) / 2;
  const half = within(to - from, SHORTEST_MS, LONGEST_MS) / 2;
  const shown: Window = [Math.round(middle - half), Math.round(middle + half)];
  return { whole: [Math.min(whole[0], shown[0]), Math.max(whole[1], shown[1])], window: shown };
}

export const isLive = (period: Period): period is Following => "spanMs" in period;

/** The time that the time bar stands for. */
export const wholeOf = (period: Period, nowMs: number): Window =>
  isLive(period) ? [nowMs - period.spanMs, nowMs] : period.whole;

/** The time that the chart shows. */
export const windowOf = (period: Period, nowMs: number): Window =>
  isLive(period) ? [nowMs - period.widthMs, nowMs] : period.window;

/** Closer (factor < 1) or wider, `anchorMs` staying where it is; what follows the present goes on following. */
export function zoomed(period: Period, factor: number, anchorMs: number): Period {
  if (isLive(period)) {
    const width = within(period.widthMs * factor, SHORTEST_MS, LONGEST_MS);
    return following(Math.max(period.spanMs, width), width);
  }
  const [from, to] = period.window;
  const width = within((to - from) * factor, SHORTEST_MS, LONGEST_MS);
  const start = anchorMs - (width * (anchorMs - from)) / (to - from);
  return standing(period.whole, [start, start + width]);
}

/** Earlier or later; what followed the present stands still then, unless it would be at the present again. */
export function panned(period: Period, nowMs: number, byMs: number): Period {
  const [from, to] = windowOf(period, nowMs);
  if (isLive(period) && byMs >= 0) return period;
  return standing(wholeOf(period, nowMs), [from + byMs, to + byMs]);
}

/** This window of the range. */
export const narrowed = (period: Period, nowMs: number, window: Window): Period =>
  standing(wholeOf(period, nowMs), window);

/** The whole range again. */
export const reset = (period: Period): Period =>
  isLive(period) ? following(period.spanMs) : standing(period.whole);

/** Follow the present from now on, as wide as what is shown; the other way round: stand still here. */
export function toggled(period: Period, nowMs: number): Period {
  if (isLive(period)) return standing(wholeOf(period, nowMs), windowOf(period, nowMs));
  const [whole, window] = [period.whole, period.window];
  return following(whole[1] - whole[0], window[1] - window[0]);
}

const within = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

/** Periods one after the other, to go back and forth in. */
export class Steps {
  #before: Period[] = [];
  #after: Period[] = [];

  /** Remember where we were before going elsewhere. */
  leave(period: Period): void {
    this.#before.push(period);
    if (this.#before.length > 100) this.#before.shift();
    this.#after = [];
  }

  back(now: Period): Period | null {
    const found = this.#before.pop();
    if (found) this.#after.push(now);
    return found ?? null;
  }

  forth(now: Period): Period | null {
    const found = this.#after.pop();
    if (found) this.#before.push(now);
    return found ?? null;
  }

  get canBack(): boolean {
    return this.#before.length > 0;
  }

  get canForth(): boolean {
    return this.#after.length > 0;
  }
}
