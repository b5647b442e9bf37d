// Runs a TF.js model on arrays and writes its outputs, for comparing: node tfjs_outputs.cjs MODEL.json INPUT.json OUT.json
// INPUT.json: {"name": {"shape": [...], "dtype": "float32", "values": [...]}}. Needs @tensorflow/tfjs (NODE_PATH).
const fs = require("fs"), path = require("path");
const tf = require("@tensorflow/tfjs");

async function main() {
  const [model, input, out] = process.argv.slice(2);
  try {
    const wasm = require("@tensorflow/tfjs-backend-wasm");
    wasm.setWasmPaths(path.dirname(require.resolve("@tensorflow/tfjs-backend-wasm")) + "/");
    await tf.setBackend("wasm");
  } catch (error) { await tf.setBackend("cpu"); }
  await tf.ready();
  const topology = JSON.parse(fs.readFileSync(model));
  const folder = path.dirname(model);
  const joined = Buffer.concat(topology.weightsManifest.flatMap((g) => g.paths.map((p) => fs.readFileSync(path.join(folder, p)))));
  const artifacts = {
    ...topology,
    weightSpecs: topology.weightsManifest.flatMap((g) => g.weights),
    weightData: joined.buffer.slice(joined.byteOffset, joined.byteOffset + joined.byteLength),
  };
  const handler = { load: async () => artifacts };
  const layers = Boolean(topology.modelTopology.model_config);
  const net = layers ? await tf.loadLayersModel(handler) : await tf.loadGraphModel(handler);
  const feeds = {};
  for (const [name, a] of Object.entries(JSON.parse(fs.readFileSync(input)))) feeds[name] = tf.tensor(a.values, a.shape, a.dtype);
  const run = async () => {
    if (layers) return net.predict(Object.values(feeds)[0]);
    try { return net.execute(feeds); } catch (error) { return await net.executeAsync(feeds); }
  };
  await run();
  let outputs = [], milliseconds = Infinity;
  for (let i = 0; i < 3; i++) {
    const begin = performance.now();
    let found = await run();
    found = Array.isArray(found) ? found : [found];
    outputs = [];
    for (const t of found) outputs.push({ shape: t.shape, values: await t.data() });
    milliseconds = Math.min(milliseconds, performance.now() - begin);
  }
  outputs = outputs.map((o) => ({ shape: o.shape, values: Array.from(o.values) }));
  fs.writeFileSync(out, JSON.stringify({ backend: tf.getBackend(), version: tf.version.tfjs, milliseconds, outputs }));
}
main().catch((error) => { console.error(String(error)); process.exit(1); });
