// Curves from the server: the request, and its bytes as typed arrays. The bytes are drawn in docs/history-api.md.

import { getBytes } from "../api";
import type { Plain } from "../live";
import type { Curve } from "./curve";

const MAGIC = "FWT1";
const HEAD = 8;

interface Told {
  uid: string;
  is_held: boolean;
  count: number;
  samples: number;
  is_reduced: boolean;
  coarse_us: number;
  before: [number, Plain, number] | null;
  missing: { from_us: number; to_us: number; reason: string }[];
  texts: string[];
  exact: [number, string][];
  at: { time: number; values: number; quality: number };
}

/** What the server gave, and of which time. */
export interface Answer {
  readonly fromMs: number;
  readonly toMs: number;
  /** When it was asked, by the server's clock. */
  readonly askedMs: number;
  readonly curves: ReadonlyMap<string, Curve>;
}

/** An answer's bytes as curves; the arrays are views of the bytes, nothing is copied. */
export function curvesOf(bytes: ArrayBuffer): Map<string, Curve> {
  const text = new TextDecoder();
  const magic = text.decode(bytes.slice(0, MAGIC.length));
  if (magic !== MAGIC) throw new Error(`the answer begins with "${magic}", not with ${MAGIC}`);
  const length = new DataView(bytes).getUint32(MAGIC.length, true);
  const head = JSON.parse(text.decode(new Uint8Array(bytes, HEAD, length))) as { signals: Told[] };
  const begin = HEAD + length;
  return new Map(
    head.signals.map((told): [string, Curve] => [
      told.uid,
      {
        timeMs: new Float64Array(bytes, begin + told.at.time, told.count),
        value: new Float64Array(bytes, begin + told.at.values, told.count),
        quality: new Uint8Array(bytes, begin + told.at.quality, told.count),
        texts: told.texts,
        exact: new Map(told.exact),
        isHeld: told.is_held,
        samples: told.samples,
        isReduced: told.is_reduced,
        coarseMs: told.coarse_us / 1000,
        before: told.before && { timeMs: told.before[0] / 1000, value: told.before[1], quality: told.before[2] },
        missing: told.missing.map((gap) => ({ fromMs: gap.from_us / 1000, toMs: gap.to_us / 1000, reason: gap.reason })),
      },
    ]),
  );
}

/** Ask for curves of these signals, at most `points` points each. */
export async function askCurves(
  uids: readonly string[], fromMs: number, toMs: number, points: number, nowMs: number, signal: AbortSignal,
): Promise<Answer> {
  const asked = new URLSearchParams([
    ...uids.map((uid) => ["signal", uid]),
    ["from", new Date(Math.floor(fromMs)).toISOString()],
    ["to", new Date(Math.ceil(toMs)).toISOString()],
    ["points", String(points)],
  ]);
  const bytes = await getBytes(`/api/v1/trend?${asked.toString()}`, signal);
  performance.mark("trend-data");
  return { fromMs, toMs, askedMs: nowMs, curves: curvesOf(bytes) };
}
