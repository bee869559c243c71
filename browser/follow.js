// Following the objects: what happens to the state (view.js) and in the worker, step by step.

import {difference, idsOf, runsOf} from "./masks.js";
import {Painter} from "./paint.js";
import {percent} from "./reads.js";
import {Unusable} from "./sources.js";
import {drawFrame, drawMaps, element, keepThumb, maskAt, median, say, showFrame, showMemory, state,
  widen} from "./view.js";

const BEAT = 250; // ms: four frames a second
const SIZES = [160, 240, 320]; // lines
export const painter = new Painter(element("frame"), () => drawFrame(painter));
let turn = Promise.resolve(); // what is being done, one thing after another
let whenStopped = () => {};
let runs = 0; // of play and stop: a play goes on while it is the last of them

/** Ask the worker. */
export const call = (type, message) => state.ask(type, message);

/** All that was asked for so far, done. */
export const settled = () => turn;

/** What to do each time that the video stands still. */
export function onStop(does) {
  whenStopped = does;
}

/** Do something once all before it is done. What goes wrong is said on the page. */
export function inTurn(work) {
  turn = turn.then(work).catch(error => {
    stop();
    say(error.message, true);
    if (!(error instanceof Unusable) && !(error instanceof RangeError)) console.warn(error);
    return false;
  });
  return turn;
}

// ---- frames --------------------------------------------------------------------------------------

/** Show frame t, with its mask and its keys where they are known. */
export async function show(t, pixels = null) {
  const {source, live, newest} = state;
  const at = Math.min(Math.max(t, 0), source.length - 1);
  pixels ??= await source.frame(at);
  // a mask is of the frame that it was painted on; only the first one may go along to a later frame
  if (painter.on && newest >= 0 && at !== state.t) endPaint();
  Object.assign(state, {pixels, t: at, ids: maskAt(at)});
  state.keys = newest < 0 ? null : state.t === newest ? live.keys : await call("keys", {t: state.t});
  drawAll();
}

function drawAll() {
  drawFrame(painter);
  drawMaps();
  showFrame(painter);
  showMemory();
  const done = state.newest >= 0;
  for (const id of ["saveMasks", "saveVideo", "saveSession", "pin", "rank"])
    element(id).disabled = !done;
}

/** Note what the worker found in the newest frame. */
function keep(result, pixels) {
  const {labels, t, keys, map, kept, ids, ms} = result;
  state.masks.set(t, runsOf(labels));
  Object.assign(state, {live: result, newest: t});
  state.times = [...state.times, ms].slice(-9);
  widen(keys, map[0] * map[1]);
  keepThumb(t, pixels, kept);
  state.object = Math.min(state.object, ids.length - 1);
  element("shownLabel").hidden = ids.length < 2;
  if (element("shown").options.length !== ids.length)
    element("shown").replaceChildren(...ids.map((id, o) => new Option(id, o)));
}

/** Begin at frame t with a mask, ids. later: keep what was given for other frames. */
export async function begin(t, mask, later = false) {
  const {source} = state, pixels = await source.frame(t);
  const share = state.share ?? undefined;
  const result = await call("start", {t, frame: pixels, mask, lines: state.lines, share});
  if (!later) Object.assign(state, {given: new Map(), plan: new Map()});
  Object.assign(state,
    {first: t, masks: new Map(), gone: new Map(), thumbs: new Map(), limits: [], times: []});
  state.given.set(t, runsOf(mask));
  keep(result, pixels);
  state.times = [];
  await show(t, pixels);
}

/** The next frame: one that has its mask already, or a new one. False at the end. */
export async function advance() {
  const {source, t, newest, size, given, plan} = state;
  if (newest < 0 || t + 1 >= source.length) return false;
  if (t < newest) return show(t + 1).then(() => true);
  if (t > newest) await show(newest);
  const next = newest + 1, pixels = await source.frame(next), runs = given.get(next);
  keep(await call("step", {frame: pixels, mask: runs ? idsOf(runs, size[0] * size[1]) : null}), pixels);
  for (const [gone, at] of plan) if (at === next && !state.gone.has(gone)) await takeOut(gone, true);
  await show(next, pixels);
  advise();
  return true;
}

/** The state as it was after frame t: back to a frame that the worker has kept, and on from there. */
async function backTo(t) {
  if (state.newest === t) return;
  const {t: at} = await call("rewind", {t});
  for (const later of [...state.masks.keys()]) if (later > at) state.masks.delete(later);
  for (const gone of [...state.gone.keys()]) if (gone > at) state.gone.delete(gone);
  Object.assign(state, {newest: at, t: at});
  while (state.newest < t) await advance();
}

/** What was painted becomes the mask of the frame on show. */
export async function apply() {
  painter.close(); // a polygon that is still open counts
  const {t, newest, first} = state, mask = painter.ids;
  if (newest < 0 || t <= first || t > newest) await begin(t, mask);
  else {
    const pixels = await state.source.frame(t);
    if (t < newest) await backTo(t - 1);
    for (const later of [...state.given.keys()]) if (later > t) state.given.delete(later);
    const ask = t === newest ? call("correct", {mask}) : call("step", {frame: pixels, mask});
    keep(await ask, pixels);
    state.given.set(t, runsOf(mask));
  }
  endPaint();
  await show(t);
  say(t === state.first ? "Play, and the network follows it."
    : `Frame ${t} is corrected. Play goes on from here.`);
}

// ---- play ----------------------------------------------------------------------------------------

