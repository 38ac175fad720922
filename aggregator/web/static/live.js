/* The browser's part of the live page: follow the socket, change cells in place, draw a line, write.
   The server renders structure and words; nothing here builds HTML from text that came from outside. */

const words = JSON.parse(document.getElementById("words").textContent);
const language = document.documentElement.lang;
const SHAPES = { good: "●", uncertain: "▲", bad: "✖", stale: "▨", none: "○" };
const SILENCE_MS = 2500;
const SPAN_US = 30 * 60 * 1e6;
const RETRY_MS = [300, 1000, 2000, 3000];

const t = (key, values = {}) =>
  (words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

/* --- What is known now ------------------------------------------------------------------------- */

let socket = null;
let attempts = 0;
let heardAt = performance.now();
let lostSinceMs = null;
let wallOffsetMs = 0;
let seen = { structure: null, alarms: null };
let link = {};
let refused = "";
let values = {};
let gateways = {};
const curves = new Map(); // uid -> function that takes a fresh [value, quality, time, state]

const nowMs = () => Date.now() + wallOffsetMs;
const rows = new Map(); // uid -> its cells, found once

function cellsOf(uid) {
  let cells = rows.get(uid);
  if (cells === undefined) {
    const row = document.querySelector(`tr[data-uid="${CSS.escape(uid)}"]`);
    cells = row && {
      row,
      value: row.querySelector(".value"),
      shape: row.querySelector(".quality .shape"),
      text: row.querySelector(".quality .text"),
      age: row.querySelector(".age"),
    };
    rows.set(uid, cells);
  }
  return cells;
}

/* --- Words and numbers ------------------------------------------------------------------------- */

const numbers = new Intl.NumberFormat(language, { maximumSignificantDigits: 6 });
const clocks = new Map();

function clock(us, zone) {
  const key = zone ?? "";
  if (!clocks.has(key)) {
    const wanted = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
    let day, time;
    try {
      day = new Intl.DateTimeFormat(language, { day: "2-digit", month: "2-digit", ...(zone && { timeZone: zone }) });
      time = new Intl.DateTimeFormat(language, { ...wanted, hourCycle: "h23", ...(zone && { timeZone: zone }) });
    } catch {
      return clock(us);
    }
    clocks.set(key, { day, time });
  }
  const { day, time } = clocks.get(key);
  const date = new Date(us / 1000);
  const isToday = day.format(date) === day.format(new Date(nowMs()));
  return isToday ? time.format(date) : `${day.format(date)} ${time.format(date)}`;
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  if (value === true || value === false) return t(`value.${value}`);
  if (typeof value !== "number") return value;
  return Number.isInteger(value) ? value.toLocaleString(language) : numbers.format(value);
}

function ageOf(us) {
  const s = Math.max(0, Math.floor((nowMs() - us / 1000) / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
}

const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

/* --- Showing ----------------------------------------------------------------------------------- */

const QUALITY_FAMILIES = [[128, "BAD"], [64, "UNCERTAIN"], [0, "GOOD"]];
const QUALITY_NAMES = new Map(Object.entries(JSON.parse(document.getElementById("qualities").textContent)));

function qualityWord(quality, state) {
  if (state === "stale" || state === "none") return t(`state.${state}`);
  const name = QUALITY_NAMES.get(String(quality)) ?? QUALITY_FAMILIES.find(([from]) => quality >= from)[1];
  return t(`quality.${name}`);
}

function showValue(uid, [value, quality, timeUs, state]) {
  const cells = cellsOf(uid);
  if (!cells) return;
  cells.row.dataset.state = state;
  setText(cells.value, shown(value));
  setText(cells.shape, SHAPES[state]);
  setText(cells.text, qualityWord(quality, state));
  if (timeUs !== null) setText(cells.age, ageOf(timeUs));
  curves.get(uid)?.(values[uid]);
}

function showGateway(id, state) {
  const section = document.querySelector(`section[data-gateway="${CSS.escape(id)}"]`);
  if (!section) return;
  section.dataset.presence = state.presence;
  const word = t(`presence.${state.presence}`);
  const since = state.since_us === null ? word
    : t("presence.since", { state: word, time: clock(state.since_us, section.dataset.zone) });
  setText(section.querySelector(".presence .text"), since);
  const unsent = section.querySelector(".unsent");
  unsent.hidden = !state.unsent;
  setText(unsent.querySelector(".count"), state.unsent.toLocaleString(language));
  const trouble = section.querySelector(".trouble");
  const lost = state.lost_devices.length ? t("gateway.devices", { devices: state.lost_devices.join(", ") }) : "";
  const said = [state.trouble, lost].filter(Boolean).join(" · ");
  trouble.hidden = !said;
  setText(trouble.querySelector(".text"), said);
}

function showLink() {
  const isLost = lostSinceMs !== null;
  document.body.classList.toggle("is-lost", isLost || Boolean(link.broker_lost_us));
  const place = document.getElementById("link");
  const text = refused || (isLost ? t("link.lost", { time: clock(lostSinceMs * 1000) }) : t("link.live"));
  place.dataset.state = isLost ? "lost" : "live";
  setText(place.querySelector(".shape"), isLost ? "✖" : "●");
  setText(place.querySelector(".text"), text);
  const troubles = [];
  if (isLost) troubles.push(t("trouble.page", { time: clock(lostSinceMs * 1000) }));
  else if (link.broker_lost_us) troubles.push(t("trouble.broker", { time: clock(link.broker_lost_us) }));
  else if (link.ingest_lost_us) troubles.push(t("trouble.ingest", { time: clock(link.ingest_lost_us) }));
  const list = document.getElementById("troubles");
  if (list.textContent === troubles.map((text) => `✖ ${text}`).join("")) return;
  list.replaceChildren(...troubles.map((text) => {
    const line = document.createElement("p");
    const plate = document.createElement("span");
    plate.textContent = `✖ ${text}`;
    line.append(plate);
    return line;
  }));
}

function showAll() {
  rows.clear();
  for (const time of document.querySelectorAll("#alarms time"))
    setText(time, clock(Number(time.dataset.us), time.dataset.zone || undefined));
  for (const [uid, one] of Object.entries(values)) showValue(uid, one);
  for (const [id, state] of Object.entries(gateways)) showGateway(id, state);
  filter();
  showLink();
}

function tick() {
  if (lostSinceMs === null && performance.now() - heardAt > SILENCE_MS) {
    lostSinceMs = nowMs() - (performance.now() - heardAt);
    socket?.close();
  }
  showLink();
  for (const [uid, one] of Object.entries(values)) {
    const cells = cellsOf(uid);
    if (cells && one[2] !== null) setText(cells.age, ageOf(one[2]));
  }
}

/* --- The socket -------------------------------------------------------------------------------- */

function take(message) {
  heardAt = performance.now();
  wallOffsetMs = message.now_us / 1000 - Date.now();
  lostSinceMs = null;
  refused = "";
  if (message.type === "snapshot") {
    values = message.values;
    gateways = message.gateways;
    link = message.link;
    showAll();
  } else {
    Object.assign(values, message.values);
    Object.assign(gateways, message.gateways);
    if (message.link) link = message.link;
    for (const [uid, one] of Object.entries(message.values ?? {})) showValue(uid, one);
    for (const [id, state] of Object.entries(message.gateways ?? {})) showGateway(id, state);
    showLink();
  }
  renew(message);
}

async function renew({ structure, alarms }) {
  const fresh = [];
  if (seen.structure !== null && seen.structure !== structure) fresh.push(["gateways", "/parts/gateways"]);
  if (seen.alarms !== null && seen.alarms !== alarms) fresh.push(["alarms", "/parts/alarms"]);
  seen = { structure, alarms };
  for (const [id, address] of fresh) {
    try {
      const answer = await fetch(address);
      if (!answer.ok || answer.redirected) continue;
      document.getElementById(id).innerHTML = await answer.text(); // our own server's escaped templates
      if (id === "gateways") curves.clear();
      showAll();
    } catch {
      seen = { structure: -1, alarms: -1 };
    }
  }
}

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live?watch=all`);
  const mine = socket;
  let hasOpened = false;
  socket.onopen = () => {
    hasOpened = true;
    attempts = 0;
  };
  socket.onmessage = (event) => mine === socket && take(JSON.parse(event.data));
  socket.onclose = () => {
    if (mine !== socket) return;
    if (lostSinceMs === null) lostSinceMs = nowMs() - (performance.now() - heardAt);
    showLink();
    if (!hasOpened) askWhy();
    setTimeout(connect, RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)]);
  };
}

async function askWhy() {
  // A browser does not tell why a socket was refused; an ordinary request does.
  try {
    const answer = await fetch("/api/v1/gateways");
    refused = answer.status === 401 ? t("link.left") : answer.ok ? t("link.full") : "";
  } catch {
    refused = "";
  }
  showLink();
}

/* --- The filter -------------------------------------------------------------------------------- */

const box = document.getElementById("filter");

function filter() {
  const wanted = box.value.trim().toLocaleLowerCase(language);
  let any = wanted === "";
  for (const row of document.querySelectorAll("tr[data-uid]")) {
    const text = `${row.cells[0].textContent} ${row.dataset.uid}`.toLocaleLowerCase(language);
    row.hidden = !text.includes(wanted);
    any ||= !row.hidden;
    if (row.nextElementSibling?.classList.contains("detail")) row.nextElementSibling.hidden = row.hidden;
  }
  for (const section of document.querySelectorAll("section.gateway"))
    section.hidden = wanted !== "" && !section.querySelector("tr[data-uid]:not([hidden])");
  document.getElementById("no-match").hidden = any;
}

/* --- One signal opened: its line, and its write form ------------------------------------------- */

function open(row) {
  const button = row.querySelector("button");
  const uid = row.dataset.uid;
  const next = row.nextElementSibling;
  if (next?.classList.contains("detail")) {
    next.remove();
    curves.delete(uid);
    button.setAttribute("aria-expanded", "false");
    return;
  }
  button.setAttribute("aria-expanded", "true");
  const detail = document.createElement("tr");
  detail.className = "detail";
  const cell = document.createElement("td");
  cell.colSpan = row.cells.length;
  detail.append(cell);
  row.after(detail);
  const place = document.createElement("div");
  cell.append(place);
  let form = null;
  if ("writable" in row.dataset) cell.append((form = writeForm(row)));
  drawTrend(row, place, form);
}

async function drawTrend(row, place, form) {
  const uid = row.dataset.uid;
  const name = row.cells[0].textContent.trim();
  const say = (text) => {
    const line = document.createElement("p");
    line.className = "quiet";
    line.textContent = text;
    place.replaceChildren(line);
  };
  let points = [];
  let isRead = false;
  const fresh = (one) => {
    if (form) setText(form.querySelector(".current"), `${shown(one?.[0])} ${row.dataset.unit}`);
    if (!one || one[2] === null || row.dataset.type === "text") return;
    const last = points.at(-1);
    if (!last || one[2] > last[0]) points.push([one[2], one[0], one[1]]);
    if (isRead) draw();
  };
  const draw = () => {
    const now = nowMs() * 1000;
    while (points.length > 1 && points[1][0] < now - SPAN_US) points.shift();
    const usable = points.filter(([, value, quality]) => quality < 128 && value !== null);
    if (!usable.length) return say(t("trend.empty"));
    place.replaceChildren(trend(points, usable, now, name, row, place.clientWidth));
  };
  curves.set(uid, fresh);
  fresh(values[uid]);
  if (row.dataset.type === "text") return say(t("trend.text"));
  say(t("trend.loading"));
  try {
    const now = Math.round(nowMs() * 1000);
    const asked = new URLSearchParams({ signal: uid, from: now - SPAN_US, to: now + 60e6, limit: 50000 });
    const answer = await fetch(`/api/v1/history?${asked}`);
    const said = await answer.json();
    if (!answer.ok) return say(t("trend.failed", { text: said.error.text }));
    const found = said.signals[uid];
    const stored = found.before ? [found.before, ...found.samples] : found.samples;
    const end = stored.at(-1)?.[0] ?? 0;
    points = stored.concat(points.filter(([us]) => us > end));
    isRead = true;
    draw();
  } catch (error) {
    say(t("trend.failed", { text: error.message }));
  }
}

function trend(points, usable, nowUs, name, row, width) {
  const NS = "http://www.w3.org/2000/svg";
  const make = (tag, attributes, text) => {
    const one = document.createElementNS(NS, tag);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    if (text !== undefined) one.textContent = text;
    return one;
  };
  const from = nowUs - SPAN_US;
  let low = Infinity, high = -Infinity;
  for (const [, value] of usable) {
    low = Math.min(low, Number(value));
    high = Math.max(high, Number(value));
  }
  const summary = t("trend.summary", { count: usable.length, low: shown(low), high: shown(high) });
  if (row.dataset.type === "boolean") [low, high] = [0, 1];
  else if (low === high) [low, high] = [low - 1, high + 1];
  // Room for the longest number on the left: a digit takes about 7.2 units.
  const longest = Math.max(...[low, (low + high) / 2, high].map((value) => shown(value).length));
  const [W, H, L, R, T, B] = [Math.max(240, width), 150, 14 + 7.2 * longest, 8, 8, 22];
  const x = (us) => L + (Math.max(0, us - from) / SPAN_US) * (W - L - R);
  const y = (value) => T + ((high - value) / (high - low)) * (H - T - B);
  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, class: "trend", role: "img" });
  svg.append(make("title", {}, `${t("trend.title", { name })}: ${summary}`));
  for (const share of [0, 0.5, 1]) {
    const value = low + (high - low) * share;
    svg.append(make("line", { class: "grid", x1: L, x2: W - R, y1: y(value), y2: y(value) }));
    svg.append(make("text", { x: L - 6, y: y(value) + 4, "text-anchor": "end" }, shown(value)));
  }
  const zone = row.closest("section").dataset.zone;
  for (const share of W < 400 ? [0, 0.5, 1] : [0, 1 / 3, 2 / 3, 1]) {
    const at = from + SPAN_US * share;
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    svg.append(make("text", { x: x(at), y: H - 6, "text-anchor": anchor }, clock(at, zone)));
  }
  // Held until the next value, as it is known; a bad one ends the line and leaves a gap.
  let path = "", height = null;
  for (const [us, value, quality] of points) {
    if (height !== null) path += `H${x(us).toFixed(1)}`;
    if (quality >= 128 || value === null) {
      height = null;
      continue;
    }
    const next = y(Number(value)).toFixed(1);
    path += height === null ? `M${x(us).toFixed(1)} ${next}` : `V${next}`;
    height = next;
  }
  if (height !== null && row.dataset.state !== "stale") path += `H${x(nowUs).toFixed(1)}`;
  svg.append(make("path", { class: "curve", d: path }));
  return svg;
}

function writeForm(row) {
  const { type, unit, low, high, uid } = row.dataset;
  const form = document.createElement("form");
  form.className = "write";
  form.noValidate = true;
  const make = (tag, properties = {}, ...children) => {
    const one = Object.assign(document.createElement(tag), properties);
    one.append(...children);
    return one;
  };
  const current = make("span", { className: "current", textContent: `${shown(values[uid]?.[0])} ${unit}` });
  let input;
  if (type === "boolean") {
    input = make("select", {}, ...["true", "false"].map((one) => new Option(t(`value.${one}`), one)));
  } else {
    input = make("input", { type: type === "text" ? "text" : "number", autocomplete: "off" });
    if (type !== "text") Object.assign(input, { step: type === "integer" ? "1" : "any", min: low ?? "", max: high ?? "" });
  }
  const button = make("button", { type: "submit", textContent: t("write.do") });
  const result = make("output", {});
  const bounds = low !== undefined && high !== undefined ? "limits" : low !== undefined ? "low" : high !== undefined ? "high" : "";
  form.append(
    make("span", {}, `${t("write.current")} `, current, " →"),
    make("label", {}, make("span", { textContent: t("write.new") }), input, make("span", { textContent: unit })),
    button,
  );
  if (bounds) {
    const text = t(`write.${bounds}`, { low: low && shown(Number(low)), high: high && shown(Number(high)) });
    form.append(make("span", { className: "quiet", textContent: `${text} ${unit}` }));
  }
  form.append(result);
  const say = (end, text) => {
    result.dataset.end = end;
    result.textContent = text;
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (input.value === "") return say("refused", t("write.empty"));
    const value = type === "boolean" ? input.value === "true" : type === "text" ? input.value : Number(input.value);
    button.disabled = true;
    say("sending", t("write.sending"));
    try {
      const answer = await fetch("/api/v1/write", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ signal: uid, value, deadline_s: 10 }),
      });
      const said = await answer.json();
      if (said.error) say("failed", said.error.text);
      else say(said.outcome, `${t(`write.${said.outcome}`)} ${said.outcome === "done" ? "" : said.text}`.trim());
    } catch {
      say("no_answer", t("write.no_answer"));
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

/* --- Begin ------------------------------------------------------------------------------------- */

document.getElementById("gateways").addEventListener("click", (event) => {
  const button = event.target.closest("th[scope=row] button");
  if (button) open(button.closest("tr"));
});
box.addEventListener("input", filter);
showAll();
connect();
setInterval(tick, 1000);
