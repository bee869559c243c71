// Where frames come from: pictures (the bunny, the camera's, a folder's) or a video file. Each source
// has name, credit, length, rate, width, height, a note on what was done to it, and frame(t).

import {within} from "./assets.js";

const MOST_LINES = 720; // of a frame: larger ones are shrunk, or masks would take seconds
const PATIENCE = 8000, LATE = 250; // ms to wait for a frame of a video; for it to be shown
const CAMERA_RATE = 8, CAMERA_FRAMES = 320; // a second; at most

/** What a person can mend. Its words go on the page. */
export class Unusable extends Error {}

/** Width and height as they are worked with, and a word where that is less. */
function fitted(width, height) {
  if (height <= MOST_LINES) return {width, height, note: ""};
  const size = {width: Math.round(width * MOST_LINES / height), height: MOST_LINES};
  const now = `${size.width} x ${MOST_LINES}`;
  return {...size, note: `${width} x ${height} pixels are many; here they are ${now}.`};
}

/** Draws frames of one size, and reads their pixels. */
class Reader {
  constructor({width, height}) {
    const canvas = Object.assign(document.createElement("canvas"), {width, height});
    this.pen = canvas.getContext("2d", {willReadFrequently: true});
    Object.assign(this, {width, height});
  }

  read(image) {
    this.pen.drawImage(image, 0, 0, this.width, this.height);
    return this.pen.getImageData(0, 0, this.width, this.height);
  }
}

/** A Blob as a picture. name: of what it belongs to, where it is no file with its own. */
async function asPicture(blob, name) {
  try {
    return await createImageBitmap(blob, {colorSpaceConversion: "none"});
  } catch {
    throw new Unusable(`${blob.name ?? name}: the picture is damaged, or of a kind that this browser `
      + "does not know.");
  }
}

/** Pictures, Blobs in order, as a video. */
export class Pictures {
  static async open(blobs, {name, rate = 12, credit = ""}) {
    const first = await asPicture(blobs[0], name), size = fitted(first.width, first.height);
    const source = Object.assign(new Pictures(), {blobs, name, fileRate: rate, credit, ...size,
      fileSize: `${first.width} x ${first.height}`});
    source.reader = new Reader(size);
    source.setEvery(1);
    return source;
  }

  /** Take each n-th picture only. */
  setEvery(every) {
    this.every = every;
    this.rate = this.fileRate / every;
  }

  get length() {
    return Math.ceil(this.blobs.length / this.every);
  }

  async frame(t) {
    const blob = this.blobs[t * this.every], image = await asPicture(blob, this.name);
    const size = `${image.width} x ${image.height}`;
    if (size !== this.fileSize) throw new Unusable(`${blob.name}: the picture has ${size} pixels, the `
      + `first one ${this.fileSize}. All must be the same size.`);
    const pixels = this.reader.read(image);
    image.close();
    return pixels;
  }

  close() {}
}

/** One event of an element, or an Unusable with `words` after some seconds or on an error. */
function happens(element, event, words = "") {
  return new Promise((done, failed) => {
    const timer = setTimeout(() => end(() => failed(new Unusable(words))), PATIENCE);
    const end = then => {
      clearTimeout(timer);
      element.removeEventListener(event, good);
      element.removeEventListener("error", bad);
      then();
    };
    const good = () => end(done), bad = () => end(() => failed(new Unusable(words)));
    element.addEventListener(event, good);
    element.addEventListener("error", bad);
  });
}

/** The frame of `time` is on show, or no more is to be waited for. "seeked" may come before the frame:
 * who draws the element then gets the frame that was there before. `near` tells them apart. */
function shows(video, time, near) {
  return new Promise(done => {
    let over = false;
    const end = () => { over = true; done(); };
    const see = (_, {mediaTime}) => {
      if (Math.abs(mediaTime - time) < near) end();
      else if (!over) video.requestVideoFrameCallback(see);
    };
    video.requestVideoFrameCallback?.(see); // a hidden tab and an old browser never call it
    video.addEventListener("seeked", () => setTimeout(end, LATE), {once: true});
  });
}

