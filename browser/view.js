// What the page shows of its state: the frame with its mask, the key map, pins, bytes and words.

import {DIVERGING} from "./colours.js";
import {idsOf} from "./masks.js";
import {asCanvas, blank, centred, mapLayer, maskLayer, paintLayers} from "./pictures.js";
import {bytes} from "./reads.js";

export const element = id => document.getElementById(id);
const THUMB = 152, MOST_PINS = 6; // pixels across a past frame's picture

/** All that the page knows. Masks are run lengths by frame; t is the frame on show. */
export const state = {
  ask: null, config: null, source: null, size: [240, 427], // H, W
  first: 0, newest: -1, t: 0, // the newest frame that has a mask
  masks: new Map(), given: new Map(), gone: new Map(), plan: new Map(), thumbs: new Map(),
  pixels: null, ids: null, // of the frame on show
  keys: null, live: null, // key maps of the frame on show; what the worker said of the newest
  object: 0, channel: null, limits: [], pins: [], asked: null, // [x, y] of the asking pixel
  playing: false, lines: 240, share: null, times: [],
};

/** A word on the page; bad: something did not work. */
export function say(words, bad = false) {
  element("words").textContent = words;
  element("status").classList.toggle("bad", bad);
}

/** Objects and cells as the key maps have them. */
export const grid = () => ({cells: state.live.map, work: state.live.work, stride: state.config.stride});

/** Channels of the object on show, the best first where that is wanted. */
export function ranking() {
  const {live, object, config} = state, scores = live?.scores[object];
  const channels = Array.from({length: config.key_dim}, (_, c) => c);
  return element("sorted").checked && scores
    ? channels.sort((a, b) => scores[b] - scores[a] || a - b) : channels;
}

/** Key map (h w) of a channel on the frame on show, or null. */
export function keyMap(object, channel) {
  const key = state.keys?.[object], [h, w] = state.live?.map ?? [0, 0];
  return key ? key.subarray(channel * h * w, (channel + 1) * h * w) : null;
}

/** One scale for each channel through the video: the largest strength so far. */
export function widen(keys, cells) {
  keys.forEach((key, object) => {
    const most = state.limits[object] ??= new Float32Array(key.length / cells);
    for (let c = 0; c < most.length; c++)
      most[c] = Math.max(most[c], centred(key.subarray(c * cells, (c + 1) * cells))[1]);
  });
}

/** Keep a small picture of the newest frame, and of those that are still kept. */
export function keepThumb(t, pixels, kept) {
  const thumb = blank(THUMB, Math.round(THUMB * pixels.height / pixels.width));
  thumb.getContext("2d").drawImage(asCanvas(pixels), 0, 0, thumb.width, thumb.height);
  state.thumbs.set(t, thumb);
  for (const at of [...state.thumbs.keys()])
    if (at !== t && !kept.includes(at)) state.thumbs.delete(at);
}

// ---- pictures ------------------------------------------------------------------------------------

let base = null; // the frame on show, as a canvas

export function drawFrame(painter) {
  const {pixels, size, asked} = state;
  if (!pixels) return;
  if (base?.width !== pixels.width || base.height !== pixels.height)
    base = blank(pixels.width, pixels.height);
  asCanvas(pixels, base);
  const ids = painter.on ? painter.ids : state.ids, layers = [[base, 1]];
  if (ids) layers.push([maskLayer(ids, size), 1]);
  const pen = paintLayers(element("frame"), size, layers);
  if (painter.on) painter.drawTool(pen);
  else if (asked && !state.playing) ring(pen, asked, size);
}

function ring(pen, [x, y], [H]) {
  for (const [colour, width] of [["#000", H / 60], ["#fff", H / 110]]) {
    pen.beginPath();
    pen.arc(x + 0.5, y + 0.5, H / 28, 0, 7);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.stroke();
  }
}

function drawMap(canvas, object, channel, size, alpha) {
  const map = keyMap(object, channel), layers = base ? [[base, 1]] : [];
  if (map) {
    const most = state.limits[object]?.[channel] ?? 1;
    layers.push([mapLayer(map, grid(), size, [-most, most], DIVERGING), alpha]);
  }
  paintLayers(canvas, size, layers);
}

