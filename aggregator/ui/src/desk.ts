// What every page has: words, the live channel, the alarm strip, the banner, the theme; then the page itself.

import "./parts/link";
import "./parts/strip";

import { live } from "./live";
import { learnQualities } from "./parts/marks";
import { plant } from "./plant";
import { loadWords } from "./t";
import { wireTheme } from "./theme";

const pages: Record<string, () => Promise<unknown>> = {
  overview: () => import("./pages/overview"),
  signals: () => import("./pages/signals"),
  trend: () => import("./pages/trend"),
  alarms: () => import("./pages/alarms"),
  gateway: () => import("./pages/gateway"),
};

wireTheme();
live.start();
plant.start();
const qualities = document.getElementById("qualities")?.textContent;
if (qualities) learnQualities(JSON.parse(qualities) as Record<string, string>);
// Elements are drawn when their words are there; they stand in the page already.
const page = pages[document.body.dataset["page"] ?? ""];
await loadWords();
await page?.();
