// Colours, the same as in gcvos_mini/show/render.py where it has them.

/** A table of 256 colours, linear between evenly spaced "rrggbb". */
function table(anchors) {
  const points = anchors.split(" ").map(hex => [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16)));
  const colours = new Uint8Array(3 * 256);
  for (let i = 0; i < 256; i++) {
    const at = i / 255 * (points.length - 1), low = Math.min(Math.floor(at), points.length - 2);
    for (let c = 0; c < 3; c++)
      colours[3 * i + c] = Math.round(
        points[low][c] + (at - low) * (points[low + 1][c] - points[low][c]));
  }
  return colours;
}

export const DIVERGING = table(
  "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f");
export const SEQUENTIAL = table(
  "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4");

const BRIGHT = [[255, 221, 0], [0, 230, 230], [255, 120, 255], [120, 255, 120], [255, 150, 80],
  [150, 180, 255]];

/** The colour of an object on the screen, by its id from 1. */
export const colourOf = id => BRIGHT[(id - 1) % BRIGHT.length];

/** The VOC colour map of palette PNGs: bit triples of the id, over the high bits of R, G and B. */
export function vocPalette() {
  const colours = new Uint8Array(3 * 256);
  for (let id = 0; id < 256; id++)
    for (let place = 0; place < 8; place++)
      for (let c = 0; c < 3; c++)
        colours[3 * id + c] |= ((id >> (3 * place + c)) & 1) << (7 - place);
  return colours.subarray(0, 768);
}
