// The memory and the segmenter, after gcvos_mini/memory.py and gcvos_mini/segment.py: the same names
// in the same order, so that both can be read side by side. No DOM here: it runs in a worker of the
// page, and in Node for the tests. The convolutions are ONNX graphs, made by export.py.
//
//   const segmenter = new VideoSegmenter(network, {height: 240});
//   await segmenter.start(frame, mask);              frame {width, height, data: RGBA}, mask: ids
//   const mask = await segmenter.step(nextFrame);    Uint8Array (H W), 0 is the background
//
// An array (C, H, W) lies in one Float32Array, rows of the last index together, as in NumPy.

import {enlarge, resize, round} from "./resize.js";

// ---- memory.py -----------------------------------------------------------------------------------

/** The global context of one object: a state of (C_key, C_value), however long the video.
 *
 * In Python one memory holds B objects; here each object has its own, which lets one enter later
 * (cohorts.py). `first` is kept also where firstShare is 0, because the page has a switch for it.
 */
export class GlobalContext {
  constructor({normalization, first_share, key_dim, value_dim}) {
    this.normalization = normalization;
    this.firstShare = first_share;
    this.keyDim = key_dim;
    this.valueDim = value_dim;
    this.context = null; // G_t
    this.first = null; // C_1
    this.frames = 0; // t
  }

  /** Bytes of the context, and of the first frame's where it is used. */
  get nbytes() {
    return this.context ? this.context.byteLength * (this.firstShare ? 2 : 1) : 0;
  }

  /** C_t of one frame (eq. 1): key (C_key, HW), value (C_value, HW) -> (C_key, C_value). */
  frameContext(key, value) {
    const {keyDim, valueDim} = this, n = key.length / keyDim; // n = HW
    const context = new Float32Array(keyDim * valueDim);
    const divisor = this.normalization === "mean" ? n : 1;
    for (let c = 0; c < keyDim; c++) {
      for (let d = 0; d < valueDim; d++) {
        let sum = 0; // eq. 1: C_t = k(X_t)^T v(X_t)
        for (let i = 0, k = c * n, v = d * n; i < n; i++) sum += key[k + i] * value[v + i];
        context[c * valueDim + d] = sum / divisor;
      }
    }
    return context;
  }

  /** Take a frame into the mean (eqs. 1, 2). Returns its C_t, for `remove`. */
  write(key, value) {
    const fresh = this.frameContext(key, value);
    this.first ??= fresh;
    this.add(fresh);
    return fresh;
  }

  /** Eq. 2, G_t = (t-1)/t G_{t-1} + 1/t C_t, as a step towards C_t, as in Python. */
  add(fresh) {
    this.frames += 1;
    const old = this.context ?? new Float32Array(fresh.length);
    this.context = old.map((g, i) => g + (fresh[i] - g) / this.frames);
  }

  /** Take a written frame out again, given its C_t: what is left is the mean of the others. */
  remove(gone) {
    if (this.frames < 2) throw new RangeError("one frame in the context: it cannot be taken out");
    this.frames -= 1;
    this.context = this.context.map((g, i) => g + (g - gone[i]) / this.frames);
  }

  /** What the context says to a frame (eq. 3): query (C_key, HW) -> (C_value, HW). */
  read(query) {
    if (!this.context) throw new Error("nothing written yet: write a frame before reading");
    const {keyDim, valueDim, first, firstShare} = this, n = query.length / keyDim;
    const context = firstShare
      ? this.context.map((g, i) => g + firstShare * (first[i] - g)) : this.context;
    const read = new Float32Array(valueDim * n);
    for (let c = 0; c < keyDim; c++) {
      for (let d = 0; d < valueDim; d++) {
        const g = context[c * valueDim + d]; // eq. 3: R_t = q(X_t) G_t
        for (let i = 0, q = c * n, r = d * n; i < n; i++) read[r + i] += g * query[q + i];
      }
    }
    return read;
  }

