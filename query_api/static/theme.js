// Runs before the page is painted, so that a chosen theme never flashes the other one.
(() => {
  const root = document.documentElement;
  const chosen = () => localStorage.getItem("theme") || "system";
  const apply = () => {
    if (chosen() === "system") delete root.dataset.theme;
    else root.dataset.theme = chosen();
  };
  apply();
  addEventListener("DOMContentLoaded", () => {
    for (const option of document.querySelectorAll("input[name=theme]")) {
      option.checked = option.value === chosen();
      option.addEventListener("change", () => {
        localStorage.setItem("theme", option.value);
        apply();
      });
    }
  });
})();
