// The legend: each signal with its value at the pointer, the ruler or now; and the balloon at the pointer.

import { html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";

import { live } from "../live";
import { qualityName, STATE_SHAPES, written } from "../parts/marks";
import { plant } from "../plant";
import { number, t } from "../t";
import { writtenSpan, type Pick } from "./address";
import { extent } from "./curve";
import type { Window } from "./period";
import { keyOf, readingAt, type Series } from "./series";
import { difference, spanWords, writtenReading } from "./words";

const BALLOON_MOST = 12;

export interface Legend {
  readonly series: readonly Series[];
  readonly window: Window;
  /** The values are those of the present; else those at `atMs`. */
  readonly isNow: boolean;
  readonly atMs: number;
  /** The same in words. */
  readonly when: string;
  readonly ruler: number | null;
  readonly second: number | null;
  readonly chosen: string;
  change(pick: Pick, change: Partial<Pick> | null): void;
  lift(key: string): void;
  edit(one: Series): void;
}

const shiftWords = (pick: Pick): string => t("trend.shift.by", { span: spanWords(writtenSpan(pick.shiftMs)) });

export function legend(legend: Legend): TemplateResult {
  const { ruler, second } = legend;
  return html`<div class="plate legend">
    <table>
      <caption class="hidden">${t("trend.legend")}</caption>
      <thead>
        <tr>
          <th scope="col" class="tick"><span class="hidden">${t("trend.visible")}</span></th>
          <th scope="col">${t("trend.signal")}</th>
          <th scope="col" class="number">${legend.when}</th>
          ${second === null || ruler === null ? nothing : html`<th scope="col" class="number">${t("trend.second", { span: difference(second - ruler) })}</th>`}
          <th scope="col">${t("trend.quality")}</th>
          <th scope="col" class="number wide">${t("trend.range")}</th>
          <th scope="col" class="acts"><span class="hidden">${t("trend.change")}</span></th>
        </tr>
      </thead>
      <tbody>
        ${repeat(legend.series, (one) => keyOf(one.pick), (one) => entry(one, legend))}
      </tbody>
    </table>
  </div>`;
}

function entry(one: Series, legend: Legend): TemplateResult {
  const { pick, name } = one;
  const { ruler, second, isNow, atMs } = legend;
  const isKnown = plant.signalOf.has(pick.uid) || !plant.isLoaded;
  const shown = live.of(pick.uid);
  const isPresent = isNow && !pick.shiftMs && shown.state !== "none";
  const at = readingAt(one, atMs);
  const state = isPresent ? shown.state : at.state;
  const quality = isPresent ? shown.quality : at.quality;
  const value = isPresent ? shown.value : at.value;
  const word = !isKnown ? t("trend.unknown") : state === "stale" ? t("state.stale") : state === "none" ? t("trend.nothing") : qualityName(quality);
  const key = keyOf(pick);
  return html`<tr data-uid=${pick.uid} data-state=${state} data-hidden=${pick.isHidden} ?data-chosen=${key === legend.chosen}>
    <td class="tick"><label><input type="checkbox" aria-label=${t("trend.see", { name })} .checked=${!pick.isHidden} @change=${() => legend.change(pick, { isHidden: !pick.isHidden })} /></label></td>
    <th scope="row">
      <button type="button" class="name" aria-pressed=${key === legend.chosen} title=${t("trend.lift")} @click=${() => legend.lift(key)}>
        <span class="chip c${one.colour + 1} d${one.dash} ${one.form}" aria-hidden="true"></span>
        <span class="text">
          <span class="what">${name}</span>
          ${pick.shiftMs ? html`<strong>${shiftWords(pick)}</strong>` : nothing}
          <span class="quiet">${plant.nameOfGateway(one.gateway)}</span>
        </span>
      </button>
    </th>
    <td class="number"><span class="value" data-state=${state}><span class="figure">${written(value)}</span>${one.unit && value !== null && typeof value !== "boolean" ? html` <span class="unit">${one.unit}</span>` : nothing}</span></td>
    ${second === null || ruler === null ? nothing : html`<td class="number delta">${delta(one, ruler, second)}</td>`}
    <td class="mark"><span class="quality" data-state=${state}><span aria-hidden="true">${STATE_SHAPES[state]}</span> ${word}</span></td>
    <td class="number wide quiet">${rangeOf(one, legend.window)}</td>
    <td class="acts">
      <button type="button" class="button icon" aria-label=${t("trend.draw", { name })} title=${t("trend.draw", { name })} @click=${() => legend.edit(one)}><span aria-hidden="true">⚙</span></button>
      <button type="button" class="button icon" aria-label=${t("trend.drop", { name })} title=${t("trend.drop", { name })} @click=${() => legend.change(pick, null)}><span aria-hidden="true">✕</span></button>
    </td>
  </tr>`;
}

function delta(one: Series, ruler: number, second: number): string {
  const by = readingAt(one, second).number - readingAt(one, ruler).number;
  if (one.form === "row") return written(readingAt(one, second).value);
  return Number.isFinite(by) ? `${by > 0 ? "+" : ""}${number(by)}${one.unit ? ` ${one.unit}` : ""}` : "–";
}

function rangeOf(one: Series, window: Window): string {
  if (one.form === "row") return "";
  const shift = one.pick.shiftMs;
  const found = extent(one.curve, window[0] - shift, window[1] - shift);
  return found ? `${number(found[0])} … ${number(found[1])}` : "–";
}

export function balloon(ms: number | null, say: (ms: number) => string, series: readonly Series[]): TemplateResult {
  const seen = ms !== null ? series.filter((one) => !one.pick.isHidden) : [];
  return html`<div class="balloon" aria-hidden="true" ?hidden=${ms === null}>
    ${ms === null ? nothing : html`<strong>${say(ms)}</strong>`}
    ${seen.slice(0, BALLOON_MOST).map((one) => {
      const at = readingAt(one, ms!);
      const mark = at.state === "good" ? "" : ` ${STATE_SHAPES[at.state]}`;
      return html`<span><span class="chip c${one.colour + 1} d${one.dash} ${one.form}"></span> <span class="what">${one.name}${one.pick.shiftMs ? `, ${shiftWords(one.pick)}` : ""}</span> <b>${writtenReading(at, one)}${mark}</b></span>`;
    })}
    ${seen.length > BALLOON_MOST ? html`<span class="quiet">${t("trend.more", { count: seen.length - BALLOON_MOST })}</span>` : nothing}
  </div>`;
}