/** A video file. Its frames come by seeking: any browser can, and they come upright. */
export class Video {
  static async open(file) {
    const head = new Uint8Array(await file.slice(0, 65536).arrayBuffer());
    const kind = kindOf(file, head);
    const video = Object.assign(document.createElement("video"),
      {muted: true, playsInline: true, preload: "auto", src: URL.createObjectURL(file)});
    const source = Object.assign(new Video(), {video, name: file.name, credit: ""});
    try { // what went wrong is looked for afterwards: meanwhile the event would pass unseen
      await happens(video, "loadeddata").catch(async () => {
        throw new Unusable(await whyNot(file, kind));
      });
      if (!video.videoWidth) throw new Unusable(`${file.name}: there is sound in it, but no picture.`);
      await source._measure();
    } catch (error) {
      source.close();
      throw error;
    }
    return source;
  }

  async _measure() {
    const {video} = this;
    if (!Number.isFinite(video.duration)) { // a recording that was never closed: go to its end
      video.currentTime = 1e7;
      await happens(video, "seeked", `${this.name}: its length cannot be found; it may be cut off.`);
    }
    this.fileRate = await frameRate(video);
    Object.assign(this, fitted(video.videoWidth, video.videoHeight));
    this.reader = new Reader(this);
    this.setEvery(1);
  }

  /** Take each n-th frame only. */
  setEvery(every) {
    this.every = every;
    this.rate = this.fileRate / every;
    const frames = Math.max(1, Math.round(this.video.duration * this.fileRate));
    this.length = Math.ceil(frames / every);
  }

  async frame(t) {
    const {video, name} = this;
    const words = `${name}: it is damaged at frame ${t}. What was found before stays.`;
    const time = Math.min((t * this.every + 0.5) / this.fileRate, Math.max(0, video.duration - 1e-3));
    if (Math.abs(video.currentTime - time) > 1e-4 || video.seeking) {
      const there = happens(video, "seeked", words), shown = shows(video, time, 1 / this.fileRate);
      video.currentTime = time;
      await there;
      while (video.seeking) await happens(video, "seeked", words); // the event was of a seek before
      await shown;
    }
    if (video.error || video.readyState < 2) throw new Unusable(words);
    return this.reader.read(video);
  }

  close() {
    URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute("src");
    this.video.load();
  }
}

/** Frames a second, from half a second of play; 25 where the browser does not tell. */
async function frameRate(video) {
  if (!video.requestVideoFrameCallback) return 25;
  const times = [];
  const watched = new Promise(done => {
    const see = (_, {mediaTime}) => {
      times.push(mediaTime);
      if (times.length < 14) video.requestVideoFrameCallback(see);
      else done();
    };
    video.requestVideoFrameCallback(see);
    video.addEventListener("ended", done, {once: true});
    setTimeout(done, 900);
  });
  video.currentTime = 0;
  video.play().catch(() => {}); // where it does not begin, `watched` ends all the same
  await watched;
  video.pause();
  const steps = times.slice(1).map((time, i) => time - times[i]).filter(step => step > 1e-4);
  steps.sort((a, b) => a - b);
  if (!steps.length) return video.duration < 0.25 ? 1 / Math.max(video.duration, 0.04) : 25;
  const rate = 1 / steps[Math.floor(steps.length / 4)]; // a slow machine leaves frames out, never in
  const usual = [10, 12, 12.5, 15, 20, 24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60000 / 1001, 60];
  return usual.find(near => Math.abs(rate / near - 1) < 0.0008) ?? rate;
}

// ---- what a file is, and why it cannot be shown --------------------------------------------------

const text = bytes => String.fromCharCode(...bytes);

/** "video", "sound", "picture" or "text", by its first bytes. Throws Unusable where it is empty. */
function kindOf({name, size}, head) {
  if (!size) throw new Unusable(`${name}: the file is empty. Copy it again.`);
  const start = text(head.subarray(0, 16));
  if (/^(\xff\xd8\xff|\x89PNG|GIF8|BM|RIFF....WEBP)/s.test(start)) return "picture";
  if (/^(ID3|OggS|fLaC|RIFF....WAVE|\xff[\xf1\xf9\xfb])/s.test(start)) return "sound";
  if (/^.{4}ftyp|^\x1aE\xdf\xa3|^RIFF....AVI|^\0\0\x01[\xb3\xba]|^G/s.test(start)) return "video";
  const odd = head.filter(byte => byte < 9 || (byte > 13 && byte < 32)).length;
  if (odd === 0) throw new Unusable(`${name}: this is a text file, not a video.`);
  return "unknown";
}

