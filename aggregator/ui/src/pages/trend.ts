// Trend: chosen signals over time, history and present on one axis. The view is one value, and the address holds it
// whole (trend/address.ts); this page turns wishes into another view, and a view into pictures.

import "./trend.css";
import "../trend/drawn";
import "../trend/export";
import "../trend/picker";
import "../trend/span";
import "../trend/timebar";

import { html, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";

import { Element } from "../element";
import { live, LiveController } from "../live";
import { empty } from "../parts/empty";
import { written } from "../parts/marks";
import { plant } from "../plant";
import { isDark } from "../theme";
import { number, span, t } from "../t";
import { blank, pick, read, written as address, type Pick, type View } from "../trend/address";
import { decimals, SWITCH, type Scale } from "../trend/axes";
import type { Chart, Stroke } from "../trend/chart";
import { clipped, HOLE, nearest, rowAt, strokes, type Strokes } from "../trend/curve";
import type { Changed, Drawn } from "../trend/drawn";
import type { Exporter } from "../trend/export";
import { listen } from "../trend/gestures";
import { drawGlass, type Mark } from "../trend/glass";
import { drawGround, inkOf, type Ink } from "../trend/ground";
import { balloon, legend } from "../trend/legend";
import { belowOf, layoutOf, msOf, partsOf, placed, yOf, type Layout, type PlacedAxis } from "../trend/layout";
import {
  following, isLive, narrowed, panned, reset, standing, Steps, toggled, wholeOf, windowOf, zoomed, type Period, type Window,
} from "../trend/period";
import { recent, type Picker } from "../trend/picker";
import { dotsOf, isSparse, isTrouble, keyOf, knownOf, readingAt, recoloured, scalesOf, seriesOf, unknownOf, type Series } from "../trend/series";
import type { SpanDialog } from "../trend/span";
import { Supply } from "../trend/supply";
import type { Wanted } from "../trend/timebar";
import { tools } from "../trend/tools";
import { barInstant, clock, instant, labelledTicks, writtenReading, zoneWords } from "../trend/words";
import { knownZone } from "../trend/zone";

let loading: Promise<typeof import("../trend/chart")> | undefined;

/** The library of lines is large: it is fetched beside the data, and run once these were asked for. */
const charts = (): Promise<typeof import("../trend/chart")> => (loading ??= import("../trend/chart"));

const SAVE_MS = 250;
const GESTURE_MS = 700;
const EXAMPLES = 3;
/** Height of the lines however much stands beneath them. */
const LINES_LEAST = 190;

interface Drawing {
  readonly series: readonly Series[];
  readonly window: Window;
  readonly layout: Layout;
  readonly axes: readonly PlacedAxis[];
  readonly scales: ReadonlyMap<string, Scale>;
}

@customElement("fw-trend")
export class TrendPage extends Element {
  @state() private view: View = blank();
  @state() private faults: readonly string[] = [];
  @state() private chosen = "";
  @state() private hoverMs: number | null = null;
  @state() private spoken = "";
  @query(".surface") private surface!: HTMLElement | null;
  @query(".lines") private host!: HTMLElement | null;
  @query("fw-picker") private picker!: Picker;
  @query("fw-drawn") private drawn!: Drawn;
  @query("fw-export") private exporter!: Exporter;
  @query("fw-span") private spans!: SpanDialog;

  #supply = new Supply();
  #steps = new Steps();
  #chart: Chart | null = null;
  #drawing: Drawing | null = null;
  #ink: Ink | null = null;
  #strokes = new Map<string, { key: unknown[]; strokes: Strokes }>();
  #box: readonly [number, number] | null = null;
  #pointer: [x: number, y: number] = [0, 0];
  #pending = 0;
  #since = "";
  #saving = 0;
  #gestureMs = -Infinity;
  #rulerBefore: number | null = null;
  #ends: (() => void)[] = [];
  #listened: HTMLElement | null = null;

  constructor() {
    super();
    new LiveController(this, () => this.view.picks.map((one) => one.uid), (change) => change.structure);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#open();
    this.#supply.start();
    const on = (target: EventTarget, name: string, hear: (event: Event) => void): void => {
      target.addEventListener(name, hear);
      this.#ends.push(() => target.removeEventListener(name, hear));
    };
    on(this.#supply, "change", (event) => {
      if ((event as CustomEvent).detail === "data") this.#since = "trend-data";
      this.#redraw();
      this.requestUpdate();
    });
    on(plant, "change", () => {
      this.#redraw();
      this.requestUpdate();
    });
    on(document, "theme", () => this.#reink());
    on(window, "popstate", () => this.#open());
    on(window, "beforeprint", () => this.#print(true));
    on(window, "afterprint", () => this.#print(false));
    const ticker = setInterval(() => this.#tick(), 500);
    this.#ends.push(() => clearInterval(ticker));
    const start = setTimeout(() => void charts().then(() => this.requestUpdate()));
    this.#ends.push(() => clearTimeout(start));
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#supply.stop();
    for (const end of this.#ends) end();
    this.#ends = [];
    this.#chart?.dispose();
    this.#chart = null;
    this.#listened = null;
  }

  // --- The view ---------------------------------------------------------------------------------

  #open(): void {
    const { view, faults } = read(location.search);
    this.view = view;
    this.faults = faults;
  }

  #show(change: Partial<View>): void {
    this.view = { ...this.view, ...change };
    clearTimeout(this.#saving);
    this.#saving = window.setTimeout(() => history.replaceState(null, "", `${location.pathname}?${address(this.view)}`), SAVE_MS);
    this.#redraw();
  }

  /** Another time; what a gesture goes through counts as one step. */
  #go(period: Period, isGesture = false): void {
    const now = performance.now();
    if (!isGesture || now - this.#gestureMs > GESTURE_MS) this.#steps.leave(this.view.period);
    this.#gestureMs = isGesture ? now : -Infinity;
    this.#show({ period });
  }

  #choose(uids: readonly string[]): void {
    const before = this.view.picks;
    const kept = before.filter((one) => uids.includes(one.uid));
    const fresh = uids.filter((uid) => !kept.some((one) => one.uid === uid)).map((uid) => pick(uid));
    this.faults = [];
    this.#show({ picks: recoloured(before, [...kept, ...fresh]) });
  }

  #change(before: Pick, change: Partial<Pick> | null): void {
    const { picks } = this.view;
    const after = picks.flatMap((one) => (one !== before ? [one] : change ? [{ ...one, ...change }] : []));
    this.#show({ picks: change ? after : recoloured(picks, after) });
  }

  #window(): Window {
    return windowOf(this.view.period, live.nowMs());
  }

  #zone(): string {
    const zones = new Set(this.view.picks.map((one) => plant.zone(plant.signalOf.get(one.uid)?.gateway ?? "")));
    return knownZone(zones.size === 1 ? [...zones][0]! : "");
  }

  // --- Drawing ----------------------------------------------------------------------------------

  #redraw(): void {
    if (this.#pending) return;
    this.#pending = requestAnimationFrame(() => {
      this.#pending = 0;
      this.#draw();
    });
  }

  /** While it follows the present, time goes on without news; a step of less than half a pixel is none. */
  #tick(): void {
    const { period } = this.view;
    if (!isLive(period) || document.hidden || !this.#drawing) return;
    const msPerPx = period.widthMs / this.#drawing.layout.plot.width;
    if (live.nowMs() - this.#drawing.window[1] >= msPerPx / 2) this.#redraw();
  }

  #series(): Series[] {
    return this.view.picks.map((one, place) => {
      const signal = plant.signalOf.get(one.uid);
      const about = {
        name: signal?.name || one.uid, gateway: signal?.gateway ?? "", unit: signal?.unit ?? "", kind: signal?.type ?? "float",
      };
      const { uid, shiftMs } = one;
      return seriesOf(one, place, about, this.#supply.curveOf(uid, shiftMs), this.#supply.untilOf(uid, shiftMs));
    });
  }

  #draw(): void {
    const { surface, host } = this;
    if (!surface || !host || !surface.clientWidth) return;
    const nowMs = live.nowMs();
    const [window, whole] = [windowOf(this.view.period, nowMs), wholeOf(this.view.period, nowMs)];
    const ink = (this.#ink ??= inkOf(this));
    const series = this.#series();
    const seen = series.filter((one) => !one.pick.isHidden);
    const lines = seen.filter((one) => one.form !== "row");
    const rows = seen.filter((one) => one.form === "row");
    const known = new Map(seen.map((one) => [one, this.#covered(one, knownOf(one, window))]));
    const unknown = unknownOf([...known.values()], [window[0], Math.min(window[1], nowMs)]);
    const troubled = lines.filter((one) => known.get(one)!.some((part) => isTrouble(part, unknown, window)));
    surface.style.minHeight = `${(lines.length ? LINES_LEAST : 0) + belowOf(troubled.length, rows.length)}px`;
    const box = { left: 0, top: 0, width: surface.clientWidth, height: surface.clientHeight };
    const estimate = layoutOf(box, [], lines.length > 0, troubled.length, rows.length);
    const scales = scalesOf(series, window, this.view.bounds, partsOf(estimate.plot.height));
    const axes = placed(this.#axes(scales, lines, ink), box.width);
    const layout = layoutOf(box, axes, lines.length > 0, troubled.length, rows.length);
    const zone = this.#zone();
    const ticks = labelledTicks(window, layout.plot.width, zone);
    const axisOf = new Map(axes.map((axis, i) => [axis.key, i]));
    const drawn = lines.map((one) => ({ one, axis: axisOf.get(one.axis)!, strokes: this.#strokesOf(one) }));
    this.#drawing = { series, window, layout, axes, scales };
    drawGround(
      this.querySelector(".ground")!,
      {
        layout, window, unknown, ticks: ticks.map((tick) => tick.at),
        lanes: troubled.map((one) => ({ colour: ink.lines[one.colour]!, known: known.get(one)! })),
        rows: rows.map((one) => ({
          name: rows.some((other) => other !== one && other.name === one.name) ? `${one.name} · ${plant.nameOfGateway(one.gateway)}` : one.name,
          colour: ink.lines[one.colour]!,
          known: known.get(one)!,
          say: (part) => {
            const { value } = readingAt(one, part.fromMs);
            return { text: written(value), isOff: value === false };
          },
        })),
        dots: drawn.flatMap(({ one, axis, strokes }) => {
          const points = isSparse(one, window, layout.plot.width) ? dotsOf(one, window) : strokes.lone;
          return one.form === "bar" ? [] : [{ points, axis: axes[axis]!, colour: ink.lines[one.colour]! }];
        }),
      },
      ink,
    );
    void charts().then(({ Chart }) => {
      if (!this.host || this.#drawing?.layout !== layout) return;
      this.#chart ??= new Chart(this.host);
      const list = drawn.flatMap(({ one, axis, strokes }): Stroke[] => {
        const shared = { axis, colour: ink.lines[one.colour]!, dash: one.dash, isBar: one.form === "bar", isChosen: keyOf(one.pick) === this.chosen };
        if (one.form === "bar") return [{ ...shared, points: dotsOf(one, window, true), isUnsure: false }];
        return [
          { ...shared, points: clipped(strokes.sure, ...window), isUnsure: false },
          ...(strokes.unsure.length ? [{ ...shared, points: clipped(strokes.unsure, ...window), isUnsure: true }] : []),
        ];
      });
      this.#chart.draw({ layout, window, axes, strokes: list, ticks, ink, font: ink.font }, this.#since);
      this.#since = "";
    });
    this.#drawGlass();
    const bar = this.querySelector("fw-timebar");
    if (bar) {
      Object.assign(bar, {
        whole, window,
        written: (ms: number) => barInstant(ms, zone, whole[1] - whole[0]),
        shadows: lines.filter((one) => !one.pick.shiftMs).slice(0, 4).flatMap((one) => {
          const curve = this.#supply.overviewOf(one.pick.uid);
          return curve ? [{ points: strokes(curve, one.form === "step", -Infinity).sure, colour: ink.lines[one.colour]! }] : [];
        }),
      });
    }
    if (plant.isLoaded) this.#want(window, whole, layout);
    this.requestUpdate();
  }

  #want(window: Window, whole: Window, layout: Layout): void {
    const picks = this.view.picks.filter((one) => plant.signalOf.has(one.uid));
    if (!picks.length) return;
    const isFirst = picks.some((one) => !this.#supply.has(one.uid, one.shiftMs));
    const points = Math.min(4000, Math.max(400, Math.round(layout.plot.width * 1.5)));
    this.#supply.want({ picks, window, whole, points }, isFirst ? 0 : undefined);
  }

  /** Of times nobody asked for yet nothing can be said, not even that nothing is known. */
  #covered<T extends { fromMs: number; toMs: number }>(one: Series, parts: readonly T[]): T[] {
    const shift = one.pick.shiftMs;
    const [from, to] = this.#supply.coveredOf(shift).map((ms) => ms + shift) as [number, number];
    const end = Math.min(to, live.nowMs() + shift);
    return parts.filter((part) => part.fromMs < end && part.toMs > from).map((part) => ({ ...part, fromMs: Math.max(from, part.fromMs), toMs: Math.min(end, part.toMs) }));
  }

  #strokesOf(one: Series): Strokes {
    const isStepped = one.form === "step";
    const key = [one.curve, isStepped, isStepped ? one.untilMs : 0];
    const known = this.#strokes.get(keyOf(one.pick));
    if (known && known.key.every((part, i) => part === key[i])) return known.strokes;
    const found = strokes(one.curve, isStepped, one.untilMs, one.pick.shiftMs);
    this.#strokes.set(keyOf(one.pick), { key, strokes: found });
    return found;
  }

  /** Axes with their words; that of the chosen line comes first. */
  #axes(scales: ReadonlyMap<string, Scale>, lines: readonly Series[], ink: Ink) {
    const chosen = lines.find((one) => keyOf(one.pick) === this.chosen)?.axis;
    const keys = [...scales.keys()].sort((a, b) => Number(b === chosen) - Number(a === chosen));
    return keys.map((key) => {
      const own = lines.filter((one) => one.axis === key);
      const scale = scales.get(key)!;
      const units = [...new Set(own.map((one) => one.unit))];
      const places = decimals(scale);
      const figures = new Intl.NumberFormat(document.documentElement.lang || "en", { minimumFractionDigits: Math.min(6, places), maximumFractionDigits: places });
      const parts = Math.round((scale.high - scale.low) / scale.step);
      const labels = Array.from({ length: parts + 1 }, (_, i) => {
        const value = scale.low + i * scale.step;
        return Math.abs(value) >= 1e7 || (value && Math.abs(value) < 1e-5) ? number(value) : figures.format(value);
      });
      return { key, scale, labels: key === SWITCH ? labels.map(() => "") : labels, name: key === SWITCH ? "" : units.join(", "), colour: own.length === 1 ? ink.lines[own[0]!.colour]! : ink.text };
    });
  }

  #drawGlass(): void {
    const drawing = this.#drawing;
    const canvas = this.querySelector<HTMLCanvasElement>(".glass");
    if (!drawing || !canvas || !this.#ink) return;
    const { ruler, second } = this.view;
    const marks = [
      ...(this.hoverMs !== null && !this.#box ? [this.#mark(this.hoverMs, false)] : []),
      ...(ruler === null ? [] : [this.#mark(ruler, true)]),
      ...(second === null ? [] : [this.#mark(second, true)]),
    ];
    drawGlass(canvas, { layout: drawing.layout, window: drawing.window, marks, box: this.#box }, this.#ink);
    this.#placeBalloon();
  }

  #mark(ms: number, isFirm: boolean): Mark {
    const { series, scales, layout, window } = this.#drawing!;
    const dots = series.flatMap((one) => {
      const scale = scales.get(one.axis);
      if (one.pick.isHidden || one.form === "row" || !scale) return [];
      const { number: value, timeMs } = readingAt(one, ms);
      const isThere = Number.isFinite(value) && timeMs !== null && (one.form === "step" || Math.abs(timeMs + one.pick.shiftMs - ms) * layout.plot.width < (window[1] - window[0]) * 3);
      return isThere ? [{ y: yOf(value, scale, layout.plot), colour: this.#ink!.lines[one.colour]! }] : [];
    });
    const say = layout.box.width < 640 ? clock : instant;
    return { ms, isFirm, dots, label: isFirm ? say(ms, this.#zone(), window[1] - window[0]) : "" };
  }

  #placeBalloon(): void {
    const balloon = this.querySelector<HTMLElement>(".balloon");
    if (!balloon || balloon.hidden || !this.#drawing) return;
    const [x, y] = this.#pointer;
    const { width, height } = this.#drawing.layout.box;
    const left = x + 16 + balloon.offsetWidth > width ? x - 16 - balloon.offsetWidth : x + 16;
    balloon.style.left = `${Math.max(0, left)}px`;
    balloon.style.top = `${Math.max(0, Math.min(y + 12, height - balloon.offsetHeight))}px`;
  }

  #reink(): void {
    this.#ink = null;
    this.#redraw();
  }

  /** On paper it is light. */
  #print(isBegun: boolean): void {
    const root = document.documentElement;
    if (isBegun) {
      root.dataset["before"] = root.dataset["theme"] ?? "system";
      if (isDark()) root.dataset["theme"] = "light";
    } else {
      root.dataset["theme"] = root.dataset["before"] ?? "system";
      delete root.dataset["before"];
    }
    this.#ink = null;
    this.#draw();
    this.#chart?.flush();
  }

  // --- Rulers -----------------------------------------------------------------------------------

  /** The nearest sample of what is seen, in the chart's time. */
  #snapped(ms: number): number {
    let best = NaN;
    for (const one of this.#drawing?.series ?? []) {
      if (one.pick.isHidden) continue;
      const row = nearest(one.curve, ms - one.pick.shiftMs);
      if (row < 0) continue;
      const at = one.curve.timeMs[row]! + one.pick.shiftMs;
      if (Number.isNaN(best) || Math.abs(at - ms) < Math.abs(best - ms)) best = at;
    }
    const window = this.#window();
    return best >= window[0] && best <= window[1] ? best : Math.min(window[1], Math.max(window[0], ms));
  }

  /** The next sample of any of them, before or after an instant. */
  #next(ms: number, by: 1 | -1): number {
    let best = NaN;
    for (const one of this.#drawing?.series ?? []) {
      if (one.pick.isHidden) continue;
      const { timeMs, quality } = one.curve;
      const own = ms - one.pick.shiftMs;
      let row = by > 0 ? rowAt(timeMs, own + 0.0005) : rowAt(timeMs, own) - 1;
      while (quality[row] === HOLE) row += by;
      const at = timeMs[row];
      if (at !== undefined && !(Math.abs(at + one.pick.shiftMs - ms) >= Math.abs(best - ms))) best = at + one.pick.shiftMs;
    }
    return Number.isNaN(best) ? ms : best;
  }

  #rule(ms: number | null, isSecond = false): void {
    if (isSecond) this.#show({ second: ms });
    else this.#show({ ruler: ms, ...(ms === null ? { second: null } : {}) });
    this.#drawGlass();
    if (ms !== null) this.#speak(ms);
  }

  /** For those who do not see the ruler. */
  #speak(ms: number): void {
    const drawing = this.#drawing;
    if (!drawing) return;
    const said = drawing.series.filter((one) => !one.pick.isHidden).slice(0, 4).map((one) => `${one.name} ${writtenReading(readingAt(one, ms), one)}`);
    this.spoken = `${instant(ms, this.#zone(), drawing.window[1] - drawing.window[0])}: ${said.join(", ")}`;
  }

  // --- Gestures and keys ------------------------------------------------------------------------

  #listen(surface: HTMLElement): void {
    const at = (x: number): number => msOf(x, this.#window(), this.#drawing!.layout.plot);
    const isReady = (): boolean => this.#drawing !== null;
    const end = listen(surface, {
      hover: (x, y) => {
        if (!isReady()) return;
        const { plot } = this.#drawing!.layout;
        const isInside = x !== null && x >= plot.left && x <= plot.left + plot.width;
        if (isInside) this.#pointer = [x, y];
        this.hoverMs = isInside ? this.#snapped(at(x)) : null;
        this.#drawGlass();
      },
      zoom: (factor, x) => isReady() && this.#go(zoomed(this.view.period, factor, at(x)), true),
      pan: (byX) => {
        if (!isReady()) return;
        const [from, to] = this.#window();
        this.#go(panned(this.view.period, live.nowMs(), (-byX / this.#drawing!.layout.plot.width) * (to - from)), true);
      },
      box: (from, to, isDone) => {
        if (!isReady()) return;
        this.#box = from === to || isDone ? null : [at(from), at(to)];
        if (isDone && from !== to) {
          const window = this.#window();
          const [low, high] = [Math.max(window[0], at(Math.min(from, to))), Math.min(window[1], at(Math.max(from, to)))];
          this.#go(narrowed(this.view.period, live.nowMs(), [low, high]));
        }
        this.#drawGlass();
      },
      press: (x, isSecond) => {
        if (!isReady()) return;
        const ms = this.#snapped(at(x));
        this.#rulerBefore = this.view.ruler;
        this.#rule(ms, isSecond && this.view.ruler !== null);
      },
      rulerAt: (x, reach) => {
        if (!isReady()) return -1;
        const { plot } = this.#drawing!.layout;
        const window = this.#window();
        return [this.view.ruler, this.view.second].findIndex(
          (ms) => ms !== null && Math.abs(plot.left + ((ms - window[0]) / (window[1] - window[0])) * plot.width - x) <= reach,
        );
      },
      moveRuler: (ruler, x) => isReady() && this.#rule(this.#snapped(at(x)), ruler === 1),
      reset: () => {
        this.#show({ ruler: this.#rulerBefore });
        this.#go(reset(this.view.period));
      },
    });
    this.#ends.push(end);
    const watcher = new ResizeObserver(() => this.#redraw());
    watcher.observe(surface);
    this.#ends.push(() => watcher.disconnect());
  }

  readonly #key = (event: KeyboardEvent): void => {
    if (event.metaKey || event.altKey || !this.#drawing) return;
    const { period, ruler, second } = this.view;
    const window = this.#window();
    const [width, now] = [window[1] - window[0], live.nowMs()];
    const middle = (window[0] + window[1]) / 2;
    const whole = wholeOf(period, now);
    const pan = (by: number) => this.#go(panned(period, now, by), true);
    const steps: Record<string, () => void> = {
      "+": () => this.#go(zoomed(period, 0.7, ruler ?? middle), true),
      "-": () => this.#go(zoomed(period, 1 / 0.7, ruler ?? middle), true),
      "0": () => this.#go(reset(period)),
      ArrowLeft: () => (ruler === null || event.shiftKey ? pan(-width / 10) : this.#step(-1, event.ctrlKey)),
      ArrowRight: () => (ruler === null || event.shiftKey ? pan(width / 10) : this.#step(1, event.ctrlKey)),
      PageUp: () => pan(-width),
      PageDown: () => pan(width),
      Home: () => (ruler === null ? this.#go(narrowed(period, now, [whole[0], whole[0] + width])) : this.#rule(this.#next(window[0] - 0.001, 1))),
      End: () => (ruler === null ? this.#go(isLive(period) ? period : narrowed(period, now, [whole[1] - width, whole[1]])) : this.#rule(this.#next(window[1] + 0.001, -1))),
      Enter: () => this.#rule(ruler === null ? this.#snapped(middle) : null),
      r: () => this.#rule(ruler === null ? this.#snapped(middle) : null),
      d: () => ruler !== null && this.#rule(second === null ? this.#snapped(ruler + width / 10) : null, true),
      l: () => this.#go(toggled(period, now)),
      Escape: () => this.#rule(null),
      z: () => this.#undo(),
      y: () => this.#redo(),
    };
    const key = event.key === "=" ? "+" : event.key === "_" ? "-" : event.key;
    const act = steps[key];
    if (!act || (event.ctrlKey && !["z", "y", "ArrowLeft", "ArrowRight"].includes(key))) return;
    event.preventDefault();
    act();
  };

  #step(by: 1 | -1, isSecond: boolean): void {
    const { ruler, second } = this.view;
    const isOther = isSecond && second !== null;
    const ms = this.#next((isOther ? second : ruler)!, by);
    this.#rule(ms, isOther);
    const window = this.#window();
    if (ms < window[0] || ms > window[1]) this.#go(panned(this.view.period, live.nowMs(), ms - (window[0] + window[1]) / 2), true);
  }

  #undo(): void {
    const period = this.#steps.back(this.view.period);
    if (period) this.#show({ period });
  }

  #redo(): void {
    const period = this.#steps.forth(this.view.period);
    if (period) this.#show({ period });
  }

  // --- The page ---------------------------------------------------------------------------------

  override updated(): void {
    const { surface } = this;
    if (surface && this.#listened !== surface) {
      this.#chart?.dispose();
      this.#chart = null;
      this.#listened = surface;
      this.#listen(surface);
      this.#redraw();
    }
    this.#placeBalloon();
  }

  override render(): TemplateResult {
    const { picks } = this.view;
    return html`<div class="head">
        <h1>${t("nav.trend")}</h1>
        <button type="button" class="button ${picks.length ? "" : "primary"}" @click=${() => void this.picker.open(picks.map((one) => one.uid))}>${t("trend.pick")}</button>
        ${picks.length
          ? tools({
              period: this.view.period,
              hasRuler: this.view.ruler !== null,
              hasBalloon: this.view.hasBalloon,
              canBack: this.#steps.canBack,
              canForth: this.#steps.canForth,
              follow: (spanMs) => this.#go(following(spanMs)),
              toggle: () => this.#go(toggled(this.view.period, live.nowMs())),
              between: () => void this.spans.open(wholeOf(this.view.period, live.nowMs()), this.#zone()),
              zoom: (factor) => this.#go(zoomed(this.view.period, factor, this.#middle())),
              undo: () => this.#undo(),
              redo: () => this.#redo(),
              reset: () => this.#go(reset(this.view.period)),
              rule: () => this.#rule(this.view.ruler === null ? this.#snapped(this.#middle()) : null),
              toggleBalloon: () => this.#show({ hasBalloon: !this.view.hasBalloon }),
              save: () => this.#export(),
            })
          : nothing}
      </div>
      ${this.faults.length ? html`<p class="notice" role="alert">${t("trend.fault", { parts: this.faults.join("  ") })}</p>` : nothing}
      ${plant.trouble && !plant.isLoaded ? html`<p class="error" role="alert">${t("trend.unread", { text: plant.trouble })}</p>` : nothing}
      ${this.#supply.trouble
        ? html`<p class="trouble row" role="alert"><span class="error">${t("trend.unread", { text: this.#supply.trouble })}</span>
            <button type="button" class="button" @click=${() => this.#supply.again()}>${t("trend.again")}</button></p>`
        : nothing}
      ${picks.length ? this.#plate() : plant.isLoaded ? this.#empty() : html`<p class="quiet">${t("loading")}</p>`}
      <fw-picker @picked=${(event: CustomEvent<string[]>) => this.#choose(event.detail)}></fw-picker>
      <fw-drawn @drawn=${(event: CustomEvent<Changed>) => this.#redrawn(event.detail)}></fw-drawn>
      <fw-span @span=${(event: CustomEvent<Window>) => this.#go(standing(event.detail))}></fw-span>
      <fw-export></fw-export>
      <p class="hidden" role="status">${this.spoken}</p>`;
  }

  #middle(): number {
    const [from, to] = this.#window();
    return (from + to) / 2;
  }

  #plate(): TemplateResult {
    const { ruler, second } = this.view;
    const window = this.#window();
    const zone = this.#zone();
    const isNow = this.hoverMs === null && ruler === null && isLive(this.view.period);
    const atMs = this.hoverMs ?? ruler ?? (isNow ? live.nowMs() : window[1]);
    const series = this.#drawing?.series.length === this.view.picks.length ? this.#drawing.series : this.#series();
    const isWaiting = (this.#supply.isAsking || !plant.isLoaded) && !series.some((one) => this.#supply.has(one.pick.uid, one.pick.shiftMs));
    return html`<div class="plate sheet">
        <div
          class="surface"
          tabindex="0"
          role="application"
          aria-roledescription=${t("trend.chart")}
          aria-label=${t("trend.chart.label", { count: series.length })}
          aria-describedby="trend-keys"
          aria-busy=${this.#supply.isAsking}
          @keydown=${this.#key}
        >
          <canvas class="ground" aria-hidden="true"></canvas>
          <div class="lines" aria-hidden="true"></div>
          <canvas class="glass" aria-hidden="true"></canvas>
          ${isWaiting ? html`<p class="waiting quiet">${t("trend.reading")}</p>` : nothing}
          ${balloon(this.view.hasBalloon && this.#box === null ? this.hoverMs : null, (ms) => instant(ms, zone, window[1] - window[0]), series)}
        </div>
        <p class="hidden" id="trend-keys">${t("trend.keys")}</p>
        <fw-timebar @window=${this.#barred}></fw-timebar>
        <p class="foot quiet"><span>${t("trend.zone", { zone: zoneWords(zone, window[1]) })}</span> ${this.#remarks(series)}</p>
      </div>
      ${legend({
        series, window, isNow, atMs, ruler, second, chosen: this.chosen,
        when: isNow ? t("trend.now") : instant(atMs, zone, window[1] - window[0]),
        change: (pick, change) => this.#change(pick, change),
        lift: (key) => this.#lift(key),
        edit: (one) => this.#edit(one),
      })}`;
  }

  /** What was not given, and how exact instants are. */
  #remarks(series: readonly Series[]): TemplateResult | typeof nothing {
    const missing = series.flatMap((one) => one.curve.missing);
    const coarse = Math.max(0, ...series.map((one) => one.curve.coarseMs));
    return html`${coarse > 0 ? html`<span>${t("trend.coarse", { span: span(coarse / 1000) })}</span>` : nothing}
      ${missing.length ? html`<span class="error">${t("trend.missing", { reason: [...new Set(missing.map((one) => one.reason))].slice(0, 2).join("; ") })}</span>` : nothing}`;
  }

  #empty(): TemplateResult {
    if (!plant.signals.length) return empty(t("trend.none.title"), t("trend.none.text"));
    const late = recent().filter((uid) => plant.signalOf.has(uid)).slice(0, 8);
    const examples = plant.signals.filter((one) => one.type === "float" && one.unit).slice(0, EXAMPLES);
    const some = examples.length ? examples : plant.signals.slice(0, EXAMPLES);
    return html`<section class="empty">
      <h2>${t("trend.empty.title")}</h2>
      <p>${t("trend.empty.text")}</p>
      <ul class="examples">
        ${some.map((one) => html`<li><a class="button" href="?s=${one.uid}">${one.name || one.uid}${one.unit ? ` · ${one.unit}` : ""}</a></li>`)}
        ${some.length > 1 ? html`<li><a class="button" href="?${some.map((one) => `s=${one.uid}`).join("&")}">${t("trend.empty.all", { count: some.length })}</a></li>` : nothing}
      </ul>
      ${late.length ? html`<p><a href="?${late.map((uid) => `s=${uid}`).join("&")}">${t("trend.empty.recent")}</a></p>` : nothing}
    </section>`;
  }

  readonly #barred = (event: CustomEvent<Wanted>): void => {
    const { window, isDone } = event.detail;
    const { period } = this.view;
    const now = live.nowMs();
    const whole = wholeOf(period, now);
    // The right end dragged to the present, or only the left one moved: it goes on following.
    const isAtEnd = isLive(period) && window[1] >= whole[1] - (whole[1] - whole[0]) / 200;
    this.#go(isAtEnd ? following(period.spanMs, whole[1] - window[0]) : narrowed(period, now, window), !isDone || performance.now() - this.#gestureMs < GESTURE_MS);
  };

  #lift(key: string): void {
    this.chosen = this.chosen === key ? "" : key;
    this.#redraw();
  }

  #edit(one: Series): void {
    const drawing = this.#drawing;
    const scale = drawing?.scales.get(one.axis);
    void this.drawn.open(one, drawing?.series ?? [one], this.view.bounds, scale ? [scale.low, scale.high] : [0, 1]);
  }

  #redrawn({ before, pick: changed, bound, axis }: Changed): void {
    const bounds = new Map(this.view.bounds);
    if (bound) bounds.set(axis, bound);
    else bounds.delete(axis);
    const isTwice = this.view.picks.some((one) => one !== before && keyOf(one) === keyOf(changed));
    if (!isTwice) this.#change(before, changed);
    this.#show({ bounds });
  }

  #export(): void {
    const drawing = this.#drawing;
    if (!drawing) return;
    const uids = [...new Set(this.view.picks.filter((one) => !one.isHidden && plant.signalOf.has(one.uid)).map((one) => one.uid))];
    void this.exporter.open({ uids, window: this.#window(), zone: this.#zone(), points: Math.min(4000, Math.round(drawing.layout.plot.width * 1.5)) });
  }
}
