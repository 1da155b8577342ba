// The table: sections one below the other, each sorted in itself, a page of rows at a time.
"use strict";
(function () {
  const { data, columns, esc, $, text, at } = SB;
  const { saes, sections } = data;
  const { state, test, shown } = SB.filters;
  const MOST_LINES = 50, MOST_CELLS = 1500; // of a page of the table: what a browser lays out in a tenth of a second
  const picked = new Set();
  const NAMES = { sae: "name", arch: "arch", d_sae: "width" };
  let rows = [];

  /** Indices of what passes the filters, by section, nulls and baselines last, then by the sort. */
  function arrange() {
    const passes = test();
    const kept = [];
    for (let i = 0; i < SB.count; i++) if (passes(i)) kept.push(i);
    const turn = state.sort.startsWith("-") ? -1 : 1, key = state.sort.replace(/^-/, "");
    const column = columns.get(key), values = NAMES[key] ? saes[NAMES[key]] : null;
    const rank = (i) => (saes.role[i] === "sae" ? 0 : 1);
    const priced = column && column.v.map((v) => (v === null ? null : SB.cost(v, column.better)));
    function order(a, b) {
      const fixed = saes.section[a] - saes.section[b] || rank(a) - rank(b);
      if (fixed) return fixed;
      if (priced) {
        if (priced[a] === null || priced[b] === null) return (priced[a] === null) - (priced[b] === null) || a - b;
        return turn * (priced[a] - priced[b]) || a - b;
      }
      if (!values) return a - b;
      return turn * (typeof values[a] === "string" ? values[a].localeCompare(values[b], "en", { numeric: true }) : values[a] - values[b]) || a - b;
    }
    return kept.sort(order);
  }

  function header(keys) {
    const sorted = state.sort.replace(/^-/, ""), down = state.sort.startsWith("-");
    const way = (key, reverse) => (key === sorted ? ` aria-sort="${down !== reverse ? "descending" : "ascending"}"` : "");
    const arrow = (key) => (key === sorted ? (down ? " ▾" : " ▴") : "");
    const plain = [["sae", "SAE", "text who"], ["arch", "architecture", "text opt"], ["d_sae", "d_sae", "opt"]].map(([key, label, kind]) =>
      `<th scope="col" class="${kind}"${way(key, false)}><button type="button" data-sort="${key}">${label}${arrow(key)}</button></th>`);
    const scored = keys.map((key) => {
      const c = columns.get(key), doubts = Object.values(c.doubts).flat();
      const tip = [c.tip, `${c.key}@${c.version}, ${c.unit}`, ...doubts.map((d) => `† ${d}`)].filter(Boolean).join("\n");
      const label = `${c.label} ${SB.ARROWS[c.better]}${doubts.length ? " †" : ""}`;
      return `<th scope="col"${way(key, c.better !== "lower")}><button type="button" data-sort="${esc(key)}" title="${esc(tip)}">${esc(label)}${arrow(key)}</button></th>`;
    });
    return `<thead><tr>${plain.join("")}${scored.join("")}</tr></thead>`;
  }

  function cell(column, i, best) {
    const value = column.v[i];
    if (value === null) {
      const reason = column.gone[i];
      return `<td class="n gone"${reason ? ` title="${esc(reason)}"` : ""}>–${reason ? `<span class="hide">${esc(reason)}</span>` : ""}</td>`;
    }
    const places = SB.decimals(column, i), half = column.a[i] === null ? null : (column.a[i] + column.b[i]) / 2;
    const range = half === null ? "" : `[${text(SB.low(column, i), places)}, ${text(SB.high(column, i), places)}]`;
    const beside = state.beside === "se" && column.e[i] ? ` ±${text(column.e[i], places)}`
      : state.beside === "half" && half ? ` ±${text(half, places)}` : state.beside === "range" ? ` ${range}` : "";
    const standing = state.groups === "none" ? "" : state.groups === "letters" ? SB.letters(at(column.group, i)) : SB.places(column, i);
    const nul = at(column.null, i), base = at(column.base, i), common = Math.min(SB.commonDecimals(column), 3);
    const refs = state.refs === "1" ? [nul === null ? "" : `∅ ${text(nul, common)}`, base === null ? "" : `◇ ${text(base, common)}`] : [];
    const second = [...refs, standing ? `<b>${standing}</b>` : ""].filter(Boolean).join(" · ");
    const tip = [range && `95 % interval ${range}`, at(column.group, i) && `group ${at(column.group, i)}`,
      SB.places(column, i) && `place ${SB.places(column, i)}`].filter(Boolean).join("\n");
    return `<td class="n${best.has(i) ? " best" : ""}" title="${esc(tip)}"><span class="v">${text(value, places)}</span>` +
      `<span class="pm">${beside}</span>${second ? `<small>${second}</small>` : ""}</td>`;
  }

  function line(i, chosen, bests) {
    const other = saes.role[i] !== "sae";
    const name = `<th scope="row" class="who"><span><input type="checkbox" data-pick="${i}" aria-label="compare ${esc(saes.name[i])}"${picked.has(i) ? " checked" : ""}>` +
      `${SB.mark(i)}<a href="saes/${saes.page[i]}.html" title="${esc(saes.name[i])}">${esc(saes.name[i])}</a></span></th>`;
    const width = saes.width[i] === null ? "" : saes.width[i];
    return `<tr class="${other ? "other" : ""}${picked.has(i) ? " picked" : ""}">${name}<td class="opt">${esc(saes.arch[i])}</td><td class="n opt">${width}</td>` +
      `${chosen.map((column, j) => cell(column, i, bests[j])).join("")}</tr>`;
  }

  function draw() {
    rows = arrange();
    const keys = shown(), chosen = keys.map((key) => columns.get(key));
    const bests = chosen.map((column) => (column.bestSet ??= new Set(column.best)));
    const lines = Math.min(Math.max(Math.floor(MOST_CELLS / keys.length), 15), MOST_LINES);
    const pages = Math.max(Math.ceil(rows.length / lines), 1);
    state.page = Math.min(state.page, pages);
    const part = rows.slice((state.page - 1) * lines, state.page * lines);
    let body = "", last = -1;
    for (const i of part) {
      if (saes.section[i] !== last && sections.length > 1) {
        body += `<tr class="part"><th colspan="${3 + keys.length}" scope="colgroup"><span>${esc(sections[saes.section[i]].title)}</span></th></tr>`;
      }
      last = saes.section[i];
      body += line(i, chosen, bests);
    }
    body ||= `<tr><td colspan="${3 + keys.length}">No SAE passes these filters.</td></tr>`;
    $("board").innerHTML = `<caption class="hide">Scores, ${keys.length} columns</caption>${header(keys)}<tbody>${body}</tbody>`;
    const mine = rows.filter((i) => saes.role[i] === "sae").length, all = saes.role.filter((r) => r === "sae").length;
    $("status").textContent = `${mine} of ${all} SAEs` + (pages > 1 ? `, page ${state.page} of ${pages}` : "");
    $("pick").textContent = `Columns (${keys.length} of ${data.columns.length})`;
    pager(pages);
    SB.filters.write();
  }

  function pager(pages) {
    $("pager").hidden = pages < 2;
    $("pager").innerHTML = `<button type="button" data-page="${state.page - 1}"${state.page < 2 ? " disabled" : ""}>Previous</button>` +
      `<span>page ${state.page} of ${pages}</span>` +
      `<button type="button" data-page="${state.page + 1}"${state.page >= pages ? " disabled" : ""}>Next</button>`;
  }

  /** What the table shows, on all of its pages, one record a SAE. */
  function records() {
    return rows.map((i) => {
      const section = sections[saes.section[i]];
      const record = { model: section.model, hook_out: section.hook, role: saes.role[i], architecture: saes.arch[i], d_sae: saes.width[i], sae: saes.name[i] };
      for (const key of shown()) {
        const column = columns.get(key);
        Object.assign(record, { [key]: column.v[i], [`${key}_low`]: SB.low(column, i), [`${key}_high`]: SB.high(column, i), [`${key}_places`]: SB.places(column, i) });
      }
      return record;
    });
  }

  function csv(list) {
    const names = list.length ? Object.keys(list[0]) : [];
    const quoted = (v) => (v === null ? "" : /[",\n]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : v);
    return [names, ...list.map((record) => names.map((name) => record[name]))].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
  }

  function sortBy(key) {
    const column = columns.get(key);
    state.sort = state.sort === key ? `-${key}` : key;
    state.page = 1;
    draw();
    const button = [...document.querySelectorAll("[data-sort]")].find((b) => b.dataset.sort === key);
    if (button) button.focus();
    if (column) $("status").textContent += `; sorted by ${column.label}, ${state.sort === key ? "best" : "worst"} first`;
  }

  function comparison() {
    $("compare").disabled = picked.size < 2;
    $("compare").textContent = picked.size ? `Compare (${picked.size})` : "Compare";
  }

  document.addEventListener("click", (event) => {
    const sort = event.target.closest("[data-sort]"), page = event.target.closest("[data-page]");
    if (sort) sortBy(sort.dataset.sort);
    if (page) { state.page = Number(page.dataset.page); draw(); $("scroll").scrollTop = 0; $("scroll").focus(); }
  });
  document.addEventListener("change", (event) => {
    const pick = event.target.dataset.pick;
    if (pick === undefined) return;
    const i = Number(pick);
    if (!event.target.checked) picked.delete(i); else if (picked.size < 3) picked.add(i); else event.target.checked = false;
    event.target.closest("tr").classList.toggle("picked", picked.has(i));
    comparison();
  });
  $("compare").addEventListener("click", () => {
    location.href = "compare.html#" + new URLSearchParams([...picked].map((i) => ["sae", saes.page[i]]));
  });
  $("csv").addEventListener("click", () => SB.save("board.csv", "text/csv", csv(records())));
  $("json").addEventListener("click", () => SB.save("board.json", "application/json", JSON.stringify(records(), null, 1)));
  if (matchMedia("(max-width: 46rem)").matches) $("controls").open = false;
  SB.filters.read();
  SB.filters.listen(draw);
  SB.picker.listen(draw);
  draw();
})();
