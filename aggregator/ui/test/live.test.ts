// @vitest-environment happy-dom
import { beforeEach, expect, test, vi } from "vitest";

import { Live, type Frame } from "../src/live";

const frame = (more: Partial<Frame>): Frame => ({
  type: "update", seq: 1, now_us: Date.now() * 1000, structure: 1, alarms: 1, ...more,
});

class Socket {
  static OPEN = 1;
  static all: Socket[] = [];
  readyState = 1;
  sent: string[] = [];
  onopen: () => void = () => {};
  onmessage: (event: { data: string }) => void = () => {};
  onclose: (event: { code: number }) => void = () => {};
  constructor(readonly address: string) {
    Socket.all.push(this);
  }
  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.readyState = 3;
    this.onclose({ code: 1006 });
  }
}

beforeEach(() => {
  Socket.all = [];
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", Socket);
  vi.stubGlobal("fetch", () => Promise.resolve({ status: 200, ok: true }));
});

test("a snapshot replaces what was known, an update adds to it", () => {
  const live = new Live();
  live.take(frame({ type: "snapshot", values: { a: [1, 0, 5, "good"], b: [2, 0, 5, "good"] } }));
  live.take(frame({ seq: 2, values: { a: [3, 0, 6, "good"] } }));
  expect([live.of("a").value, live.of("b").value]).toEqual([3, 2]);
  live.take(frame({ type: "snapshot", seq: 9, values: { b: [4, 0, 7, "good"] } }));
  expect([live.of("a").state, live.of("b").value]).toEqual(["none", 4]);
});

test("listeners are told what changed", () => {
  const live = new Live();
  const heard: string[][] = [];
  live.listen((change) => heard.push([...change.values, ...(change.alarms ? ["alarms"] : [])]));
  live.take(frame({ type: "snapshot", values: { a: [1, 0, 5, "good"] } }));
  live.take(frame({ seq: 2, alarms: 2 }));
  live.take(frame({ seq: 3, alarms: 2 }));
  expect(heard).toEqual([["a", "alarms"], ["alarms"], []]);
});

test("silence is noticed, and the next frame ends it", () => {
  const live = new Live();
  live.take(frame({ type: "snapshot" }));
  vi.advanceTimersByTime(2400);
  live.tick();
  expect(live.lostSinceMs).toBeNull();
  vi.advanceTimersByTime(200);
  live.tick();
  expect(live.lostSinceMs).not.toBeNull();
  live.take(frame({ seq: 2 }));
  expect(live.lostSinceMs).toBeNull();
});

test("what is watched is said once it changed, and again on a new connection", async () => {
  const live = new Live();
  live.start();
  const first = Socket.all[0]!;
  first.onopen();
  const [one, two] = [{}, {}];
  live.watch(one, ["b", "a"]);
  live.watch(two, ["c", "a"]);
  await Promise.resolve();
  await Promise.resolve();
  expect(first.sent.at(-1)).toBe('{"watch":["a","b","c"]}');
  const count = first.sent.length;
  live.watch(one, ["a", "b"]);
  await Promise.resolve();
  expect(first.sent.length).toBe(count);
  first.close();
  vi.advanceTimersByTime(400);
  const second = Socket.all[1]!;
  second.onopen();
  expect(second.sent).toEqual(['{"watch":["a","b","c"]}']);
  live.watch(two, []);
  await Promise.resolve();
  expect(second.sent.at(-1)).toBe('{"watch":["a","b"]}');
});

test("a session that ended is said so, not called a lost link", () => {
  const live = new Live();
  live.start();
  const socket = Socket.all[0]!;
  socket.onopen();
  socket.onclose({ code: 4401 });
  expect(live.refused).toBe("link.left");
});
