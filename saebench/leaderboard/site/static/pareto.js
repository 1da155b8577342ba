// The page of fronts: controls, points of the chosen section, and the fronts in numbers.
"use strict";
(function () {
  const { data, columns, esc, $, text, options } = SB;
  const { saes, sections } = data;
  const l0 = columns.get("l0") ? "l0" : data.columns[0].key;
  const good = data.columns.find((c) => c.shown && c.key !== l0 && c.better !== "none") || data.columns.find((c) => c.key !== l0) || data.columns[0];
  const biggest = sections.map((_, s) => saes.section.filter((x, i) => x === s && saes.role[i] === "sae").length);
  const DEFAULTS = { section: String(biggest.indexOf(Math.max(...biggest))), x: l0, y: good.key, width: "", log: "auto", at: "", names: "0", others: "1" };
  const state = { hidden: new Set() };

  function read() {
    const given = SB.readState();
    for (const [name, value] of Object.entries(DEFAULTS)) state[name] = given.get(name) ?? value;
    for (const axis of ["x", "y"]) if (!columns.has(state[axis])) state[axis] = DEFAULTS[axis];
    if (!sections[state.section]) state.section = DEFAULTS.section;
    state.hidden = new Set(given.getAll("hide"));
    for (const name of ["section", "x", "y", "width", "log", "at"]) $(name).value = state[name];
    for (const name of ["names", "others"]) $(name).checked = state[name] === "1";
  }

  function write() {
    const changed = Object.entries(DEFAULTS).filter(([name, value]) => state[name] !== value).map(([name]) => [name, state[name]]);
    SB.writeState([...changed, ...[...state.hidden].map((arch) => ["hide", arch])]);
  }

  function point(i, x, y) {
    const range = (c) => (c.a[i] === null ? "" : ` [${text(SB.low(c, i), SB.decimals(c, i))}, ${text(SB.high(c, i), SB.decimals(c, i))}]`);
    const lines = [x, y].map((c) => [c.label, text(c.v[i], SB.decimals(c, i)) + range(c)]);
    return {
      name: saes.name[i], page: saes.page[i], arch: saes.arch[i], role: saes.role[i], width: saes.width[i], lines,
      said: `${saes.name[i]}: ${lines.map(([name, value]) => `${name} ${value}`).join(", ")}`,
      x: x.v[i], y: y.v[i], ye: y.e[i] ?? NaN, xl: SB.low(x, i) ?? x.v[i], xh: SB.high(x, i) ?? x.v[i], yl: SB.low(y, i) ?? y.v[i], yh: SB.high(y, i) ?? y.v[i],
    };
  }

  const decade = (values) => Math.min(...values) > 0 && Math.max(...values) >= 10 * Math.min(...values);

  /** How an axis is laid out: log for what is better lower, the gap to the best value on a log scale, or linear. */
  function kindOf(column, values) {
    if (column.better === "lower" && decade(values)) return "log";
    if (column.better === "higher" && column.top !== null && decade(values.map((v) => column.top - v))) return "gap";
    return "linear";
  }

  const placed = (value, kind, column) => (kind === "gap" ? column.top - value : value);
  const holds = (value, kind) => kind === "linear" || value > 0;

  async function draw() {
    const x = columns.get(state.x), y = columns.get(state.y), section = Number(state.section);
    const all = [];
    for (let i = 0; i < SB.count; i++) if (saes.section[i] === section && x.v[i] !== null && y.v[i] !== null) all.push(point(i, x, y));
    const inWidth = (p) => !state.width || String(p.width) === state.width;
    const mine = all.filter((p) => p.role === "sae" && inWidth(p) && !state.hidden.has(p.arch));
    const others = state.others === "1" ? all.filter((p) => p.role !== "sae") : [];
    const wide = decade([...mine, ...others].map((p) => p.x)) && x.better !== "one";
    const log = mine.length > 0 && (state.log === "log" ? [...mine].every((p) => p.x > 0) && x.better !== "one" : state.log === "auto" && wide);
    const kinds = { x: log ? "log" : "linear", y: mine.length ? kindOf(y, mine.map((p) => p.y)) : "linear" };
    const shown = [...mine, ...others].filter((p) => holds(p.x, kinds.x) && holds(placed(p.y, kinds.y, y), kinds.y)).map((p) => laid(p, kinds, x, y));
    const found = SB.fronts.fronts(mine, x.better, y.better, log, state.at === "" ? null : Number(state.at));
    const lines = found.flatMap((f) => f.members.map((p, order) => ({ px: placed(p.x, kinds.x, x), py: placed(p.y, kinds.y, y), width: String(f.width), order })))
      .filter((p) => holds(p.px, kinds.x) && holds(p.py, kinds.y));
    legend(all);
    $("status").textContent = mine.length ? `${mine.length} SAEs; ${found.map((f) => `${f.members.length} on the front${found.length > 1 ? ` at d_sae ${f.width}` : ""}`).join(", ")}` : "No SAE has both numbers here.";
    numbers(found, x, y, log);
    write();
    SB.shown = { points: mine, fronts: found, log, kinds };
    await SB.plot.draw(shown, lines, x, y, kinds, state.names === "1");
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
  }

  /** Coordinates on the axes; an interval that leaves the axis ends at the value. */
  function laid(p, kinds, x, y) {
    const on = (value, kind, column, own) => { const v = placed(value, kind, column); return holds(v, kind) ? v : placed(own, kind, column); };
    return { ...p, px: on(p.x, kinds.x, x, p.x), py: on(p.y, kinds.y, y, p.y), pxl: on(p.xl, kinds.x, x, p.x), pxh: on(p.xh, kinds.x, x, p.x), pyl: on(p.yl, kinds.y, y, p.y), pyh: on(p.yh, kinds.y, y, p.y) };
  }

  function legend(all) {
    const present = [...new Set(all.filter((p) => p.role === "sae").map((p) => p.arch))].sort();
    const focused = document.activeElement?.dataset?.arch;
    $("legend").innerHTML = present.map((arch) => `<button type="button" class="chip" data-arch="${esc(arch)}" aria-pressed="${!state.hidden.has(arch)}">${SB.archMark(arch)}${esc(arch)}</button>`).join("");
    for (const chip of $("legend").children) if (chip.dataset.arch === focused) chip.focus();
  }

  function numbers(found, x, y, log) {
    const value = ({ value: v, stderr }) => (!Number.isFinite(v) ? "–" : stderr > 0 ? `${text(v, SB.decimalsFor(stderr))} ± ${text(stderr, SB.decimalsFor(stderr))}` : text(v, 4));
    $("numbers").innerHTML = found.map((f) => {
      const width = f.width === null ? "" : ` at d_sae ${f.width}`;
      if (!f.members.length) return `<p>No front${width}: one of the two metrics has no better and worse.</p>`;
      const unit = `${log ? "decades of " : ""}${x.label} × ${y.label}`;
      const members = f.members.map((p) => `<tr><th scope="row"><a href="saes/${p.page}.html">${esc(p.name)}</a></th>${p.lines.map(([, v]) => `<td class="n">${esc(v)}</td>`).join("")}</tr>`).join("");
      const matched = f.matched.map((m) => `<tr><th scope="row">${SB.archMark(m.arch)} ${esc(m.arch)}</th><td class="n">${value(m)}</td></tr>`).join("");
      return `<h2>Front${width}</h2><p>Hypervolume <b class="hv">${Number(f.hypervolume.toPrecision(4))}</b> (${esc(unit)}, from (${Number(f.corner[0].toPrecision(4))}, ${Number(f.corner[1].toPrecision(4))})).</p>` +
        `<div class="two"><div class="scroll" tabindex="0" role="region" aria-label="Members of the front${width}"><table><thead><tr><th scope="col">on the front</th><th scope="col" class="n">${esc(x.label)}</th><th scope="col" class="n">${esc(y.label)}</th></tr></thead><tbody>${members}</tbody></table></div>` +
        (f.matched.length ? `<div class="scroll" tabindex="0" role="region" aria-label="Scores at matched x${width}"><table><thead><tr><th scope="col">architecture</th><th scope="col" class="n">${esc(y.label)} at ${esc(x.label)} = ${Number(f.at.toPrecision(4))} ${SB.ARROWS[y.better]}</th></tr></thead><tbody>${matched}</tbody></table></div>` : "") + "</div>";
    }).join("");
  }

  const all = data.columns.map((c) => [c.key, c.label]);
  $("x").innerHTML = options(all);
  $("y").innerHTML = options(all);
  $("section").innerHTML = options(sections.map((s, i) => [i, s.title]));
  const widths = SB.distinct(saes.width.filter((_, i) => saes.role[i] === "sae")).sort((a, b) => a - b);
  $("width").innerHTML = options([["", "all"], ...widths.map((w) => [w, w.toLocaleString("en")])]);
  $("plot-form").addEventListener("submit", (event) => event.preventDefault());
  $("plot-form").addEventListener("change", (event) => {
    const { id, type, checked, value } = event.target;
    state[id] = type === "checkbox" ? (checked ? "1" : "0") : value;
    draw();
  });
  $("legend").addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    if (!state.hidden.delete(chip.dataset.arch)) state.hidden.add(chip.dataset.arch);
    draw();
  });
  $("svg").addEventListener("click", () => SB.plot.save("svg"));
  $("png").addEventListener("click", () => SB.plot.save("png"));
  document.addEventListener("theme", draw);
  window.addEventListener("hashchange", () => { read(); draw(); });
  read();
  draw();
})();
