// What a list says when it has nothing: why, and what to do next.

import { html, nothing, type TemplateResult } from "lit";

import { t } from "../t";

const FIRST_GATEWAY = `python -m aggregator pki gateway my-gateway --data DATA
python -m edge run --config my-gateway.json --data FOLDER`;

export const empty = (title: string, text: string | TemplateResult, commands = ""): TemplateResult => html`<section class="empty">
  <h2>${title}</h2>
  <p>${text}</p>
  ${commands ? html`<pre>${commands}</pre>` : nothing}
</section>`;

/** Nothing has ever reported: the exact commands for a first gateway, and for the demo. */
export const noGateway = (): TemplateResult => html`<section class="empty">
  <h2>${t("empty.title")}</h2>
  <p>${t("empty.text")}</p>
  <pre>${FIRST_GATEWAY}</pre>
  <p class="quiet">${t("empty.identity")}</p>
  <p>${t("empty.demo")}</p>
  <pre>make demo</pre>
</section>`;
