// The way in: style first, one paint of the frame, then the work. `desk.ts` is fetched meanwhile.

import "./shell.css";

const HIDDEN_MS = 200; // a page in the background is never painted

await new Promise<void>((go) => {
  requestAnimationFrame(() => setTimeout(go));
  setTimeout(go, HIDDEN_MS);
});
await import("./desk");
