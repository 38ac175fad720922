// Keeps the curves of what is shown: asks the server when the view needs it, adds what comes in live.

import { live, type Change } from "../live";
import { plant } from "../plant";
import { joined, NO_CURVE, Tail, type Curve } from "./curve";
import { askCurves, type Answer } from "./data";
import type { Window } from "./period";

export interface Wish {
  readonly picks: readonly { uid: string; shiftMs: number }[];
  readonly window: Window;
  readonly whole: Window;
  /** Of a line in the window. */
  readonly points: number;
}

const WAIT_MS = 140;
const MARGIN = 0.2;
const OVERVIEW_POINTS = 400;
const OVERVIEW_LINES = 4;
const FRESH_LEAST_MS = 15_000;
const FRESH_MOST_MS = 60_000;
const AGAIN_MS = 4000;

/** Fires `change` when there is something else to draw. */
export class Supply extends EventTarget {
  trouble = "";
  isAsking = false;
  #wish: Wish | null = null;
  #answers = new Map<number, Answer>();
  #overview: Answer | null = null;
  #tails = new Map<string, Tail>();
  #joined = new Map<string, { history: Curve; last: unknown; curve: Curve }>();
  #asking: AbortController | null = null;
  #asked: { wish: Wish; atMs: number } | null = null;
  #timer = 0;
  #ticker = 0;
  #stop: () => void = () => {};
  #wasLost = false;

  start(): void {
    this.#stop = live.listen((change) => this.#take(change));
    this.#ticker = window.setInterval(() => this.#refresh(), 1000);
  }

