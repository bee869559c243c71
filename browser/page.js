// The page: what each control does, and how it starts. The state is in view.js, what happens to it in
// follow.js, the network in worker.js.

import {addHeaders, ask, listFiles, makeWorker, readJson} from "./assets.js";
import {advance, apply, call, changeLines, endPaint, inTurn, lookedAgain, onStop, open, painter, play,
  proposal, settled, show, sizeBrush, startPaint, stop, takeOut} from "./follow.js";
import {ARROWS, pixelAt} from "./paint.js";
import {drawReads, percent} from "./reads.js";
import {Pictures, film, openFiles} from "./sources.js";
import {openSession, saveMasks, saveSession, saveVideo} from "./takeaway.js";
import {drawFrame, drawMaps, element, grid, pin, say, state} from "./view.js";

const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

// ---- sources and objects -------------------------------------------------------------------------

async function openBunny(clip) {
  const blobs = clip.frames.map(jpeg => new Blob([Uint8Array.from(atob(jpeg), c => c.charCodeAt(0))]));
  const source = await Pictures.open(blobs, clip);
  const png = await createImageBitmap(await (await fetch("data:image/png;base64," + clip.mask)).blob());
  const pen = new OffscreenCanvas(source.width, source.height).getContext("2d");
  pen.drawImage(png, 0, 0);
  const {data} = pen.getImageData(0, 0, source.width, source.height);
  const isRed = (_, i) => (data[4 * i] > 0 ? 1 : 0); // the colour of object 1
  source.mask = Uint8Array.from({length: data.length / 4}, isRed);
  return source;
}

/** Open a source with each n-th of its frames. */
async function openEvery(source) {
  source.setEvery(Number(element("every").value));
  if (state.source === source) state.source = null; // it is not to be closed
  await open(source, source.mask);
}

/** The files of an input, which then takes the same ones again. */
function taken(input) {
  const files = [...input.files];
  input.value = "";
  return files;
}

function useFiles(files) {
  if (!files.length) return;
  stop();
  inTurn(async () => {
    say("The video opens …");
    await openEvery(await openFiles(files));
  });
}

function useCamera() {
  stop();
  const button = element("camera"), screen = element("screen"), words = button.textContent;
  inTurn(async () => {
    const until = new Promise(done => { button.onclick = done; });
    button.textContent = "Stop filming";
    screen.hidden = false;
    try {
      const counted = n => say(`Filming: ${n} frames. Press Stop filming when you have enough.`);
      await openEvery(await film(screen, until, counted));
    } finally {
      screen.hidden = true;
      Object.assign(button, {textContent: words, onclick: useCamera});
    }
  });
}

function oneMore() {
  const list = element("object"), id = list.options.length + 1;
  if (id > 12) return say("Twelve objects are enough for one page.", true);
  list.append(new Option(id));
  list.value = id;
  painter.object = id;
}

// ---- looking into the memory ---------------------------------------------------------------------

/** What the asking pixel reads of the past. */
async function readPixel() {
  const {asked: [x, y], t, newest, live, size: [H, W], object, gone} = state;
  drawFrame(painter);
  if (newest < 0 || t > newest) return;
  const {work: [h, w], map: [rows, columns]} = live, {stride} = state.config;
  const row = Math.min(Math.floor((y + 0.5) * h / H / stride), rows - 1);
  const column = Math.min(Math.floor((x + 0.5) * w / W / stride), columns - 1);
  const seen = await call("read", {t, cell: row * columns + column, object});
  const words = element("readWords");
  element("line").hidden = !seen?.frames.length;
  if (!seen?.frames.length) {
    words.textContent = t === state.first
      ? "The first frame has its mask given and reads nothing. Go on to a later one."
      : seen ? `No frame before ${t} that is kept has object ${live.ids[object]}: nothing is read for it.`
      : `What frame ${t} asked is not kept. Of this video these frames are: ${live.kept.join(", ")}.`;
    return;
  }
  const {thumbs} = state, about = {thumbs, grid: grid(), gone, take: toggle};
  const {gc, stm} = drawReads(element("line"), seen, about);
  const best = stm.indexOf(Math.max(...stm)), all = t - state.first;
  words.textContent = `Row ${row}, column ${column} of frame ${t} reads ${all} past frame`
    + (all > 1 ? "s" : "") + (seen.frames.length < all ? `, ${seen.frames.length} of them on show` : "")
    + `. Of the global context's weight, ${percent(gc[0])} is on frame ${seen.frames[0]}; `
    + `STM looks most at frame ${seen.frames[best]}, with ${percent(stm[best])}.`;
}

