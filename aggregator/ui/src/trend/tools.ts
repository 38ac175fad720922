// The tools above the chart: how long, live or not, closer, back, rulers, files.

import { html, nothing, type TemplateResult } from "lit";

import { t } from "../t";
import { isLive, PRESETS, type Period } from "./period";

export interface Tools {
  readonly period: Period;
  readonly hasRuler: boolean;
  readonly hasBalloon: boolean;
  readonly canBack: boolean;
  readonly canForth: boolean;
  follow(spanMs: number): void;
  toggle(): void;
  between(): void;
  zoom(factor: number): void;
  undo(): void;
  redo(): void;
  reset(): void;
  rule(): void;
  toggleBalloon(): void;
  save(): void;
}

const icon = (path: string): TemplateResult => html`<svg viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.5"><path d=${path} /></svg>`;

export function tools(tools: Tools): TemplateResult {
  const { period } = tools;
  const isFollowing = isLive(period);
  const tool = (name: string, shape: string | TemplateResult, act: () => void, rest: { pressed?: boolean; disabled?: boolean } = {}) => html`<button
    type="button"
    class="button icon"
    data-tool=${name}
    aria-label=${t(`trend.tool.${name}`)}
    title=${t(`trend.tool.${name}`)}
    aria-pressed=${rest.pressed === undefined ? nothing : rest.pressed}
    ?disabled=${rest.disabled ?? false}
    @click=${act}
  ><span aria-hidden="true">${shape}</span></button>`;
  return html`<div class="tools presets" role="group" aria-label=${t("trend.presets")}>
      ${PRESETS.map(
        ([name, ms]) => html`<button type="button" class="button" aria-pressed=${isFollowing && period.spanMs === ms} @click=${() => tools.follow(ms)}>${t(`trend.preset.${name}`)}</button>`,
      )}
    </div>
    <div class="tools" role="group" aria-label=${t("trend.time")}>
      <button type="button" class="button" aria-pressed=${isFollowing} title=${t("trend.live.title")} @click=${tools.toggle}>
        <span aria-hidden="true">${isFollowing ? "●" : "○"}</span> ${t("trend.live")}
      </button>
      <button type="button" class="button" aria-haspopup="dialog" @click=${tools.between}>${t("trend.between")}</button>
    </div>
    <div class="tools" role="group" aria-label=${t("trend.tools")}>
      ${tool("in", "+", () => tools.zoom(0.5))} ${tool("out", "−", () => tools.zoom(2))}
      ${tool("undo", "↶", tools.undo, { disabled: !tools.canBack })} ${tool("redo", "↷", tools.redo, { disabled: !tools.canForth })}
      ${tool("reset", "⟷", tools.reset)}
      ${tool("ruler", icon("M8 1v14M5.5 8h5"), tools.rule, { pressed: tools.hasRuler })}
      ${tool("balloon", icon("M2 2.5h12v8H8l-3.5 3v-3H2zM5 5.5h6M5 8h4"), tools.toggleBalloon, { pressed: tools.hasBalloon })}
      ${tool("export", icon("M8 2v8M4.5 6.5 8 10l3.5-3.5M2.5 13.5h11"), tools.save)} ${tool("print", icon("M4.5 5.5v-4h7v4M4.5 11.5h-3v-6h13v6h-3M4.5 9.5h7v5h-7z"), () => window.print())}
    </div>`;
}
