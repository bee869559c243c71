// node follow.mjs JOB.json: browser/gcvos.js on onnxruntime's browser bundle, without a browser.
//
// JOB: {ort, gcvos, model, frames, size: [T, H, W], first, height, given: {t: FILE}, correct, whole,
// out}. frames: raw RGB bytes; masks: raw ids. Writes the masks of all frames, raw, to out, and
// prints {ms: of each step, bytes: of the state after each}.
import {readFileSync, writeFileSync} from "node:fs";
import {pathToFileURL} from "node:url";

const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
const ort = await import(pathToFileURL(job.ort));
const {Network, VideoSegmenter} = await import(pathToFileURL(job.gcvos));
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = readFileSync(job.ort.replace(/[^/]*$/, "ort-wasm-simd-threaded.wasm"));

const about = JSON.parse(readFileSync(`${job.model}/model.json`, "utf8"));
const weights = new Uint8Array(readFileSync(`${job.model}/${about.weights.file}`));
const sessions = {};
for (const [name, file] of Object.entries(about.graphs)) {
  sessions[name] = await ort.InferenceSession.create(readFileSync(`${job.model}/${file}`), {
    executionProviders: ["wasm"], externalData: [{path: about.weights.file, data: weights}]});
}

const [T, H, W] = job.size, pixels = readFileSync(job.frames), n = H * W;
const ids = file => new Uint8Array(readFileSync(file));
function frame(t) {
  const data = new Uint8ClampedArray(4 * n).fill(255);
  for (let i = 0; i < n; i++)
    for (let c = 0; c < 3; c++) data[4 * i + c] = pixels[3 * (t * n + i) + c];
  return {data, width: W, height: H};
}

const segmenter = new VideoSegmenter(new Network(ort, sessions, about), {height: job.height});
if (job.first_share !== undefined) segmenter.firstShare = job.first_share;
const masks = new Uint8Array(T * n), ms = [], bytes = [];
masks.set(ids(job.first));
await segmenter.start(frame(0), ids(job.first));
for (let t = 1; t < T; t++) {
  const start = performance.now(), given = job.given?.[t] ? ids(job.given[t]) : null;
  let mask;
  if (given && job.correct) {
    await segmenter.step(frame(t));
    mask = await segmenter.correct(given, job.whole);
  } else mask = await segmenter.step(frame(t), given, job.whole);
  ms.push(performance.now() - start);
  bytes.push(segmenter.nbytes);
  masks.set(mask, t * n);
}
writeFileSync(job.out, masks);
console.log(JSON.stringify({ms, bytes}));
