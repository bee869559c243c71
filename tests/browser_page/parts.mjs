// node parts.mjs JOB.json: single functions of browser/, on the job's numbers.
import {readFileSync} from "node:fs";
import {pathToFileURL} from "node:url";

const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
const load = name => import(pathToFileURL(`${job.browser}/${name}`));
const {enlarge, resize, round} = await load("resize.js");
const {maskOnMap, readOf, selectivity} = await load("record.js");
const {GlobalContext} = await load("gcvos.js");
const {fillPolygon, idsOf, runsOf} = await load("masks.js");
const {palettePng, zip} = await load("files.js");
const does = {
  resize: ({x, from, to}) => [...resize(Float32Array.from(x), from, to)],
  enlarge: ({x, from, to}) => [...enlarge(Float32Array.from(x), from, to)],
  round: ({x}) => x.map(round),
  selectivity: ({key, cells}) => [...selectivity(Float32Array.from(key), Float32Array.from(cells))],
  maskOnMap: ({soft, work, map, stride}) => [...maskOnMap(Float32Array.from(soft), work, map, stride)],
  polygon: ({shape, corners}) => {
    const ids = new Uint8Array(shape[0] * shape[1]);
    fillPolygon(ids, shape, corners, 3);
    return [...idsOf(runsOf(ids), ids.length)];
  },
  memory: ({config, keys, values, query, gone}) => {
    const memory = new GlobalContext(config), contexts = [];
    keys.forEach((key, t) => contexts.push(memory.write(Float32Array.from(key), Float32Array.from(values[t]))));
    if (gone !== undefined) memory.remove(contexts[gone]);
    return {read: [...memory.read(Float32Array.from(query))], bytes: memory.nbytes};
  },
  reads: ({query, keys, cell, share, keyDim}) => {
    const past = keys.map((key, t) => ({t, keys: [Float32Array.from(key)]}));
    const seen = readOf({query: Float32Array.from(query)}, past, cell, 0,
      {keyDim, firstShare: share, gone: new Set()});
    return {dot: seen.dot.map(map => [...map]), shares: seen.shares, softmax: seen.softmax.map(map => [...map])};
  },
  png: async ({ids, shape}) => {
    const bytes = await palettePng(Uint8Array.from(ids), shape);
    const blob = zip([["00000.png", bytes], ["00001.png", bytes]]);
    return {png: [...bytes], zip: [...new Uint8Array(await blob.arrayBuffer())]};
  },
};
console.log(JSON.stringify(await does[job.what](job)));
