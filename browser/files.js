// What a person takes away: masks as PNG files in a ZIP, a video with the masks on it, the session.

import {vocPalette} from "./colours.js";

const CRC = Uint32Array.from({length: 256}, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Parts to one array of bytes: numbers of 1, 2 or 4 bytes as [number, size], arrays as they are. */
function pack(parts, littleEndian) {
  const whole = parts.reduce((n, part) => n + (Array.isArray(part) ? part[1] : part.length), 0);
  const bytes = new Uint8Array(whole), view = new DataView(bytes.buffer);
  let at = 0;
  for (const part of parts) {
    if (!Array.isArray(part)) {
      bytes.set(part, at);
      at += part.length;
    } else {
      const [value, size] = part;
      if (size === 1) view.setUint8(at, value);
      else if (size === 2) view.setUint16(at, value, littleEndian);
      else view.setUint32(at, value, littleEndian);
      at += size;
    }
  }
  return bytes;
}

const letters = text => new TextEncoder().encode(text);

/** A mask as a palette PNG in DAVIS colours, its pixel values the ids. */
export async function palettePng(ids, [H, W]) {
  const rows = new Uint8Array(H * (W + 1)); // each row begins with its filter, none
  for (let y = 0; y < H; y++) rows.set(ids.subarray(y * W, (y + 1) * W), y * (W + 1) + 1);
  const deflated = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(deflated).arrayBuffer());
  const chunk = (name, content) => {
    const named = pack([letters(name), content]);
    return pack([[content.length, 4], named, [crc32(named), 4]]);
  };
  return pack([
    Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10),
    chunk("IHDR", pack([[W, 4], [H, 4], Uint8Array.of(8, 3, 0, 0, 0)])),
    chunk("PLTE", vocPalette()), chunk("IDAT", data), chunk("IEND", new Uint8Array()),
  ]);
}

/** A ZIP of files that are compressed already: [[name, bytes], ...] -> Blob. */
export function zip(files) {
  const parts = [], list = [];
  let at = 0;
  for (const [name, bytes] of files) {
    const title = letters(name), about = [[20, 2], [0, 2], [0, 2], [0, 2], [33, 2], [crc32(bytes), 4],
      [bytes.length, 4], [bytes.length, 4], [title.length, 2], [0, 2]]; // stored, 1 January 1980
    const local = pack([[0x04034b50, 4], ...about, title], true);
    const entry = [[0x02014b50, 4], [20, 2], ...about, [0, 2], [0, 2], [0, 2], [0, 4], [at, 4], title];
    list.push(pack(entry, true));
    parts.push(local, bytes);
    at += local.length + bytes.length;
  }
  const size = list.reduce((n, entry) => n + entry.length, 0);
  const end = pack([[0x06054b50, 4], [0, 4], [files.length, 2], [files.length, 2], [size, 4], [at, 4],
    [0, 2]], true);
  return new Blob([...parts, ...list, end], {type: "application/zip"});
}

const KINDS = ["video/webm;codecs=vp9", "video/webm", "video/mp4"];

/** Record a canvas while `draw(i)` draws `count` pictures on it, `rate` of them a second -> Blob.
 * The recorder stamps by the clock, which stands while a picture is drawn, however long that takes. */
export async function recordVideo(canvas, count, rate, draw) {
  const type = globalThis.MediaRecorder && KINDS.find(kind => MediaRecorder.isTypeSupported(kind));
  if (!type) throw new Error("This browser cannot record a video. Export the masks instead.");
  const stream = canvas.captureStream(0), [track] = stream.getVideoTracks(), parts = [];
  const recorder = new MediaRecorder(stream, {mimeType: type, videoBitsPerSecond: 8e6});
  recorder.ondataavailable = event => parts.push(event.data);
  const stopped = new Promise(done => { recorder.onstop = done; });
  recorder.start();
  for (let i = 0; i < count; i++) {
    recorder.pause();
    await draw(i);
    recorder.resume();
    track.requestFrame();
    await new Promise(done => setTimeout(done, 1000 / rate));
  }
  recorder.stop();
  await stopped;
  return new Blob(parts, {type: type.split(";")[0]});
}

/** Offer a file to the person. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
