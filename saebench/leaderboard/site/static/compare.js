// Two or three SAEs side by side.
"use strict";
(function () {
  const { data, columns, esc, $, text, at } = SB;
  const { saes, sections } = data;
  const LETTERS = ["A", "B", "C"];
  const twice = new Set(saes.name.filter((name, i) => saes.name.indexOf(name) !== i));
  const title = (i) => (twice.has(saes.name[i]) ? `${saes.name[i]} · ${sections[saes.section[i]].title}` : saes.name[i]);
  const titles = saes.name.map((_, i) => title(i));
  const ranges = new Map();

  function chosen() {
    return LETTERS.map((letter) => titles.indexOf($(`sae-${letter}`).value));
  }

  /** Smallest and largest value of a column in a section. */
  function range(column, section) {
    const key = `${section} ${column.key}`;
    if (!ranges.has(key)) {
      const values = column.v.filter((v, i) => v !== null && saes.section[i] === section);
      ranges.set(key, [Math.min(...values), Math.max(...values)]);
    }
    return ranges.get(key);
  }

  function strip(column, who) {
    const [low, high] = range(column, saes.section[who[0].i]);
    if (!(high > low)) return "";
    const decade = (a, b) => a > 0 && b >= 10 * a, { top, better } = column;
    const gap = better === "higher" && top !== null && decade(top - high, top - low);
    const scale = better === "lower" && decade(low, high) ? (v) => Math.log10(Math.max(v, low)) : gap ? (v) => -Math.log10(Math.max(top - v, top - high)) : (v) => v;
    const x = (v) => (4 + 152 * Math.min(Math.max((scale(v) - scale(low)) / (scale(high) - scale(low)), 0), 1)).toFixed(1);
    const nul = at(column.null, who[0].i), base = at(column.base, who[0].i);
    const refs = (nul === null ? "" : `<path class="nul" d="M${x(nul) - 3} 4l6 6m0-6l-6 6"/>`) + (base === null ? "" : `<path class="bas" d="M${x(base)} 3v8m-4-4h8"/>`);
    const dots = who.filter(({ i }) => column.v[i] !== null).map(({ i, letter }) =>
      (column.a[i] === null ? "" : `<line class="ci ${letter}" x1="${x(SB.low(column, i))}" x2="${x(SB.high(column, i))}" y1="7" y2="7"/>`) + `<circle class="dot ${letter}" cx="${x(column.v[i])}" cy="7" r="3"/>`);
    return `<svg class="strip" style="width:160px" viewBox="0 0 160 14" aria-hidden="true"><line class="rail" x1="4" x2="156" y1="7" y2="7"/>${refs}${dots.join("")}</svg>`;
  }

  function cell(column, i) {
    const v = column.v[i];
    if (v === null) return `<td class="n gone">–${column.gone[i] ? `<span class="hide">${esc(column.gone[i])}</span>` : ""}</td>`;
    const places = SB.decimals(column, i);
    const interval = column.a[i] === null ? "" : `<span class="ci"> [${text(SB.low(column, i), places)}, ${text(SB.high(column, i), places)}]</span>`;
    return `<td class="n">${text(v, places)}${interval}</td>`;
  }

  /** Whether the board's tests tell two SAEs of a section apart; null where they do not say. */
  function apart(column, i, j) {
    const a = at(column.group, i), b = at(column.group, j);
    if (saes.section[i] !== saes.section[j] || !a || !b) return null;
    const groups = (letters) => letters.match(/\(\d+\)|[a-z]/g);
    return !groups(a).some((letter) => groups(b).includes(letter));
  }

  function difference(column, i, j) {
    const a = column.v[i], b = column.v[j];
    if (a === null || b === null) return { html: "<td></td>", told: null };
    const error = Math.hypot(column.e[i] ?? 0, column.e[j] ?? 0), d = b - a;
    const places = error > 0 ? SB.decimalsFor(error) : SB.commonDecimals(column);
    const told = apart(column, i, j);
    const gain = SB.cost(b, column.better) < SB.cost(a, column.better);
    const word = column.better === "none" || told === null ? "" : told ? `<span class="verdict">${gain ? "better" : "worse"}</span>` : '<span class="verdict no">not told apart</span>';
    const reach = error > 0 ? `<span class="ci"> [${text(d - 1.959964 * error, places)}, ${text(d + 1.959964 * error, places)}]</span>` : "";
    return { html: `<td class="n">${d > 0 ? "+" : ""}${text(d, places)}${reach}</td><td>${word}</td>`, told };
  }

  function draw() {
    const who = chosen().map((i, place) => ({ i, letter: LETTERS[place] })).filter(({ i }) => i >= 0);
    SB.writeState([...who.map(({ i }) => ["sae", saes.page[i] + (sections.length > 1 ? `:${saes.section[i]}` : "")]),
      ["q", $("find").value], ["apart", $("apart").checked ? "1" : ""], ["board", $("board-only").checked ? "1" : ""]]);
    if (!who.length) { $("sides").innerHTML = ""; $("status").textContent = "Choose two SAEs by name, or tick them in the table."; return; }
    const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = "", count = 0;
    for (const column of data.columns) {
      if ($("board-only").checked && !column.shown) continue;
      if (!words.every((word) => `${column.label} ${column.key}`.toLowerCase().includes(word))) continue;
      if (who.every(({ i }) => column.v[i] === null && !column.gone[i])) continue;
      const against = who.slice(1).map(({ i }) => difference(column, who[0].i, i));
      if ($("apart").checked && !against.some(({ told }) => told)) continue;
      count += 1;
      rows += `<tr><th scope="row"><a href="metrics/${column.page}.html" title="${esc(column.tip)}">${esc(column.label)}</a> ${SB.ARROWS[column.better]}</th><td>${strip(column, who)}</td>` +
        `${who.map(({ i }) => cell(column, i)).join("")}${against.map(({ html }) => html).join("")}</tr>`;
    }
    const head = who.map(({ i, letter }) => `<th scope="col" class="n"><span class="${letter}">${letter}</span> ${SB.mark(i)} <a href="saes/${saes.page[i]}.html">${esc(saes.name[i])}</a></th>`);
    const differences = who.slice(1).map(({ letter }) => `<th scope="col" class="n">${letter} − A</th><th scope="col">is ${letter} better?</th>`);
    $("sides").innerHTML = `<caption class="hide">Scores side by side</caption><thead><tr><th scope="col">metric</th><th scope="col"><span class="hide">place on the range of the column</span></th>${head.join("")}${differences.join("")}</tr></thead><tbody>${rows}</tbody>`;
    const mixed = new Set(who.map(({ i }) => saes.section[i])).size > 1;
    $("status").textContent = `${count} columns` + (mixed ? "; the SAEs are of different models, hooks or texts, so that no test tells them apart" : "");
  }

  function read() {
    const given = SB.readState();
    const wanted = given.getAll("sae");
    LETTERS.forEach((letter, place) => {
      const [page, section] = (wanted[place] || "").split(":");
      const i = saes.page.findIndex((p, k) => p === page && (section === undefined || saes.section[k] === Number(section)));
      $(`sae-${letter}`).value = i >= 0 ? titles[i] : "";
    });
    $("find").value = given.get("q") || "";
    $("apart").checked = given.get("apart") === "1";
    $("board-only").checked = given.get("board") === "1";
  }

  $("saes").innerHTML = [...new Set(titles)].map((name) => `<option value="${esc(name)}"></option>`).join("");
  $("who").addEventListener("submit", (event) => event.preventDefault());
  for (const letter of LETTERS) $(`sae-${letter}`).addEventListener("change", draw);
  for (const name of ["find", "apart", "board-only"]) $(name).addEventListener("input", draw);
  window.addEventListener("hashchange", () => { read(); draw(); });
  read();
  draw();
})();
