"""How quick answers are, beside Hugging Face's own pipelines on the same weights, in one run.

    python benchmarks/runtime.py [--only resnet-50 gpt2] [--seconds 1.0] [--out benchmarks/runtime.json]

Six networks of the usual sizes with random weights (which say nothing about accuracy) are written by transformers,
converted, and measured end to end: from the bytes of a JPEG, a text or a WAV to the answer. The two sides take turns;
the figures are medians. `default` is what `sensorium.load` does: ONNX Runtime in fp32 with the same answers (the
column `difference` is the largest one of a score, box fraction or feature; generated tokens are equal or they are not).
`bf16` is OpenVINO in bfloat16, `int8` ONNX Runtime with 8-bit weights: what `sensorium tune` chooses from, where the
answers stay as they are.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import sensorium
from sensorium import inference, performance
from sensorium.nets import Settings
from sensorium.ops import batches
from sensorium.predictor import Predictor

TOKENS = 48  # that are generated
REST = 0.25  # seconds before each turn: the threads of the one before (PyTorch's) go on spinning for a while
SHORT, WARM = 0.5, 0.2  # seconds: of a run that is short, and of those before it that do not count


@dataclass(frozen=True)
class Row:
    """One network: how its checkpoint is made, how each side answers a batch of sources."""

    make: Callable[[Path], None]
    sources: Callable[[Path], list[Any]]
    theirs: Callable[[Path], Callable[[list[Any]], Any]]
    ours: Callable[[Predictor, list[Any]], Any]
    difference: Callable[[Any, Any], float]
    task: str | None = None


# --- the checkpoints --------------------------------------------------------------------------------------------


def save(model: Any, folder: Path, *processors: Any) -> None:
    model.eval().save_pretrained(folder)
    for processor in processors:
        processor.save_pretrained(folder)


def resnet(folder: Path) -> None:
    t = transformers
    save(
        t.ResNetForImageClassification(t.ResNetConfig(num_labels=1000)),
        folder,
        t.ConvNextImageProcessorPil(size={"shortest_edge": 224}),
    )


def vit(folder: Path) -> None:
    t = transformers
    config = t.ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=1000)
    save(t.ViTForImageClassification(config), folder, t.ViTImageProcessorPil())


def detector(folder: Path) -> None:
    t = transformers
    backbone = t.RTDetrResNetConfig(
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = t.RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[128, 256, 512],
        decoder_layers=3,
        num_labels=80,
        use_timm_backbone=False,
        backbone=None,
    )
    model = t.RTDetrForObjectDetection(config)
    for name, weights in model.named_parameters():
        if weights.ndim > 1:  # new ones score all places alike, and the choice is chance
            torch.nn.init.xavier_normal_(weights, 5.0 if "score_head" in name else 2.0)
    save(model, folder, t.RTDetrImageProcessorPil())


def tokenizer(folder: Path, end: str) -> Any:
    """A byte-pair tokenizer of the words used here, so that nothing needs to be fetched."""
    from tokenizers import ByteLevelBPETokenizer

    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator([TEXT] * 3, vocab_size=600, special_tokens=[end], show_progress=False)
    learned.save(str(folder / "learned.json"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "learned.json"), eos_token=end, pad_token=end, model_max_length=512
    )


def bert(folder: Path) -> None:
    t = transformers
    words = tokenizer(folder, "[END]")
    save(t.BertForSequenceClassification(t.BertConfig(num_labels=5, pad_token_id=0)), folder, words)


def gpt2(folder: Path) -> None:
    t = transformers
    words = tokenizer(folder, "<|endoftext|>")
    model = t.GPT2LMHeadModel(t.GPT2Config(bos_token_id=0, eos_token_id=0, initializer_range=0.2))
    # What is never said: tokens that the small tokenizer does not have.
    model.generation_config.suppress_tokens = [0, *range(len(words), 50257)]
    model.generation_config.pad_token_id = 0
    save(model, folder, words)


def whisper(folder: Path) -> None:
    t = transformers
    config = t.WhisperConfig(
        d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6, decoder_attention_heads=6,
        encoder_ffn_dim=1536, decoder_ffn_dim=1536, vocab_size=1000, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    save(t.WhisperForConditionalGeneration(config), folder, t.WhisperFeatureExtractor(), tokenizer(folder, "<end>"))


# --- the sources --------------------------------------------------------------------------------------------------

TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it "
    "was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of Dark"
)


def pictures(folder: Path) -> list[Any]:
    """Files of a photograph, each cut a little differently, of 512 x 384 pixels."""
    from PIL import Image
    from skimage import data

    photo = Image.fromarray(data.astronaut())
    names = []
    for i in range(16):
        photo.crop((0, 8 * i, 512, 8 * i + 384)).save(folder / f"{i}.jpg", quality=90)
        names.append(str(folder / f"{i}.jpg"))
    return names


def texts(folder: Path) -> list[Any]:
    return [TEXT[i:] for i in range(16)]


def sounds(folder: Path) -> list[Any]:
    rng = np.random.default_rng(0)
    t = np.arange(30 * 16000) / 16000
    return [
        (0.3 * np.sin(2 * np.pi * (200 + 20 * i) * t) + rng.normal(0, 0.05, len(t))).astype(np.float32)
        for i in range(16)
    ]


# --- the two sides ------------------------------------------------------------------------------------------------


def pipeline(kind: str, batches: bool = True, **given: Any) -> Callable[[Path], Callable[[list[Any]], Any]]:
    def load(folder: Path) -> Callable[[list[Any]], Any]:
        model = transformers.pipeline(kind, model=str(folder), device="cpu", **given)

        def run(batch: list[Any]) -> Any:
            if len(batch) > 1:
                return model(batch, batch_size=len(batch) if batches else 1)
            alone = model(batch[0])
            return alone if alone and isinstance(alone[0], list) else [alone]

        return run

    return load


def their_encoder(folder: Path) -> Callable[[list[Any]], Any]:
    encoder = transformers.WhisperForConditionalGeneration.from_pretrained(folder).get_encoder().eval()
    features = transformers.WhisperFeatureExtractor.from_pretrained(folder)

    def run(batch: list[Any]) -> Any:
        with torch.inference_mode():
            return encoder(features(batch, sampling_rate=16000, return_tensors="pt").input_features)[0].numpy()

    return run


def their_generation(folder: Path) -> Callable[[list[Any]], Any]:
    model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    words = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")

    def run(batch: list[Any]) -> Any:
        given = words(batch, return_tensors="pt", padding=True)
        given.pop("token_type_ids", None)
        with torch.inference_mode():
            found = model.generate(**given, do_sample=False, min_new_tokens=TOKENS, max_new_tokens=TOKENS)
        return [words.decode(row[given["input_ids"].shape[1] :]) for row in found]

    return run


def ours(**options: Any) -> Callable[[Predictor, list[Any]], Any]:
    def run(predictor: Predictor, batch: list[Any]) -> Any:
        if len(batch) == 1:
            return sensorium.tasks.to_json([predictor.predict(batch[0], **options)])
        return sensorium.tasks.to_json([answer for _, answer in predictor.stream(batch, **options)])

    return run


def our_encoder(predictor: Predictor, batch: list[Any]) -> Any:
    from sensorium.media import audio

    features = [audio.features(predictor.task.preprocessor, audio.Audio(one, 16000)) for one in batch]
    name = next(name for name in ("input_features", "input_values") if name in features[0])
    feeds = {name: np.stack([f[name] for f in features])}
    if predictor.nets["encoder_model"].inputs[name][0][1] == 80 and feeds[name].shape[1] != 80:
        feeds[name] = feeds[name].transpose(0, 2, 1)
    return batches.answers(predictor.nets["encoder_model"], feeds)["last_hidden_state"]


def scores(a: Any, b: Any) -> float:
    """Of classes: the largest difference of a score of the same label."""
    worst = 0.0
    for x, y in zip(a, b):
        x, y = ([r] if isinstance(r, dict) else r for r in (x, y))
        known = {one["label"]: one["score"] for one in y}
        worst = max([worst, *(abs(one["score"] - known.get(one["label"], 0.0)) for one in x)])
    return worst


def objects(a: Any, b: Any) -> float:
    """Of detections: infinite where their number differs, else the largest difference of a score."""
    if [len(x) for x in a] != [len(y) for y in b]:
        return float("inf")
    return max((abs(p["score"] - q["score"]) for x, y in zip(a, b) for p, q in zip(x, y)), default=0.0)


def generated(a: Any, b: Any) -> float:
    return (
        0.0
        if list(a) == [one[0]["generated_text"] if isinstance(one, list) else one["generated_text"] for one in b]
        else float("inf")
    )


def arrays(a: Any, b: Any) -> float:
    return float(np.abs(a - b).max())


ROWS = {
    "resnet-50": Row(resnet, pictures, pipeline("image-classification", top_k=1), ours(top_k=1), scores),
    "vit-small": Row(vit, pictures, pipeline("image-classification", top_k=1), ours(top_k=1), scores),
    # Their pipeline for detection breaks on batches (transformers 5.23): it takes one picture after the other.
    "detector 640": Row(
        detector, pictures, pipeline("object-detection", False, threshold=0.1), ours(threshold=0.1), objects
    ),
    "bert-base": Row(bert, texts, pipeline("text-classification", top_k=1), ours(top_k=1), scores),
    "whisper-tiny encoder": Row(whisper, sounds, their_encoder, our_encoder, arrays),
    "gpt2": Row(
        gpt2, texts, their_generation,
        ours(max_new_tokens=TOKENS, min_new_tokens=TOKENS, return_full_text=False), generated, "text-generation",
    ),
}  # fmt: skip


# --- measuring ----------------------------------------------------------------------------------------------------


def turns(sides: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Median seconds of each side; they take turns, so that what else the machine does falls on all of them.

    Processors that have rested are slow at first (and virtual ones are away): short runs follow some that do not count.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    last = dict.fromkeys(sides, 0.0)
    for run in sides.values():
        run()
    end = time.perf_counter() + (seconds + REST) * len(sides)
    while len(found[next(iter(sides))]) < 3 or time.perf_counter() < end:
        for name, run in sides.items():
            time.sleep(REST)
            warm = time.perf_counter() + WARM
            while last[name] < SHORT and time.perf_counter() < warm:
                run()
            for _ in range(3 if last[name] < SHORT else 1):
                begin = time.perf_counter()
                run()
                last[name] = time.perf_counter() - begin
                found[name].append(last[name])
    return {name: statistics.median(times) for name, times in found.items()}


def measure(name: str, row: Row, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Every batch size and number of threads of one network."""
    checkpoint, model = folder / "checkpoint", folder / "model"
    for made in (checkpoint, folder / "sources"):
        made.mkdir(parents=True)
    torch.manual_seed(0)
    row.make(checkpoint)
    sensorium.convert(checkpoint, out=model, task=row.task)
    precisions = ["bf16"] if performance_has("openvino") else []
    sources = row.sources(folder / "sources")
    try:
        sensorium.export(model, to="int8", calibrate=sources if row.sources is pictures else (), force=True)
        precisions.append("int8")
    except sensorium.errors.SensoriumError as error:
        print(f"{name}: no int8: {error}", file=sys.stderr)
    theirs = row.theirs(checkpoint)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        engines = {"default": Predictor(model, Settings("onnxruntime", "fp32", threads))}
        for precision in precisions:
            engine = "openvino" if precision == "bf16" else "onnxruntime"
            engines[precision] = Predictor(model, Settings(engine, precision, threads))
        for size in (1, 16):
            batch = sources[:size]
            sides: dict[str, Callable[[], Any]] = {"transformers": lambda batch=batch: theirs(batch)}  # type: ignore[misc]
            for engine, predictor in list(engines.items()):
                try:
                    row.ours(predictor, batch)
                    sides[engine] = lambda p=predictor, batch=batch: row.ours(p, batch)  # type: ignore[misc]
                except sensorium.errors.SensoriumError as error:
                    print(f"{name}: {engine}: {error}", file=sys.stderr)
            times = turns(sides, seconds)
            result: dict[str, Any] = {"network": name, "threads": threads, "batch": size, "milliseconds": {}}
            result["milliseconds"] = {side: round(1e3 * value, 2) for side, value in times.items()}
            result["faster"] = {side: round(times["transformers"] / value, 2) for side, value in times.items()}
            if threads == 1 and size > 1 and row.sources is pictures:
                result["end_to_end"] = round(end_to_end(engines["default"], batch, seconds), 2)
            result["difference"] = row.difference(theirs(batch), row.ours(engines["default"], batch))
            found.append(result)
            print(line(result), flush=True)
        del engines
        gc.collect()
    return found