  copy() {
    return Object.assign(Object.create(GlobalContext.prototype), this); // arrays are never changed
  }
}

/** What STM would hold by now: all keys and values of all frames, in float32. */
export function spaceTimeBytes({key_dim, value_dim}, positions, frames, objects) {
  return 4 * (key_dim + value_dim) * positions * frames * objects;
}

// ---- network.py ----------------------------------------------------------------------------------

/** uint8 RGBA (H, W, 4) -> float32 (3, H, W) in [0, 1]. */
export function toTensor({data, width, height}) {
  const n = width * height, x = new Float32Array(3 * n);
  for (let i = 0; i < n; i++)
    for (let c = 0; c < 3; c++) x[c * n + i] = data[4 * i + c] / 255;
  return x;
}

/** (C, h, w) -> padded at the bottom and right to multiples of the stride, edges repeated. */
export function padToStride(x, [channels, h, w], stride) {
  const H = Math.ceil(h / stride) * stride, W = Math.ceil(w / stride) * stride;
  const padded = new Float32Array(channels * H * W);
  for (let c = 0, to = 0; c < channels; c++) {
    for (let y = 0; y < H; y++, to += W) {
      const from = (c * h + Math.min(y, h - 1)) * w;
      padded.set(x.subarray(from, from + w), to);
      padded.fill(x[from + w - 1], to + w, to + W);
    }
  }
  return padded;
}

/** Log odds, O maps of n values -> probabilities, O + 1 maps, background first (section 4.2). */
export function objectProbabilities(odds, n) {
  const objects = odds.length / n, soft = new Float32Array((objects + 1) * n);
  for (let i = 0; i < n; i++) {
    let most = 0, sum = 0; // the background's own map is 0
    for (let o = 0; o < objects; o++) most = Math.max(most, odds[o * n + i]);
    for (let o = -1; o < objects; o++) {
      const e = Math.exp((o < 0 ? 0 : odds[o * n + i]) - most);
      soft[(o + 1) * n + i] = e;
      sum += e;
    }
    for (let o = 0; o <= objects; o++) soft[o * n + i] /= sum;
  }
  return soft;
}

/** The three graphs behind the names that network.py has. ort: onnxruntime-web. */
export class Network {
  constructor(ort, sessions, config) {
    Object.assign(this, {ort, sessions, config});
  }

  tensor(data, dims) {
    return new this.ort.Tensor("float32", data, dims);
  }

  /** Frame (3, H, W) -> {query, local, skip8, skip4}, tensors of the runtime. */
  encodeQuery(frame, H, W) {
    return this.sessions.query.run({frame: this.tensor(frame, [1, 3, H, W])});
  }

  /** Frame (3, H, W), soft mask of one object (H, W) -> {key, value}, (1, C, h, w) each. */
  encodeMemory(frame, mask, H, W) {
    return this.sessions.memory.run(
      {frame: this.tensor(frame, [1, 3, H, W]), mask: this.tensor(mask, [1, 1, H, W])});
  }

  /** Context of one object, what encodeQuery gave, its soft mask before -> log odds (H, W). */
  async decode(context, {local, skip8, skip4}, previous, H, W) {
    const [, , h, w] = local.dims;
    const read = this.tensor(context, [1, this.config.value_dim, h, w]);
    const inputs = {context: read, local, skip8, skip4};
    if (this.config.previous_mask) inputs.previous = this.tensor(previous, [1, 1, H, W]);
    return (await this.sessions.decoder.run(inputs)).odds.data;
  }
}

// ---- segment.py ----------------------------------------------------------------------------------

/** The object ids in a mask, in order: without background (0) and void (255). */
export function objectIds(mask) {
  const seen = new Set(mask);
  return [...seen].filter(id => id !== 0 && id !== 255).sort((a, b) => a - b);
}

