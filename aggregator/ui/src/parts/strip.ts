// The strip on every page: the alarm that matters most now, how many wait, and the way to say "seen".

import { html, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";

import { Element } from "../element";
import { live, LiveController } from "../live";
import { moment, number, t } from "../t";
import { acknowledge, remark } from "./acknowledge";
import { priorityMark } from "./marks";

@customElement("fw-strip")
export class Strip extends Element {
  @state() private said = "";
  @state() private isSending = false;

  constructor() {
    super();
    new LiveController(this, () => [], (change) => change.alarms);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("keydown", this.#key);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("keydown", this.#key);
  }

  override render(): TemplateResult {
    const summary = live.summary;
    if (!summary) return html`<p class="strip" data-calm><span class="quiet">${t("strip.waiting")}</span></p>`;
    const newest = summary.newest;
    return html`<div class="strip" ?data-calm=${!newest} role="region" aria-label=${t("alarms.title")}>
      ${newest
        ? html`<span class="mark" ?data-waits=${summary.unacknowledged > 0}>${priorityMark(newest.priority)}</span>
            <time>${moment(newest.raised_us, newest.zone, live.nowMs())}</time>
            <a class="what" href="/alarms">
              <strong>${newest.text || newest.message || newest.number}</strong>
              <span class="quiet">${newest.gateway_name || newest.gateway}${newest.signal ? ` · ${newest.signal_name || newest.signal}` : nothing}</span>
            </a>`
        : html`<span aria-hidden="true">○</span> <span class="what quiet">${t("alarms.none")}</span>`}
      <span class="counts" aria-live="polite">
        ${summary.unacknowledged
          ? html`<a href="/alarms">${t("strip.unacknowledged", { count: number(summary.unacknowledged) })}</a>`
          : nothing}
        <span class="quiet wide">${t("strip.standing", { count: number(summary.standing) })}</span>
      </span>
      ${newest && summary.unacknowledged
        ? html`<button type="button" class="button" ?disabled=${this.isSending} title=${t("strip.key")} @click=${this.#acknowledge}>
            ${t("alarms.acknowledge")}
          </button>`
        : nothing}
      ${this.said ? html`<output>${this.said}</output>` : nothing}
    </div>`;
  }

  readonly #key = (event: KeyboardEvent): void => {
    const at = event.target as HTMLElement;
    if (event.key !== "q" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (at.closest("input, textarea, select, [contenteditable], dialog[open]")) return;
    event.preventDefault();
    void this.#acknowledge();
  };

  readonly #acknowledge = async (): Promise<void> => {
    const newest = live.summary?.newest;
    if (!newest || this.isSending) return;
    this.isSending = true;
    try {
      this.said = remark(await acknowledge([newest]), newest.zone);
    } catch (error) {
      this.said = t("alarms.failed", { text: (error as Error).message });
    } finally {
      this.isSending = false;
    }
  };
}
