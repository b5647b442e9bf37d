"""Speed of converted models in ONNX Runtime, against the framework that each came from, on one machine.

    python benchmarks/foreign_speed.py MODEL... [--python tensorflow=/venvs/tf/bin/python] [--seconds 3]

Each MODEL is a folder with the files of one model. The frameworks are run by the interpreters named (this one where
none is): OpenCV's dnn module for Caffe and Darknet, TensorFlow for frozen graphs and SavedModels, LiteRT for TFLite,
MXNet for its own, and Node for TF.js (`--python tfjs=node`), with tfjs-core, tfjs-converter, tfjs-layers and the
backends wasm and cpu in NODE_PATH: wasm where it has all operators. Both sides get one thread and the same made-up
input, in turns, so that what else the machine does hits both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TURNS = 5

# What runs in the other interpreter: it reads the inputs, then answers each line with the median of its runs in
# milliseconds.
COMMON = """
import sys, time, json, numpy as np
feeds = dict(np.load(sys.argv[2])); path = sys.argv[1]; seconds = float(sys.argv[3])
def serve(run):
    run()
    for line in sys.stdin:
        found, end = [], time.perf_counter() + seconds
        while len(found) < 5 or time.perf_counter() < end:
            begin = time.perf_counter(); run(); found.append(time.perf_counter() - begin)
        found.sort(); print(json.dumps(1e3 * found[len(found) // 2]), flush=True)
"""
OPENCV = (
    COMMON
    + """
import cv2, glob
cv2.setNumThreads(1)
files = sorted(glob.glob(path + "/*"))
pick = lambda *ends: next(f for f in files if f.endswith(ends))
caffe = any(f.endswith(".caffemodel") for f in files)
net = cv2.dnn.readNetFromCaffe(pick(".prototxt"), pick(".caffemodel")) if caffe else cv2.dnn.readNetFromDarknet(
    pick(".cfg"), pick(".weights"))
names = net.getUnconnectedOutLayersNames()
def run():
    for name, value in feeds.items():
        net.setInput(value, name if caffe else "")
    return net.forward(names)
serve(run)
"""
)
TENSORFLOW = (
    COMMON
    + """
import os, glob
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1); tf.config.threading.set_inter_op_parallelism_threads(1)
saved = [p for p in [path, path + "/saved_model"] if os.path.exists(p + "/saved_model.pb")]
if saved:
    loaded = tf.saved_model.load(saved[0]); f = loaded.signatures["serving_default"]
    given = {k: tf.constant(v) for k, v in feeds.items()}
    serve(lambda: {k: v.numpy() for k, v in f(**given).items()})
else:
    graph = tf.compat.v1.GraphDef(); graph.ParseFromString(open(glob.glob(path + "/*.pb")[0], "rb").read())
    wanted = sys.argv[4].split(",")
    f = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph, name=""), []).prune(
        list(feeds), wanted)
    given = [tf.constant(v) for v in feeds.values()]
    serve(lambda: [v.numpy() for v in f(*given)])
"""
)
LITERT = (
    COMMON
    + """
import glob
from ai_edge_litert.interpreter import Interpreter
net = Interpreter(glob.glob(path + "/*.tflite")[0], num_threads=1); net.allocate_tensors()
ins = {d["name"]: d["index"] for d in net.get_input_details()}; outs = [d["index"] for d in net.get_output_details()]
def run():
    for name, value in feeds.items():
        net.set_tensor(ins[name], value)
    net.invoke()
    return [net.get_tensor(o) for o in outs]
serve(run)
"""
)
MXNET = (
    COMMON
    + """
import glob
np.bool = bool
import mxnet as mx
symbol = glob.glob(path + "/*.json"); params = glob.glob(path + "/*.params")
symbol = [s for s in symbol if not s.endswith("meta.json")]
stored = {k.split(":", 1)[-1]: v for k, v in mx.nd.load(params[0]).items()}
net = mx.sym.load(symbol[0])
bound = net.simple_bind(mx.cpu(), grad_req="null", **{k: v.shape for k, v in feeds.items()})
for held in (bound.arg_dict, bound.aux_dict):
    for name, value in held.items():
        if name in stored:
            value[:] = stored[name]
given = {k: mx.nd.array(v) for k, v in feeds.items()}
def run():
    return [y.asnumpy() for y in bound.forward(is_train=False, **given)]
