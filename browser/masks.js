// Masks as the page keeps them, one for each frame: ids, row by row, as run lengths.

/** Ids -> [id, how many, id, how many, ...]. */
export function runsOf(ids) {
  const runs = [];
  for (let from = 0, to; from < ids.length; from = to) {
    for (to = from + 1; to < ids.length && ids[to] === ids[from];) to++;
    runs.push(ids[from], to - from);
  }
  return Uint32Array.from(runs);
}

/** The same way back: n ids. */
export function idsOf(runs, n) {
  const ids = new Uint8Array(n);
  for (let i = 0, at = 0; i < runs.length; at += runs[i + 1], i += 2)
    if (runs[i]) ids.fill(runs[i], at, at + runs[i + 1]);
  return ids;
}

/** How many pixels of two masks differ. */
export function difference(a, b) {
  return a.reduce((n, id, i) => n + (id !== b[i]), 0);
}

/** Set the pixels of a disc. shape: [H, W]. */
export function fillDisc(ids, [H, W], x, y, radius, id) {
  for (let row = Math.max(0, Math.ceil(y - radius)); row <= Math.min(H - 1, y + radius); row++) {
    const half = Math.sqrt(radius * radius - (row - y) ** 2);
    const from = Math.max(0, Math.ceil(x - half)), to = Math.min(W - 1, Math.floor(x + half));
    if (to >= from) ids.fill(id, row * W + from, row * W + to + 1);
  }
}

/** Discs along a line. */
export function fillLine(ids, shape, from, to, radius, id) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const steps = Math.max(1, Math.ceil(length / Math.max(1, radius / 2)));
  for (let i = 0; i <= steps; i++)
    fillDisc(ids, shape, ...[0, 1].map(d => from[d] + i / steps * (to[d] - from[d])), radius, id);
}

/** The inside of a polygon of [x, y] corners, by whether a ray crosses its sides an odd number of
 * times. */
export function fillPolygon(ids, [H, W], corners, id) {
  for (let row = 0; row < H; row++) {
    const crossed = [];
    corners.forEach(([x1, y1], i) => {
      const [x2, y2] = corners[(i + 1) % corners.length];
      if ((y1 <= row) !== (y2 <= row)) crossed.push(x1 + (row - y1) / (y2 - y1) * (x2 - x1));
    });
    crossed.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossed.length; i += 2) {
      const from = Math.max(0, Math.ceil(crossed[i]));
      const to = Math.min(W - 1, Math.floor(crossed[i + 1]));
      if (to >= from) ids.fill(id, row * W + from, row * W + to + 1);
    }
  }
}
