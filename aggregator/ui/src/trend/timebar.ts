// The time bar: the whole range with the shadow of a line, and in it the window that the chart shows, to be dragged.

import { html, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";

import { Element } from "../element";
import { t } from "../t";
import type { Window } from "./period";

/** What a drag or a key wants to be shown. */
export interface Wanted {
  readonly window: Window;
  readonly isDone: boolean;
}

type Grip = "from" | "to" | "both";

@customElement("fw-timebar")
export class TimeBar extends Element {
  @property({ attribute: false }) whole: Window = [0, 1];
  @property({ attribute: false }) window: Window = [0, 1];
  /** Lines of the overview: points x, y, x, y, …; NaN breaks. */
  @property({ attribute: false }) shadows: readonly { points: Float64Array; colour: string }[] = [];
  @property({ attribute: false }) written: (ms: number) => string = String;

  #grip: Grip | null = null;
  #begin = { x: 0, window: [0, 1] as Window };

  override render(): TemplateResult {
    const slider = (grip: Grip, at: number, label: string, text: string) => html`<div
      class="grip ${grip}"
      role="slider"
      tabindex="0"
      aria-label=${label}
      aria-valuemin=${this.whole[0]}
      aria-valuemax=${this.whole[1]}
      aria-valuenow=${at}
      aria-valuetext=${text}
      @pointerdown=${(event: PointerEvent) => this.#press(event, grip)}
      @pointermove=${this.#move}
      @pointerup=${this.#release}
      @pointercancel=${this.#release}
      @keydown=${(event: KeyboardEvent) => this.#key(event, grip)}
    ></div>`;
    const [from, to] = this.window;
    return html`<div class="track" @pointerdown=${this.#jump}>
        <canvas aria-hidden="true"></canvas>
        <div class="rest left"></div>
        <div class="rest right"></div>
        ${slider("both", from, t("trend.bar.window"), `${this.written(from)} – ${this.written(to)}`)}
        ${slider("from", from, t("trend.bar.from"), this.written(from))} ${slider("to", to, t("trend.bar.to"), this.written(to))}
      </div>
      <div class="ends"><span>${this.written(this.whole[0])}</span><span>${this.written(this.whole[1])}</span></div>`;
  }

  override updated(): void {
    const share = (ms: number): number => (100 * (ms - this.whole[0])) / (this.whole[1] - this.whole[0]);
    const [left, right] = [Math.max(0, share(this.window[0])), Math.min(100, share(this.window[1]))];
    const part = (name: string): CSSStyleDeclaration => this.querySelector<HTMLElement>(name)!.style;
    part(".rest.left").width = `${left}%`;
    part(".rest.right").width = `${100 - right}%`;
    part(".grip.both").left = part(".grip.from").left = `${left}%`;
    part(".grip.both").width = `${right - left}%`;
    part(".grip.to").left = `${right}%`;
    this.#draw();
  }

  #draw(): void {
    const canvas = this.querySelector("canvas")!;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    const ratio = Math.min(3, devicePixelRatio || 1);
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    const pen = canvas.getContext("2d")!;
    pen.scale(ratio, ratio);
    pen.lineWidth = 1.2;
    for (const { points, colour } of this.shadows) {
      let [low, high] = [Infinity, -Infinity];
      for (let i = 1; i < points.length; i += 2) if (points[i]! < low) low = points[i]!;
      for (let i = 1; i < points.length; i += 2) if (points[i]! > high) high = points[i]!;
      const room = high - low || 1;
      pen.strokeStyle = colour;
      pen.beginPath();
      let isDown = false;
      for (let i = 0; i < points.length; i += 2) {
        const value = points[i + 1]!;
        const x = (width * (points[i]! - this.whole[0])) / (this.whole[1] - this.whole[0]);
        const y = high === low ? height / 2 : 3 + (height - 6) * (1 - (value - low) / room);
        if (isDown && !Number.isNaN(value)) pen.lineTo(x, y);
        else if (!Number.isNaN(value)) pen.moveTo(x, y);
        isDown = !Number.isNaN(value);
      }
      pen.stroke();
    }
  }

  #msPerPx(): number {
    return (this.whole[1] - this.whole[0]) / Math.max(1, this.querySelector(".track")!.clientWidth);
  }

  #want(window: Window, isDone: boolean): void {
    const [low, high] = this.whole;
    const width = Math.min(high - low, window[1] - window[0]);
    const from = Math.min(Math.max(low, window[0]), high - width);
    this.say("window", { window: [from, from + width], isDone } satisfies Wanted);
  }

  /** One end or both moved by so much; ends do not pass each other. */
  #moved(grip: Grip, [from, to]: Window, byMs: number): Window {
    const least = (this.whole[1] - this.whole[0]) / 2000;
    if (grip === "both") {
      const by = Math.min(Math.max(byMs, this.whole[0] - from), this.whole[1] - to);
      return [from + by, to + by];
    }
    if (grip === "from") return [Math.max(this.whole[0], Math.min(from + byMs, to - least)), to];
    return [from, Math.min(this.whole[1], Math.max(to + byMs, from + least))];
  }

  #press(event: PointerEvent, grip: Grip): void {
    if (event.button) return;
    event.stopPropagation();
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
    this.#grip = grip;
    this.#begin = { x: event.clientX, window: this.window };
  }

  readonly #move = (event: PointerEvent): void => {
    if (this.#grip) this.#want(this.#moved(this.#grip, this.#begin.window, (event.clientX - this.#begin.x) * this.#msPerPx()), false);
  };

  readonly #release = (event: PointerEvent): void => {
    if (!this.#grip) return;
    const grip = this.#grip;
    this.#grip = null;
    const by = (event.clientX - this.#begin.x) * this.#msPerPx();
    if (by) this.#want(this.#moved(grip, this.#begin.window, by), true);
  };

  /** A press beside the window brings its middle there. */
  readonly #jump = (event: PointerEvent): void => {
    const rect = this.querySelector(".track")!.getBoundingClientRect();
    const at = this.whole[0] + (event.clientX - rect.left) * this.#msPerPx();
    const half = (this.window[1] - this.window[0]) / 2;
    this.#want([at - half, at + half], true);
  };

  #key(event: KeyboardEvent, grip: Grip): void {
    const whole = this.whole[1] - this.whole[0];
    const by: Record<string, number> = {
      ArrowLeft: -whole / 50, ArrowDown: -whole / 50, ArrowRight: whole / 50, ArrowUp: whole / 50,
      PageDown: -whole / 10, PageUp: whole / 10, Home: -whole, End: whole,
    };
    const step = by[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.#want(this.#moved(grip, this.window, step), true);
  }
}
