// F.interpolate of PyTorch, bilinear, as segment.py uses it. A canvas resizes otherwise: with its
// pictures one pixel in a thousand of the masks is another.

/** Where each of `size` output values looks: [first input, weights], triangles of a width that
 * takes in all inputs where the picture shrinks (antialias=True). */
function triangles(length, size) {
  const scale = length / size, reach = Math.max(scale, 1);
  return Array.from({length: size}, (_, at) => {
    const centre = scale * (at + 0.5);
    const start = Math.max(Math.floor(centre - reach + 0.5), 0);
    const end = Math.min(Math.floor(centre + reach + 0.5), length);
    const weights = new Float32Array(end - start);
    let sum = 0;
    for (let i = start; i < end; i++)
      sum += weights[i - start] = Math.max(0, 1 - Math.abs((i - centre + 0.5) / reach));
    return [start, weights.map(weight => weight / sum)];
  });
}

/** (C, H, W) -> (C, h, w), antialiased: F.interpolate(x, (h, w), mode="bilinear", antialias=True). */
export function resize(x, [channels, H, W], [h, w]) {
  const rows = channels * H;
  const across = new Float32Array(rows * w), out = new Float32Array(channels * h * w);
  triangles(W, w).forEach(([start, weights], to) => {
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let i = 0, from = row * W + start; i < weights.length; i++) sum += weights[i] * x[from + i];
      across[row * w + to] = sum;
    }
  });
  triangles(H, h).forEach(([start, weights], y) => {
    for (let c = 0; c < channels; c++) {
      const to = (c * h + y) * w;
      for (let i = 0; i < weights.length; i++) {
        const from = (c * H + start + i) * w, weight = weights[i];
        for (let column = 0; column < w; column++) out[to + column] += weight * across[from + column];
      }
    }
  });
  return out;
}

/** Between which two inputs each output lies, and how far along: bilinear without antialias. */
function between(length, size) {
  const low = new Int32Array(size), high = new Int32Array(size), along = new Float32Array(size);
  for (let at = 0; at < size; at++) {
    const place = Math.max(length / size * (at + 0.5) - 0.5, 0);
    low[at] = Math.floor(place);
    high[at] = Math.min(low[at] + 1, length - 1);
    along[at] = place - low[at];
  }
  return {low, high, along};
}

/** One map (h, w) -> (H, W): F.interpolate(x, (H, W), mode="bilinear"). */
export function enlarge(map, [h, w], [H, W]) {
  if (h === H && w === W) return map;
  const out = new Float32Array(H * W), rows = between(h, H), columns = between(w, W);
  const {low, high, along} = columns;
  for (let y = 0, i = 0; y < H; y++) {
    const above = rows.low[y] * w, below = rows.high[y] * w, down = rows.along[y];
    for (let x = 0; x < W; x++, i++) {
      const left = low[x], right = high[x], part = along[x];
      out[i] = (1 - down) * ((1 - part) * map[above + left] + part * map[above + right])
        + down * ((1 - part) * map[below + left] + part * map[below + right]);
    }
  }
  return out;
}

/** Python's round(): halves go to the even neighbour. */
export function round(x) {
  const low = Math.floor(x), over = x - low;
  return over > 0.5 || (over === 0.5 && low % 2) ? low + 1 : low;
}
