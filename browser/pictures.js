// Drawing: a frame, a mask over it, a key map over it.

import {DIVERGING, colourOf} from "./colours.js";
import {enlarge} from "./resize.js";

/** A canvas of this size, to draw on out of sight. */
export function blank(width, height) {
  return Object.assign(document.createElement("canvas"), {width, height});
}

/** Pixels as something that drawImage takes. */
export function asCanvas(pixels, canvas = blank(pixels.width, pixels.height)) {
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

const scratch = {mask: blank(1, 1), map: blank(1, 1)}; // a layer is drawn before the next is made

/** Pixels on a canvas that is used again. */
function asLayer(pixels, canvas) {
  if (canvas.width !== pixels.width) canvas.width = pixels.width;
  if (canvas.height !== pixels.height) canvas.height = pixels.height;
  return asCanvas(pixels, canvas);
}

/** A mask as a layer: each object tinted in its colour and outlined. */
export function maskLayer(ids, [H, W]) {
  const layer = new ImageData(W, H), to = new Uint32Array(layer.data.buffer);
  const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
  const word = (id, alpha) => {
    const [r, g, b] = colourOf(id);
    const [high, ...rest] = little ? [alpha, b, g, r] : [r, g, b, alpha];
    return rest.reduce((all, part) => all * 256 + part, high);
  };
  const tint = Uint32Array.from({length: 256}, (_, id) => (id ? word(id, 80) : 0));
  const edge = Uint32Array.from({length: 256}, (_, id) => (id ? word(id, 255) : 0));
  for (let y = 0, i = 0; y < H; y++)
    for (let x = 0; x < W; x++, i++) {
      const id = ids[i];
      if (!id) continue;
      const border = (x > 0 && ids[i - 1] !== id) || (x < W - 1 && ids[i + 1] !== id)
        || (y > 0 && ids[i - W] !== id) || (y < H - 1 && ids[i + W] !== id);
      to[i] = border ? edge[id] : tint[id];
    }
  return asLayer(layer, scratch.mask);
}

/** [-m, m] with m the largest strength of the values: white is zero. */
export function centred(values) {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return [-most, most];
}

/** Cells (h, w) of `stride` working pixels over a picture of [H, W]: the part of the enlarged map
 * that lies on it, since the cells stick out at the right and at the bottom. */
export function mapLayer(map, {cells: [h, w], work, stride}, size, limits, colours = DIVERGING) {
  const [low, high] = limits;
  const whole = [0, 1].map(d => Math.round(size[d] * [h, w][d] * stride / work[d]));
  const values = enlarge(map, [h, w], whole), layer = new ImageData(size[1], size[0]);
  for (let y = 0, i = 0; y < size[0]; y++)
    for (let x = 0; x < size[1]; x++, i += 4) {
      const value = values[y * whole[1] + x];
      const share = high > low ? (value - low) / (high - low) : 0.5;
      const row = 3 * Math.round(255 * Math.min(Math.max(share, 0), 1));
      for (let c = 0; c < 3; c++) layer.data[i + c] = colours[row + c];
      layer.data[i + 3] = 255;
    }
  return asLayer(layer, scratch.map);
}

/** Draw layers one over another, [canvas, opacity] each, all stretched to the canvas. */
export function paintLayers(canvas, [H, W], layers) {
  if (canvas.width !== W || canvas.height !== H) Object.assign(canvas, {width: W, height: H});
  const pen = canvas.getContext("2d");
  pen.globalAlpha = 1;
  pen.clearRect(0, 0, W, H);
  for (const [layer, alpha] of layers) {
    pen.globalAlpha = alpha;
    pen.drawImage(layer, 0, 0, W, H);
  }
  pen.globalAlpha = 1;
  return pen;
}