serve(run)
"""
)
TFJS = """
const tf = require("@tensorflow/tfjs-core"), fs = require("fs"), path = require("path");
require("@tensorflow/tfjs-backend-cpu");
const wasm = require("@tensorflow/tfjs-backend-wasm"), {loadGraphModel} = require("@tensorflow/tfjs-converter");
const {loadLayersModel} = require("@tensorflow/tfjs-layers");
const [folder, feeds, seconds] = [process.argv[2], process.argv[3].replace(".npz", ".json"), +process.argv[4]];
(async () => {
  wasm.setThreadsCount(1);
  const file = fs.readdirSync(folder).find(f => f.endsWith(".json") && f != "meta.json");
  const model = JSON.parse(fs.readFileSync(path.join(folder, file)));
  const weightSpecs = model.weightsManifest.flatMap(g => g.weights);
  const shards = model.weightsManifest.flatMap(g => g.paths).map(p => fs.readFileSync(path.join(folder, p)));
  const data = Buffer.concat(shards);
  const weightData = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
  const signature = model.signature || (model.userDefinedMetadata || {}).signature;
  const from = {load: async () => ({modelTopology: model.modelTopology, weightSpecs, weightData, signature})};
  const layers = !model.modelTopology.node;
  const prepare = async backend => {
    await tf.setBackend(backend); await tf.ready();
    const net = await (layers ? loadLayersModel(from) : loadGraphModel(from));
    const given = Object.entries(JSON.parse(fs.readFileSync(feeds))).map(
      ([name, x]) => [name.replace(/:0$/, ""), tf.tensor(x.data, x.shape, x.dtype)]);
    const run = async () => {
      let found = layers ? net.predict(given.map(g => g[1])) : await net.executeAsync(Object.fromEntries(given));
      for (const y of [found].flat()) { await y.data(); y.dispose(); }
    };
    await run();
    return run;
  };
  let run;
  try { run = await prepare("wasm"); } catch { run = await prepare("cpu"); }
  for await (const line of require("readline").createInterface({input: process.stdin})) {
    const found = [], end = performance.now() + 1e3 * seconds;
    while (found.length < 5 || performance.now() < end) {
      const begin = performance.now(); await run(); found.push(performance.now() - begin);
    }
    found.sort((a, b) => a - b);
    console.log(JSON.stringify({ms: found[found.length >> 1], name: "tfjs, " + tf.getBackend()}));
  }
})();
"""
RUNTIMES = {"Caffe": ("opencv", OPENCV), "Darknet": ("opencv", OPENCV), "TensorFlow": ("tensorflow", TENSORFLOW),
            "TFLite": ("litert", LITERT), "MXNet": ("mxnet", MXNET), "TensorFlow.js": ("tfjs", TFJS)}  # fmt: skip
BESIDE = {"golden.npz", "meta.json", "architecture.json"}


def measure(folder: Path, pythons: dict[str, str], seconds: float) -> dict[str, Any]:
    """Median milliseconds of the original and of the converted network, one example at a time."""
    import sensorium
    from sensorium.errors import MissingError
    from sensorium.model import load_probe
    from sensorium.nets.ort import OrtNet

    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "model"
        files = [p for p in sorted(folder.iterdir()) if p.name not in BESIDE]
        report = sensorium.convert(*files, out=out)
        kind, code = RUNTIMES[report["format"].split()[0]]
        kept = load_probe(out, "model.onnx")
        assert kept is not None
        feeds = kept[0]
        np.savez(Path(temporary) / "feeds.npz", **feeds)  # type: ignore[arg-type]
        net = OrtNet(out / "onnx" / "model.onnx", 1)
        arguments = [str(folder), str(Path(temporary) / "feeds.npz"), str(seconds), ",".join(report["outputs"])]
        runner = Path(temporary) / "runner"
        runner.write_text(code)
        told = {n: {"shape": v.shape, "data": v.reshape(-1).tolist(), "dtype": "float32" if v.dtype.kind == "f"
                    else "bool" if v.dtype.kind == "b" else "int32"} for n, v in feeds.items()}  # fmt: skip
        (Path(temporary) / "feeds.json").write_text(json.dumps(told))
        command = [pythons.get(kind, sys.executable), *(["-W", "ignore"] if kind != "tfjs" else []), str(runner)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment,
        ) as other:  # fmt: skip
            assert other.stdin is not None
            assert other.stdout is not None
            theirs, ours = [], []
            for _ in range(TURNS):
                print("go", file=other.stdin, flush=True)
                answer = other.stdout.readline()
                if not answer:
                    raise MissingError(f"{folder}: {kind} does not run this model here")
                value = json.loads(answer)
                theirs.append(value["ms"] if isinstance(value, dict) else value)
                kind = value["name"] if isinstance(value, dict) else kind
                ours.append(_median(net, feeds, seconds))
            other.stdin.close()
    return {"format": report["format"], "runtime": kind, "theirs": min(theirs), "ours": min(ours),
            "multiply_adds": report["multiply_adds"]}  # fmt: skip


def _median(net: Any, feeds: dict[str, np.ndarray], seconds: float) -> float:
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        net(feeds)
        found.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(found)


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--python", action="append", default=[], metavar="RUNTIME=PATH")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each of the five turns of each side")
    given = parser.parse_args()
    from sensorium.errors import SensoriumError

    pythons = dict(entry.split("=", 1) for entry in given.python)
    print("| model | multiply-adds | original | ms | converted, ONNX Runtime, ms | ratio |")
    print("|---|---|---|---|---|---|")
    for folder in given.models:
        try:
            found = measure(folder, pythons, given.seconds)
        except SensoriumError as error:
            print(error, file=sys.stderr)
            continue
        work = (found["multiply_adds"] or 0) / 1e6
        theirs, ours = found["theirs"], found["ours"]
        times = f"{theirs:.2f} | {ours:.2f} | {theirs / ours:.1f}"
        print(f"| {folder.name} | {work:.1f} M | {found['format']}: {found['runtime']} | {times} |", flush=True)


if __name__ == "__main__":
    run()