/** Segments the objects of a first mask through a video, one frame at a time.
 *
 * height: lines at which the network works; the network's own if not given, or the frames' where
 * that is less. To look at after each frame: ids, memories, key and query as in Python, and
 * contexts: C_t of what was written last, one for each object.
 */
export class VideoSegmenter {
  constructor(network, {height = null} = {}) {
    this.network = network;
    this.config = network.config;
    this.height = height;
    this.firstShare = network.config.first_share;
    this.frames = 0;
  }

  _fresh() {
    return new GlobalContext({...this.config, first_share: this.firstShare});
  }

  /** Begin a video with its first frame and the mask that is given for it. */
  async start(frame, mask) {
    if (mask.length !== frame.width * frame.height)
      throw new RangeError("the first mask and the first frame must be the same size");
    this.ids = objectIds(mask);
    if (!this.ids.length) throw new RangeError("the first mask has no object: paint one");
    this.shape = [frame.height, frame.width];
    this.work = this._workingSize(this.shape);
    this.memories = this.ids.map(() => this._fresh());
    this.frames = 0;
    this.query = null;
    this.last = null;
    this.previous = this._objects(mask).map(object => this._resize(object));
    await this._write(this._prepare(frame), this.previous);
  }

  /** The next frame -> its mask. mask: where something of this frame is known; its ids become
   * objects from here on, or are corrected. whole: the mask says it of all objects, also of those
   * that it does not show. */
  async step(frame, mask = null, whole = false) {
    let {labels, image, soft} = await this._find(frame), objects = soft;
    if (mask) [labels, objects] = this._withGiven(mask, labels, objects, whole);
    this.last = {image, labels, soft};
    this.previous = objects;
    await this._write(image, objects);
    return labels;
  }

  /** The mask of the newest frame by hand: as if `step` had been given it. What was written of
   * that frame is taken out again, which a mean of frames can do exactly. */
  async correct(mask, whole = false) {
    if (this.frames < 2)
      throw new RangeError("the first frame has the mask it was given: start again with another");
    let {image, labels, soft} = this.last, objects;
    this.memories = this.memories.map((memory, o) => {
      if (memory.frames === 1) return this._fresh(); // of an object that entered with this frame
      memory.remove(this.contexts[o]);
      return memory;
    });
    this.frames -= 1;
    if (soft.length < this.ids.length)
      soft = [...soft, ...this._objects(labels).slice(soft.length).map(x => this._resize(x))];
    [labels, objects] = this._withGiven(mask, labels, soft, whole);
    this.last = {image, labels, soft: objects};
    this.previous = objects;
    await this._write(image, objects);
    return labels;
  }

  /** The mask of a frame as `step` finds it; the memory stays as it is. */
  async find(frame) {
    return (await this._find(frame)).labels;
  }

  /** The ids found and the soft masks, with what a mask says. */
  _withGiven(mask, labels, soft, whole) {
    if (mask.length !== labels.length) throw new RangeError("mask and frame must be the same size");
    const given = objectIds(mask), isGiven = new Uint8Array(256);
    for (const id of whole ? [...given, ...this.ids] : given) isGiven[id] = 1;
    labels = labels.map((id, i) => (isGiven[mask[i]] ? mask[i] : isGiven[id] ? 0 : id));
    for (const id of given.filter(id => !this.ids.includes(id))) {
      this.ids.push(id);
      this.memories.push(this._fresh());
    }
    const claimed = this._resize(Float32Array.from(mask, id => isGiven[id]));
    const objects = this._objects(labels).map((hard, o) => isGiven[this.ids[o]]
      ? this._resize(hard) : soft[o].map((p, i) => p * (1 - claimed[i])));
    return [labels, objects];
  }

  /** Object ids (H, W) -> O maps, 1 on the object. */
  _objects(mask) {
    return this.ids.map(id => Float32Array.from(mask, at => (at === id ? 1 : 0)));
  }