/** The key map beside the frame, and the pinned ones under it. */
export function drawMaps() {
  const {size: [H, W], config, live} = state, alpha = Number(element("alpha").value);
  if (!config) return;
  const rank = Number(element("rank").value), order = ranking();
  state.channel = order[Math.min(rank, order.length - 1)];
  const lines = Math.min(H, 240), size = [lines, Math.round(W * lines / H)];
  drawMap(element("map"), state.object, state.channel, size, alpha);
  const score = live?.scores[state.object]?.[state.channel];
  element("rankOut").textContent = `channel ${state.channel}`;
  const words = !live ? "" : `Key channel ${state.channel} of ${config.key_dim}`
    + (live.ids.length > 1 ? ` for object ${live.ids[state.object]}` : "")
    + (score === undefined ? "." : `: selectivity ${score.toFixed(2)}, a mean over the frames so far.`)
    + (state.keys ? "" : " The keys of this frame are not kept.");
  element("mapText").textContent = words;
  element("map").setAttribute("aria-label", words || "key map");
  drawPins(alpha);
}

function drawPins(alpha) {
  const pins = element("pins"), [H, W] = state.size;
  pins.hidden = !state.pins.length;
  while (pins.children.length > state.pins.length) pins.lastChild.remove();
  while (pins.children.length < state.pins.length) {
    const figure = document.createElement("figure"), button = document.createElement("button");
    const canvas = document.createElement("canvas"), caption = document.createElement("figcaption");
    canvas.setAttribute("role", "img");
    Object.assign(button, {type: "button", textContent: "unpin"});
    button.onclick = () => {
      state.pins.splice([...pins.children].indexOf(figure), 1);
      drawMaps();
    };
    figure.append(canvas, caption, button);
    pins.append(figure);
  }
  state.pins.forEach(([object, channel], i) => {
    const [canvas, caption, button] = pins.children[i].children, {live} = state;
    const score = live?.scores[object]?.[channel];
    drawMap(canvas, object, channel, [Math.round(THUMB * H / W), THUMB], alpha);
    caption.textContent = `channel ${channel}`
      + (live?.ids.length > 1 ? `, object ${live.ids[object]}` : "")
      + (score === undefined ? "" : `: ${score.toFixed(2)}`);
    canvas.setAttribute("aria-label", `key ${caption.textContent}`);
    button.setAttribute("aria-label", `unpin channel ${channel}`);
  });
}

/** Pin the channel on show. */
export function pin() {
  const {object, channel, pins} = state;
  if (channel === null || pins.some(([o, c]) => o === object && c === channel)) return;
  pins.push([object, channel]);
  if (pins.length > MOST_PINS) pins.shift();
  drawMaps();
}

// ---- words and numbers ---------------------------------------------------------------------------

/** Bytes of both memories: the longer bar is the larger one. */
export function showMemory() {
  const {live} = state;
  if (!live) return;
  const most = Math.max(live.bytes, live.stm);
  element("gcBar").style.width = `${100 * live.bytes / most}%`;
  element("stmBar").style.width = `${100 * live.stm / most}%`;
  element("gc").textContent = bytes(live.bytes);
  element("stm").textContent = bytes(live.stm);
  const frames = live.t - state.first + 1, times = live.stm / live.bytes;
  const out = live.inMemory === frames ? "" : ` (${live.inMemory} of them in the memory)`;
  element("memoryText").textContent = `${frames} frame${frames > 1 ? "s" : ""} seen${out}. `
    + (times >= 1 ? `STM would hold ${times.toFixed(times < 10 ? 1 : 0)} times as much. ` : "")
    + (state.times.length
      ? `${Math.round(median(state.times))} ms a frame at ${live.work[0]} lines.` : "");
}

export function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** Words below the frame, and the controls that follow from where it stands. */
export function showFrame(painter) {
  const {source, t, newest, first, given, masks} = state;
  element("t").max = source.length - 1;
  element("t").value = t;
  element("tOut").textContent = `${t} of ${source.length - 1}`;
  element("t").setAttribute("aria-valuetext", `frame ${t} of ${source.length - 1}`);
  const how = given.has(t) ? "with the mask that you gave"
    : masks.has(t) ? "with the mask that was found" : newest < 0 ? "no mask yet" : "not reached yet";
  element("frameText").textContent = `${source.name}, frame ${t}: ${given.has(t) && source.mask
    && t === 0 && first === 0 ? "with the mask that is given" : how}.`;
  element("frame").setAttribute("aria-label", element("frameText").textContent
    + (painter.on ? " You paint on it." : ""));
  element("apply").textContent = newest < 0 ? "Start here" : t <= first ? "Start again with this mask"
    : t <= newest ? "Correct and go on" : "Start here instead";
}

/** The mask of a frame, ids, or null. */
export function maskAt(t) {
  const runs = state.masks.get(t);
  return runs ? idsOf(runs, state.size[0] * state.size[1]) : null;
}