/** Take a frame out of the memory or put it back. */
const toggle = t => inTurn(async () => {
  if (painter.on) endPaint();
  await takeOut(t, !state.gone.has(t));
  await show(state.newest);
  if (state.asked) await readPixel();
});

function changeShare() {
  const {value} = element("share");
  state.share = value === "" ? null : Number(value);
  if (state.newest < 0) return;
  inTurn(async () => {
    await show(state.newest);
    const before = state.ids, share = state.share ?? state.config.first_share;
    lookedAgain(await call("share", {value: share}), before,
      share ? `With ${percent(share)} for the first frame` : "With eq. 2 as it is printed");
    await show(state.newest);
    if (state.asked) await readPixel();
  });
}

// ---- controls ------------------------------------------------------------------------------------

/** One frame back or on. On from the newest one finds the next mask. */
const go = by => {
  stop();
  return inTurn(async () => {
    if (by > 0 && state.newest >= 0 && state.t >= state.newest) await advance();
    else await show(state.t + by);
    if (state.asked) await readPixel();
  });
};

function askAt(x, y) {
  const [H, W] = state.size;
  state.asked = [Math.min(Math.max(x, 0), W - 1), Math.min(Math.max(y, 0), H - 1)];
  inTurn(readPixel);
}

function frameKey(event) {
  const {live, size: [H]} = state, cell = live ? H * state.config.stride / live.work[0] : 8;
  const move = ARROWS[event.key];
  if (!move || painter.on) return;
  event.preventDefault();
  const [x, y] = state.asked ?? [state.size[1] / 2, H / 2];
  askAt(x + cell * move[0], y + cell * move[1]);
}

function pageKey(event) {
  const typing = event.target.closest("input, select, button, summary, a");
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !state.source) return;
  if (event.key === "," ) go(-1);
  else if (event.key === ".") go(1);
  else if (event.key === "p" && !typing) element("paint").click();
  else if (event.key === " " && !typing) element("play").click();
  else return;
  event.preventDefault();
}

let wanted = 0; // where the slider was put last: its own value goes with the frame on show

/** To the slider's frame: of many on the way only the last one is shown. */
function slide() {
  stop();
  const t = wanted = Number(element("t").value);
  inTurn(() => (t === wanted ? show(t) : null));
}

function connect() {
  const on = (id, event, does) => element(id).addEventListener(event, does);
  on("play", "click", () => (state.playing ? stop() : play()));
  on("back", "click", () => go(-1));
  on("on", "click", () => go(1));
  on("t", "input", slide);
  on("t", "change", () => state.asked && inTurn(readPixel));
  on("paint", "click", () => {
    if (painter.on) return endPaint();
    stop();
    inTurn(startPaint);
  });
  on("cancel", "click", endPaint);
  on("apply", "click", () => inTurn(apply));
  on("undo", "click", () => painter.undo());
  on("clear", "click", () => painter.clear());
  on("more", "click", oneMore);
  on("object", "change", event => { painter.object = Number(event.target.value); });
  on("radius", "input", sizeBrush);
  for (const tool of document.getElementsByName("tool"))
    tool.onchange = () => {
      painter.close();
      painter.tool = tool.value;
    };
  on("frame", "click", event => {
    if (!painter.on && state.config) askAt(...pixelAt(element("frame"), state.size, event));
  });
  on("frame", "keydown", frameKey);
  document.addEventListener("keydown", pageKey);
  for (const id of ["rank", "alpha"]) on(id, "input", drawMaps);
  on("sorted", "change", () => {
    const {channel} = state;
    element("rank").value = element("sorted").checked ? 0 : channel;
    drawMaps();
  });
  on("shown", "change", event => {
    state.object = Number(event.target.value);
    drawMaps();
    if (state.asked) inTurn(readPixel);
  });
  on("pin", "click", pin);
  on("share", "change", changeShare);
  on("lines", "change", event => changeLines(Number(event.target.value)));
  on("every", "change", () => { stop(); inTurn(() => openEvery(state.source)); });
  on("bunny", "click", () => { stop(); inTurn(() => openEvery(state.bunny)); });
  on("file", "change", event => useFiles(taken(event.target)));
  document.addEventListener("dragover", event => event.preventDefault());
  document.addEventListener("drop", event => {
    event.preventDefault();
    if (state.config) useFiles([...event.dataTransfer.files]);
  });
  element("camera").onclick = useCamera;
  on("saveMasks", "click", () => { stop(); inTurn(saveMasks); });
  on("saveVideo", "click", () => { stop(); inTurn(saveVideo); });
  on("saveSession", "click", () => { stop(); inTurn(saveSession); });
  on("session", "change", event => {
    const [file] = taken(event.target);
    stop();
    if (file) inTurn(() => openSession(file));
  });
}