  /** Its mask, the frame at working size, and the soft masks of the O objects. */
  async _find(frame) {
    if (!this.frames) throw new Error("no first frame yet: call start before step");
    if (frame.height !== this.shape[0] || frame.width !== this.shape[1])
      throw new RangeError("all frames must be the same size");
    const image = this._prepare(frame), [h, w] = this.work, [H, W] = this.padded;
    const asked = await this.network.encodeQuery(this._pad(image), H, W);
    this.query = asked.query.data; // (C_key, HW), the same for all objects
    const odds = new Float32Array(this.ids.length * h * w);
    for (const [o, memory] of this.memories.entries()) {
      const context = memory.read(this.query);
      const map = await this.network.decode(context, asked, this._pad(this.previous[o]), H, W);
      for (let y = 0; y < h; y++) // without what was padded
        odds.set(map.subarray(y * W, y * W + w), (o * h + y) * w);
    }
    const soft = objectProbabilities(odds, h * w);
    const maps = [0, ...this.ids].map((_, o) => soft.subarray(o * h * w, (o + 1) * h * w));
    return {labels: this._winners(maps), image, soft: maps.slice(1)};
  }

  /** At each pixel of the frame's own size, the id of the most probable map, background first. */
  _winners(maps) {
    const labels = new Uint8Array(this.shape[0] * this.shape[1]);
    const most = enlarge(maps[0], this.work, this.shape).slice();
    maps.slice(1).forEach((map, o) => {
      const large = enlarge(map, this.work, this.shape), id = this.ids[o];
      for (let i = 0; i < labels.length; i++)
        if (large[i] > most[i]) {
          most[i] = large[i];
          labels[i] = id;
        }
    });
    return labels;
  }

  _workingSize([H, W]) {
    const height = this.height ?? Math.min(H, this.config.height ?? H);
    return height === H ? [H, W] : [height, Math.max(1, round(W * height / H))];
  }

  _prepare(frame) {
    return this._resize(toTensor(frame));
  }

  /** (C, H, W) -> (C, h, w) at the working height, the width in proportion. */
  _resize(x) {
    const [H, W] = this.shape;
    return this.work[0] === H ? x : resize(x, [x.length / (H * W), H, W], this.work);
  }

  /** (C, h, w) -> what the graphs take: multiples of the stride. */
  _pad(x) {
    const [h, w] = this.work;
    return padToStride(x, [x.length / (h * w), h, w], this.config.stride);
  }

  get padded() {
    const {stride} = this.config;
    return this.work.map(n => Math.ceil(n / stride) * stride);
  }

  /** One more frame in the memory; `key` and `contexts` keep what was written last. */
  async _write(image, objects) {
    const frame = this._pad(image), [H, W] = this.padded;
    const keys = [], contexts = [];
    for (const [o, memory] of this.memories.entries()) {
      const {key, value} = await this.network.encodeMemory(frame, this._pad(objects[o]), H, W);
      keys.push(key.data); // (C_key, HW)
      contexts.push(memory.write(key.data, value.data));
    }
    Object.assign(this, {key: keys, contexts});
    this.frames += 1;
  }

  /** Height and width of the feature maps, in cells. */
  get map() {
    return this.padded.map(n => n / this.config.stride);
  }

  /** Bytes of all objects' states. */
  get nbytes() {
    return this.memories.reduce((sum, memory) => sum + memory.nbytes, 0);
  }

  /** Everything that the next frame depends on, to come back to with `restore`. */
  snapshot() {
    const {ids, frames, previous} = this;
    return {ids: [...ids], frames, previous, memories: this.memories.map(memory => memory.copy())};
  }

  restore({ids, frames, previous, memories}) {
    Object.assign(this, {ids: [...ids], frames, previous, last: null,
      memories: memories.map(memory => Object.assign(memory.copy(), {firstShare: this.firstShare}))});
  }
}