def end_to_end(predictor: Predictor, batch: list[Any], seconds: float) -> float:
    """The rate from files to answers, of the rate of the bare network on arrays that are ready; reading is done by
    another thread.
    """
    task, net = predictor.task, predictor.nets["model"]
    feeds = inference.collate([task.prepare(task.open(one)) for one in batch], task.padding)
    many = 2
    times = turns(
        {
            "network": lambda: [net(feeds) for _ in range(many)],
            "answers": lambda: sum(1 for _ in predictor.stream(batch * many)),
        },
        seconds,
    )
    return times["network"] / times["answers"]


def performance_has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def line(found: dict[str, Any]) -> str:
    times, faster = found["milliseconds"], found["faster"]
    cells = [f"{found['network']:<21} {found['threads']}  {found['batch']:>2}  {times['transformers']:>9.1f}"]
    for side in ("default", "bf16", "int8"):
        cells.append(f"{times[side]:>9.1f} {faster[side]:>5.2f}x" if side in times else " " * 16)
    return "  ".join(cells) + f"  {found['difference']:.1g}"


def start(folder: Path) -> dict[str, float]:
    """Seconds of a process to its first answer, of both sides; compiled before, as installed ones are."""
    commands, environment = {}, {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    for name, source in (("vit-small", str(folder / "vit-small" / "sources" / "0.jpg")), ("bert-base", TEXT)):
        kind = "image-classification" if name == "vit-small" else "text-classification"
        base = folder / name
        if not base.is_dir():
            continue
        commands[f"{name}, sensorium"] = [sys.executable, "-m", "sensorium", "predict", str(base / "model"), source]
        code = f"import sys, transformers; print(transformers.pipeline({kind!r}, sys.argv[1])(sys.argv[2]))"
        commands[f"{name}, transformers"] = [sys.executable, "-c", code, str(base / "checkpoint"), source]
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(6):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=environment)
            found[name].append(time.perf_counter() - begin)
    return {name: round(statistics.median(times[1:]), 3) for name, times in found.items()}


