// How instants and readings are written on this page.

import { written } from "../parts/marks";
import { language, t } from "../t";
import { DAY, HOUR, MINUTE, type Window } from "./period";
import type { Series, Reading } from "./series";
import { timeTicks } from "./axes";
import { offsetOf } from "./zone";

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: string, name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${zone} ${name}`;
  let found = formats.get(key);
  if (!found) formats.set(key, (found = new Intl.DateTimeFormat(language, { timeZone: zone, hourCycle: "h23", ...options })));
  return found;
}

const MINUTES = { hour: "2-digit", minute: "2-digit" } as const;
const SECONDS = { ...MINUTES, second: "2-digit" } as const;
const MILLIS = { ...SECONDS, fractionalSecondDigits: 3 } as const;
const DATE = { day: "numeric", month: "short" } as const; // whoever reads 4/5 may mean May or April
const FULL = { ...DATE, year: "numeric" } as const;

/** Marks of time with their words; where a day begins, and at the first, the date stands beneath. */
export function labelledTicks(window: Window, width: number, zone: string): { at: number; label: string }[] {
  const span = window[1] - window[0];
  const { at, stepMs } = timeTicks(window, width / (span < 2 * MINUTE ? 105 : 84), zone);
  if (stepMs >= 360 * DAY) return at.map((ms) => ({ at: ms, label: format(zone, "year", { year: "numeric" }).format(ms) }));
  if (stepMs >= 28 * DAY) return at.map((ms) => ({ at: ms, label: format(zone, "month", { month: "short", year: "numeric" }).format(ms) }));
  const date = format(zone, span > 300 * DAY ? "full" : "date", span > 300 * DAY ? FULL : DATE);
  if (stepMs >= DAY) return at.map((ms) => ({ at: ms, label: date.format(ms) }));
  const time = stepMs < 1000 ? format(zone, "millis", MILLIS) : stepMs < MINUTE ? format(zone, "seconds", SECONDS) : format(zone, "minutes", MINUTES);
  let day = "";
  return at.map((ms) => {
    const today = date.format(ms);
    const label = today === day ? time.format(ms) : `${time.format(ms)}\n${today}`;
    day = today;
    return { at: ms, label };
  });
}

/** A time of day as exact as the window makes sense of. */
export const clock = (ms: number, zone: string, windowMs: number): string =>
  (windowMs < 2 * MINUTE ? format(zone, "millis", MILLIS) : format(zone, "seconds", SECONDS)).format(ms);

/** The same with its day. */
export const instant = (ms: number, zone: string, windowMs: number): string =>
  `${format(zone, "date", DATE).format(ms)} ${clock(ms, zone, windowMs)}`;

/** For the ends of the time bar. */
export const barInstant = (ms: number, zone: string, spanMs: number): string =>
  spanMs < HOUR ? instant(ms, zone, HOUR) : `${format(zone, "full", FULL).format(ms)} ${format(zone, "minutes", MINUTES).format(ms)}`;

/** A difference in time, signed. */
export function difference(ms: number): string {
  const size = Math.abs(ms);
  const whole = Math.floor(size / 1000);
  const two = (n: number): string => String(n).padStart(2, "0");
  const time = `${two(Math.floor(whole / 3600) % 24)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  const days = Math.floor(whole / 86_400);
  const rest = size < 10_000 ? `.${String(Math.round(size % 1000)).padStart(3, "0")}` : "";
  return `${ms < 0 ? "−" : ""}${days ? `${days} ${t("unit.days")} ` : ""}${time}${rest}`;
}

/** How far the zone is ahead of UTC, in words: `Europe/Berlin, UTC+1`. */
export function zoneWords(zone: string, ms: number): string {
  const minutes = Math.round(offsetOf(zone, ms) / 60_000);
  const hours = Math.trunc(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  const sign = minutes < 0 ? "−" : "+";
  if (zone === "UTC") return zone;
  return `${zone}, UTC${minutes ? `${sign}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}` : ""}`;
}

export const writtenReading = (reading: Reading, series: Series): string =>
  reading.value === null ? "–" : `${written(reading.value)}${series.unit && typeof reading.value !== "boolean" ? ` ${series.unit}` : ""}`;

/** `7d` for people. */
export const spanWords = (text: string): string => text.replace(/^(\d+)(\w)$/, (_, count: string, unit: string) => `${count} ${unit === "d" ? t("unit.days") : unit === "m" ? "min" : unit}`);
