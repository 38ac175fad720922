// From when to when: a dialog.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";

import { Element } from "../element";
import { t } from "../t";
import type { Window } from "./period";
import { readWallText, wallText } from "./zone";

@customElement("fw-span")
export class SpanDialog extends Element {
  @state() private window: Window | null = null;
  @state() private trouble = "";
  @query("dialog") private dialog!: HTMLDialogElement;
  #zone = "UTC";

  /** Ask; what is chosen follows as the event `span`. */
  async open(window: Window, zone: string): Promise<void> {
    [this.window, this.#zone, this.trouble] = [window, zone, ""];
    await this.updateComplete;
    this.dialog.showModal();
  }

  override render(): TemplateResult {
    const field = (name: string, label: string, ms: number) => html`<label class="field"
      ><span>${label}</span><input type="datetime-local" name=${name} step="1" required .defaultValue=${wallText(this.#zone, ms)} />
    </label>`;
    return html`<dialog aria-labelledby="span-title" @close=${() => (this.window = null)}>
      ${this.window
        ? html`<form @submit=${this.#done}>
            <h2 id="span-title">${t("trend.between")}</h2>
            ${field("from", t("trend.from"), this.window[0])} ${field("to", t("trend.to"), this.window[1])}
            <p class="quiet">${t("trend.zone", { zone: this.#zone })}</p>
            ${this.trouble ? html`<p class="error" role="alert">${this.trouble}</p>` : nothing}
            <div class="row end">
              <button type="button" class="button" @click=${() => this.dialog.close()}>${t("trend.cancel")}</button>
              <button class="button primary">${t("trend.pick.show")}</button>
            </div>
          </form>`
        : nothing}
    </dialog>`;
  }

  readonly #done = (event: SubmitEvent): void => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const [from, to] = ["from", "to"].map((name) => readWallText(this.#zone, String(form.get(name))));
    if (from == null || to == null || from >= to) {
      this.trouble = t("trend.between.wrong");
      return;
    }
    this.dialog.close();
    this.say("span", [from, to] satisfies Window);
  };
}
