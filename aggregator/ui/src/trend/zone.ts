// Wall clocks: an instant as it is written in a time zone, and back, over changes of summer time. Pure.

const clocks = new Map<string, Intl.DateTimeFormat>();

function clockOf(zone: string): Intl.DateTimeFormat {
  let clock = clocks.get(zone);
  if (!clock) {
    clock = new Intl.DateTimeFormat("en-US", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric",
      hour: "numeric", minute: "numeric", second: "numeric",
    });
    clocks.set(zone, clock);
  }
  return clock;
}

/** The zone by this name if the browser knows it, else the browser's own. */
export function knownZone(zone: string): string {
  try {
    if (zone) {
      clockOf(zone);
      return zone;
    }
  } catch {
    // a name this browser's tables do not have
  }
  return new Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** How far the zone's wall clock is ahead of UTC at an instant, ms. */
export function offsetOf(zone: string, ms: number): number {
  const field: Record<string, number> = {};
  for (const { type, value } of clockOf(zone).formatToParts(ms)) field[type] = Number(value);
  const wall = Date.UTC(field["year"]!, field["month"]! - 1, field["day"]!, field["hour"]!, field["minute"]!, field["second"]!);
  return wall - Math.floor(ms / 1000) * 1000;
}

/** The instant at which the wall clock shows `wallMs` (as if it were UTC); of two the earlier, of none the one after. */
export function instantOf(zone: string, wallMs: number): number {
  const [before, after] = [offsetOf(zone, wallMs - 86_400_000), offsetOf(zone, wallMs + 86_400_000)];
  for (const offset of before === after ? [before] : [before, after])
    if (offsetOf(zone, wallMs - offset) === offset) return wallMs - offset;
  return wallMs - before;
}

/** As a field of date and time wants it: `2026-11-21T14:05:00`. */
export const wallText = (zone: string, ms: number): string => new Date(ms + offsetOf(zone, ms)).toISOString().slice(0, 19);

/** null: no date. */
export function readWallText(zone: string, text: string): number | null {
  const wall = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(text) ? Date.parse(`${text}Z`) : NaN;
  return Number.isFinite(wall) ? instantOf(zone, wall) : null;
}
