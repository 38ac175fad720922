// Mouse, fingers and wheel on the chart, told as wishes: closer, further, elsewhere, this box, a ruler here.
// Nothing of time or samples is known here; places are pixels from the left edge of the surface.

export interface Wishes {
  /** The pointer rests here; null: it left. */
  hover(x: number | null, y: number): void;
  /** Closer (below 1) or wider, about a place. */
  zoom(factor: number, x: number): void;
  /** The content follows the pointer by so much. */
  pan(byX: number): void;
  /** A box is being drawn; `isDone` when the button is let go. Null: given up. */
  box(from: number, to: number, isDone: boolean): void;
  /** Pressed and let go at the same place. */
  press(x: number, isSecond: boolean): void;
  /** Which ruler lies under the pointer: 0, 1, or -1. */
  rulerAt(x: number, reach: number): number;
  moveRuler(ruler: number, x: number): void;
  reset(): void;
}

const STILL_PX = 6;
const DOUBLE_MS = 350;
const LINE_PX = 16;

type Doing = { kind: "box" | "pan" | "ruler" | "press"; ruler: number };

/** Listen on a surface until the returned function is called. */
export function listen(surface: HTMLElement, wishes: Wishes): () => void {
  const down = new Map<number, PointerEvent>();
  let doing: Doing = { kind: "press", ruler: -1 };
  let [startX, lastX, spread, pressedMs] = [0, 0, 0, 0];
  const x = (event: { clientX: number }): number => event.clientX - surface.getBoundingClientRect().left;
  const y = (event: { clientY: number }): number => event.clientY - surface.getBoundingClientRect().top;

  const fingers = (): { middle: number; spread: number } => {
    const [a, b] = [...down.values()] as [PointerEvent, PointerEvent];
    return { middle: (x(a) + x(b)) / 2, spread: Math.max(20, Math.abs(a.clientX - b.clientX)) };
  };

  const press = (event: PointerEvent): void => {
    if (event.button === 2 || down.size === 2) return;
    surface.dataset["pressed"] = ""; // focused by a pointer: no ring until a key is used
    surface.focus({ preventScroll: true });
    down.set(event.pointerId, event);
    surface.setPointerCapture(event.pointerId);
    startX = lastX = x(event);
    if (down.size === 2) {
      wishes.box(0, 0, false);
      ({ spread, middle: lastX } = fingers());
      doing = { kind: "pan", ruler: -1 };
      return;
    }
    const ruler = wishes.rulerAt(startX, event.pointerType === "mouse" ? 6 : 22);
    if (ruler >= 0) doing = { kind: "ruler", ruler };
    else doing = { kind: event.button === 1 || event.shiftKey || event.pointerType === "touch" ? "pan" : "box", ruler: -1 };
    if (event.button === 1) event.preventDefault();
  };

  const move = (event: PointerEvent): void => {
    if (!down.has(event.pointerId)) {
      if (event.pointerType !== "touch") wishes.hover(x(event), y(event));
      return;
    }
    down.set(event.pointerId, event);
    if (down.size === 2) {
      const now = fingers();
      wishes.zoom(spread / now.spread, now.middle);
      wishes.pan(now.middle - lastX);
      ({ spread, middle: lastX } = now);
      startX = Infinity; // no press any more
      return;
    }
    const at = x(event);
    if (Math.abs(at - startX) < STILL_PX) return;
    if (doing.kind === "box") {
      wishes.hover(null, 0);
      wishes.box(startX, at, false);
    } else if (doing.kind === "ruler") wishes.moveRuler(doing.ruler, at);
    else {
      wishes.pan(at - lastX);
      startX = Infinity;
    }
    lastX = at;
  };

  const release = (event: PointerEvent): void => {
    if (!down.delete(event.pointerId)) return;
    if (down.size) {
      lastX = x([...down.values()][0]!);
      return;
    }
    const at = x(event);
    if (event.type === "pointercancel") return wishes.box(0, 0, false);
    if (Number.isFinite(startX) && Math.abs(at - startX) < STILL_PX) {
      if (event.timeStamp - pressedMs < DOUBLE_MS) {
        pressedMs = 0;
        wishes.reset();
      } else {
        pressedMs = event.timeStamp;
        wishes.press(at, event.shiftKey);
      }
    } else if (doing.kind === "box") wishes.box(startX, at, true);
  };

  const wheel = (event: WheelEvent): void => {
    if (event.ctrlKey && !event.deltaY) return;
    event.preventDefault();
    const size = event.deltaMode === 1 ? LINE_PX : event.deltaMode === 2 ? 300 : 1;
    const [across, along] = event.shiftKey ? [event.deltaY || event.deltaX, 0] : [event.deltaX, event.deltaY];
    if (Math.abs(across) > Math.abs(along)) wishes.pan(-across * size);
    else wishes.zoom(Math.exp(Math.max(-300, Math.min(300, along * size)) * 0.0022), x(event));
  };

  const leave = (event: PointerEvent): void => {
    if (!down.size && event.pointerType !== "touch") wishes.hover(null, 0);
  };
  const key = (): void => {
    delete surface.dataset["pressed"];
  };
  const noMenu = (event: Event): void => {
    if (down.size) event.preventDefault();
  };

  const listeners: [string, (event: never) => void, AddEventListenerOptions?][] = [
    ["pointerdown", press], ["pointermove", move], ["pointerup", release], ["pointercancel", release],
    ["pointerleave", leave], ["wheel", wheel, { passive: false }], ["contextmenu", noMenu], ["keydown", key],
  ];
  for (const [name, hear, options] of listeners) surface.addEventListener(name, hear as EventListener, options);
  return () => {
    for (const [name, hear] of listeners) surface.removeEventListener(name, hear as EventListener);
  };
}
