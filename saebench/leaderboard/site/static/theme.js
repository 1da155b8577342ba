// Light, dark, or as the system has it; kept for the next page. In the head, so that no page flashes.
"use strict";
(function () {
  const order = ["auto", "light", "dark"];
  let now = "auto";
  try { now = localStorage.getItem("saebench-theme") || "auto"; } catch { /* a browser may keep nothing from disk */ }
  if (!order.includes(now)) now = "auto";

  function apply() {
    document.documentElement.style.colorScheme = now === "auto" ? "light dark" : now;
    document.documentElement.dataset.theme = now;
    try { localStorage.setItem("saebench-theme", now); } catch { /* then it lasts for this page */ }
  }

  apply();
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => { button.textContent = { auto: "◐ auto", light: "☀ light", dark: "☾ dark" }[now]; };
    button.hidden = false;
    button.setAttribute("aria-label", "Colours: auto, light or dark");
    button.title = "Colours: as the system has them, light, dark";
    label();
    button.addEventListener("click", () => {
      now = order[(order.indexOf(now) + 1) % order.length];
      apply();
      label();
      document.dispatchEvent(new Event("theme"));
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
})();
