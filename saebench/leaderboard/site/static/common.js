// What the pages share: the data with its numbers as text, the state in the address, downloads.
"use strict";
window.SB = (function () {
  const data = window.SAEBENCH;
  const count = data.saes.name.length;
  const columns = new Map(data.columns.map((column) => [column.key, column]));

  /** Numbers from base64, null where they are missing. */
  function numbers(text, Kind) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const empty = Kind === Uint16Array ? (x) => x === 0 : Number.isNaN;
    return Array.from(new Kind(bytes.buffer), (x) => (empty(x) ? null : x));
  }

  // Read when first asked for: a page shows a dozen columns of a hundred.
  const KINDS = { v: Float64Array, e: Float32Array, a: Float32Array, b: Float32Array, first: Uint16Array, last: Uint16Array };
  for (const column of data.columns) {
    for (const [name, Kind] of Object.entries(KINDS)) {
      const packed = column[name];
      Object.defineProperty(column, name, { configurable: true, enumerable: true, get() {
        const value = numbers(packed, Kind);
        Object.defineProperty(column, name, { value, enumerable: true });
        return value;
      } });
    }
  }

  /** The entry of a column that may be packed as distinct values and indices. */
  function at(packed, i) {
    if (Array.isArray(packed)) return packed[i];
    return packed.u[packed.i.length ? packed.i[i] : 0];
  }

  const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  /** Text that HTML shows as it is; every name goes through here. */
  const esc = (text) => String(text).replace(/[&<>"']/g, (c) => ESCAPES[c]);

  const spread = (column, i) => column.e[i] ?? (column.a[i] !== null ? (column.a[i] + column.b[i]) / 3.919928 : null);

  /** Decimals that show one significant digit of an error, two where the first is a 1. */
  function decimalsFor(error) {
    const exponent = Math.floor(Math.log10(error));
    const leading = error / 10 ** exponent;
    return Math.max((Math.round(leading * 10) / 10 < 1.95 ? 1 : 0) - exponent, 0);
  }

  /** Decimals of a column's values that have no error of their own. */
  function commonDecimals(column) {
    if (column.common !== undefined) return column.common;
    const known = [];
    let top = 0;
    for (let i = 0; i < count; i++) {
      if (column.v[i] === null) continue;
      top = Math.max(top, Math.abs(column.v[i]));
      if (spread(column, i) > 0) known.push(decimalsFor(spread(column, i)));
    }
    known.sort((a, b) => a - b);
    const plain = top > 0 ? Math.min(Math.max(3 - Math.floor(Math.log10(top)), 0), 6) : 0;
    column.common = known.length ? known[Math.floor(known.length / 2)] : plain;
    return column.common;
  }

  function decimals(column, i) {
    if (column.digits !== null) return column.digits;
    return spread(column, i) > 0 ? decimalsFor(spread(column, i)) : commonDecimals(column);
  }

  /** A number with some decimals, with a true minus; in powers of ten where it is out of hand. */
  function text(number, places) {
    if (number === null || number === undefined || !Number.isFinite(number)) return "–";
    if (places > 7 || Math.abs(number) >= 1e7) return number.toExponential(2).replace("-", "−");
    const fixed = number.toFixed(places);
    return Number(fixed) === 0 ? fixed.replace("-", "") : fixed.replace("-", "−");
  }

  const low = (column, i) => (column.a[i] === null ? null : column.v[i] - column.a[i]);
  const high = (column, i) => (column.b[i] === null ? null : column.v[i] + column.b[i]);

  /** Places of a SAE in a column, such as "3–7"; "" where it has none. */
  function places(column, i) {
    const first = column.first[i], last = column.last[i];
    if (first === null) return "";
    return first === last ? `${first}` : `${first}–${last}`;
  }

  /** Letters of groups with runs drawn together: "defgh" as "d–h". */
  const letters = (group) => group.replace(/(?:[a-z]){3,}/g, (run) => (run.charCodeAt(run.length - 1) - run.charCodeAt(0) === run.length - 1 ? `${run[0]}–${run[run.length - 1]}` : run));

  /** A value turned so that less is better; a description runs from the highest. */
  function cost(value, better) {
    return better === "lower" ? value : better === "one" ? Math.abs(value - 1) : -value;
  }

  function mark(i) {
    const role = data.saes.role[i];
    if (role !== "sae") return `<svg class="mark ref" viewBox="0 0 12 12" aria-hidden="true"><path d="${data.marks[role]}"/></svg>`;
    return archMark(data.saes.arch[i]);
  }

  function archMark(arch) {
    const [colour, shape] = data.looks[arch];
    const fill = colour === "#000000" ? "currentColor" : colour;
    return `<svg class="mark" viewBox="0 0 12 12" aria-hidden="true"><path fill="${fill}" d="${data.marks[shape]}"/></svg>`;
  }

  /** The state after the # of the address, so that an address can be sent on. */
  const readState = () => new URLSearchParams(location.hash.slice(1));
  function writeState(pairs) {
    const kept = new URLSearchParams(pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined));
    const hash = kept.toString() ? `#${kept}` : location.pathname;
    if (`#${kept}` !== location.hash) history.replaceState(null, "", hash);
  }

  function save(name, kind, content) {
    const link = document.createElement("a");
    link.href = content.startsWith("data:") ? content : URL.createObjectURL(new Blob([content], { type: kind }));
    link.download = name;
    link.click();
  }

  const $ = (id) => document.getElementById(id);
  const options = (pairs) => pairs.map(([value, label]) => `<option value="${esc(value)}">${esc(label)}</option>`).join("");
  const ARROWS = { higher: "↑", lower: "↓", one: "→1", none: "" };
  const distinct = (values) => [...new Set(values)].filter((v) => v !== null && v !== "");

  return { data, count, columns, at, esc, decimals, commonDecimals, spread, text, low, high, places, letters, cost, mark,
    archMark, decimalsFor, readState, writeState, save, $, options, ARROWS, distinct };
})();
