// Dark or light: as the system has it, until the button says otherwise.

const KEPT = "tannin.theme";

export function startTheme(button: HTMLElement): void {
  const root = document.documentElement;
  try {
    const kept = localStorage.getItem(KEPT);
    if (kept) root.dataset["theme"] = kept;
  } catch {
    // Private windows keep nothing.
  }
  button.addEventListener("click", () => {
    const system = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const next = (root.dataset["theme"] ?? system) === "dark" ? "light" : "dark";
    root.dataset["theme"] = next;
    try {
      localStorage.setItem(KEPT, next);
    } catch {
      // As above.
    }
  });
}