const CODECS = {
  hvc1: "H.265 (HEVC)", hev1: "H.265 (HEVC)", V_MPEGH: "H.265 (HEVC)", av01: "AV1", V_AV1: "AV1",
  avc1: "H.264", mp4v: "MPEG-4", XVID: "MPEG-4", V_MPEG4: "MPEG-4 or H.264", apcn: "ProRes",
  apch: "ProRes", MJPG: "MJPEG", mjp2: "JPEG 2000", vp09: "VP9", V_VP9: "VP9", dvh1: "Dolby Vision"};

/** Words for a file that does not load: what it is, and what would help. */
async function whyNot(file, kind) {
  const {name} = file, letters = new TextDecoder("latin1");
  const ends = [file.slice(0, 4e5), file.slice(-4e5)].map(part => part.arrayBuffer());
  const content = (await Promise.all(ends)).map(part => letters.decode(part)).join("");
  if (kind === "sound") return `${name}: there is sound in it, but no picture.`;
  if (kind === "unknown") return `${name}: this is not a video, or its beginning is damaged.`;
  if (content.slice(4, 8) === "ftyp" && !content.includes("moov"))
    return `${name}: it is cut off, its table of contents is missing. Copy it again.`;
  const codec = Object.keys(CODECS).find(code => content.includes(code));
  const what = codec ? `its codec, ${CODECS[codec]}, ` : "it ";
  return `${name}: this browser cannot play it: ${what}is not known here, or the file is damaged. `
    + "Chrome, Edge, Firefox and Safari play H.264 in an .mp4 file.";
}

/** Open what a person chose: one video, or several pictures. */
export async function openFiles(files) {
  const pictures = files.filter(({type}) => type.startsWith("image/"));
  if (pictures.length === files.length && files.length > 1) {
    pictures.sort((a, b) => a.name.localeCompare(b.name, "en", {numeric: true}));
    return Pictures.open(pictures, {name: `${pictures.length} pictures`});
  }
  const [file] = files;
  if (pictures.includes(file))
    throw new Unusable(
      `${file.name}: one picture, and nothing moves in it. Choose a video, or several pictures.`);
  return Video.open(file);
}

/** Film with the camera until `until` is done; shown in a <video>. -> Pictures */
export async function film(screen, until, counted) {
  if (!navigator.mediaDevices) throw new Unusable("This browser gives no camera to this page.");
  let stream;
  try {
    const video = {height: {ideal: 480}, facingMode: "environment"};
    stream = await navigator.mediaDevices.getUserMedia({video});
  } catch (error) {
    throw new Unusable(error.name === "NotFoundError" ? "There is no camera here."
      : "The camera was not allowed. The browser's address bar can change that.");
  }
  try {
    screen.srcObject = stream;
    await within(PATIENCE, screen.play());
    if (!screen.videoWidth) throw new Unusable("The camera gives no picture.");
    const size = fitted(screen.videoWidth, screen.videoHeight), reader = new Reader(size), blobs = [];
    let stopped = false;
    until.then(() => { stopped = true; });
    while (!stopped && blobs.length < CAMERA_FRAMES) {
      const next = performance.now() + 1000 / CAMERA_RATE;
      reader.read(screen);
      blobs.push(await new Promise(done => reader.pen.canvas.toBlob(done, "image/jpeg", 0.92)));
      counted(blobs.length);
      await new Promise(done => setTimeout(done, Math.max(0, next - performance.now())));
    }
    return await Pictures.open(blobs, {name: "camera", rate: CAMERA_RATE});
  } finally {
    stream.getTracks().forEach(track => track.stop());
    screen.srcObject = null;
  }
}
