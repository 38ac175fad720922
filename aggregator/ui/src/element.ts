// The base of our elements: drawn into the page itself, so that one style sheet serves all, and only
// when the words are there.

import { LitElement } from "lit";

import { hasWords, wordsLoaded } from "./t";

export class Element extends LitElement {
  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  protected override scheduleUpdate(): void | Promise<void> {
    if (hasWords()) return void super.scheduleUpdate();
    return wordsLoaded.then(() => void super.scheduleUpdate());
  }

  /** Tell other parts of the page that something happened. */
  protected say(name: string, detail?: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true }));
  }
}
