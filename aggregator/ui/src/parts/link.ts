// Whether this page hears the plant: a small mark in the head, and a hatched banner when it does not.

import { html, nothing, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";

import { Element } from "../element";
import { live, LiveController } from "../live";
import { moment, t } from "../t";

@customElement("fw-link")
export class LinkMark extends Element {
  constructor() {
    super();
    new LiveController(this, () => [], (change) => change.link);
  }

  override render(): TemplateResult {
    const isLost = live.lostSinceMs !== null;
    const word = live.refused
      ? t(live.refused)
      : isLost
        ? t("link.lost", { time: moment(live.lostSinceMs! * 1000) })
        : t(live.hasSnapshot ? "link.live" : "link.connecting");
    const shape = isLost ? "✖" : live.hasSnapshot ? "●" : "○";
    return html`<span class="link" data-state=${isLost ? "lost" : "live"} role="status"
      ><span class="shape" aria-hidden="true">${shape}</span> <span class="text">${word}</span></span
    >`;
  }
}

@customElement("fw-banner")
export class Banner extends Element {
  constructor() {
    super();
    new LiveController(this, () => [], (change) => change.link);
  }

  override render(): TemplateResult {
    const { broker_lost_us, ingest_lost_us } = live.link;
    const isLost = live.lostSinceMs !== null;
    document.body.classList.toggle("is-lost", isLost || broker_lost_us !== null);
    let text = "";
    if (live.refused === "link.left") text = t("trouble.left");
    else if (isLost) text = t("trouble.page", { time: moment(live.lostSinceMs! * 1000) });
    else if (broker_lost_us) text = t("trouble.broker", { time: moment(broker_lost_us) });
    else if (ingest_lost_us) text = t("trouble.ingest", { time: moment(ingest_lost_us) });
    return html`<div role="alert">
      ${text ? html`<p class="banner"><span><span aria-hidden="true">✖</span> ${text}${live.refused === "link.left" ? html` <a href="/">${t("trouble.again")}</a>` : nothing}</span></p>` : nothing}
    </div>`;
  }
}
