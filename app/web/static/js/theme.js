// Runs before the first paint, so that nobody who asked for dark sees a white flash. Not a module: modules are deferred.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("theme") || "auto";
    } catch {
      return "auto"; // storage is switched off: follow the system
    }
  };
  const apply = (choice = stored()) => {
    root.dataset.themeChoice = choice;
    root.dataset.bsTheme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
    dispatchEvent(new Event("themechange"));
  };
  dark.addEventListener("change", () => apply());
  globalThis.chooseTheme = (choice) => {
    try {
      localStorage.setItem("theme", choice);
    } catch {
      // the choice lasts as long as the page
    }
    apply(choice);
  };
  apply();
})();