  stop(): void {
    this.#stop();
    clearInterval(this.#ticker);
    clearTimeout(this.#timer);
    this.#asking?.abort();
  }

  /** Say what is to be shown; what is there already is shown meanwhile. */
  want(wish: Wish, waitMs = WAIT_MS): void {
    this.#wish = wish;
    const wanted = new Set(wish.picks.map((one) => one.uid));
    for (const uid of wanted) if (!this.#tails.has(uid)) this.#begin(uid);
    for (const uid of [...this.#tails.keys()]) if (!wanted.has(uid)) this.#tails.delete(uid);
    if (this.#isServed(wish)) return;
    // An answer under way that will do is not asked for again.
    if (this.#asking && this.#asked && covers(this.#asked.wish, wish)) return;
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#ask(), waitMs);
  }

  /** Ask again now, whatever is there. */
  again(waitMs = 0): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#ask(), waitMs);
  }

  /** History and present of one of them. */
  curveOf(uid: string, shiftMs: number): Curve {
    const answer = this.#answers.get(shiftMs);
    const history = answer?.curves.get(uid) ?? NO_CURVE;
    const tail = this.#tails.get(uid);
    if (!answer || !tail || shiftMs || !reachesNow(answer)) return history;
    const key = `${uid}~${shiftMs}`;
    const fresh = tail.after(-Infinity);
    const known = this.#joined.get(key);
    if (known && known.history === history && known.last === fresh.at(-1)) return known.curve;
    const curve = joined(history, fresh);
    this.#joined.set(key, { history, last: fresh.at(-1), curve });
    return curve;
  }

  /** Whether there is an answer that has it, for now or before. */
  has(uid: string, shiftMs: number): boolean {
    return this.#answers.get(shiftMs)?.curves.has(uid) ?? false;
  }

  /** Curves over the whole range, thin. */
  overviewOf(uid: string): Curve | null {
    const main = this.#answers.get(0);
    const [from, to] = this.#wish?.whole ?? [0, 0];
    if (main && main.fromMs <= from && main.toMs >= Math.min(to, main.askedMs)) return main.curves.get(uid) ?? null;
    return this.#overview?.curves.get(uid) ?? null;
  }

  /** The time of which the answer for a shift tells. */
  coveredOf(shiftMs: number): Window {
    const answer = this.#answers.get(shiftMs);
    return answer ? [answer.fromMs, reachesNow(answer) ? Infinity : answer.toMs] : [Infinity, -Infinity];
  }

  /** Up to when the last value of a series is known to hold. */
  untilOf(uid: string, shiftMs: number): number {
    const answer = this.#answers.get(shiftMs);
    if (!answer) return -Infinity;
    if (shiftMs || !reachesNow(answer)) return answer.toMs;
    const shown = live.of(uid);
    const { broker_lost_us } = live.link;
    const ends = [live.nowMs()];
    if (live.lostSinceMs !== null) ends.push(live.lostSinceMs);
    if (broker_lost_us) ends.push(broker_lost_us / 1000);
    if (shown.state === "stale" || shown.state === "none") {
      const gateway = live.gateways.get(plant.signalOf.get(uid)?.gateway ?? "");
      const isGone = gateway && gateway.presence !== "online" && gateway.since_us;
      const lastMs = shown.timeUs === null ? answer.askedMs : shown.timeUs / 1000;
      ends.push(isGone ? Math.max(gateway.since_us! / 1000, lastMs) : lastMs);
    }
    return Math.min(...ends);
  }

  #begin(uid: string): void {
    const tail = new Tail();
    this.#tails.set(uid, tail);
    this.#takeOne(uid, tail);
  }

  #takeOne(uid: string, tail: Tail): void {
    const shown = live.of(uid);
    if (shown.timeUs === null || shown.state === "none") return;
    const timeMs = shown.timeUs / 1000;
    if (shown.state === "stale") tail.lose(this.untilOf(uid, 0));
    else tail.take({ timeMs, value: shown.value, quality: shown.quality });
  }

  #take(change: Change): void {
    let isNew = change.link || change.gateways;
    for (const [uid, tail] of this.#tails)
      if (change.values.has(uid)) {
        this.#takeOne(uid, tail);
        isNew = true;
      }
    const isLost = live.lostSinceMs !== null;
    if (this.#wasLost && !isLost) this.again(300); // what happened meanwhile is in the history
    this.#wasLost = isLost;
    if (change.gateways) this.#freshSoon();
    if (isNew) this.dispatchEvent(new Event("change"));
  }

  /** Somebody came or went: what it kept meanwhile arrives in the next seconds. */
  #freshSoon(): void {
    if (this.#asked) this.#asked.atMs = Math.min(this.#asked.atMs, live.nowMs() - FRESH_LEAST_MS + AGAIN_MS);
  }

  /** The live channel skips samples when many come; the history has them all. */
  #refresh(): void {
    const [wish, asked] = [this.#wish, this.#asked];
    if (!wish || !asked || this.#asking || document.hidden || live.lostSinceMs !== null) return;
    const age = live.nowMs() - asked.atMs;
    const width = wish.window[1] - wish.window[0];
    const due = this.trouble ? AGAIN_MS : Math.min(FRESH_MOST_MS, Math.max(FRESH_LEAST_MS, width / 60));
    const isPast = wish.window[1] < asked.atMs - 300_000;
    if (age >= (isPast && !this.trouble ? FRESH_MOST_MS : due)) void this.#ask();
  }

  #isServed(wish: Wish): boolean {
    const byShift = byShiftOf(wish);
    for (const [shift, picks] of byShift) {
      const answer = this.#answers.get(shift);
      if (!answer) return false;
      const curves = picks.map((one) => answer.curves.get(one.uid));
      if (curves.some((curve) => !curve)) return false;
      const [from, to] = [wish.window[0] - shift, wish.window[1] - shift];
      if (answer.fromMs > from || (answer.toMs < to && !reachesNow(answer))) return false;
      const isFine = answer.toMs - answer.fromMs <= 2 * (to - from);
      if (!isFine && curves.some((curve) => curve!.isReduced)) return false;
    }
    const [low, high] = wish.whole;
    const isAll = wish.window[0] === low && wish.window[1] === high;
    const main = this.#overview;
    return isAll || !byShift.has(0) || (main !== null && Math.abs(main.fromMs - low) < (high - low) / 20 && main.toMs >= Math.min(high, main.askedMs));
  }

  async #ask(): Promise<void> {
    const wish = this.#wish;
    if (!wish) return;
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    const nowMs = live.nowMs();
    this.#asked = { wish, atMs: nowMs };
    this.isAsking = true;
    this.dispatchEvent(new Event("change"));
    try {
      const byShift = byShiftOf(wish);
      const answers = new Map<number, Answer>();
      const margin = (wish.window[1] - wish.window[0]) * MARGIN;
      const points = Math.round(wish.points * (1 + 2 * MARGIN));
      const asks = [...byShift].map(async ([shift, picks]) => {
        const [from, to] = [wish.window[0] - shift - margin, wish.window[1] - shift + margin];
        answers.set(shift, await askCurves(picks.map((one) => one.uid), from, to, points, nowMs, asking.signal));
      });
      const width = wish.whole[1] - wish.whole[0];
      const unshifted = (byShift.get(0) ?? []).slice(0, OVERVIEW_LINES).map((one) => one.uid);
      const hasOverview = wish.window[1] - wish.window[0] < width && unshifted.length > 0;
      const overview = hasOverview
        ? askCurves(unshifted, wish.whole[0], wish.whole[1], OVERVIEW_POINTS, nowMs, asking.signal)
        : Promise.resolve(null);
      const [found] = await Promise.all([overview, ...asks]);
      this.#answers = answers;
      this.#overview = found;
      const main = answers.get(0);
      if (main) for (const [uid, tail] of this.#tails) tail.forget(lastOf(main.curves.get(uid)));
      this.trouble = "";
    } catch (error) {
      if (asking.signal.aborted) return;
      this.trouble = (error as Error).message;
    }
    this.#asking = null;
    this.isAsking = false;
    this.dispatchEvent(new CustomEvent("change", { detail: "data" }));
  }
}

/** Whether an answer holds all there was when it was asked. */
const reachesNow = (answer: Answer): boolean => answer.toMs >= answer.askedMs - 1000;

const lastOf = (curve: Curve | undefined): number => curve?.timeMs.at(-1) ?? -Infinity;

function byShiftOf(wish: Wish): Map<number, { uid: string }[]> {
  const found = new Map<number, { uid: string }[]>();
  for (const { uid, shiftMs } of wish.picks) found.set(shiftMs, [...(found.get(shiftMs) ?? []), { uid }]);
  return found;
}

/** Whether what one wish brings is enough for another. */
function covers(asked: Wish, wish: Wish): boolean {
  const margin = (asked.window[1] - asked.window[0]) * MARGIN;
  const has = new Set(asked.picks.map((one) => `${one.uid}~${one.shiftMs}`));
  return wish.picks.every((one) => has.has(`${one.uid}~${one.shiftMs}`))
    && asked.window[0] - margin <= wish.window[0] && asked.window[1] + margin >= wish.window[1]
    && asked.window[1] - asked.window[0] <= 1.4 * (wish.window[1] - wish.window[0])
    && asked.whole[1] - asked.whole[0] === wish.whole[1] - wish.whole[0];
}
