// What a list says when it has nothing: why, and what to do next.

import { html, nothing, type TemplateResult } from "lit";

export const empty = (title: string, text: string | TemplateResult, commands = ""): TemplateResult => html`<section class="empty">
  <h2>${title}</h2>
  <p>${text}</p>
  ${commands ? html`<pre>${commands}</pre>` : nothing}
</section>`;
