// Lines, bars and axes on a canvas. The only file that knows ECharts; gestures, rulers and bands are not here.

import { BarChart, LineChart } from "echarts/charts";
import { GridComponent } from "echarts/components";
import { init, use, type ECharts } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

import type { Layout, PlacedAxis } from "./layout";
import type { Window } from "./period";

use([LineChart, BarChart, GridComponent, CanvasRenderer]);

export const DASHES: readonly (readonly number[])[] = [[], [9, 4], [10, 3, 2, 3]];
const UNSURE_DASH = [2, 4];

/** One line, or its bars: points x, y, x, y, …; NaN breaks. */
export interface Stroke {
  readonly points: Float64Array;
  readonly axis: number;
  readonly colour: string;
  readonly dash: number;
  readonly isUnsure: boolean;
  readonly isBar: boolean;
  readonly isChosen: boolean;
}

export interface Picture {
  readonly layout: Layout;
  readonly window: Window;
  readonly axes: readonly PlacedAxis[];
  readonly strokes: readonly Stroke[];
  readonly ticks: readonly { at: number; label: string }[];
  readonly ink: { text: string; quiet: string; rule: string; edge: string };
  readonly font: string;
}

export class Chart {
  readonly #echarts: ECharts;
  #begun = "";

  constructor(host: HTMLElement) {
    this.#echarts = init(host, null, { renderer: "canvas" });
    this.#echarts.on("finished", () => {
      if (!this.#begun) return;
      performance.measure("trend-draw", this.#begun);
      performance.clearMarks(this.#begun);
      this.#begun = "";
    });
  }

  /** Draw; with the name of a mark, measure from it to the last pixel as `trend-draw`. */
  draw(picture: Picture, since = ""): void {
    const { layout, ink, font } = picture;
    const { box, plot } = layout;
    this.#begun = since && performance.getEntriesByName(since).length ? since : this.#begun;
    const labels = new Map(picture.ticks.map((tick) => [tick.at, tick.label]));
    const customValues = picture.ticks.map((tick) => tick.at);
    const text = { color: ink.text, fontSize: 12, fontFamily: font };
    this.#echarts.resize({ width: box.width, height: box.height, silent: true });
    this.#echarts.setOption(
      {
        animation: false,
        grid: { left: plot.left, top: plot.top, width: plot.width, height: Math.max(1, plot.height), outerBoundsMode: "none" },
        xAxis: {
          type: "time",
          min: picture.window[0],
          max: picture.window[1],
          containShape: false, // the window is what it is, bars at its ends are cut
          position: "bottom",
          offset: layout.baseline - plot.top - Math.max(1, plot.height),
          axisLine: { onZero: false, lineStyle: { color: ink.edge } },
          axisTick: { customValues },
          axisLabel: { ...text, lineHeight: 15, customValues, formatter: (ms: number) => labels.get(ms) ?? "" },
          splitLine: { show: false },
          axisPointer: { show: false },
        },
        yAxis: picture.axes.length
          ? picture.axes.map((axis, i) => this.#axis(axis, i, picture, text))
          : [{ type: "value", show: false, min: 0, max: 1 }],
        series: picture.strokes.map((stroke) => series(stroke, picture)),
      },
      { notMerge: true, silent: true },
    );
  }

  /** Draw now what is due, for a picture or a print. */
  flush(): void {
    this.#echarts.getZr().flush();
  }

  dispose(): void {
    this.#echarts.dispose();
  }

  #axis(axis: PlacedAxis, i: number, picture: Picture, text: object): object {
    const { scale, labels } = axis;
    const at = (value: number): string => labels[Math.round((value - scale.low) / scale.step)] ?? "";
    return {
      type: "value",
      min: scale.low,
      max: scale.high,
      interval: scale.step,
      position: axis.side,
      offset: axis.offset,
      show: axis.isShown,
      name: axis.name,
      nameLocation: "end",
      nameGap: 8,
      nameTextStyle: { ...text, align: axis.side === "left" ? "right" : "left", padding: axis.side === "left" ? [0, 6, 0, 0] : [0, 0, 0, 6], color: axis.colour, fontWeight: 600 },
      axisLine: { show: true, lineStyle: { color: axis.colour } },
      axisTick: { show: true },
      axisLabel: { ...text, color: axis.colour, formatter: at, margin: 8 },
      splitLine: { show: i === 0, lineStyle: { color: picture.ink.rule } },
      axisPointer: { show: false },
    };
  }
}

function series(stroke: Stroke, picture: Picture): object {
  const shared = {
    data: stroke.points,
    dimensions: ["x", "y"],
    encode: { x: 0, y: 1 },
    yAxisIndex: stroke.axis,
    silent: true,
    clip: true,
    emphasis: { disabled: true },
  };
  if (stroke.isBar) {
    const seen = countWithin(stroke.points, picture.window);
    return {
      ...shared,
      type: "bar",
      itemStyle: { color: stroke.colour, opacity: stroke.isUnsure ? 0.5 : 1 },
      barWidth: Math.max(1, Math.min(40, Math.floor((picture.layout.plot.width / Math.max(1, seen)) * 0.7))),
      barGap: "-100%",
      large: seen > 1000,
    };
  }
  return {
    ...shared,
    type: "line",
    showSymbol: false,
    lineStyle: {
      color: stroke.colour,
      width: stroke.isChosen ? 3 : 1.6,
      type: stroke.isUnsure ? UNSURE_DASH : DASHES[stroke.dash]?.length ? [...DASHES[stroke.dash]!] : "solid",
    },
  };
}

function countWithin(points: Float64Array, window: Window): number {
  let count = 0;
  for (let i = 0; i < points.length; i += 2) if (points[i]! >= window[0] && points[i]! <= window[1]) count++;
  return count;
}
