// The plot of two metrics as a Vega-Lite specification, and its life in the page.
"use strict";
SB.plot = (function () {
  const { data, $, text } = SB;
  const SHAPES = {
    o: "circle", s: "square", "^": "triangle-up", D: "diamond", v: "triangle-down", "<": "triangle-left", ">": "triangle-right",
    p: "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z", h: "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z", d: "M0,-1L.6,0L0,1L-.6,0Z",
    "*": "M0,-1L.22,-.31L.95,-.31L.36,.12L.59,.81L0,.38L-.59,.81L-.36,.12L-.95,-.31L-.22,-.31Z",
    null: "M-.7,-.7L.7,.7M.7,-.7L-.7,.7", baseline: "M0,-.9V.9M-.9,0H.9",
  };
  const DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]];
  let view = null;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  /** A colour of the style sheet as it is now: light or dark. */
  function resolved(name) {
    const probe = document.createElement("span");
    probe.style.color = colour(name);
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  /** Round values of a log axis in a range, at most about nine. */
  function ticks(values) {
    const low = Math.min(...values), high = Math.max(...values), decades = [];
    for (let d = Math.floor(Math.log10(low)); d <= Math.ceil(Math.log10(high)); d++) decades.push(d);
    let found = [];
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      found = decades.flatMap((d) => steps.map((step) => Number(`${step}e${d}`))).filter((v) => low <= v && v <= high);
      if (found.length <= 9) break;
    }
    return found;
  }

  function axis(column, kind, values) {
    const title = `${column.label} ${SB.ARROWS[column.better]}${column.unit ? ` (${column.unit})` : ""}`;
    if (kind === "linear") return { title, tickCount: 7 };
    const decimals = "max(-floor(log(datum.value) / LN10 + 1e-9), 0)";
    const label = kind === "gap" ? `format(${column.top} - datum.value, '.' + ${decimals} + 'f')` : "format(datum.value, '~g')";
    return { title: kind === "gap" ? `${title}, by its gap to ${column.top}` : title, values: ticks(values), labelExpr: label };
  }

  const scale = (kind) => (kind === "linear" ? { zero: false, nice: false, padding: 14 } : { type: "log", nice: false, padding: 14, reverse: kind === "gap" });

  function spec(points, lines, x, y, kinds, named) {
    const arches = Object.keys(data.looks), ink = resolved("--ink"), dim = resolved("--dim");
    const colours = arches.map((a) => (data.looks[a][0] === "#000000" ? ink : data.looks[a][0]));
    const place = (field, column, kind) => ({ field, type: "quantitative", scale: scale(kind), axis: axis(column, kind, points.map((p) => p[field])) });
    const X = place("px", x, kinds.x), Y = place("py", y, kinds.y);
    const isSae = { filter: "datum.role == 'sae'" };
    const paint = { field: "arch", type: "nominal", legend: null, scale: { domain: arches, range: colours } };
    const marks = { field: "arch", type: "nominal", legend: null, scale: { domain: arches, range: arches.map((a) => SHAPES[data.looks[a][1]]) } };
    const bars = (role, stroke) => [["x", { x: { ...X, field: "pxl" }, x2: { field: "pxh" }, y: Y }], ["y", { x: X, y: { ...Y, field: "pyl" }, y2: { field: "pyh" } }]].map(([, encoding]) => ({
      transform: [{ filter: role }], mark: { type: "rule", strokeWidth: 1.4, opacity: 0.5, clip: true, tooltip: null, aria: false }, encoding: { ...encoding, ...stroke },
    }));
    const described = { field: "said", type: "nominal" };
    const hover = { tooltip: { content: "data" }, cursor: "pointer", clip: true };
    const layers = [
      { data: { values: lines }, mark: { type: "line", interpolate: "step-after", strokeWidth: 1.3, opacity: 0.8, clip: true, tooltip: null, aria: false }, encoding: {
        x: X, y: Y, order: { field: "order" }, color: { value: dim },
        strokeDash: { field: "width", type: "nominal", legend: null, scale: { domain: [...new Set(lines.map((l) => l.width))], range: DASHES } } } },
      ...bars("datum.role == 'sae'", { color: paint }), ...bars("datum.role != 'sae'", { color: { value: dim } }),
      { transform: [{ filter: "datum.role != 'sae'" }], mark: { type: "point", size: 70, strokeWidth: 1.6, filled: false, ...hover }, encoding: {
        x: X, y: Y, color: { value: dim }, description: described,
        shape: { field: "role", type: "nominal", legend: null, scale: { domain: ["null", "baseline"], range: [SHAPES.null, SHAPES.baseline] } } } },
      { transform: [isSae], mark: { type: "point", filled: true, size: 75, opacity: 1, stroke: resolved("--bg"), strokeWidth: 0.7, ...hover },
        encoding: { x: X, y: Y, color: paint, shape: marks, description: described },
        ...(matchMedia("(hover: hover)").matches ? { params: [{ name: "grid", select: { type: "interval", zoom: "wheel![event.shiftKey]" }, bind: "scales" }] } : {}) },
    ];
    if (named) layers.push({ transform: [isSae], mark: { type: "text", align: "left", dx: 8, dy: -5, fontSize: 10.5, limit: 180, tooltip: null, aria: false }, encoding: { x: X, y: Y, text: { field: "name" }, color: { value: dim } } });
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", height: Math.max(Math.min(innerHeight * 0.62, 560), 320),
      autosize: { type: "fit", contains: "padding" }, background: resolved("--bg"), data: { values: points },
      description: `${y.label} against ${x.label}`,
      resolve: { scale: { shape: "independent", color: "shared" } }, layer: layers,
      config: {
        font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif", view: { stroke: null },
        axis: { labelColor: dim, titleColor: ink, titleFontWeight: 500, titleFontSize: 12.5, labelFontSize: 11, gridColor: resolved("--line"), domainColor: resolved("--firm"), tickColor: resolved("--firm"), titlePadding: 10 },
      },
    };
  }

  function showTip(event, point) {
    if (!point) { tip.hidden = true; return; }
    tip.innerHTML = `<b>${SB.esc(point.name)}</b><span>${SB.esc(point.role === "sae" ? point.arch : point.role)}${point.width === null ? "" : `, d_sae ${point.width}`}</span>` +
      `<table>${point.lines.map(([name, value]) => `<tr><td>${SB.esc(name)}</td><td>${SB.esc(value)}</td></tr>`).join("")}</table>`;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(Math.min(event.clientX + 14, innerWidth - box.width - 8), 8)}px`;
    tip.style.top = `${event.clientY + box.height + 22 > innerHeight ? event.clientY - box.height - 12 : event.clientY + 14}px`;
  }

  async function draw(points, lines, x, y, kinds, named) {
    if (view) view.finalize();
    tip.hidden = true;
    const compiled = vegaLite.compile(spec(points, lines, x, y, kinds, named)).spec;
    view = new vega.View(vega.parse(compiled), { renderer: "svg", container: $("plot"), hover: true, logLevel: vega.Warn });
    view.tooltip((_, event, item, value) => showTip(event, value && value.name ? value : null));
    view.addEventListener("click", (event, item) => { if (item && item.datum && item.datum.page) location.href = `saes/${item.datum.page}.html`; });
    await view.runAsync();
    return view;
  }

  async function save(kind) {
    if (view) SB.save(`pareto.${kind}`, kind === "svg" ? "image/svg+xml" : "image/png", kind === "svg" ? await view.toSVG() : await view.toImageURL("png", 2));
  }

  return { draw, save, resolved };
})();
