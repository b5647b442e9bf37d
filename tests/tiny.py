"""Small real data for each task, made on the spot: handwritten digits of scikit-learn, the help topics of Python,
number words in two languages, the tones of a telephone.
"""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
from PIL import Image


def digit_pictures() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) uint8, ink high, and labels (1797,)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 15.9375).astype(np.uint8), found.target


def image_folder(root: Path, count: int = 200, classes: int = 3) -> Path:
    """A folder per class."""
    pictures, labels = digit_pictures()
    chosen = [i for i in range(len(labels)) if labels[i] < classes][:count]
    for i in chosen:
        (root / f"digit {labels[i]}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).resize((32, 32)).save(root / f"digit {labels[i]}" / f"{i}.png")
    return root


def _canvas(rng: np.random.Generator, side: int) -> np.ndarray:
    return rng.integers(0, 60, (side, side)).astype(np.float64)


def _write(canvas: np.ndarray, picture: np.ndarray, x: float, y: float, size: int) -> list[float]:
    """Write a digit on a canvas; its box (xmin, ymin, xmax, ymax)."""
    left, top = round(x), round(y)
    ink = np.asarray(Image.fromarray(picture).resize((size, size)), np.float64)
    place = canvas[top : top + size, left : left + size]
    np.maximum(place, ink[: place.shape[0], : place.shape[1]], out=place)
    rows, columns = np.nonzero(ink > 80)
    return [float(v) for v in (left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1)]


def coco(root: Path, count: int = 40, side: int = 96) -> Path:
    """Pictures with one to three digits, of two classes, as COCO."""
    pictures, labels = digit_pictures()
    rng = np.random.default_rng(0)
    for split, share in {"train": 0.7, "val": 0.15, "test": 0.15}.items():
        (root / split).mkdir(parents=True)
        (root / "annotations").mkdir(exist_ok=True)
        found: dict[str, list[object]] = {"images": [], "annotations": [], "categories": []}
        found["categories"] = [{"id": 1, "name": "zero"}, {"id": 2, "name": "one"}]
        for number in range(max(6, round(count * share))):
            canvas = _canvas(rng, side)
            for corner in rng.choice(4, int(rng.integers(1, 4)), replace=False):
                which = int(rng.choice(np.nonzero(labels < 2)[0]))
                x, y = (corner % 2) * side / 2 + rng.uniform(0, 8), (corner // 2) * side / 2 + rng.uniform(0, 8)
                x0, y0, x1, y1 = _write(canvas, pictures[which], x, y, int(rng.integers(28, 40)))
                found["annotations"].append(
                    {
                        "id": len(found["annotations"]) + 1,
                        "image_id": number,
                        "category_id": int(labels[which]) + 1,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": (x1 - x0) * (y1 - y0),
                        "iscrowd": 0,
                    }
                )
            Image.fromarray(canvas.astype(np.uint8)).save(root / split / f"{number}.png")
            found["images"].append({"id": number, "file_name": f"{number}.png", "width": side, "height": side})
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(found))
    return root


def masks(root: Path, count: int = 12, side: int = 64) -> Path:
    """Pictures with a digit or two, and pictures of the class of each pixel; the edges of the ink are void."""
    pictures, labels = digit_pictures()
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "codes.txt").write_text("background\nzero\none\n")
    for number in range(count):
        canvas = _canvas(rng, side)
        mask = np.zeros((side, side), np.uint8)
        for half in range(1 + number % 2):
            which = int(rng.choice(np.nonzero(labels < 2)[0]))
            ink = np.zeros_like(canvas)
            _write(ink, pictures[which], half * side / 2, rng.uniform(0, side / 2), side // 2)
            np.maximum(canvas, ink, out=canvas)
            mask[(ink > 40) & (ink <= 80)] = 255
            mask[ink > 80] = 1 + labels[which]
        Image.fromarray(canvas.astype(np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    return root


def _paired(root: Path, answer: str, count: int = 10, side: int = 64) -> Path:
    """Pictures of a digit, and beside each what is to be answered: `depth`, `alpha` or `target` (twice as large)."""
    pictures, _ = digit_pictures()
    rng = np.random.default_rng(0)
    for folder in ("images", answer):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        ink = np.zeros((side, side))
        _write(ink, pictures[number], rng.uniform(0, side / 2), rng.uniform(0, side / 2), side // 2)
        seen = np.maximum(_canvas(rng, side), ink)
        picture = Image.fromarray(seen.astype(np.uint8))
        if answer == "depth":  # the digit is nearer than the wall, the upper left corner is unknown
            far = 3000 - 4 * ink
            far[:8, :8] = 0
            Image.fromarray(far.astype(np.uint16)).save(root / answer / f"{number}.png")
        elif answer == "alpha":
            Image.fromarray(ink.astype(np.uint8)).save(root / answer / f"{number}.png")
        else:
            picture.save(root / answer / f"{number}.png")
            picture = picture.resize((side // 2, side // 2), Image.Resampling.BICUBIC)
        picture.save(root / "images" / f"{number}.png")
    return root


def depths(root: Path) -> Path:
    """Pictures with maps of depth in millimetres."""
    return _paired(root, "depth")


def mattes(root: Path) -> Path:
    """Pictures with mattes."""
    return _paired(root, "alpha")


def larger(root: Path) -> Path:
    """Pictures with the same twice as large."""
    return _paired(root, "target")


def clips(root: Path, count: int = 4, frames: int = 6, side: int = 48) -> Path:
    """Folders of frames in which a digit goes to the right or down, by labels that the tiny checkpoint knows."""
    pictures, _ = digit_pictures()
    rng = np.random.default_rng(0)
    for label in ("class 0", "class 1"):
        for number in range(count):
            place = root / label / f"clip{number}"
            place.mkdir(parents=True)
            for frame in range(frames):
                canvas = _canvas(rng, side)
                x, y = (3 * frame, 10) if label == "class 0" else (10, 3 * frame)
                _write(canvas, pictures[number], x, y, 20)
                Image.fromarray(canvas.astype(np.uint8)).save(place / f"{frame:02}.png")
    return root


def poses(root: Path, count: int = 10, side: int = 64) -> Path:
    """Pictures with a bright stick, as COCO key points: its two ends and its middle."""
    rng = np.random.default_rng(0)
    (root / "val").mkdir(parents=True)
    category = {"id": 1, "name": "stick", "keypoints": ["one end", "middle", "other end"], "skeleton": [[1, 2], [2, 3]]}
    found: dict[str, list[object]] = {"images": [], "annotations": [], "categories": [category]}
    for number in range(count):
        canvas = _canvas(rng, side)
        ends = np.sort(rng.uniform(8, side - 8, (2, 2)), 0)
        for share in np.linspace(0, 1, 200):
            x, y = (ends[0] * (1 - share) + ends[1] * share).round().astype(int)
            canvas[y - 1 : y + 2, x - 1 : x + 2] = 255
        points = [ends[0], ends.mean(0), ends[1]]
        low, size = ends[0] - 2, ends[1] - ends[0] + 4
        found["annotations"].append(
            {
                "id": number + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "num_keypoints": 3,
                "keypoints": [float(v) for x, y in points for v in (x, y, 2)], "area": float(size.prod()),
                "bbox": [*map(float, low), *map(float, size)],
            }
        )  # fmt: skip
        Image.fromarray(canvas.astype(np.uint8)).save(root / "val" / f"{number}.png")
        found["images"].append({"id": number, "file_name": f"{number}.png", "width": side, "height": side})
    (root / "person_keypoints_val.json").write_text(json.dumps(found))
    return root


def mot(root: Path, sequences: int = 4, frames: int = 12, side: int = 96) -> Path:
    """Sequences of moving digits, as MOTChallenge."""
    pictures, labels = digit_pictures()
    rng = np.random.default_rng(0)
    for number in range(sequences):
        folder = root / "train" / f"digits-{number:02d}"
        (folder / "img1").mkdir(parents=True)
        (folder / "gt").mkdir()
        own = [(int(rng.integers(len(labels))), rng.uniform(4, 56, 2), rng.uniform(-2.5, 2.5, 2)) for _ in range(2)]
        lines = []
        for frame in range(1, frames + 1):
            canvas = _canvas(rng, side)
            for identity, (which, start, speed) in enumerate(own, 1):
                x, y = np.clip(start + speed * frame, 0, side - 36)
                x0, y0, x1, y1 = _write(canvas, pictures[which], x, y, 34)
                lines.append(f"{frame},{identity},{x0:.1f},{y0:.1f},{x1 - x0:.1f},{y1 - y0:.1f},1,1,1")
            Image.fromarray(canvas.astype(np.uint8)).save(folder / "img1" / f"{frame:06d}.jpg")
        (folder / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")
        (folder / "seqinfo.ini").write_text(
            f"[Sequence]\nname=digits-{number:02d}\nimDir=img1\nframeRate=10\nseqLength={frames}\n"
            f"imWidth={side}\nimHeight={side}\nimExt=.jpg\n"
        )
    return root


def topics(path: Path) -> Path:
    """Sentences of Python's own help, by topic, as a table."""
    from pydoc_data.topics import topics as found

    rows = ["text\tlabel"]
    for label, names in {"strings": ("formatstrings", "string-methods"), "classes": ("specialnames", "class")}.items():
        words = " ".join(found[n] for n in names if n in found).split()
        rows += [" ".join(words[i : i + 12]).replace('"', "") + f"\t{label}" for i in range(0, 12 * 90, 12)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def summaries(path: Path) -> Path:
    """What Python's own help says of a topic, and its heading."""
    from pydoc_data.topics import topics as found

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for name, text in sorted(found.items())[:40]:
            words = text.split()
            file.write(json.dumps({"id": name, "text": " ".join(words[:40]), "summary": " ".join(words[:4])}) + "\n")
    return path


ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
EINER = ("ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
ZEHNER = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")


def number_words(root: Path) -> Path:
    """Numbers in English and German, as parallel text: German says the ones first."""
    pairs = []
    for hundred in range(1, 10):
        for ten in range(8):
            for one in range(9):
                pairs.append(
                    (
                        f"{ONES[hundred - 1]} hundred {TENS[ten]} {ONES[one]}",
                        f"{EINER[hundred - 1]} hundert {EINER[one]} und {ZEHNER[ten]}",
                    )
                )
    order = np.random.default_rng(0).permutation(len(pairs))
    root.mkdir(parents=True, exist_ok=True)
    for name, part in {"train": order[:500], "dev": order[500:540], "test": order[540:580]}.items():
        for side, language in enumerate(("en", "de")):
            (root / f"{name}.{language}").write_text("".join(pairs[i][side] + "\n" for i in part), "utf-8")
    return root


DIAL = {d: (low, high) for row, low in zip(("123", "456", "789"), (697, 770, 852))
        for d, high in zip(row, (1209, 1336, 1477))}  # fmt: skip


def tones(root: Path, count: int = 60, rate: int = 8000) -> Path:
    """Telephone numbers as a telephone dials them (ITU-T Q.23), with a manifest of what was dialled."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        text = "".join(rng.choice(list("1234"), int(rng.integers(1, 4))))
        pieces = [np.zeros(int(rng.uniform(0.05, 0.15) * rate))]
        for digit in text:
            t = np.arange(int(rng.uniform(0.12, 0.2) * rate)) / rate
            pieces += [sum(np.sin(2 * np.pi * f * t) for f in DIAL[digit]) * 0.3, np.zeros(int(0.08 * rate))]
        sound = np.concatenate(pieces)
        sound += rng.normal(0, 0.01, len(sound))
        write_sound(root / f"{number}.wav", sound, rate)
        lines.append(json.dumps({"audio_filepath": f"{number}.wav", "text": text, "duration": len(sound) / rate}))
    (root / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return root


def write_sound(path: Path, samples: np.ndarray, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((samples.clip(-1, 1) * 32000).astype("<i2").tobytes())


def keys(root: Path, count: int = 24, rate: int = 8000) -> Path:
    """The tones of single keys of a telephone, in files named by the key."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        digit = "123"[number % 3]
        t = np.arange(int(rng.uniform(0.2, 0.4) * rate)) / rate
        sound = sum(np.sin(2 * np.pi * f * t) for f in DIAL[digit]) * 0.3 + rng.normal(0, 0.01, len(t))
        write_sound(root / f"class {digit}_{number}.wav", np.asarray(sound), rate)
    return root


def tagged(root: Path, count: int = 40) -> Path:
    """Numbers in words, the tens and the ones tagged, as CoNLL."""
    rng = np.random.default_rng(0)
    lines = ["-DOCSTART-\tO", ""]
    for _ in range(count):
        hundred, ten, one = rng.integers(0, 8, 3)
        lines += [f"{ONES[hundred]}\tB-LOC", "hundred\tI-LOC", "and\tO", f"{TENS[ten]}\tB-PER", f"{ONES[one]}\tI-PER"]
        lines += [".\tO", ""]
    root.mkdir(parents=True)
    (root / "numbers.conll").write_text("\n".join(lines) + "\n", "utf-8")
    return root


def asked(root: Path, count: int = 12) -> Path:
    """Questions about numbers in words, the last without an answer, as SQuAD."""
    paragraphs = []
    for number in range(count):
        words = f"{TENS[number % 8]} {ONES[number % 9]}"
        context = f"The room has the number {words}, and the house is old."
        answers = [{"text": words, "answer_start": context.index(words)}] if number < count - 1 else []
        qa = {"id": str(number), "question": "Which number has the room?", "answers": answers}
        paragraphs.append({"context": context, "qas": [{**qa, "is_impossible": not answers}]})
    root.mkdir(parents=True)
    (root / "rooms.json").write_text(json.dumps({"data": [{"title": "rooms", "paragraphs": paragraphs}]}))
    return root


def gaps(path: Path) -> Path:
    """Numbers in words with one word left out, as a table."""
    rows = ["text\tlabel"]
    for number in range(24):
        rows.append(f"{ONES[number % 9]} hundred [MASK] {TENS[number % 8]}\t{'and' if number % 3 else 'the'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def likened(path: Path) -> Path:
    """Pairs of numbers in words, and how many of their words are the same, as a table."""
    rows = ["sentence1\tsentence2\tscore"]
    for number in range(24):
        a = f"{ONES[number % 9]} hundred {TENS[number % 8]}"
        b = f"{ONES[number % 7]} hundred {TENS[number % 5]}"
        rows.append(f"{a}\t{b}\t{sum(x == y for x, y in zip(a.split(), b.split()))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def handbook(root: Path, count: int = 12) -> Path:
    """Paragraphs of Python's own help, and beginnings of them as questions, as BEIR."""
    from pydoc_data.topics import topics as found

    chosen = sorted(found)[:count]
    documents = [{"_id": name, "title": name, "text": " ".join(found[name].split()[:40])} for name in chosen]
    questions = [{"_id": f"q-{name}", "text": " ".join(found[name].split()[2:12])} for name in chosen]
    (root / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", documents), ("queries", questions)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    judged = "".join(f"q-{name}\t{name}\t1\n" for name in chosen)
    (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, "utf-8")
    return root


def _digits(root: Path, count: int) -> list[tuple[str, str]]:
    """Pictures of digits, and the name of each."""
    names = ("zero", *ONES)
    pictures, labels = digit_pictures()
    (root / "pictures").mkdir(parents=True)
    found = []
    for number in range(count):
        path = f"pictures/{number}.png"
        Image.fromarray(pictures[number]).resize((40, 32)).save(root / path)
        found.append((path, names[labels[number]]))
    return found


def captions(root: Path, count: int = 12) -> Path:
    """Pictures of digits with two captions each."""
    rows = [{"image": path, "captions": [f"a {name}", f"the digit {name}"]} for path, name in _digits(root, count)]
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return root


def asked_pictures(root: Path, count: int = 12) -> Path:
    """Pictures of digits with a question each, and the words that stand on them."""
    rows = []
    for path, name in _digits(root, count):
        boxes = [["this", [0, 0, 200, 90]], ["is", [210, 0, 300, 90]], [name, [310, 0, 700, 90]]]
        question = "which digit is this?"
        rows.append({"image": path, "question": question, "word_boxes": boxes, "answers": [name, name]})
    (root / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return root


def spoken(root: Path, rate: int = 16000) -> Path:
    """Words as sounds that glide, one tone for each letter, with metadata as LJSpeech has it."""
    (root / "wavs").mkdir(parents=True)
    lines = []
    for number, said in enumerate(("go", "stop now", "left", "right turn", "up and down", "halt")):
        tones = [np.sin(2 * np.pi * (200 + 20 * ord(c)) * np.arange(rate // 20) / rate) for c in said]
        write_sound(root / "wavs" / f"{number}.wav", 0.3 * np.concatenate(tones), rate)
        lines.append(f"{number}|{said}|{said}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def waves(path: Path, count: int = 12, steps: int = 60) -> Path:
    """Waves with a trend and some noise, a column each, as a table."""
    rng = np.random.default_rng(0)
    t = np.arange(steps)[:, None]
    values = np.sin(t / np.arange(2, count + 2)) * 3 + 0.05 * t + 10 + rng.normal(0, 0.2, (steps, count))
    rows = ["date," + ",".join(f"wave {i}" for i in range(count))]
    rows += [f"2026-01-01T{i:02d}," + ",".join(f"{v:.3f}" for v in row) for i, row in enumerate(values)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path
