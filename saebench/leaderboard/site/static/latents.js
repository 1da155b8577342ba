// The table of a SAE's latents: sorted by any column, a page at a time.
"use strict";
(() => {
  const columns = window.LATENTS, names = Object.keys(columns), count = columns.latent.length, LINES = 50;
  const $ = (id) => document.getElementById(id);
  let sorted = "latent", down = false, page = 0, only = null;
  let order = columns.latent.map((_, i) => i);

  const shown = (value) => (value === null ? "–" : Number(value).toLocaleString("en", { maximumSignificantDigits: 4, useGrouping: false }));
  const head = (name) => name.replaceAll("_", " ");

  /** Sort all latents by the chosen column; what has no value stands last either way. */
  function sort() {
    const values = columns[sorted], way = down ? -1 : 1;
    order.sort((a, b) => {
      if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null) || a - b;
      return way * (values[a] - values[b]) || a - b;
    });
  }

  function draw() {
    const lines = only === null ? order : order.filter((i) => columns.latent[i] === only);
    const pages = Math.max(1, Math.ceil(lines.length / LINES));
    page = Math.min(page, pages - 1);
    const row = document.createElement("tr");
    for (const name of names) {
      const cell = document.createElement("th"), button = document.createElement("button");
      cell.scope = "col";
      if (name === sorted) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      button.type = "button";
      button.textContent = head(name) + (name === sorted ? (down ? " ↓" : " ↑") : "");
      button.addEventListener("click", () => {
        down = name === sorted ? !down : name !== "latent";
        sorted = name;
        page = 0;
        sort();
        draw();
        $("latents").querySelectorAll("thead button")[names.indexOf(name)].focus();
      });
      cell.append(button);
      row.append(cell);
    }
    $("latents").tHead.replaceChildren(row);
    const body = document.createElement("tbody");
    for (const i of lines.slice(page * LINES, (page + 1) * LINES)) {
      const line = body.insertRow();
      for (const name of names) {
        const cell = line.insertCell();
        cell.className = "n";
        cell.textContent = shown(columns[name][i]);
      }
    }
    $("latents").tBodies[0].replaceWith(body);
    $("where").textContent = `page ${page + 1} of ${pages}`;
    $("told").textContent = only === null ? `${count.toLocaleString("en")} latents` : lines.length ? "" : "there is no such latent";
    $("back").disabled = page === 0;
    $("on").disabled = page >= pages - 1;
  }

  $("back").addEventListener("click", () => { page -= 1; draw(); });
  $("on").addEventListener("click", () => { page += 1; draw(); });
  $("find").addEventListener("input", () => {
    only = $("find").value === "" ? null : Number($("find").value);
    page = 0;
    draw();
  });
  draw();
})();
