// The worker of the page: the network, the memory and the record live here, so that the page stays
// quick. Each message {id, type, ...} is answered by one with the same id; progress comes between.

import {Network, VideoSegmenter, spaceTimeBytes} from "./gcvos.js";
import {Record, maskOnMap, readOf, selectivity} from "./record.js";

const THREADS = 4; // more help little, and a phone gets hot
const SLOW = 150; // ms for the stored clip's frame: then the processor is the faster one
// of the stored clip's pixels, at least: the promise; the processor has no other way to go on
const RIGHT = {webgpu: 0.9999, wasm: 0.999};
const now = {network: null, segmenter: null, record: null, first: 0, frame: null, before: null,
  gone: new Map(), scores: []};

// ---- loading -------------------------------------------------------------------------------------

/** The bytes of one file: {url} from the server, or {text}, gzip in base64, from the page itself. */
async function bytesOf({url, text}, told) {
  const answer = await fetch(text ? "data:application/octet-stream;base64," + text : url);
  if (!answer.ok) throw new Error(`${url}: the server answers ${answer.status}`);
  const body = text ? answer.body.pipeThrough(new DecompressionStream("gzip")) : answer.body;
  const parts = [];
  for (let reader = body.getReader(), part; !(part = await reader.read()).done;) {
    parts.push(part.value);
    told(part.value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Fetch all files, {name: bytes}; progress in bytes of all of them. */
async function fetchAll(files, id) {
  const whole = Object.values(files).reduce((sum, {bytes}) => sum + bytes, 0);
  let done = 0;
  const told = n => postMessage({id, progress: {done: done += n, whole}});
  const parts = await Promise.all(Object.values(files).map(file => bytesOf(file, told)));
  return Object.fromEntries(Object.keys(files).map((name, i) => [name, parts[i]]));
}

const asUrl = (bytes, type) => URL.createObjectURL(new Blob([bytes], {type}));

/** One session for each graph. All read their weights from the same bytes. */
async function makeSessions(ort, files, about, provider) {
  const externalData = [{path: about.weights.file, data: files.weights}], sessions = {};
  for (const name of Object.keys(about.graphs))
    sessions[name] = await ort.InferenceSession.create(files[name],
      {executionProviders: [provider], externalData, logSeverityLevel: 3});
  return sessions;
}

/** Load the network. files: of the page's assets.js, by name; gpu: try WebGPU; threads: or 0. */
async function load({id, files, gpu, threads}) {
  const loaded = await fetchAll(files, id);
  const about = JSON.parse(new TextDecoder().decode(loaded.model));
  const ort = await import(files.runtime.url ?? asUrl(loaded.runtime, "text/javascript"));
  ort.env.wasm.wasmBinary = loaded.wasm;
  ort.env.wasm.numThreads = self.crossOriginIsolated
    ? threads || Math.min(THREADS, navigator.hardwareConcurrency || 1) : 1;
  const provider = gpu ? "webgpu" : "wasm";
  postMessage({id, progress: {words: "The network gets ready …"}});
  now.network = new Network(ort, await makeSessions(ort, loaded, about, provider), about);
  const check = await tryOut(about.check);
  if (check.equal < RIGHT[provider])
    throw new Error(`${provider} gives other masks: only ${(100 * check.equal).toFixed(2)} % are right`);
  if (gpu && check.ms > SLOW) throw new Error(`WebGPU takes ${Math.round(check.ms)} ms a frame`);
  const {check: _, ...config} = about;
  return {config, provider, threads: ort.env.wasm.numThreads, check};
}

async function pixelsOf(png) {
  const blob = await (await fetch("data:image/png;base64," + png)).blob();
  const image = await createImageBitmap(blob), {width, height} = image;
  const pen = new OffscreenCanvas(width, height).getContext("2d");
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, width, height);
}

/** The stored clip: which share of its mask comes out as Python's, and how long a frame takes. */
async function tryOut({frames, masks}) {
  const [first, later, given, right] = await Promise.all([...frames, ...masks].map(pixelsOf));
  const ids = ({data}) => Uint8Array.from({length: data.length / 4}, (_, i) => data[4 * i]);
  const segmenter = new VideoSegmenter(now.network);
  await segmenter.start(first, ids(given));
  const wanted = ids(right), found = await segmenter.step(later), start = performance.now();
  await segmenter.step(later); // the first one also made room for itself
  const equal = found.reduce((n, id, i) => n + (id === wanted[i]), 0) / found.length;
  return {equal, ms: performance.now() - start, pixels: found.length};
}

// ---- one frame after another ---------------------------------------------------------------------

/** What the page shows of the newest frame. */
function result(labels, ms) {
  const {segmenter, record} = now, {config, map, ids} = segmenter, t = newest();
  return {t, labels, ms, ids: [...ids], map, keys: segmenter.key.map(key => key.slice()),
    scores: now.scores.map(({sum, n}) => (n ? sum.map(s => s / n) : null)),
    kept: record.kept.map(frame => frame.t), work: segmenter.work, bytes: segmenter.nbytes,
    inMemory: segmenter.memories[0].frames,
    stm: spaceTimeBytes(config, map[0] * map[1], segmenter.frames, ids.length)};
}

const newest = () => now.first + now.segmenter.frames - 1;

/** All that comes back when the page goes back to here. The scores are never written to. */
const snapshot = () => ({...now.segmenter.snapshot(), gone: new Map(now.gone), scores: now.scores});

/** Note down what was just written. */
function note() {
  const {segmenter} = now, {previous, work, map, config: {stride, key_dim}} = segmenter;
  now.scores = segmenter.key.map((key, o) => {
    const scores = selectivity(key, maskOnMap(previous[o], work, map, stride));
    const {sum, n} = now.scores[o] ?? {sum: new Float32Array(key_dim), n: 0};
    return scores ? {sum: sum.map((s, c) => s + scores[c]), n: n + 1} : {sum, n};
  });
  now.record.add({t: newest(), keys: segmenter.key.map(key => key.slice()),
    query: segmenter.query?.slice(), contexts: segmenter.contexts, before: snapshot()});
}

async function start({t, frame, mask, lines, share}) {
  const segmenter = new VideoSegmenter(now.network, {height: Math.min(lines, frame.height)});
  if (share !== undefined) segmenter.firstShare = share;
  const from = performance.now();
  await segmenter.start(frame, mask);
  Object.assign(now, {segmenter, record: new Record(), first: t, frame, before: null,
    gone: new Map(), scores: []});
  note();
  return result(mask, performance.now() - from);
}

/** The next frame. mask: of the page, which paints all of it: an object not in it is not there. */
async function step({frame, mask}) {
  const from = performance.now();
  now.before = snapshot();
  const labels = await now.segmenter.step(frame, mask, true);
  now.frame = frame;
  note();
  return result(labels, performance.now() - from);
}

async function correct({mask}) {
  if (!now.segmenter.last) throw new RangeError("Go one frame on first.");
  const from = performance.now(), labels = await now.segmenter.correct(mask, true);
  now.scores = now.before.scores; // the frame counts once
  note();
  return result(labels, performance.now() - from);
}

/** Go back to the newest kept frame that is not after t; the frames from there on come again. */
function rewind({t}) {
  const {segmenter, record, gone} = now, kept = record.upTo(t);
  refuseEmpty(kept);
  record.cut(kept.t + 1);
  segmenter.restore(kept.before);
  for (const at of [...gone.keys()]) if (at > kept.t) gone.delete(at);
  bringInLine(kept.before.gone);
  Object.assign(segmenter, {key: kept.keys, query: kept.query, contexts: kept.contexts});
  Object.assign(now, {before: null, scores: kept.before.scores});
  return {t: kept.t};
}

// ---- a past that was another ---------------------------------------------------------------------

/** Add a frame to the segmenter's memories, or take it out: contexts, C_t of each object. */
function change(contexts, take) {
  contexts.forEach((context, o) => {
    const memory = now.segmenter.memories[o];
    if (take) memory.remove(context);
    else memory.add(context);
  });
}

/** Go back only where each memory has a frame left then: nothing has changed yet. */
function refuseEmpty({t, before: {memories, gone: were}}) {
  const left = memories.map(memory => memory.frames);
  const count = (contexts, by) => contexts.forEach((_, o) => { left[o] += by; });
  const out = [...now.gone.keys()].filter(at => at <= t);
  for (const at of out) if (!were.has(at)) count(now.gone.get(at), -1);
  for (const [at, contexts] of were) if (!now.gone.has(at)) count(contexts, 1);
  if (left.some(n => n < 1)) throw new RangeError("Too few frames would be left in the memory. Put one "
    + `of these back first: ${out.join(", ")}.`);
}

/** A state comes back in which other frames were taken out than are now. */
function bringInLine(were) {
  for (const [t, contexts] of now.gone) if (!were.has(t)) change(contexts, true);
  for (const [t, contexts] of were) if (!now.gone.has(t)) change(contexts, false);
}

/** Take a past frame out of the memory, or put it back; then look at the newest frame again. */
async function take({t, out}) {
  const {gone, record, segmenter} = now;
  if (out === gone.has(t))
    throw new RangeError(`Frame ${t} is ${out ? "taken out" : "in the memory"} already.`);
  if (out && segmenter.memories.some(memory => memory.frames < 3))
    throw new RangeError("Too few frames are left in the memory. Play some more first.");
  const contexts = gone.get(t) ?? record.get(t)?.contexts;
  if (!contexts) throw new RangeError(`Frame ${t} is not kept any more: it cannot be taken out.`);
  if (out) gone.set(t, contexts);
  else gone.delete(t);
  change(contexts, out);
  return again();
}

/** How much of what is read comes from the first frame; 0 is eq. 2. */
async function share({value}) {
  const {segmenter} = now;
  segmenter.firstShare = value;
  for (const memory of segmenter.memories) memory.firstShare = value;
  return again();
}

/** The newest frame as it is found with the memory as it is now, its own entry left out. */
async function again() {
  const {segmenter, frame, before} = now, {last, key, query, contexts} = segmenter;
  if (!before) return null; // the first frame has its mask given
  const live = segmenter.snapshot(), from = performance.now();
  segmenter.restore(before);
  if (before.ids.length === live.ids.length)
    segmenter.memories = live.memories.map(memory => memory.copy());
  if (before.ids.length === live.ids.length) change(contexts, true);
  const labels = await segmenter.find(frame);
  segmenter.restore(live);
  Object.assign(segmenter, {last, key, query, contexts});
  return result(labels, performance.now() - from);
}

// ---- looking into it -----------------------------------------------------------------------------

/** What a cell of frame t reads of the past, for one object. */
function read({t, cell, object}) {
  const {record, segmenter, gone} = now, asking = record.get(t);
  if (!asking?.query) return null;
  return readOf(asking, record.kept.filter(frame => frame.t < t), cell, object,
    {keyDim: segmenter.config.key_dim, firstShare: segmenter.firstShare, gone});
}

/** The key maps of a kept frame. */
function keys({t}) {
  return now.record.get(t)?.keys ?? null;
}

const does = {load, start, step, correct, rewind, take, share, read, keys};
onmessage = async ({data}) => {
  try {
    postMessage({id: data.id, result: await does[data.type](data)});
  } catch (error) {
    const refused = error instanceof RangeError; // an error's class is lost on the way
    postMessage({id: data.id, error: error.message ?? String(error), refused});
  }
};
