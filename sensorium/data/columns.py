"""Which column of a table is which field: by the names that people give them, or by what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.data.languages import language_column
from sensorium.data.source import IMAGES, SOUNDS, Source, extension, words

TEXT = words(
    """text sentence tweet content message review comment body document utterance transcript transcription
    transcribed normalized_text normalised_text sms v2 email post phrase string input_text article abstract
    title question query description"""
)
LABEL = words(
    """label class category target sentiment intent tag topic genre v1 y annotation label_text class_name
    labels_text emotion spam is_spam species digit"""
)
SUMMARY = words("summary highlights headline tldr")
LABELS = words("labels tags classes categories")
IMAGE = words("image image_path img img_path picture photo image_file image_name filepath filename file_name path file")
AUDIO = words(
    """audio audio_filepath audio_path audio_file wav wav_path wav_file wav_filename sound clip filepath
    filename file_name path file"""
)
GROUP = words(
    "group speaker speaker_id client_id patient patient_id subject subject_id scene session_id user_id signer"
)
SPLIT = words("split subset set partition fold_name")
PAIRS = (
    ("source", "target"),
    ("src", "tgt"),
    ("src", "trg"),
    ("source_text", "target_text"),
    ("input", "output"),
)


@dataclass
class Roles:
    """The columns that fields are read from; `translation` gives the way to the texts of each language."""

    text: str | None = None
    label: str | None = None
    labels: str | None = None
    image: str | None = None
    audio: str | None = None
    group: str | None = None
    split: str | None = None
    summary: str | None = None
    translation: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def fields(self) -> tuple[str, ...]:
        names = ("image", "audio", "text", "summary", "label", "labels", "translation")
        return tuple(name for name in names if getattr(self, name))

    def empty(self) -> bool:
        return not self.fields()

    def shown(self) -> list[tuple[str, str]]:
        """Fields and columns, for messages."""
        plain = [
            (n, str(getattr(self, n)))
            for n in ("image", "audio", "text", "summary", "label", "labels", "group", "split")
            if getattr(self, n)
        ]
        return plain + [(key, ".".join(column)) for key, column in self.translation]


KNOWN = frozenset(
    [*TEXT, *SUMMARY, *LABEL, *LABELS, *IMAGE, *AUDIO, *GROUP, *SPLIT, "translation", "id", "index", "duration"]
)


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def is_known(header: str) -> bool:
    """Whether a cell is a usual name of a column."""
    name = _plain(header)
    return name in KNOWN or any(name in pair for pair in PAIRS) or language_column(header) is not None


def roles_by_name(header: Sequence[str], rows: Sequence[Mapping[str, Any]], source: Source) -> Roles:
    """The roles that the names of the columns speak of."""
    plain = {_plain(name): name for name in reversed(header)}

    def first(names: Sequence[str]) -> str | None:
        return next(
            (plain[n] for n in names if n in plain and any(r.get(plain[n]) not in (None, "") for r in rows)),
            None,
        )

    roles = Roles()
    for name in (n for n in IMAGE if n in plain):
        if _share(rows, plain[name], lambda v: extension(str(v)) in IMAGES) > 0.5:
            roles.image = plain[name]
            break
    for name in (n for n in AUDIO if n in plain):
        if plain[name] != roles.image and _is_audio(rows, plain[name], source, name):
            roles.audio = plain[name]
            break
    roles.group, roles.split = first(GROUP), first(SPLIT)
    roles.labels = next((plain[n] for n in LABELS if n in plain and _are_lists(rows, plain[n])), None)
    roles.label = first([n for n in LABEL if plain.get(n) != roles.labels])
    if roles.label is None and roles.labels is None:
        roles.label = first(LABELS)
    roles.text, roles.summary = first(TEXT), first(SUMMARY)
    if roles.text is not None and roles.text in (roles.label, roles.labels):
        roles.text = None
    if nested := next((r["translation"] for r in rows if isinstance(r.get("translation"), dict)), None):
        roles.translation = tuple((str(key), ("translation", key)) for key in list(nested)[:2])
    else:
        # "id" and "no" are columns of numbers more often than Indonesian and Norwegian
        languages = [
            (code, name) for name in header if (code := language_column(name)) and _share(rows, name, _is_prose) > 0.3
        ]
        pair = next(([plain[a], plain[b]] for a, b in PAIRS if a in plain and b in plain), None)
        if len({code for code, _ in languages}) >= 2:
            roles.translation = tuple((code, (name,)) for code, name in languages[:2])
        elif pair and all(_share(rows, name, _is_prose) > 0.3 for name in pair):
            roles.translation = tuple((_plain(name), (name,)) for name in pair)
            if roles.label in pair:
                roles.label = None
    if roles.translation and roles.text is not None and (roles.text,) in [c for _, c in roles.translation]:
        roles.text = None
    return roles


def _share(rows: Sequence[Mapping[str, Any]], column: str, holds: Any) -> float:
    values = [r.get(column) for r in rows if r.get(column) not in (None, "")]
    return sum(bool(holds(v)) for v in values) / len(values) if values else 0.0


def _is_prose(value: Any) -> bool:
    return isinstance(value, str) and not value.replace(".", "").strip().isdigit()


def _are_lists(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    return _share(rows, column, lambda v: isinstance(v, list) or any(c in str(v) for c in "|;,")) > 0.05


def _is_audio(rows: Sequence[Mapping[str, Any]], column: str, source: Source, name: str) -> bool:
    if _share(rows, column, lambda v: extension(str(v)) in SOUNDS) > 0.5:
        return True
    return name.startswith(("audio", "wav")) and _share(rows, column, lambda v: f"{v}.wav" in source.by_basename) > 0.5


def roles_by_content(header: Sequence[str], rows: Sequence[Mapping[str, Any]], source: Source) -> Roles:
    """The roles that the contents of columns without names speak of.

    A column of names of pictures or sounds; a column of few different short values is the label; the column
    of the longest texts is the text; two columns of long texts are a translation.
    """
    roles = Roles()
    texts: list[tuple[float, str]] = []
    labels: list[tuple[int, int, str]] = []
    for place, name in enumerate(header):
        values = [v for r in rows if (v := str(r.get(name) if r.get(name) is not None else "").strip())]
        if not values:
            continue
        if _share(rows, name, lambda v: extension(str(v)) in IMAGES) > 0.9:
            roles.image = roles.image or name
            continue
        if _share(rows, name, lambda v: extension(str(v)) in SOUNDS) > 0.9:
            roles.audio = roles.audio or name
            continue
        different = len(set(values))
        length = sum(map(len, values)) / len(values)
        words = sum(len(v.split()) for v in values) / len(values)
        whole = all(v.lstrip("-").isdigit() for v in values)
        if whole and different == len(values) and len(values) > 2:
            continue  # a running number
        repeats = different <= max(1, 0.5 * len(values)) or (len(values) <= 4 and whole)
        if repeats and length <= 40 and words <= 4 and not _all_fractions(values):
            labels.append((different, place, name))
        elif not whole and not _all_fractions(values):
            texts.append((-length, name))
    texts.sort()
    if labels:
        roles.label = min(labels)[2]
    media = roles.image or roles.audio
    if (
        len(texts) >= 2
        and not media
        and ("translation" in source.wants or (not labels and "label" not in source.wants))
    ):
        pair = [name for name in header if name in (texts[0][1], texts[1][1])]
        roles.translation = (("source", (pair[0],)), ("target", (pair[1],)))
        roles.label = None
    elif texts:
        roles.text = texts[0][1]
        if roles.label is None and len(texts) >= 2 and "label" in source.wants:
            roles.label = texts[-1][1]
    return roles


def _all_fractions(values: Sequence[str]) -> bool:
    try:
        return not all(float(v) == int(float(v)) for v in values)
    except (ValueError, OverflowError):
        return False
