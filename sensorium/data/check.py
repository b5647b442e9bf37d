"""What is wrong with a data set, before anything is trained on it.

An `error` means that training would be unwise: files that do not open, one class only, a test set that is largely in
the training set. A `warning` wants to be looked at; a `note` is good to know.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from sensorium.data.examples import Dataset, Example, Finding, Severity
from sensorium.data.splits import classes_of

MEDIA_LIMIT = 10_000  # pictures and sounds looked into
TEXT_LIMIT = 300_000
NAMED = 20  # examples named one by one for each kind of finding
LEAK = 0.10  # share of the test examples in the training set above which their figure says little
ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass
class Findings:
    """Collects findings; of each kind the first few by name, then how many there are."""

    found: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, severity: Severity, where: str, message: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= NAMED:
            self.found.append(Finding(kind, severity, where, message))

    def closed(self, where: str) -> list[Finding]:
        severity = {f.kind: f.severity for f in self.found}
        for kind, count in self.counts.items():
            if count > NAMED:
                self.found.append(Finding(kind, severity[kind], where, f"{count} in all"))
        return self.found


def check(dataset: Dataset, *, media_limit: int = MEDIA_LIMIT, text_limit: int = TEXT_LIMIT) -> list[Finding]:
    """Look for what ruins projects.

    Args:
        dataset: what `open_data` gave.
        media_limit: how many pictures and sounds to look into; of more a sample is taken, and a finding says so.
        text_limit: the same for texts.

    Returns:
        Findings, errors first; those of the reader among them.
    """
    found = Findings()
    place = str(dataset.path)
    media = bool({"image", "audio", "frames"} & set(dataset.fields))
    examples = _sample(dataset.examples, media_limit if media else text_limit, found, place)
    _labels(dataset, examples, found)
    if "image" in dataset.fields:
        _pictures(examples, found)
    if "objects" in dataset.fields:
        _objects(dataset, examples, found)
    if "audio" in dataset.fields:
        _sounds(examples, found)
    if "text" in dataset.fields:
        _texts(examples, found, spoken="audio" in dataset.fields)
    if "translation" in dataset.fields:
        _translations(examples, found)
    if "tracks" in dataset.fields:
        _frames(examples, found)
    _groups(examples, found)
    _splits(dataset, found)
    findings = [*dataset.findings, *found.closed(place)]
    return sorted(findings, key=lambda f: ORDER[f.severity])


def verdict(findings: Iterable[Finding]) -> bool:
    """Whether to train: False where there is an error."""
    return all(f.severity != "error" for f in findings)


def _sample(examples: Sequence[Example], limit: int, found: Findings, place: str) -> Sequence[Example]:
    """All, or as many as the limit allows, evenly spread and always the same."""
    count = len(examples)
    if count <= limit:
        return list(examples)
    found.add("sampled", "note", place, f"{limit:,} of {count:,} examples were looked into")
    step = count / limit
    if isinstance(examples, list):
        return [examples[int(i * step)] for i in range(limit)]
    wanted = {int(i * step) for i in range(limit)}
    return [e for i, e in enumerate(examples) if i in wanted]


# Labels


def _labels(dataset: Dataset, examples: Sequence[Example], found: Findings) -> None:
    if not {"label", "labels", "objects", "tracks"} & set(dataset.fields):
        return
    place = str(dataset.path)
    counts: Counter[str] = Counter()
    per_split: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        classes = classes_of(example)
        counts.update(classes)
        if example.split:
            per_split[example.split].update(classes)
    for name in dataset.classes:
        counts.setdefault(name, 0)
    if not any(counts.values()):
        found.add("no-label", "error", place, "nothing is labelled")
        return
    if len(counts) == 1 and "label" in dataset.fields:
        found.add("one-class", "error", place, f"all examples are '{next(iter(counts))}': nothing to tell apart")
    for name, count in sorted(counts.items()):
        if count < 5:
            found.add("small-class", "warning", f"class '{name}'", f"is in {count} examples only: too few to learn")
    train = per_split.get("train")
    for split in ("val", "test"):
        for name in sorted(set(per_split.get(split, ())) - set(train)) if train else ():
            found.add("class-not-trained", "warning", f"class '{name}'", f"is in {split} but not in train")
    present = [n for n in counts.values() if n]
    if len(present) > 1 and max(present) >= 20 * min(present):
        severity: Severity = "warning" if max(present) >= 200 * min(present) else "note"
        most, least = (
            max(counts, key=lambda c: counts[c]),
            min((c for c in counts if counts[c]), key=lambda c: counts[c]),
        )
        message = f"'{most}' is {max(present) / min(present):.0f} times as frequent as '{least}'"
        found.add("imbalance", severity, place, message)


# Pictures


@dataclass
class _Seen:
    """A picture as far as comparing needs it."""

    example: Example
    size: tuple[int, int] = (0, 0)
    content: bytes = b""
    bits: int = 0
    thumb: np.ndarray | None = None
    fault: str = ""


def _look(example: Example) -> _Seen:
    """Decode a picture completely, at reduced size where the format can."""
    seen = _Seen(example)
    try:
        data = Path(example.fields["image"]).read_bytes()
        seen.content = hashlib.sha256(data).digest()
        with Image.open(io.BytesIO(data)) as image:
            seen.size = image.size
            if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
                seen.size = (image.size[1], image.size[0])
            image.draft("L", (64, 64))
            grey = ImageOps.exif_transpose(image).convert("L")
        seen.thumb = np.asarray(grey.resize((16, 16), Image.Resampling.BOX), dtype=np.float32).ravel()
        small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
        seen.bits = int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        seen.fault = " ".join(str(error).split())[:120] or type(error).__name__
    return seen


def _pictures(examples: Sequence[Example], found: Findings) -> None:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        looked = list(pool.map(_look, examples))
    sound = []
    for seen in looked:
        if seen.fault:
            where = seen.example.id
            message = (
                "is empty" if _is_empty(seen.example.fields["image"]) else seen.fault.replace(str(Path(where)), "")
            )
            found.add("unreadable", "error", where, f"does not open as a picture: {message}")
            continue
        sound.append(seen)
        if min(seen.size) < 8:
            found.add("tiny-picture", "warning", seen.example.id, f"is {seen.size[0]}x{seen.size[1]} pixels small")
        for thing in seen.example.fields.get("objects", ()):
            if thing["box"][2] > seen.size[0] + 1 or thing["box"][3] > seen.size[1] + 1:
                message = f"the picture is {seen.size[0]}x{seen.size[1]}, its annotation speaks of a larger one"
                found.add("size-differs", "warning", seen.example.where, message)
                break
    # pictures of objects or for generation have no label to contradict

    def label(example: Example) -> Any:
        return example.fields.get("label")

    _same("picture", [(s.example, s.content) for s in sound], found, label)
    _nearly_same(sound, found)


def _is_empty(path: str) -> bool:
    try:
        return os.path.getsize(path) == 0
    except OSError:
        return False


def _nearly_same(seen: Sequence[_Seen], found: Findings) -> None:
    """Pictures of the test set that look like one of the training set (difference hash, then correlation)."""
    train = [s for s in seen if s.example.split == "train"]
    tests = [s for s in seen if s.example.split == "test"]
    # plain pictures all look the same to the hash
    train = [s for s in train if s.thumb is not None and s.thumb.std() > 4]
    if not train or not tests:
        return
    hashes = np.array([s.bits for s in train], dtype=np.uint64)
    thumbs = _standard(np.stack([s.thumb for s in train if s.thumb is not None]))
    contents = {s.content for s in train}
    for test in tests:
        if test.thumb is None or test.thumb.std() <= 4 or test.content in contents:
            continue
        differing = np.unpackbits((hashes ^ np.uint64(test.bits)).view(np.uint8).reshape(-1, 8), axis=1).sum(1)
        near = np.flatnonzero(differing <= 6)
        if not len(near):
            continue
        likeness = thumbs[near] @ _standard(test.thumb[None])[0] / thumbs.shape[1]
        best = int(likeness.argmax())
        if likeness[best] > 0.985:
            twin = train[near[best]].example.id
            found.add("near-duplicate", "warning", test.example.id, f"in test, looks nearly like '{twin}' in train")


def _standard(thumbs: np.ndarray) -> np.ndarray:
    """Thumbnails with mean 0 and deviation 1, so that brightness and contrast do not count."""
    centred = thumbs - thumbs.mean(1, keepdims=True)
    result: np.ndarray = centred / (centred.std(1, keepdims=True) + 1e-6)
    return result


def _leak(count: int, of: int, what: str, found: Findings) -> None:
    if count > LEAK * of:
        message = f"{count} of {of} test examples {what}: a figure measured on them says little"
        found.add("leak", "error", "test", message)


def _same(kind: str, keyed: Iterable[tuple[Example, Any]], found: Findings, label: Callable[[Example], Any]) -> None:
    """Examples with the same content: across splits, contradicting each other, or repeated."""
    groups: dict[Any, list[Example]] = defaultdict(list)
    tests = 0
    for example, key in keyed:
        groups[key].append(example)
        tests += example.split == "test"
    leaked = repeated = 0
    first = ""
    for same in groups.values():
        if len(same) < 2:
            continue
        labels = {str(label(e)): e for e in same if label(e) is not None}
        if len(labels) > 1:
            (a, one), (b, two) = list(labels.items())[:2]
            message = f"the same {kind} as {one.where} with another label: '{b}' and '{a}'"
            found.add("contradiction", "warning", two.where, message)
        train = next((e for e in same if e.split == "train"), None)
        held = [e for e in same if e.split in ("val", "test")]
        if train is not None and held:
            for example in held:
                leaked += example.split == "test"
                message = f"the same {kind} as {train.where} in train"
                found.add("duplicate-across-splits", "warning", example.where, f"in {example.split}, {message}")
        else:
            repeated += len(same) - 1
            first = first or f"{same[1].where} is {same[0].where}"
    if repeated:
        message = (
            f"{repeated} {kind}s are there more than once ({first}); duplicates stay in one split only if you see to it"
        )
        found.add("duplicate", "note", "all", message)
    _leak(leaked, tests, "are in the training set", found)


# Objects


FAULTY_BOXES = ("box-invalid", "box-inverted", "box-without-area", "box-outside")


def _objects(dataset: Dataset, examples: Sequence[Example], found: Findings) -> None:
    total = empty = small = 0
    for example in examples:
        objects = example.fields["objects"]
        total += len(objects)
        empty += not objects
        seen = set()
        for thing in objects:
            key = (thing["label"], *(round(v) for v in thing["box"]))
            if key in seen:
                box = ", ".join(f"{v:g}" for v in thing["box"])
                found.add("duplicate-box", "warning", example.where, f"'{thing['label']}' at ({box}) is there twice")
            seen.add(key)
            width, height = thing["box"][2] - thing["box"][0], thing["box"][3] - thing["box"][1]
            small += width < 3 or height < 3
    faulty = sum(f.kind in FAULTY_BOXES for f in dataset.findings)
    if faulty > 0.1 * (total + faulty):
        message = f"{faulty} of {total + faulty} boxes are faulty: is their order or unit another one?"
        found.add("boxes", "error", str(dataset.path), message)
    if small:
        found.add("small-box", "note", str(dataset.path), f"{small} boxes are less than 3 pixels wide or high")
    if empty:
        found.add("background", "note", str(dataset.path), f"{empty} pictures are labelled as having no object")


def _frames(examples: Sequence[Example], found: Findings) -> None:
    for example in examples:
        frames, tracks = example.fields["frames"], example.fields["tracks"]
        step = max(1, len(frames) // 50)
        for path in frames[::step]:
            seen = _look(Example(path, {"image": path}, path))
            if seen.fault:
                found.add("unreadable", "error", path, f"does not open as a picture: {seen.fault}")
        bare = sum(not frame for frame in tracks)
        if bare > 0.5 * len(frames):
            found.add("background", "note", example.where, f"{bare} of {len(frames)} frames have no object")
        lengths = Counter(t["id"] for frame in tracks for t in frame if not t["ignore"])
        short = sum(n == 1 for n in lengths.values())
        if short > 0.3 * max(1, len(lengths)):
            message = f"{short} of {len(lengths)} tracks last one frame only: are identities kept?"
            found.add("short-tracks", "warning", example.where, message)


# Sounds


@dataclass
class _Heard:
    example: Example
    rate: int = 0
    seconds: float = 0.0
    loudest: float = 1.0
    content: bytes = b""
    fault: str = ""


def _hear(example: Example) -> _Heard:
    """Open a sound; decode it if it is short."""
    import soundfile

    heard = _Heard(example)
    path = example.fields["audio"]
    try:
        with soundfile.SoundFile(path) as file:
            heard.rate, heard.seconds = file.samplerate, file.frames / file.samplerate
            if heard.seconds <= 60:
                samples = file.read(dtype="float32", always_2d=True)
                if len(samples) and not np.isfinite(samples).all():
                    heard.fault = "has samples that are not finite"
                heard.loudest = float(np.abs(samples).max()) if len(samples) else 0.0
                heard.seconds = len(samples) / heard.rate
        heard.content = hashlib.sha256(Path(path).read_bytes()).digest()
        heard.fault = heard.fault or _cut_off(path)
    except (OSError, RuntimeError, ValueError) as error:
        heard.fault = str(error).split(": ")[-1].strip() or type(error).__name__
    return heard


def _cut_off(path: str) -> str:
    """Whether a WAV file is shorter than its header says (it is read without complaint, as far as it goes)."""
    with open(path, "rb") as file:
        head = file.read(4096)
        size = os.fstat(file.fileno()).st_size
    at = head.find(b"data")
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE" or at < 0:
        return ""
    told = int.from_bytes(head[at + 4 : at + 8], "little")
    missing = at + 8 + told - size
    return f"is cut off: {missing} bytes of its sound are missing" if missing > 1 and told < 0xFFFFFF00 else ""


def _sounds(examples: Sequence[Example], found: Findings) -> None:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        heard = list(pool.map(_hear, examples))
    good = []
    for sound in heard:
        if sound.fault:
            found.add("unreadable", "error", sound.example.id, f"does not open as a sound: {sound.fault}")
        elif sound.seconds == 0:
            found.add("empty-sound", "error", sound.example.id, "has no samples")
        else:
            good.append(sound)
            if sound.loudest < 1e-4:
                found.add("silence", "warning", sound.example.id, "is silent")
            text = sound.example.fields.get("text")
            if isinstance(text, str) and len(text) > 40 * sound.seconds + 10:
                message = f"{len(text)} characters in {sound.seconds:.2f} seconds: does the text belong to the sound?"
                found.add("text-too-long", "warning", sound.example.where, message)
    rates = Counter(s.rate for s in good)
    if len(rates) > 1:
        usual = rates.most_common(1)[0][0]
        for sound in good:
            if sound.rate != usual:
                message = f"{sound.rate} Hz, most are {usual} Hz: resampled when read"
                found.add("rate", "warning", sound.example.id, message)
    for rate in rates:
        if rate < 8000:
            found.add("low-rate", "warning", "all", f"{rates[rate]} sounds of {rate} Hz: too low for speech")
    _same("sound", [(s.example, s.content) for s in good], found, lambda e: e.fields.get("label", e.fields.get("text")))


# Texts

MOJIBAKE = re.compile("[ÃÂ][\x80-\xbf]|â€|ï»¿|\ufffd")


def normal(text: str) -> str:
    """A text as far as comparing goes: no capitals, digits alike, no punctuation, single spaces."""
    text = re.sub(r"\d", "0", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(re.sub(r"[^\w\s]", " ", text).split()) or text.strip()


def _text_faults(text: str, example: Example, found: Findings) -> None:
    if mark := MOJIBAKE.search(text):
        message = f"{mark.group()!r}: its encoding was mistaken somewhere before"
        found.add("mojibake", "warning", example.where, message)
    if any(unicodedata.category(c) in ("Cc", "Co", "Cn") and c not in "\n\t\r" for c in text if not " " <= c <= "~"):
        found.add("control-characters", "warning", example.where, "has control or unassigned characters")


def _texts(examples: Sequence[Example], found: Findings, spoken: bool) -> None:
    kept = []
    characters: Counter[str] = Counter()
    first: dict[str, str] = {}
    for example in examples:
        text = example.fields["text"]
        if not text.strip():
            found.add("empty-text", "warning", example.where, "has no text")
            continue
        kept.append(example)
        _text_faults(text, example, found)
        if spoken:
            for c in set(text):
                characters[c] += 1
                first.setdefault(c, example.where)
    if spoken:
        few = max(1, len(kept) // 500)
        for c, count in sorted(characters.items()):
            unusual = not (c.isalnum() or c in " '’.,?!-")
            if unusual or (count <= few and len(kept) >= 200 and not c.isascii()):
                message = f"{c!r} ({unicodedata.name(c, 'unnamed')}) is in {count} transcripts: how is it spoken?"
                found.add("odd-character", "note", first[c], message)
        return  # the same sentence may be read by many
    if len(kept) > 20 and "label" in kept[0].fields:
        longest = max(len(e.fields["text"]) for e in kept)
        typical = sorted(len(e.fields["text"]) for e in kept)[len(kept) // 2]
        if longest > 100 * max(typical, 10):
            at = next(e for e in kept if len(e.fields["text"]) == longest)
            found.add("long-text", "note", at.where, f"{longest} characters, half of the texts have at most {typical}")
    _same("text", ((e, normal(e.fields["text"])) for e in kept), found, lambda e: e.fields.get("label"))


def _translations(examples: Sequence[Example], found: Findings) -> None:
    lengths = []
    for example in examples:
        pair = list(example.fields["translation"].values())
        if not all(side.strip() for side in pair):
            found.add("empty-text", "warning", example.where, "one side is empty")
            continue
        for side in pair:
            _text_faults(side, example, found)
        if len(pair) == 2 and pair[0] == pair[1] and len(pair[0]) > 20:
            found.add("untranslated", "warning", example.where, "both sides are the same")
        lengths.append((len(pair[0]) / max(1, len(pair[-1])), example))
    if len(lengths) > 100:
        usual = float(np.median([ratio for ratio, _ in lengths]))
        for ratio, example in lengths:
            long = max(map(len, example.fields["translation"].values())) > 60
            if long and not usual / 5 < ratio < usual * 5:
                times = max(ratio / usual, usual / ratio)
                message = f"one side is {times:.0f} times as long as usual: do they belong together?"
                found.add("length-ratio", "warning", example.where, message)
    keyed = ((e, tuple(map(normal, e.fields["translation"].values()))) for e in examples)
    _same("pair", keyed, found, lambda e: None)


# The whole


def _groups(examples: Sequence[Example], found: Findings) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        if example.group is not None and example.split is not None:
            splits[example.group].add(example.split)
    divided = sorted(g for g, of in splits.items() if "train" in of and "test" in of)
    if divided:
        names = ", ".join(divided[:5]) + (" ..." if len(divided) > 5 else "")
        message = f"{len(divided)} groups are in train and in test ({names}): the test does not speak for new ones"
        found.add("group-divided", "note", "test", message)


def _splits(dataset: Dataset, found: Findings) -> None:
    place = str(dataset.path)
    splits = dataset.splits()
    total = len(dataset.examples)
    if total < 10:
        found.add(
            "few-examples", "error" if total < 2 else "warning", place, f"{total} examples: too few to learn from"
        )
    if not splits:
        message = (
            "no splits: training holds out 15 % for validation and 15 % for the test (`data split` writes it down)"
        )
        found.add("no-splits", "note", place, message)
        return
    if "train" not in splits:
        found.add("no-train", "warning", place, "no training examples: this can be evaluated on, not trained on")
    for name in ("val", "test"):
        if 0 < splits.get(name, 0) < 30:
            found.add("small-split", "note", place, f"{splits[name]} examples in {name}: intervals will be wide")