HEAD = """# Running networks

Networks of the usual sizes with random weights, from the bytes of a JPEG, a text or a WAV to the answer,
beside the pipelines (or processor and `generate`) of transformers {transformers} with PyTorch {torch} on the
same weights: in turns, medians, written by one run of `python benchmarks/runtime.py --write`. The machine has
{cores} cores; its matrix products reach {gflops_1_thread} and {gflops_2_threads} GFLOP/s in fp32 with one and
two threads, its memory {bandwidth_gb_s} GB/s. `default` is fp32 in ONNX Runtime with equal answers (the last
column is the largest difference of a score or feature; generated tokens are equal), `bf16` OpenVINO's, `int8`
ONNX Runtime's, calibrated on the pictures where there are any. Of sixteen pictures or texts the next are read
while some are computed, and with two threads each computes its own. How many times as quick as transformers:

| network | threads | batch | transformers, ms | default, ms | default | bf16 | int8 | differs by |
|---|---|---|---|---|---|---|---|---|
"""


def page(document: dict[str, Any]) -> str:
    """The part of RESULTS.md that shows these figures."""
    rows, means = document["rows"], document["means"]
    versions = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    text = HEAD.format(cores=os.cpu_count(), **versions, **document["machine"])
    for row in rows:
        times, faster = row["milliseconds"], row["faster"]
        sides = " | ".join(f"{faster[side]:.2f}" if side in faster else "-" for side in ("default", "bf16", "int8"))
        text += f"| {row['network']} | {row['threads']} | {row['batch']} | {times['transformers']:.1f} | "
        text += f"{times['default']:.1f} | {sides} | {row['difference']:.0e} |\n"
    least = min(row["faster"]["default"] for row in rows)
    others = "".join(f"{side} {means[side]:.2f}, " for side in ("bf16", "int8") if side in means)
    text += f"\nIn the geometric mean: default {means['default']:.2f} (at least {least:.2f}), {others}"
    text += f"the quickest of each row {document['tuned']:.2f}.\n"
    shares = [f"{row['end_to_end']:.2f} ({row['network']})" for row in rows if "end_to_end" in row]
    text += f"From files to answers, while another core reads: {', '.join(shares)} of the bare network's\n"
    text += "rate on arrays that are ready (one thread, batch 16).\n"
    firsts = [f"{name} {seconds:.2f} s" for name, seconds in document["start"].items()]
    return text + f"The first answer of a new process: {'; '.join(firsts)}.\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each side of each comparison")
    parser.add_argument("--out", type=Path, help="write the figures into this JSON file, too")
    parser.add_argument("--write", action="store_true", help="write them into RESULTS.md, too")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if "OPENBLAS_CORETYPE" in os.environ:
        print("OPENBLAS_CORETYPE is set, which may slow numpy: unset it for a fair comparison", file=sys.stderr)
    peaks = {
        "gflops_1_thread": round(performance.gemm_peak(1)),
        "gflops_2_threads": round(performance.gemm_peak(2)),
        "bandwidth_gb_s": round(performance.bandwidth()),
    }
    print("this machine: " + ", ".join(f"{name} {value}" for name, value in peaks.items()))
    print(f"{'network':<20} threads batch  transformers        default             bf16             int8  difference")
    with tempfile.TemporaryDirectory() as folder:
        rows = [found for name in given.only for found in measure(name, ROWS[name], Path(folder) / name, given.seconds)]
        cold = start(Path(folder))
    for row in rows:
        if "end_to_end" in row:
            print(f"{row['network']}, from files to answers: {row['end_to_end']:.2f} of the bare network's rate")
    for name, seconds in cold.items():
        print(f"first answer of a new process, {name}: {seconds:.2f} s")
    sides = {side for row in rows for side in row["faster"]} - {"transformers"}
    means = {
        side: statistics.geometric_mean([r["faster"][side] for r in rows if side in r["faster"]]) for side in sides
    }
    tuned = statistics.geometric_mean(
        [max(v for side, v in r["faster"].items() if side != "transformers") for r in rows]
    )
    for side in sorted(means):
        worst = min(r["faster"][side] for r in rows if side in r["faster"])
        print(f"{side}: {means[side]:.2f} times transformers in the geometric mean, {worst:.2f} at least")
    print(f"the best of them: {tuned:.2f} times")
    document = {"machine": peaks, "rows": rows, "start": cold, "means": means, "tuned": tuned}
    if given.out:
        given.out.write_text(json.dumps(document, indent=1) + "\n")
    if given.write:
        results = Path(__file__).with_name("RESULTS.md")
        before = results.read_text("utf-8")
        results.write_text(page(document) + before[before.index("# Converted models") :], "utf-8")


if __name__ == "__main__":
    main()
