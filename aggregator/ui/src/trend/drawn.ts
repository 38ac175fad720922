// How one series is drawn, and its axis: a dialog.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";

import { Element } from "../element";
import { parsed, t } from "../t";
import { spanWords } from "./words";
import { COLOURS, readSpan, writtenSpan, type Form, type Pick } from "./address";
import { axisKey, freeAxis } from "./axes";
import type { Series } from "./series";

/** What the dialog was left with. */
export interface Changed {
  readonly before: Pick;
  readonly pick: Pick;
  /** Of the axis it is on now; null: automatic. */
  readonly bound: readonly [number, number] | null;
  readonly axis: string;
}

const SHIFTS = ["1h", "1d", "7d", "28d", "364d"];

@customElement("fw-drawn")
export class Drawn extends Element {
  @state() private series: Series | null = null;
  @state() private pick: Pick | null = null;
  @state() private trouble = "";
  @state() private isFixed = false;
  @query("dialog") private dialog!: HTMLDialogElement;
  #all: readonly Series[] = [];
  #bounds: ReadonlyMap<string, readonly [number, number]> = new Map();
  #shown: readonly [number, number] = [0, 1];

  /** Ask; what is chosen follows as the event `drawn`. */
  async open(
    series: Series, all: readonly Series[], bounds: ReadonlyMap<string, readonly [number, number]>, shown: readonly [number, number],
  ): Promise<void> {
    [this.series, this.pick, this.#all, this.#bounds, this.#shown] = [series, series.pick, all, bounds, shown];
    this.isFixed = bounds.has(series.axis);
    this.trouble = "";
    await this.updateComplete;
    this.dialog.showModal();
  }

  override render(): TemplateResult {
    return html`<dialog class="drawn" aria-labelledby="drawn-title" @close=${() => (this.series = null)}>${this.series && this.pick ? this.#form(this.series, this.pick) : nothing}</dialog>`;
  }

  #form(series: Series, pick: Pick): TemplateResult {
    const forms: Form[] = series.kind === "text" ? ["row"] : series.kind === "boolean" ? ["row", "step", "line", "bar"] : ["line", "step", "bar"];
    const form = pick.form || series.form;
    const key = axisKey(pick, series.kind, series.unit);
    const [low, high] = this.#bounds.get(key) ?? this.#shown;
    const numbers = [...new Set([...this.#all.map((one) => one.pick.axis), pick.axis, freeAxis(this.#all.map((one) => one.pick))])].filter(Boolean).sort((a, b) => Number(a) - Number(b));
    const choose = (change: Partial<Pick>) => (this.pick = { ...pick, ...change });
    const chosen = (event: Event): string => (event.target as HTMLSelectElement).value;
    return html`<form @submit=${this.#done}>
      <h2 id="drawn-title">${series.name}</h2>
      <fieldset>
        <legend>${t("trend.form")}</legend>
        <div class="row">
          ${forms.map(
            (one) => html`<label class="choice"><input type="radio" name="form" .checked=${one === form} @change=${() => choose({ form: one })} /> ${t(`trend.form.${one}`)}</label>`,
          )}
        </div>
      </fieldset>
      <div class="row">
        <label class="field"
          ><span>${t("trend.colour")}</span>
          <select @change=${(event: Event) => choose({ colour: Number(chosen(event)) })}>
            ${Array.from({ length: COLOURS }, (_, i) => {
              const name = t(`trend.colour.${(i % 8) + 1}`) + (i < 8 ? "" : `, ${t(i < 16 ? "trend.dashed" : "trend.dotted")}`);
              return html`<option value=${i + 1} ?selected=${i === series.colour + 8 * series.dash}>${name}</option>`;
            })}
          </select>
        </label>
        <label class="field"
          ><span>${t("trend.shift")}</span>
          <select @change=${(event: Event) => choose({ shiftMs: readSpan(chosen(event)) ?? 0 })}>
            <option value="">${t("trend.shift.none")}</option>
            ${[...new Set([...SHIFTS, ...(pick.shiftMs ? [writtenSpan(pick.shiftMs)] : [])])].map(
              (span) => html`<option value=${span} ?selected=${readSpan(span) === pick.shiftMs}>${t("trend.shift.by", { span: spanWords(span) })}</option>`,
            )}
          </select>
        </label>
      </div>
      ${form === "row"
        ? nothing
        : html`<fieldset>
            <legend>${t("trend.axis")}</legend>
            <label class="field"
              ><span class="hidden">${t("trend.axis")}</span>
              <select name="axis" @change=${(event: Event) => choose({ axis: chosen(event) })}>
                <option value="">${series.unit ? t("trend.axis.unit", { unit: series.unit }) : t("trend.axis.unitless")}</option>
                ${numbers.map((one) => html`<option value=${one} ?selected=${one === pick.axis}>${t("trend.axis.own", { number: one })}</option>`)}
              </select>
            </label>
            <label class="choice"><input type="checkbox" name="fixed" .checked=${this.isFixed} @change=${(event: Event) => (this.isFixed = (event.target as HTMLInputElement).checked)} /> ${t("trend.axis.fixed")}</label>
            ${this.isFixed
              ? html`<div class="row">
                  <label class="field"><span>${t("trend.axis.low")}</span><input name="low" inputmode="decimal" autocomplete="off" .defaultValue=${plain(low)} /></label>
                  <label class="field"><span>${t("trend.axis.high")}</span><input name="high" inputmode="decimal" autocomplete="off" .defaultValue=${plain(high)} /></label>
                </div>`
              : nothing}
          </fieldset>`}
      ${this.trouble ? html`<p class="error" role="alert">${this.trouble}</p>` : nothing}
      <div class="row end">
        <button type="button" class="button" @click=${() => this.dialog.close()}>${t("trend.cancel")}</button>
        <button class="button primary">${t("trend.take")}</button>
      </div>
    </form>`;
  }

  readonly #done = (event: SubmitEvent): void => {
    event.preventDefault();
    const { series, pick } = this;
    if (!series || !pick) return;
    const form = event.target as HTMLFormElement;
    const read = (name: string): number | null => parsed(form.querySelector<HTMLInputElement>(`[name=${name}]`)?.value ?? "");
    let bound: [number, number] | null = null;
    if (this.isFixed && form.querySelector("[name=low]")) {
      const [low, high] = [read("low"), read("high")];
      if (low === null || high === null || low >= high) {
        this.trouble = t("trend.axis.wrong");
        return;
      }
      bound = [low, high];
    }
    this.dialog.close();
    this.say("drawn", { before: series.pick, pick, bound, axis: axisKey(pick, series.kind, series.unit) } satisfies Changed);
  };
}

/** A number as the user writes it, without grouping. */
const plain = (value: number): string => new Intl.NumberFormat(document.documentElement.lang || "en", { useGrouping: false, maximumSignificantDigits: 10 }).format(value);
