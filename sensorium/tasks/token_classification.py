"""Token classification: the names, places and other spans in a text, each with its kind and a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from tokenizers import Encoding

from sensorium.errors import CallError, InputError
from sensorium.media import drawing, text
from sensorium.ops import batches, classification, entities
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.texts import OfText

STRATEGIES = ("none", "simple", "first", "average", "max", "words")


@dataclass
class Entity:
    """A span of the text.

    Attributes:
        entity_group: its kind.
        score: how sure the model is, 0..1.
        word: its text as the tokenizer writes it.
        start, end: characters of the source, the end not included.
    """

    entity_group: str
    score: float
    word: str
    start: int
    end: int


@dataclass
class Token:
    """One token, or one word, with its label as the model names it."""

    entity: str
    score: float
    index: int
    word: str
    start: int
    end: int


@dataclass
class Piece:
    """A token with its probabilities; `inside`: it continues the word before it."""

    word: str
    scores: np.ndarray
    start: int
    end: int
    index: int
    inside: bool


@dataclass
class Task(OfText):
    """What the folder's files say. A text is a string, or a list of words."""

    name: ClassVar[str] = "token-classification"
    architectures: ClassVar[tuple[str, ...]] = ("ForTokenClassification",)
    source: ClassVar[str] = "tokens"
    truth: ClassVar[str] = "tags"
    metric: ClassVar[str] = "f1"
    evaluation: ClassVar[dict[str, Any]] = {"aggregation_strategy": "words"}

    def __post_init__(self) -> None:
        self.labels, _ = classification.labels_of(self.encoder.config)
        self.scheme = entities.scheme_of(self.labels)

    def open(self, source: Any) -> str | list[str]:
        """A text, or its words."""
        if isinstance(source, (list, tuple)):
            words = [text.load(word) for word in source]
            text.load(" ".join(words))
            return words
        return text.load(source)

    def prepare(self, source: str | list[str]) -> Arrays:
        """input_ids, attention_mask, token_type_ids: each (T,) int64; what does not fit is left out."""
        return self.encoder.arrays(self.encoder.encode(source))

    def decode(self, outputs: Arrays, source: Any) -> np.ndarray:
        """Probabilities of the labels: (T, C)."""
        logits = outputs["logits"]
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):
            raise CallError(f"the network answers {logits.shape[-1]} labels, config.json names {len(self.labels)}")
        return classification.softmax(logits)

    def predict(
        self,
        nets: Nets,
        sources: Sequence[str | list[str]],
        *,
        aggregation_strategy: str = "simple",
        stride: int | None = None,
        ignore_labels: list[str] | None = None,
    ) -> list[list[Entity] | list[Token]]:
        """The spans of each text, in their order.

        Options:
            aggregation_strategy: how tokens become spans: none (each token alone), simple (neighbours of one kind), first, average, max (whole words: by their first token, the mean, the surest), words (a label for each word)
            stride: read long texts in windows that share this many tokens; by default the rest is cut off
            ignore_labels: labels that are left out; by default O
        """  # noqa: E501
        if aggregation_strategy not in STRATEGIES:
            raise CallError(f"aggregation_strategy '{aggregation_strategy}': use one of {', '.join(STRATEGIES)}")
        if stride is not None and aggregation_strategy == "none":
            raise CallError("a stride joins windows by their spans: choose another aggregation_strategy than none")
        if stride is None and aggregation_strategy == "words" and self.encoder.max_length:
            stride = self.encoder.max_length // 4
        if stride is not None and self.encoder.max_length:
            room = self.encoder.max_length - self.encoder.tokenizer.num_special_tokens_to_add(False)
            stride = max(0, min(stride, room - 1))
        windows: list[tuple[int, Encoding]] = []
        for number, source in enumerate(sources):
            first = self.encoder.encode(source, stride=stride or 0)
            windows += [(number, w) for w in ([first, *first.overflowing] if stride is not None else [first])]
        items = [self.encoder.arrays(window) for _, window in windows]
        tables: list[np.ndarray] = [np.empty(0)] * len(items)
        for i, outputs in batches.outputs(nets["model"], items, self.padding):
            tables[i] = self.decode({"logits": outputs["logits"]}, None)[: len(windows[i][1].ids)]
        pieces: list[list[list[Piece]]] = [[] for _ in sources]
        for (number, window), scores in zip(windows, tables):
            pieces[number].append(self._pieces(sources[number], window, scores))
        ignored = ["O"] if ignore_labels is None else ignore_labels
        answers: list[list[Entity] | list[Token]] = []
        for source, found in zip(sources, pieces):
            if aggregation_strategy == "words":
                answers.append(self._labelled(source, found))
            elif aggregation_strategy == "none":
                tokens = [self._token(p) for p in found[0]]
                answers.append([t for t in tokens if t.entity not in ignored])
            else:
                spans = [self._spans(some, aggregation_strategy) for some in found]
                kept = [e for some in spans for e in some if e.entity_group not in ignored]
                answers.append(_without_overlap(kept) if len(found) > 1 else kept)
        return answers

    def _pieces(self, source: str | list[str], window: Encoding, scores: np.ndarray) -> list[Piece]:
        """The tokens of one window that stand for text."""
        words = source if isinstance(source, list) else None
        shown = " ".join(words) if words is not None else str(source)
        begins = np.cumsum([0] + [len(word) + 1 for word in words]) if words is not None else None
        prefixed = bool(getattr(self.encoder.tokenizer.model, "continuing_subword_prefix", None))
        unknown = self.encoder.token_id("unk_token")
        found: list[Piece] = []
        before: int | None = None
        for i, special in enumerate(window.special_tokens_mask):
            if special:
                continue
            start, end = window.offsets[i]
            word = window.tokens[i]
            number = window.word_ids[i]
            if begins is not None and number is not None:
                start, end = start + int(begins[number]), end + int(begins[number])
            covered = shown[start:end]
            if words is not None:  # who gives words has said where they end
                inside = number is not None and number == before
            elif prefixed:
                inside = len(word) != len(covered)
            else:  # a token that no space comes before
                inside = start > 0 and " " not in shown[start - 1 : start + 1]
            if window.ids[i] == unknown:
                word, inside = covered, inside and words is not None
            before = number
            found.append(Piece(word, scores[i], start, end, i, inside))
        return found

    def _token(self, piece: Piece) -> Token:
        best = int(piece.scores.argmax())
        return Token(self.labels[best], float(piece.scores[best]), piece.index, piece.word, piece.start, piece.end)

    def _spans(self, pieces: list[Piece], strategy: str) -> list[Entity]:
        """Neighbouring tokens, or words, of the same kind as one."""
        units = [self._token(p) for p in pieces] if strategy == "simple" else self._words(pieces, strategy)
        groups: list[list[Token]] = []
        for unit in units:
            prefix, kind = _kind(unit.entity)
            if groups and prefix != "B" and kind == _kind(groups[-1][-1].entity)[1]:
                groups[-1].append(unit)
            else:
                groups.append([unit])
        return [
            Entity(
                group[0].entity.split("-", 1)[-1],
                float(np.nanmean([unit.score for unit in group])),
                self.encoder.join([unit.word for unit in group]),
                group[0].start,
                group[-1].end,
            )
            for group in groups
        ]

    def _words(self, pieces: list[Piece], strategy: str) -> list[Token]:
        """Words, with one label each."""
        groups: list[list[Piece]] = []
        for piece in pieces:
            if piece.inside and groups:
                groups[-1].append(piece)
            else:
                groups.append([piece])
        found = []
        for group in groups:
            if strategy == "first":
                scores = group[0].scores
            elif strategy == "max":
                scores = max(group, key=lambda piece: float(piece.scores.max())).scores
            else:
                scores = np.nanmean([piece.scores for piece in group], axis=0)
            joined = self.encoder.join([piece.word for piece in group])
            best = int(scores.argmax())
            label, score = self.labels[best], float(scores[best])
            found.append(Token(label, score, group[0].index, joined, group[0].start, group[-1].end))
        return found

    def _labelled(self, source: str | list[str], windows: list[list[Piece]]) -> list[Token]:
        """One label for each word, by its first token in the window where that stands furthest from an edge.

        A word that the tokenizer has nothing for is outside of everything.
        """
        words = list(source) if isinstance(source, list) else source.split()
        shown, at, bounds = (" ".join(words) if isinstance(source, list) else source), 0, []
        for word in words:
            at = shown.index(word, at) if word else at
            bounds.append((at, at + len(word)))
            at += len(word) + isinstance(source, list)
        best: dict[int, tuple[int, Piece]] = {}
        starts = np.array([b[0] for b in bounds], np.int64)
        for window in windows:
            for place, piece in enumerate(window):
                number = int(np.searchsorted(starts, max(piece.start, piece.end - 1), side="right")) - 1
                margin = min(place, len(window) - 1 - place)
                held = best.get(number)
                if held is None or piece.start < held[1].start or (piece.start == held[1].start and margin > held[0]):
                    best[number] = (margin, piece)
        found = []
        for i, (start, end) in enumerate(bounds):
            if i in best:
                token = self._token(best[i][1])
                found.append(Token(token.entity, token.score, i, shown[start:end], start, end))
            else:
                found.append(Token("O", 0.0, i, shown[start:end], start, end))
        return found

    def tally(self, prediction: list[Token], truth: Sequence[str], nets: Nets) -> Tally:
        """Counts of entities by kind, and of equal tags; the quality is this text's own F1."""
        found = [token.entity for token in prediction]
        if len(found) != len(truth):
            raise InputError(f"{len(truth)} tags for {len(found)} words: give a tag for each word")
        loose = entities.counts(entities.entities(truth), entities.entities(found))
        strict = entities.counts(
            entities.strict_entities(truth, self.scheme), entities.strict_entities(found, self.scheme)
        )
        equal = sum(a == b for a, b in zip(found, truth))
        quality = entities.scores(loose)["f1"] if loose else 1.0
        return Tally(quality, (loose, strict, equal, len(truth)))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Precision, recall and F1 of whole entities, `strict_f1` of those written as the scheme wants, accuracy."""
        loose: Counter[tuple[str, str]] = Counter()
        strict: Counter[tuple[str, str]] = Counter()
        equal = total = 0
        for tally in tallies:
            loose.update(tally.stats[0])
            strict.update(tally.stats[1])
            equal, total = equal + tally.stats[2], total + tally.stats[3]
        found = entities.scores(loose) | {"strict_f1": entities.scores(strict)["f1"]}
        return found | {"accuracy": equal / total if total else float("nan")}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Token]]:
        """Each word as it is most often labelled, unknown ones outside."""
        known: dict[str, Counter[str]] = {}
        for words, tags in zip(sources, truths):
            for word, tag in zip(words, tags):
                known.setdefault(word, Counter())[tag] += 1
        usual = {word: tags.most_common(1)[0][0] for word, tags in known.items()}
        return lambda source: [Token(usual.get(w, "O"), 1.0, i, w, 0, 0) for i, w in enumerate(source)]

    def draw(self, source: Any, result: list[Entity] | list[Token], truth: Any = None) -> Image.Image:
        """The text, and its spans below."""
        opened = self.open(source)
        shown = opened if isinstance(opened, str) else " ".join(opened)
        names = [(e.entity_group if isinstance(e, Entity) else e.entity, e) for e in result]
        lines = [f"{shown[e.start : e.end]} ({kind}, {e.score:.0%})" for kind, e in names if kind != "O"]
        paragraphs = [("Text", shown), ("Found", "\n".join(lines) or "nothing")]
        if truth is not None and isinstance(opened, list):
            true = sorted(entities.entities(truth), key=lambda e: e[1])
            listed = [f"{' '.join(opened[start:end])} ({kind})" for kind, start, end in true]
            paragraphs.append(("Truth", "\n".join(listed) or "nothing"))
        return drawing.text(paragraphs)


def _kind(label: str) -> tuple[str, str]:
    """Prefix and kind of a label; one without a prefix continues its own kind."""
    return (label[0], label[2:]) if label[:2] in ("B-", "I-") else ("I", label)


def _without_overlap(found: list[Entity]) -> list[Entity]:
    """Of spans of several windows that overlap, the longest, or of equally long ones the surest."""
    kept: list[Entity] = []
    for entity in sorted(found, key=lambda e: e.start):
        last = kept[-1] if kept else None
        if last is None or not last.start <= entity.start < last.end:
            kept.append(entity)
        elif (entity.end - entity.start, entity.score) > (last.end - last.start, last.score):
            kept[-1] = entity
    return kept
