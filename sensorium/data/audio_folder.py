"""Folder of sounds: labels, speakers or transcripts in the file names, or transcripts beside them.

`<label>_<speaker>_<n>.wav` (label, and the speaker as a group never divided between splits),
`<label>_<n>.wav`, `a.wav` with `a.txt`, or LibriSpeech's `*.trans.txt`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import SOUNDS, Source, extension, split_of_path
from sensorium.errors import InputError

PATTERNS = (
    ("<label>_<speaker>_<n>", re.compile(r"(?P<label>[^_]+)_(?P<group>[^_]+)_\d+")),
    ("<label>-<speaker>-<n>", re.compile(r"(?P<label>[^-_]+)-(?P<group>[^-_]+)-\d+")),
    ("<label>_<n>", re.compile(r"(?P<label>[^_\d][^_]*)_\d+")),
)


def match(source: Source) -> float:
    if source.file is not None:
        return 0.0
    sounds = [n for n in source.files if extension(n) in SOUNDS]
    if not sounds:
        return 0.0
    if _transcripts(source, sounds[:50]):
        return 0.8
    return 0.65 if _named(sounds) else 0.1


def _named(sounds: list[str]) -> tuple[str, re.Pattern[str]] | None:
    """The pattern that nearly all names follow, where it gives two labels or more, and one of them twice."""
    stems = [PurePosixPath(n).stem for n in sounds]
    for shown, pattern in PATTERNS:
        labels = [m["label"] for m in map(pattern.fullmatch, stems) if m]
        counts = Counter(labels)
        if len(labels) >= 0.95 * len(stems) and 2 <= len(counts) < len(labels):
            return shown, pattern
    return None


def _transcripts(source: Source, sounds: list[str]) -> dict[str, str]:
    """The file that holds the transcript of each sound."""
    found = {}
    shared: dict[str, str] = {}
    for name in source.files:
        if name.endswith(".trans.txt"):
            shared[str(PurePosixPath(name).parent)] = name
    for name in sounds:
        path = PurePosixPath(name)
        beside = str(path.with_suffix(".txt"))
        if beside in source.listing:
            found[name] = beside
        elif str(path.parent) in shared:
            found[name] = shared[str(path.parent)]
    return found


def read(source: Source) -> Dataset:
    sounds = [n for n in source.files if extension(n) in SOUNDS]
    if not sounds:
        raise InputError(f"'{source.root}' has no sound files")
    files = _transcripts(source, sounds)
    examples: list[Example] = []
    if files:
        shared: dict[str, dict[str, str]] = {}
        for name in sounds:
            transcript = files.get(name)
            text = ""
            if transcript and transcript.endswith(".trans.txt"):
                if transcript not in shared:
                    rows = (line.partition(" ") for line in source.text(transcript).splitlines())
                    shared[transcript] = {key: words.strip() for key, _, words in rows}
                text = shared[transcript].get(PurePosixPath(name).stem, "")
            elif transcript:
                text = source.text(transcript, 1 << 20).strip()
            if not text:
                source.found("sound-without-text", "warning", name, "has no transcript: left out")
                continue
            stem = PurePosixPath(name).stem
            speaker = re.fullmatch(r"(\d+)-\d+-\d+", stem)  # LibriSpeech: speaker-chapter-utterance
            fields = {"audio": source.absolute(name), "text": text}
            examples.append(Example(name, fields, name, split_of_path(name), speaker[1] if speaker else None))
        source.used.extend(sorted(set(files.values())))
        return source.dataset("audio-folder", ("audio", "text"), examples)
    named = _named(sounds)
    if named is None:
        plain = [Example(n, {"audio": source.absolute(n)}, n, split_of_path(n)) for n in sounds]
        return source.dataset("audio-folder", ("audio",), plain)
    shown, pattern = named
    for name in sounds:
        parts = pattern.fullmatch(PurePosixPath(name).stem)
        if parts is None:
            source.found("no-label", "warning", name, f"is not named {shown}: left out")
            continue
        label = parts["label"]
        fields = {"audio": source.absolute(name), "label": label, "text": label}
        group = parts.groupdict().get("group")
        examples.append(Example(name, fields, name, split_of_path(name), group))
    source.note(f"files are named {shown}: the label is also taken as the text that is spoken")
    classes = tuple(sorted({e.fields["label"] for e in examples}))
    return Dataset(
        source.root,
        "audio-folder",
        ("audio", "label", "text"),
        examples,
        source.notes,
        classes,
        source.findings,
    )
