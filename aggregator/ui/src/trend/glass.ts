// What lies above the lines and moves with the pointer: rulers with the samples they stand on, the box of a zoom.

import { prepared, type Ink } from "./ground";
import { xOf, type Layout } from "./layout";
import type { Window } from "./period";

export interface Mark {
  readonly ms: number;
  readonly label: string;
  readonly isFirm: boolean;
  /** Samples it stands on. */
  readonly dots: readonly { y: number; colour: string }[];
}

export interface Glass {
  readonly layout: Layout;
  readonly window: Window;
  readonly marks: readonly Mark[];
  readonly box: readonly [from: number, to: number] | null;
}

export function drawGlass(canvas: HTMLCanvasElement, glass: Glass, ink: Ink): void {
  const { layout, window } = glass;
  const { plot, baseline } = layout;
  const pen = prepared(canvas, layout.box);
  const right = plot.left + plot.width;
  if (glass.box) {
    const [a, b] = glass.box.map((ms) => Math.min(right, Math.max(plot.left, xOf(ms, window, plot)))) as [number, number];
    pen.fillStyle = ink.focus;
    pen.globalAlpha = 0.18;
    pen.fillRect(Math.min(a, b), plot.top, Math.abs(b - a), baseline - plot.top);
    pen.globalAlpha = 1;
    pen.strokeStyle = ink.focus;
    pen.strokeRect(Math.min(a, b) + 0.5, plot.top + 0.5, Math.abs(b - a), baseline - plot.top - 1);
  }
  for (const mark of glass.marks) {
    const x = Math.round(xOf(mark.ms, window, plot)) + 0.5;
    if (x < plot.left - 1 || x > right + 1) continue;
    pen.strokeStyle = mark.isFirm ? ink.text : ink.quiet;
    pen.lineWidth = mark.isFirm ? 1.5 : 1;
    pen.setLineDash(mark.isFirm ? [] : [3, 3]);
    pen.beginPath();
    pen.moveTo(x, plot.top);
    pen.lineTo(x, baseline);
    pen.stroke();
    pen.setLineDash([]);
    for (const dot of mark.dots) {
      pen.fillStyle = dot.colour;
      pen.strokeStyle = ink.plate;
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.arc(x - 0.5, dot.y, 4, 0, 7);
      pen.fill();
      pen.stroke();
    }
    if (!mark.label) continue;
    pen.font = `600 12px ${ink.font}`;
    pen.textBaseline = "middle";
    const width = pen.measureText(mark.label).width + 12;
    const left = Math.min(Math.max(0, x - width / 2), layout.box.width - width);
    pen.fillStyle = ink.text;
    pen.fillRect(left, 3, width, 18);
    pen.fillStyle = ink.plate;
    pen.fillText(mark.label, left + 6, 12.5);
  }
}