// ---- start ---------------------------------------------------------------------------------------

/** The choices for the first frame's part; "" is the network's own. */
function offerShares(trained) {
  const own = trained ? `${percent(trained)}, as trained` : "none: eq. 2, as trained";
  const others = [0, 0.3, 0.5, 0.7, 0.9].filter(value => value !== trained);
  element("share").append(new Option(own, ""), ...others.map(
    value => new Option(value ? percent(value) : "none: eq. 2 as it is printed", value)));
}

/** A share of 1 to two decimals, rounded down: 100 % is all. */
const exactly = share => (share === 1 ? "100 %" : `${(Math.floor(1e4 * share) / 100).toFixed(2)} %`);

/** Start the network: on the graphics card where it gives the same masks, else on the processor.
 * why: why the card that is there is not used. */
async function startNetwork(files) {
  const bar = element("progress");
  const told = ({done, whole, words}) => {
    if (words) return say(words);
    bar.value = done / whole;
    say(`The network loads: ${(done / 1e6).toFixed(0)} of ${(whole / 1e6).toFixed(0)} MB.`);
  };
  const {runtime, wasm, gpuRuntime, gpuWasm, clip, ...rest} = files;
  const threads = Number(new URLSearchParams(location.search).get("threads")); // ?threads=2: to measure
  const adapter = gpuRuntime && await navigator.gpu?.requestAdapter().catch(() => null);
  const card = adapter && !adapter.info?.isFallbackAdapter; // else the processor draws, more slowly
  const waits = "Suspending" in WebAssembly, ways = [[{runtime, wasm}, false]];
  if (card && waits) ways.unshift([{runtime: gpuRuntime, wasm: gpuWasm}, true]);
  let why = card && !waits ? "for the graphics card this browser lacks JSPI" : "";
  for (const [program, gpu] of ways) {
    const worker = makeWorker();
    state.ask = ask(worker);
    const absolute = Object.fromEntries(Object.entries({...rest, ...program}).map(([name, file]) =>
      [name, file.url ? {...file, url: new URL(file.url, location).href} : file]));
    try {
      return {...await state.ask("load", {files: absolute, gpu, threads}, told), why: gpu ? "" : why};
    } catch (error) {
      worker.terminate();
      if (!gpu) throw error;
      why = error.message;
    }
  }
}

async function main() {
  connect();
  onStop(() => { if (state.asked && state.newest >= 0) inTurn(readPixel); });
  if (await addHeaders()) return;
  const {files, version} = await listFiles();
  state.bunny = await openBunny(await readJson(files.clip));
  Object.assign(state, {source: state.bunny, size: [state.bunny.height, state.bunny.width]});
  state.pixels = await state.bunny.frame(0);
  state.ids = state.bunny.mask;
  drawFrame(painter);
  element("frameText").textContent = "bunny, frame 0: with the mask that is given.";
  element("credit").textContent = state.bunny.credit + " (cut and scaled)";
  const {config, provider, threads, check, why} = await startNetwork(files);
  state.config = config;
  state.lines = proposal(check.ms / check.pixels);
  element("lines").value = state.lines;
  element("rank").max = config.key_dim - 1;
  offerShares(config.first_share);
  const where = provider === "webgpu" ? "on the graphics card"
    : `on ${threads} thread${threads > 1 ? "s" : ""}`;
  element("about").textContent = `gcvos-mini ${version}, network “${config.checkpoint}”, `
    + `${(config.parameters / 1e6).toFixed(1)} million parameters, SHA-256 `
    + `${config.weights.sha256.slice(0, 12)}…; it runs ${where}${why && ` (${why})`}; on the stored clip `
    + `${exactly(check.equal)} of the pixels are Python's.`
    + (config.previous_mask ? " Its decoder also sees where the object was one frame before." : "");
  for (const id of ["bunny", "file", "camera", "every", "session"]) element(id).disabled = false;
  element("progress").hidden = true;
  await inTurn(() => openEvery(state.bunny));
  say(`Ready: the network runs ${where}. ` + (still ? "Press Play."
    : "It follows the rabbit now; pause and look inside, or choose your own video."));
  if (!still) play();
}

const ready = main().catch(error => {
  element("progress").hidden = true;
  say(`The page could not start: ${error.message}. A newer Chrome, Edge, Firefox or Safari may help.`,
    true);
});
globalThis.gcvos = {state, painter, ready, settled, open}; // for the console and the tests