export async function play() {
  const run = ++runs;
  await settled();
  if (run === runs && state.newest >= 0 && state.t >= state.source.length - 1)
    await inTurn(() => show(state.first));
  if (run !== runs) return;
  if (state.newest < 0) return say("Paint the object first: Paint, then Start here.");
  state.playing = true;
  endPaint();
  showPlaying();
  while (run === runs) {
    const next = performance.now() + 1000 / Number(element("speed").value);
    if (!await inTurn(advance)) break;
    await new Promise(done => setTimeout(done, Math.max(0, next - performance.now())));
  }
  if (run !== runs) return;
  if (state.newest === state.source.length - 1)
    say("That was the last frame. Go back to any frame to look into it or to correct its mask.");
  stop();
}

export function stop() {
  runs++;
  state.playing = false;
  showPlaying();
  drawFrame(painter);
  whenStopped();
}

function showPlaying() {
  element("play").textContent = state.playing ? "Pause" : "Play";
  element("play").setAttribute("aria-pressed", state.playing);
}

/** Which size keeps four frames a second, by what a pixel took. */
export function proposal(msPerPixel) {
  const [H, W] = state.size, fits = SIZES.filter(lines => lines * lines * W / H * msPerPixel <= BEAT);
  return Math.max(SIZES[0], ...fits);
}

function advise() {
  const {times, live, size: [H, W]} = state;
  if (times.length < 4) return;
  const [lines] = live.work; // a small frame has fewer than were asked for
  const ms = median(times), better = proposal(ms / (lines * lines * W / H));
  const here = `${(1000 / ms).toFixed(1)} frames a second at ${lines} lines.`;
  const slow = ms > BEAT && better < lines;
  element("advice").textContent = here + (slow ? ` ${better} would keep four.`
    : ms > BEAT ? " Four would need a faster machine." : "");
  element("follow").hidden = !slow;
  element("follow").textContent = `Take ${better} lines`;
  element("follow").onclick = () => changeLines(better);
}

/** Work at another size: from the first mask on, with all masks that were given. */
export function changeLines(lines) {
  stop();
  state.lines = lines;
  element("lines").value = lines;
  element("follow").hidden = true;
  element("advice").textContent = "";
  for (const [gone, at] of state.gone) state.plan.set(gone, at);
  if (state.newest >= 0) inTurn(() => begin(state.first, maskAt(state.first), true));
}

// ---- sources and paint ---------------------------------------------------------------------------

/** Look at another video. mask: ids of its first frame, where they are known. */
export async function open(source, mask = null) {
  state.source?.close();
  endPaint();
  Object.assign(state, {source, size: [source.height, source.width], first: 0, newest: -1, t: 0,
    live: null, keys: null, object: 0, asked: null, limits: [], times: [],
    masks: new Map(), given: new Map(), plan: new Map(), gone: new Map(), thumbs: new Map()});
  element("credit").textContent = source.credit ? source.credit + " (cut and scaled)" : "";
  element("line").replaceChildren();
  element("readWords").textContent = "Pause, then click a pixel of the video.";
  element("advice").textContent = "";
  for (const id of ["t", "back", "on", "paint", "play"]) element(id).disabled = false;
  await show(0);
  if (mask) {
    say(`${source.name}: press Play, and the network follows it.`);
    return begin(0, mask);
  }
  startPaint();
  const alone = source.length < 2
    ? ` ${source.name} has one frame: there is nothing to follow in it.` : "";
  say("Paint an object, here or on a later frame, then press Start here. "
    + `${source.note ?? ""}${alone}`);
}

export function startPaint() {
  const [H, W] = state.size, ids = state.ids ?? new Uint8Array(H * W);
  const most = ids.reduce((a, b) => Math.max(a, b), 1);
  element("object").replaceChildren(...Array.from({length: most}, (_, i) => new Option(i + 1)));
  painter.object = 1;
  sizeBrush();
  painter.begin(ids, state.size);
  element("tools").hidden = false;
  element("paint").setAttribute("aria-pressed", true);
  showFrame(painter);
}

/** The brush of the slider: as large on the screen, whatever the frame's lines. */
export function sizeBrush() {
  painter.radius = Number(element("radius").value) * state.size[0] / 240;
}

export function endPaint() {
  painter.end();
  element("tools").hidden = true;
  element("paint").setAttribute("aria-pressed", false);
  drawFrame(painter);
}

// ---- a past that was another ---------------------------------------------------------------------

export async function takeOut(t, out) {
  const before = maskAt(state.newest), result = await call("take", {t, out});
  if (out) state.gone.set(t, state.newest);
  else for (const frames of [state.gone, state.plan]) frames.delete(t);
  lookedAgain(result, before, `${out ? "Without" : "With"} frame ${t}${out ? "" : " again"}`);
}

/** The newest frame was found again under another memory. */
export function lookedAgain(result, before, words) {
  if (!result) return;
  const {newest, size} = state, n = difference(before, result.labels);
  state.live = {...result, ms: state.live.ms};
  if (state.given.has(newest)) return say(`${words}. Frame ${newest} keeps the mask that you gave; what `
    + "comes next is read from this memory.");
  state.masks.set(newest, runsOf(result.labels));
  const many = n ? `${n} pixels (${percent(n / (size[0] * size[1]))})` : "no pixels";
  say(`${words}, ${many} of frame ${newest} come out otherwise. What comes next is read from this `
    + "memory.");
}
