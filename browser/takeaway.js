// What a person takes away and brings back: masks, a video with masks, a session.

import {palettePng, recordVideo, save, zip} from "./files.js";
import {begin, endPaint, open} from "./follow.js";
import {idsOf} from "./masks.js";
import {asCanvas, blank, maskLayer, paintLayers} from "./pictures.js";
import {Unusable} from "./sources.js";
import {element, maskAt, say, state} from "./view.js";

const PROGRAM = "gcvos-mini in the browser"; // whose sessions they are
const numbered = t => String(t).padStart(5, "0");

export async function saveMasks() {
  const files = [];
  for (const t of [...state.masks.keys()].sort((a, b) => a - b))
    files.push([`${numbered(t)}.png`, await palettePng(maskAt(t), state.size)]);
  save(zip(files), "masks.zip");
  say(`${files.length} masks saved.`);
}

export async function saveVideo() {
  const {first, newest, source, size} = state, canvas = blank(size[1], size[0]);
  const by = Math.max(1, Math.round(source.rate / 30)); // of more than 45 a second every second frame
  const count = Math.ceil((newest - first + 1) / by);
  const blob = await recordVideo(canvas, count, source.rate / by, async i => {
    const t = first + i * by, pixels = await source.frame(t);
    paintLayers(canvas, size, [[asCanvas(pixels), 1], [maskLayer(maskAt(t), size), 1]]);
    say(`Recording frame ${i + 1} of ${count} …`);
  });
  save(blob, `masks.${blob.type.endsWith("mp4") ? "mp4" : "webm"}`);
  say(`A video of ${count} frames saved${by > 1 ? `, one of ${by}` : ""}.`);
}

export function saveSession() {
  const {source, size, lines, share, first, given, gone, pins, newest} = state;
  const session = {program: PROGRAM, video: source.name, length: source.length, size,
    every: source.every ?? 1, lines, share, first, newest, pins, gone: [...gone],
    given: [...given].map(([t, runs]) => [t, [...runs]])};
  save(new Blob([JSON.stringify(session)], {type: "application/json"}), "session.json");
  say("Session saved: your masks and settings. The video is not in it.");
}

export async function openSession(file) {
  let session;
  try {
    session = JSON.parse(await file.text());
    const whole = session.given.some(([t]) => t === session.first) && session.size.length === 2;
    if (session.program !== PROGRAM || !whole) throw new Error();
  } catch {
    throw new Unusable(`${file.name}: this is not a session of this page.`);
  }
  if (session.video === "bunny" && state.source.name !== "bunny") await open(state.bunny);
  const {source} = state, {every} = source, n = session.size[0] * session.size[1];
  source.setEvery(session.every);
  const about = ({name, length, width, height}) => [name, length, height, width].join();
  if (about(source) !== [session.video, session.length, ...session.size].join()) {
    source.setEvery(every);
    throw new Unusable(`The session is of ${session.video}, ${session.length} frames. Open that video `
      + "first, then the session.");
  }
  Object.assign(state, {share: session.share, pins: session.pins, lines: session.lines,
    plan: new Map(session.gone),
    given: new Map(session.given.map(([t, runs]) => [t, Uint32Array.from(runs)]))});
  element("lines").value = session.lines;
  element("every").value = session.every;
  element("share").value = session.share ?? "";
  endPaint();
  await begin(session.first, idsOf(state.given.get(session.first), n), true);
  say(`The session is open. Play, and it goes to frame ${session.newest} and beyond.`);
}
