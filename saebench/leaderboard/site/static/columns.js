// The dialog in which columns are picked.
"use strict";
SB.picker = (function () {
  const { data, esc, $ } = SB;
  const { state, shown } = SB.filters;
  let changed = () => {};

  function choice(column, chosen) {
    const tip = column.tip ? ` title="${esc(column.tip)}"` : "";
    return `<label${tip}><input type="checkbox" value="${esc(column.key)}"${chosen.has(column.key) ? " checked" : ""}>` +
      `<span>${esc(column.label)} ${SB.ARROWS[column.better]}</span></label>`;
  }

  function fill() {
    const chosen = new Set(shown()), words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = data.columns.filter((c) => words.every((w) => `${c.label} ${c.key}`.toLowerCase().includes(w)));
    const part = (title, list) => (list.length ? `<h3>${title}</h3>${list.map((c) => choice(c, chosen)).join("")}` : "");
    $("choices").innerHTML = part("On this board", found.filter((c) => c.shown)) + part("All others", found.filter((c) => !c.shown));
  }

  /** Keep a choice; the board's own columns are no choice, so that the address stays short. */
  function choose(keys) {
    const own = data.columns.filter((c) => c.shown).map((c) => c.key);
    state.cols = keys.length === own.length && keys.every((key, i) => key === own[i]) ? null : keys;
    changed();
  }

  function listen(whenChanged) {
    changed = whenChanged;
    $("pick").addEventListener("click", () => { $("find").value = ""; fill(); $("columns").showModal(); });
    $("find").addEventListener("input", fill);
    $("find").addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
    $("choices").addEventListener("change", (event) => {
      const chosen = new Set(shown());
      if (event.target.checked) chosen.add(event.target.value); else chosen.delete(event.target.value);
      choose(data.columns.map((c) => c.key).filter((key) => chosen.has(key)));
    });
    $("columns").addEventListener("click", (event) => {
      const set = event.target.dataset.set;
      if (!set) return;
      choose(data.columns.filter((c) => set === "all" || (set === "board" && c.shown)).map((c) => c.key));
      fill();
    });
  }

  return { listen };
})();
