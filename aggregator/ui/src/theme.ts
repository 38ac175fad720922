// Light or dark: as the system says, until the user says otherwise. The server reads the cookie, so that
// the first paint is right.

const NAME = "feldwarte-theme";
const NEXT: Record<string, string> = { system: "light", light: "dark", dark: "system" };

/** What is in force now, for what is drawn on a canvas. */
export const isDark = (): boolean => {
  const said = document.documentElement.dataset["theme"];
  return said === "dark" || (said !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
};

export function wireTheme(): void {
  const button = document.getElementById("theme");
  button?.addEventListener("click", () => {
    const root = document.documentElement;
    const next = NEXT[root.dataset["theme"] ?? "system"] ?? "system";
    root.dataset["theme"] = next;
    document.cookie = `${NAME}=${next}; path=/; max-age=31536000; samesite=strict`;
    label(button, next);
    document.dispatchEvent(new Event("theme"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
}

/** The button's name is in the page for each state: no words needed before they are loaded. */
function label(button: HTMLElement, theme: string): void {
  const name = button.dataset[theme] ?? theme;
  button.title = name;
  button.setAttribute("aria-label", name);
}
