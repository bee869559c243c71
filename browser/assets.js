// Where the page's files are: beside it on a server, or inside it, where build.py made one file.

const READY = 8000; // ms for sw.js

/** {version, files: {name: {bytes, url or text}}}. */
export async function listFiles() {
  const inside = document.getElementById("files");
  if (!inside) return (await fetch("files.json")).json();
  const about = JSON.parse(inside.textContent);
  for (const [name, file] of Object.entries(about.files)) {
    const element = document.getElementById("asset-" + name);
    file.text = element.textContent;
    element.remove(); // else it is there twice
  }
  return about;
}

/** The worker: a module beside the page, or a script inside it. */
export function makeWorker() {
  const inside = document.getElementById("worker");
  if (!inside) return new Worker("worker.js", {type: "module"});
  return new Worker(URL.createObjectURL(new Blob([inside.textContent], {type: "text/javascript"})));
}

/** A file as JSON. */
export async function readJson({url, text}) {
  if (!text) return (await fetch(url)).json();
  const {body} = await fetch("data:application/octet-stream;base64," + text);
  return new Response(body.pipeThrough(new DecompressionStream("gzip"))).json();
}

/** Questions to the worker, answers as promises. told: is given what comes before the answer. */
export function ask(worker) {
  const open = new Map();
  let last = 0;
  worker.onmessage = ({data: {id, result, error, refused, progress}}) => {
    const {done, failed, told} = open.get(id);
    if (progress) return told?.(progress);
    open.delete(id);
    if (error === undefined) done(result);
    else failed(refused ? new RangeError(error) : new Error(error));
  };
  worker.onerror = event => {
    for (const {failed} of open.values()) failed(new Error(event.message || "the worker stopped"));
    open.clear();
  };
  return (type, message = {}, told = null) => new Promise((done, failed) => {
    open.set(++last, {done, failed, told});
    worker.postMessage({...message, id: last, type});
  });
}

/** What a promise gives; undefined where that takes longer. */
export const within = (ms, promise) =>
  Promise.race([promise, new Promise(done => setTimeout(done, ms))]);

/** On a server without the headers that threads need, let sw.js add them; the page then comes again,
 * once. True where it is about to. */
export async function addHeaders() {
  const workers = navigator.serviceWorker;
  if (self.crossOriginIsolated || !workers || !self.isSecureContext || location.protocol === "file:")
    return false;
  try {
    await workers.register("sw.js");
    if (!await within(READY, workers.ready)) return false; // one thread then
    if (sessionStorage.getItem("came again")) return false; // it did not help
    sessionStorage.setItem("came again", "yes");
    location.reload();
    return true;
  } catch {
    return false; // private windows may refuse
  }
}
