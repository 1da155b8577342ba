// Which SAEs the table shows: the controls, the state they stand for, and the test of a SAE.
"use strict";
SB.filters = (function () {
  const { data, columns, esc, $, options, distinct } = SB;
  const { saes, sections } = data;
  const FIELDS = ["q", "model", "hook", "width", "author", "l0min", "l0max"];
  const DEFAULTS = { beside: "half", groups: "places", refs: "1", others: "1" };
  const l0 = columns.get("l0");
  const state = {};
  let changed = () => {};

  function read() {
    const given = SB.readState();
    for (const name of FIELDS) state[name] = given.get(name) || "";
    for (const [name, value] of Object.entries(DEFAULTS)) state[name] = given.get(name) ?? value;
    state.arch = new Set(given.getAll("arch"));
    state.cols = given.has("col") ? given.getAll("col").filter((key) => columns.has(key)) : null;
    state.sort = given.get("sort") || "";
    state.page = Math.max(Number(given.get("page")) || 1, 1);
    show();
  }

  function write() {
    const same = Object.entries(DEFAULTS).filter(([name, value]) => state[name] !== value).map(([name]) => [name, state[name]]);
    SB.writeState([
      ...FIELDS.map((name) => [name, state[name]]), ...[...state.arch].map((name) => ["arch", name]),
      ...(state.cols === null ? [] : state.cols.length ? state.cols : ["-"]).map((key) => ["col", key]),
      ["sort", state.sort], ...same, ["page", state.page > 1 ? state.page : ""],
    ]);
  }

  /** Put the state into the controls. */
  function show() {
    for (const name of FIELDS) $(name).value = state[name];
    for (const name of ["beside", "groups"]) $(name).value = state[name];
    for (const name of ["refs", "others"]) $(name).checked = state[name] === "1";
    for (const chip of document.querySelectorAll("#arch button")) chip.setAttribute("aria-pressed", state.arch.has(chip.value));
  }

  function fill() {
    $("model").innerHTML = options([["", "all"], ...distinct(sections.map((s) => s.model)).map((m) => [m, m])]);
    $("hook").innerHTML = options([["", "all"], ...distinct(sections.map((s) => s.hook)).map((h) => [h, h])]);
    const widths = distinct(saes.width.filter((_, i) => saes.role[i] === "sae")).sort((a, b) => a - b);
    $("width").innerHTML = options([["", "all"], ...widths.map((w) => [w, w.toLocaleString("en")])]);
    const authors = distinct(saes.author).sort();
    $("author").innerHTML = options([["", "all"], ...authors.map((a) => [a, a])]);
    $("author").parentElement.hidden = !authors.length;
    $("arch").innerHTML = Object.keys(data.looks).filter(Boolean).map((name) =>
      `<button type="button" class="chip" value="${esc(name)}" aria-pressed="false">${SB.archMark(name)}${esc(name)}</button>`).join("");
    if (!l0) document.querySelector(".range").hidden = true;
  }

  /** The test that the state stands for; what is missing passes no range. */
  function test() {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const from = state.l0min === "" ? null : Number(state.l0min);
    const to = state.l0max === "" ? null : Number(state.l0max);
    return (i) => {
      const other = saes.role[i] !== "sae";
      const section = sections[saes.section[i]];
      if (other && state.others !== "1") return false;
      if (state.model && section.model !== state.model) return false;
      if (state.hook && section.hook !== state.hook) return false;
      if (words.length) {
        const name = `${saes.name[i]} ${saes.arch[i]}`.toLowerCase();
        if (!words.every((word) => name.includes(word))) return false;
      }
      if (other) return true; // what SAEs are held against stays whatever their shape
      if (state.width && String(saes.width[i]) !== state.width) return false;
      if (state.author && saes.author[i] !== state.author) return false;
      if (state.arch.size && !state.arch.has(saes.arch[i])) return false;
      if (from === null && to === null) return true;
      const value = l0.v[i];
      return value !== null && (from === null || value >= from) && (to === null || value <= to);
    };
  }

  function listen(whenChanged) {
    changed = whenChanged;
    const touch = () => { state.page = 1; changed(); };
    for (const name of FIELDS) $(name).addEventListener("input", () => { state[name] = $(name).value; touch(); });
    for (const name of ["beside", "groups"]) $(name).addEventListener("change", () => { state[name] = $(name).value; changed(); });
    for (const name of ["refs", "others"]) $(name).addEventListener("change", () => { state[name] = $(name).checked ? "1" : "0"; touch(); });
    $("arch").addEventListener("click", (event) => {
      const chip = event.target.closest("button");
      if (!chip) return;
      if (!state.arch.delete(chip.value)) state.arch.add(chip.value);
      show();
      touch();
    });
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("reset").addEventListener("click", () => { history.replaceState(null, "", location.pathname); read(); changed(); });
    window.addEventListener("hashchange", () => { read(); changed(); });
  }

  const shown = () => state.cols ?? data.columns.filter((c) => c.shown).map((c) => c.key);
  fill();
  return { state, read, write, test, listen, shown };
})();
