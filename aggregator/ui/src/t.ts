// Words and the user's way of writing numbers and times. The catalogues are the server's own.

type Words = Record<string, string>;
type Filling = Record<string, string | number>;

const catalogues = import.meta.glob<Words>("../../web/languages/*.json", { import: "default" });

export const language = document.documentElement.lang || "en";
let words: Words | null = null;
let tell: () => void;

/** Resolves when `t` knows its words; before that it answers with keys. */
export const wordsLoaded = new Promise<void>((resolve) => (tell = resolve));
export const hasWords = (): boolean => words !== null;

/** Fetch the catalogue of the page's language. */
export async function loadWords(): Promise<void> {
  const load = catalogues[`../../web/languages/${language}.json`] ?? catalogues["../../web/languages/en.json"];
  words = (await load?.()) ?? {};
  tell();
}

/** The text of a key in the user's language; `{name}` is replaced from `values`. */
export function t(key: string, values: Filling = {}): string {
  return fill(words?.[key] ?? key, values);
}

/** Whether the catalogue has this key. */
export const has = (key: string): boolean => words !== null && key in words;

export function fill(text: string, values: Filling): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

// --- Numbers ------------------------------------------------------------------------------------

// Made when first used: a formatter costs tens of milliseconds on a phone, before anything is painted.
let sixDigits: Intl.NumberFormat | undefined;
let whole: Intl.NumberFormat | undefined;
let collator: Intl.Collator | undefined;

/** A number in the user's way: six significant digits, integers whole. */
export const number = (value: number): string =>
  Number.isInteger(value)
    ? (whole ??= new Intl.NumberFormat(language, { maximumFractionDigits: 0 })).format(value)
    : (sixDigits ??= new Intl.NumberFormat(language, { maximumSignificantDigits: 6 })).format(value);

/** Order of names as people expect it: by the language, numbers by value. */
export const compare = (a: string, b: string): number =>
  (collator ??= new Intl.Collator(language, { numeric: true })).compare(a, b);

/** A count of bytes, in powers of ten. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) [count, at] = [count / 1000, at + 1];
  return `${new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(count)} ${units[at]}`;
}

/** A typed number in the user's way of writing ("1.234,5" in German); null if it is none. */
export function parsed(text: string): number | null {
  const parts = new Intl.NumberFormat(language).formatToParts(12345.6);
  const group = parts.find((part) => part.type === "group")?.value ?? ",";
  const decimal = parts.find((part) => part.type === "decimal")?.value ?? ".";
  let plain = text.trim().replaceAll("\u2212", "-").replaceAll(/[\s\u00a0\u202f]/g, "");
  const thousands = new RegExp(`^[+-]?\\d{1,3}(\\${group}\\d{3})+(\\${decimal}\\d*)?$`);
  if (thousands.test(plain)) plain = plain.replaceAll(group, "");
  if (decimal !== ".") plain = plain.replace(decimal, ".");
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) ? Number(plain) : null;
}

// --- Times --------------------------------------------------------------------------------------

interface Clock {
  day: Intl.DateTimeFormat;
  time: Intl.DateTimeFormat;
  full: Intl.DateTimeFormat;
}

const clocks = new Map<string, Clock>();

function clockOf(zone: string): Clock {
  const known = clocks.get(zone);
  if (known) return known;
  const at = zone ? { timeZone: zone } : {};
  let made: Clock;
  try {
    made = {
      day: new Intl.DateTimeFormat(language, { day: "2-digit", month: "2-digit", ...at }),
      time: new Intl.DateTimeFormat(language, {
        hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", ...at,
      }),
      full: new Intl.DateTimeFormat(language, {
        year: "numeric", month: "2-digit", day: "2-digit",
        hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", ...at,
      }),
    };
  } catch {
    made = clockOf(""); // a zone this browser does not know
  }
  clocks.set(zone, made);
  return made;
}

/** Time of day, with the day in front where it is not today; µs since 1970. */
export function moment(us: number, zone = "", nowMs = Date.now()): string {
  const { day, time } = clockOf(zone);
  const date = new Date(us / 1000);
  const when = day.format(date);
  return when === day.format(new Date(nowMs)) ? time.format(date) : `${when} ${time.format(date)}`;
}

/** Date and time of day. */
export const fullMoment = (us: number, zone = ""): string => clockOf(zone).full.format(new Date(us / 1000));

/** A length of time in its largest sensible unit: `12 s`, `5 min`, `3 h`, `4 d`. */
export function span(s: number): string {
  s = Math.max(0, s);
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} ${t("unit.days")}`;
}
