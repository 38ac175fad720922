// Small lines of the last half hour for rows on the screen: asked for together, kept for a while.

import { nothing, svg, html, type TemplateResult } from "lit";

import { post } from "../api";
import type { Signal } from "../plant";
import { t } from "../t";

const MINUTES = 30;
const POINTS = 60;
const AT_ONCE = 200;
const PAUSE_MS = 250;
const FRESH_MS = 30_000;
const KEPT = 1000;
const WIDTH = 120;
const HEIGHT = 24;

/** Time (any unit) and value; null: nothing is known there, the line breaks. */
export type Point = readonly [number, number | null];

interface Line {
  points: readonly Point[];
  isHeld: boolean;
  from: number;
  to: number;
  readMs: number;
}

/** What /api/v1/sparklines says of a signal; see docs/history-api.md. */
export interface Curve {
  is_held: boolean;
  before: [number, number | null, number] | null;
  time_us: number[];
  values: (number | null)[];
  quality: number[];
}

interface Answer {
  from_us: number;
  to_us: number;
  signals: Record<string, Curve>;
}

const BAD = 128;

/** Points of a curve, bad times as breaks; a held value reaches from edge to edge. */
export function pointsOf(curve: Curve, fromUs: number, toUs: number): Point[] {
  const points = curve.time_us.map((at, i): Point => [at, (curve.quality[i] ?? 0) >= BAD ? null : (curve.values[i] ?? null)]);
  if (!curve.is_held) return points;
  const { before } = curve;
  if (before && before[2] < BAD && before[1] !== null && (points[0]?.[0] ?? toUs) > fromUs) points.unshift([fromUs, before[1]]);
  const last = points.at(-1);
  if (last && last[1] !== null && last[0] < toUs) points.push([toUs, last[1]]);
  return points;
}

/** Lines by signal; `change` when some came. */
export class Sparklines extends EventTarget {
  #lines = new Map<string, Line>();
  #wanted: readonly string[] = [];
  #timer = 0;
  #isAsking = false;
  /** Why there are none, until there are some. */
  trouble = "";

  of(uid: string): Line | undefined {
    return this.#lines.get(uid);
  }

  /** These are on the screen now. */
  want(uids: readonly string[]): void {
    this.#wanted = uids;
    if (this.#timer || this.#isAsking) return;
    if (this.#missing().length) this.#timer = window.setTimeout(() => void this.#ask(), PAUSE_MS);
  }

  #missing(): string[] {
    const now = Date.now();
    return this.#wanted.filter((uid) => now - (this.#lines.get(uid)?.readMs ?? 0) > FRESH_MS).slice(0, AT_ONCE);
  }

  async #ask(): Promise<void> {
    this.#timer = 0;
    const uids = this.#missing();
    if (!uids.length) return;
    this.#isAsking = true;
    try {
      const { body } = await post<Answer>("/api/v1/sparklines", { signals: uids, minutes: MINUTES, points: POINTS });
      this.#take(uids, body);
      this.trouble = "";
    } catch (error) {
      // Lines are an extra: the list goes on without, and asks again later.
      this.trouble = (error as Error).message;
      for (const uid of uids) this.#lines.set(uid, { points: [], isHeld: false, from: 0, to: 1, readMs: Date.now() });
    } finally {
      this.#isAsking = false;
    }
    this.dispatchEvent(new Event("change"));
  }

  #take(uids: readonly string[], said: Answer): void {
    for (const uid of uids) {
      const found = said.signals[uid];
      const points = found ? pointsOf(found, said.from_us, said.to_us) : [];
      this.#lines.delete(uid);
      this.#lines.set(uid, { points, isHeld: found?.is_held ?? false, from: said.from_us, to: said.to_us, readMs: Date.now() });
    }
    for (const uid of this.#lines.keys()) {
      if (this.#lines.size <= KEPT) break;
      this.#lines.delete(uid); // the longest unread
    }
  }
}

export const sparklines = new Sparklines();

/** The `d` of an SVG path over width × height; steps hold their value until the next point. */
export function pathOf(points: readonly Point[], from: number, to: number, isStep: boolean): string {
  const known = points.flatMap(([, value]) => (value === null ? [] : [value]));
  if (!known.length || to <= from) return "";
  const low = Math.min(...known);
  const span = Math.max(...known) - low;
  const x = (at: number): string => (((at - from) / (to - from)) * WIDTH).toFixed(1);
  const y = (value: number): string => (span === 0 ? HEIGHT / 2 : HEIGHT - 2 - ((value - low) / span) * (HEIGHT - 4)).toFixed(1);
  let path = "";
  let isBroken = true;
  for (const [at, value] of points) {
    if (value === null) {
      isBroken = true;
      continue;
    }
    if (isBroken) path += `M${x(at)} ${y(value)}h.1`; // a point alone is to be seen too
    else if (isStep) path += `H${x(at)}V${y(value)}`;
    else path += `L${x(at)} ${y(value)}`;
    isBroken = false;
  }
  return path;
}

/** The drawing; empty while there is nothing to draw. */
export function sparkline(signal: Signal): TemplateResult | typeof nothing {
  const line = sparklines.of(signal.uid);
  if (!line || signal.type === "text") return nothing;
  const path = pathOf(line.points, line.from, line.to, line.isHeld);
  if (!path) return nothing;
  return html`<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${t("signals.spark")}>
    ${svg`<path d=${path} />`}
  </svg>`;
}
