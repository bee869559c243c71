// What a pixel reads of the past: one tile for each past frame that is kept.

import {DIVERGING, SEQUENTIAL} from "./colours.js";
import {centred, mapLayer, paintLayers} from "./pictures.js";

export const percent = share =>
  (share >= 0.1 ? (100 * share).toFixed(0) : (100 * share).toPrecision(2)) + " %";

export const bytes = n => (n < 1e6 ? (n / 1e3).toFixed(0) + " KB"
  : n < 1e9 ? (n / 1e6).toFixed(1) + " MB" : (n / 1e9).toFixed(2) + " GB");

/** What each frame has of a read: the strength of its weights, signs left out, as shares of all. */
export function frameShares(maps, weights = maps.map(() => 1)) {
  const sums = maps.map((map, i) => weights[i] * map.reduce((sum, value) => sum + Math.abs(value), 0));
  const whole = sums.reduce((a, b) => a + b, 0) || 1;
  return sums.map(sum => sum / whole);
}

function tile(take) {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  const canvases = [0, 1].map(() => document.createElement("canvas"));
  const button = Object.assign(document.createElement("button"), {type: "button"});
  for (const canvas of canvases) canvas.setAttribute("role", "img");
  button.onclick = () => take(Number(figure.dataset.t));
  figure.append(...canvases, caption, button);
  return figure;
}

/** Fill the line with tiles. seen: as the worker's `read` gives it; thumbs: {t: canvas}; grid: cells,
 * working size and stride; gone: frames taken out; take: is called with the frame of a button. */
export function drawReads(line, seen, {thumbs, grid, gone, take}) {
  while (line.children.length > seen.frames.length) line.lastChild.remove();
  while (line.children.length < seen.frames.length) line.append(tile(take));
  const limits = [0, 0];
  for (const map of seen.dot) {
    const [low, high] = centred(map);
    if (high > limits[1]) [limits[0], limits[1]] = [low, high];
  }
  let most = 0;
  for (const map of seen.softmax) for (const weight of map) most = Math.max(most, weight);
  const gc = frameShares(seen.dot, seen.shares), stm = frameShares(seen.softmax);
  seen.frames.forEach((t, i) => {
    const figure = line.children[i], [above, below, caption, button] = figure.children;
    const thumb = thumbs.get(t);
    if (!thumb) return;
    const size = [thumb.height, thumb.width], out = gone.has(t);
    figure.dataset.t = t;
    figure.classList.toggle("gone", out);
    const dot = mapLayer(seen.dot[i], grid, size, limits, DIVERGING);
    paintLayers(above, size, [[thumb, 1], [dot, 0.7]]);
    const softmax = mapLayer(seen.softmax[i], grid, size, [0, most], SEQUENTIAL);
    paintLayers(below, size, [[thumb, 1], [softmax, 0.7]]);
    above.setAttribute("aria-label",
      `q · k with frame ${t}, ${percent(gc[i])} of the global context's weight`);
    below.setAttribute("aria-label", `STM's softmax on frame ${t}, ${percent(stm[i])}`);
    caption.textContent = `frame ${t}: GC ${percent(gc[i])}, STM ${percent(stm[i])}`;
    button.textContent = out ? "put back" : "take out";
    button.setAttribute("aria-label", `${out ? "put back" : "take out"} frame ${t}`);
  });
  return {gc, stm};
}
