// Fronts, hypervolumes and scores at matched x, as saebench.leaderboard.pareto and fronts have them.
"use strict";
SB.fronts = (function () {
  /** Values turned so that lower is better; null for a metric without direction. */
  function cost(value, better) {
    return better === "higher" ? -value : better === "lower" ? value : better === "one" ? Math.abs(value - 1) : null;
  }

  /** Indices of the points that no other dominates, from the best a to the worst; both are costs. */
  function front(a, b) {
    const order = a.map((_, i) => i).filter((i) => Number.isFinite(a[i]) && Number.isFinite(b[i]));
    order.sort((i, j) => a[i] - a[j] || b[i] - b[j] || i - j);
    const kept = [];
    for (const i of order) {
      const last = kept[kept.length - 1];
      if (last === undefined || b[i] < b[last] || (a[i] === a[last] && b[i] === b[last])) kept.push(i);
    }
    return kept;
  }

  /** The area that points dominate, from a corner that is worse; x in decades if asked. */
  function hypervolume(points, corner, betterX, betterY, log) {
    const scale = (x) => (log ? Math.log10(x) : x);
    const a = points.map((p) => cost(scale(p.x), betterX)), b = points.map((p) => cost(p.y, betterY));
    const edge = cost(scale(corner[0]), betterX);
    let ceiling = cost(corner[1], betterY), area = 0;
    for (const i of front(a, b)) {
      if (a[i] < edge && b[i] < ceiling) {
        area += (edge - a[i]) * (ceiling - b[i]);
        ceiling = b[i];
      }
    }
    return area;
  }

  /** y at a given x on the line through the points, with its standard error; NaN outside their range. */
  function scoreAt(points, at, log) {
    const groups = new Map();
    for (const p of points) {
      if (log && !(p.x > 0)) continue;
      groups.set(p.x, [...(groups.get(p.x) || []), p]);
    }
    const places = [...groups.keys()].sort((p, q) => p - q);
    const none = { value: NaN, stderr: NaN };
    if (!places.length || (log && !(at > 0)) || at < places[0] || at > places[places.length - 1]) return none;
    const curve = places.map((x) => {
      const group = groups.get(x), n = group.length;
      return { x, y: group.reduce((s, p) => s + p.y, 0) / n, e: Math.sqrt(group.reduce((s, p) => s + p.ye ** 2, 0)) / n };
    });
    if (curve.length === 1) return { value: curve[0].y, stderr: curve[0].e };
    const right = Math.min(Math.max(places.findIndex((x) => x >= at), 1), places.length - 1);
    const scale = (x) => (log ? Math.log(x) : x), l = curve[right - 1], r = curve[right];
    const weight = (scale(at) - scale(l.x)) / (scale(r.x) - scale(l.x));
    // A weight of zero drops its point, whose error may be missing.
    const parts = [[1 - weight, l.e], [weight, r.e]].filter(([w]) => w !== 0).map(([w, e]) => w * e);
    return { value: l.y * (1 - weight) + r.y * weight, stderr: Math.hypot(...parts) };
  }

  /** A value of x within as many ranges as can be, in their middle, rounded where it stays inside. */
  function sharedMiddle(ranges) {
    const ends = [...new Set(ranges.flat().filter((end) => end > 0))].sort((p, q) => p - q);
    if (!ends.length) return null;
    const pieces = ends.length > 1 ? ends.slice(1).map((end, i) => [ends[i], end]) : [[ends[0], ends[0]]];
    const covered = pieces.map(([a, b]) => ranges.filter(([low, high]) => low <= a && b <= high).length);
    let best = 0;
    pieces.forEach(([a, b], i) => {
      const ratio = b / a, top = pieces[best][1] / pieces[best][0];
      if (covered[i] > covered[best] || (covered[i] === covered[best] && ratio > top)) best = i;
    });
    const [low, high] = pieces[best], middle = Math.sqrt(low * high), rounded = Number(middle.toPrecision(2));
    return low <= rounded && rounded <= high ? rounded : middle;
  }

  /** The worst SAE's value on each axis. */
  function corner(points, betterX, betterY) {
    const worst = (name, better) => points.reduce((w, p) => (cost(p[name], better) > cost(w, better) ? p[name] : w), points[0][name]);
    return [worst("x", betterX), worst("y", betterY)];
  }

  /**
   * The front of each width, its hypervolume, and each architecture's score at the same x.
   * Points have x, y, ye (standard error of y, NaN if unknown), arch and width.
   */
  function fronts(points, betterX, betterY, log, at) {
    if (!points.length) return [];
    const directed = betterX !== "none" && betterY !== "none";
    const edge = directed ? corner(points, betterX, betterY) : [NaN, NaN];
    const front_ = (group) => (directed ? front(group.map((p) => cost(p.x, betterX)), group.map((p) => cost(p.y, betterY))).map((i) => group[i]) : group);
    const widths = [...new Set(points.map((p) => p.width))].sort((p, q) => (p ?? Infinity) - (q ?? Infinity));
    return widths.map((width) => {
      const mine = points.filter((p) => p.width === width);
      const curves = [...new Set(mine.map((p) => p.arch))].sort().map((arch) => [arch, front_(mine.filter((p) => p.arch === arch))]);
      const ranges = curves.map(([, group]) => [Math.min(...group.map((p) => p.x)), Math.max(...group.map((p) => p.x))]);
      const place = at ?? sharedMiddle(ranges.filter(([low, high]) => low < high));
      return {
        width, members: directed ? front_(mine) : [], corner: edge, at: place,
        hypervolume: directed ? hypervolume(mine, edge, betterX, betterY, log) : NaN,
        matched: place === null ? [] : curves.map(([arch, group]) => ({ arch, at: place, ...scoreAt(group, place, log) })),
      };
    });
  }

  return { cost, front, hypervolume, scoreAt, sharedMiddle, fronts };
})();
