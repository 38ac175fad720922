import { html, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";

import { Element } from "../element";
import { t } from "../t";

@customElement("fw-signals")
export class Page extends Element {
  override render(): TemplateResult {
    return html`<p class="quiet">${t("loading")}</p>`;
  }
}
