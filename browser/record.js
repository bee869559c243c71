// What the network wrote and asked, after gcvos_mini/record.py, and what a key channel selects,
// after keymaps.py. Of a long video it keeps some frames only, spread over all of it, so that the
// memory of the page stays the same however long the video is. No DOM here.

const BUDGET = 24e6; // bytes of all that is kept
const MOST = 64, LEAST = 8; // frames kept

/** Some frames of a video: {t, keys, query, contexts, before}, each as VideoSegmenter had it. */
export class Record {
  constructor() {
    this.kept = []; // in the order of t, the first frame always
    this.newest = null; // whether kept or not
    this.every = 1; // frames between two that are kept
  }

  /** Take a frame in. When there are too many, every second one goes. */
  add(frame) {
    this.cut(frame.t);
    this.newest = frame;
    if (this.kept.length && (frame.t - this.kept[0].t) % this.every) return;
    this.kept.push(frame);
    if (this.kept.length > this.room(frame)) {
      this.every *= 2;
      this.kept = this.kept.filter(({t}) => (t - this.kept[0].t) % this.every === 0);
    }
  }

  room({keys, query, contexts, before}) {
    const parts = [...keys, ...contexts, ...(query ? [query] : []), ...before.previous,
      ...before.memories.map(memory => memory.context)];
    const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    return Math.max(LEAST, Math.min(MOST, Math.floor(BUDGET / bytes)));
  }

  /** Forget frame t and all after it. */
  cut(t) {
    this.kept = this.kept.filter(frame => frame.t < t);
    this.newest = this.kept.at(-1);
  }

  get(t) {
    return this.newest?.t === t ? this.newest : this.kept.find(frame => frame.t === t);
  }

  /** The newest frame kept that is not after t. */
  upTo(t) {
    return this.kept.findLast(frame => frame.t <= t);
  }
}

/** What a cell of a frame reads of the kept frames before it, for one object: q . k with each
 * position, the share of each frame in the global context, and STM's softmax of the same. */
export function readOf(asking, past, cell, object, {keyDim, firstShare, gone}) {
  const n = asking.query.length / keyDim, frames = past.filter(frame => frame.keys[object]);
  const dot = frames.map(({keys}) => {
    const out = new Float32Array(n), key = keys[object];
    for (let c = 0; c < keyDim; c++)
      for (let i = 0, q = asking.query[c * n + cell]; i < n; i++) out[i] += q * key[c * n + i];
    return out;
  });
  const counted = frames.filter(({t}) => !gone.has(t)).length; // eq. 2 gives them the same weight
  const shares = frames.map(({t}, i) => (gone.has(t) ? 0 : (1 - firstShare) / counted)
    + (i === 0 ? firstShare : 0));
  let most = -Infinity, sum = 0;
  for (const map of dot) for (const d of map) most = Math.max(most, d);
  const softmax = dot.map(map => map.map(d => Math.exp((d - most) / Math.sqrt(keyDim))));
  for (const map of softmax) for (const s of map) sum += s;
  return {frames: frames.map(({t}) => t), dot, shares,
    softmax: softmax.map(map => map.map(s => s / sum))};
}

/** Which cells (h w) of the map show an object: those that it covers by more than half, or, where it
 * is too small, by more than half of what it covers of the fullest cell. soft: (H, W) of the
 * working size, which the cells of `stride` pixels lie on. */
export function maskOnMap(soft, [H, W], [h, w], stride) {
  const covered = new Float32Array(h * w);
  for (let y = 0; y < h * stride; y++) // beyond the edge the last row and column go on
    for (let x = 0; x < w * stride; x++) {
      const p = soft[Math.min(y, H - 1) * W + Math.min(x, W - 1)];
      if (p > 0.5) covered[Math.floor(y / stride) * w + Math.floor(x / stride)] += 1;
    }
  const half = covered.reduce((a, b) => Math.max(a, b), 0) / 2;
  return covered.map(c => (c > half ? 1 : 0));
}

/** How well each key channel tells the object's cells from the rest by its strength alone: the
 * chance that a random cell of the object is stronger than another, ties half. key (C, h w) -> (C),
 * or null where the cells are all the object's, or none. */
export function selectivity(key, cells) {
  const n = cells.length, objects = cells.reduce((a, b) => a + b, 0);
  if (objects === 0 || objects === n) return null;
  const order = Uint16Array.from({length: n}, (_, i) => i);
  return Float32Array.from({length: key.length / n}, (_, c) => {
    const strength = key.subarray(c * n, (c + 1) * n).map(Math.abs);
    order.sort((a, b) => strength[a] - strength[b]);
    let wins = 0;
    for (let from = 0, to; from < n; from = to) { // cells of the same strength share a rank
      let inside = 0;
      for (to = from; to < n && strength[order[to]] === strength[order[from]]; to++)
        inside += cells[order[to]];
      wins += inside * (from + to + 1) / 2;
    }
    return (wins - objects * (objects + 1) / 2) / (objects * (n - objects));
  });
}
