"""Question answering: the words of a text that answer a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from tokenizers import Encoding

from sensorium.errors import CallError, InputError, check_count
from sensorium.media import drawing, text
from sensorium.ops import answers, batches
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.texts import OfText

WINDOW = 384  # tokens that are read at once, where the model takes as many
OVERLAP = 128  # tokens that neighbouring windows share, at most half of a window


@dataclass
class Answer:
    """The words that answer the question.

    Attributes:
        answer: the words; empty where the text does not answer it.
        score: how sure the model is, 0..1.
        start, end: characters of the context, the end not included.
    """

    answer: str
    score: float
    start: int
    end: int


@dataclass
class Asked:
    """A question about a context."""

    question: str
    context: str


@dataclass
class Task(OfText):
    """What the folder's files say."""

    name: ClassVar[str] = "question-answering"
    architectures: ClassVar[tuple[str, ...]] = ("ForQuestionAnswering", "ForQuestionAnsweringSimple")
    parts: ClassVar[tuple[str, ...]] = ("question", "context")
    source: ClassVar[str] = "question"
    truth: ClassVar[str] = "answers"
    metric: ClassVar[str] = "f1"

    def open(self, source: Any) -> Asked:
        """A question and a context, of `{"question": ..., "context": ...}`.

        Raises:
            InputError: one of them is missing or empty.
        """
        if isinstance(source, Asked):
            return source
        if not isinstance(source, Mapping):
            raise InputError("a question needs the context that answers it: give both, question and context")
        parts = [text.load(source[part]) if source.get(part) is not None else "" for part in self.parts]
        for name, part in zip(self.parts, parts):
            if not part:
                raise InputError(f"the {name} is empty or missing: give both, question and context")
        return Asked(*parts)

    def windows(self, source: Asked, longest: int | None = None, overlap: int | None = None) -> list[Encoding]:
        """The question with as much of the context as fits, window by window."""
        limit = longest or min(self.encoder.max_length or WINDOW, WINDOW)
        shared = min(limit // 2, OVERLAP) if overlap is None else overlap
        room = limit - len(self.encoder.encode(source.question, special=False).ids)
        room -= self.encoder.tokenizer.num_special_tokens_to_add(True)
        if room < 1:
            raise InputError(f"the question leaves no room for the context in {limit} tokens: shorten it")
        shared = min(shared, room - 1)
        first, second = (source.question, source.context) if self.question_first else (source.context, source.question)
        strategy = "only_second" if self.question_first else "only_first"
        found = self.encoder.encode(first, second, max_length=limit, stride=shared, strategy=strategy)
        return [found, *found.overflowing]

    @property
    def question_first(self) -> bool:
        return self.encoder.tokenizer_config.get("padding_side") != "left"

    def prepare(self, source: Asked) -> Arrays:
        """The first window: input_ids, attention_mask, token_type_ids: each (T,) int64."""
        return self.encoder.arrays(self.windows(source)[0])

    def decode(self, outputs: Arrays, source: Any) -> tuple[np.ndarray, np.ndarray]:
        """Logits of the beginning and the end of the answer: (T,) each."""
        missing = [name for name in ("start_logits", "end_logits") if name not in outputs]
        if missing:
            raise InputError(f"the network has no output '{missing[0]}': it answers no questions by spans")
        return outputs["start_logits"], outputs["end_logits"]

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Asked],
        *,
        top_k: int = 1,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
        max_seq_len: int | None = None,
        doc_stride: int | None = None,
    ) -> list[Answer | list[Answer]]:
        """The best answer to each question; a list of several where more than one is asked for.

        Options:
            top_k: how many answers
            max_answer_len: longest answer, in tokens
            handle_impossible_answer: answer nothing where that is likelier than any words
            align_to_words: answer whole words; better not where words have no spaces between them
            max_seq_len: tokens of a window, question included; by default 384, or fewer if the model takes fewer
            doc_stride: tokens that neighbouring windows of a long context share; by default 128
        """
        check_count("top_k", top_k)
        check_count("max_answer_len", max_answer_len)
        check_count("max_seq_len", max_seq_len)
        if doc_stride is not None and doc_stride < 0:
            raise CallError(f"doc_stride is at least 0, not {doc_stride}")
        windows = [(n, w) for n, source in enumerate(sources) for w in self.windows(source, max_seq_len, doc_stride)]
        items = [self.encoder.arrays(window) for _, window in windows]
        logits: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0), np.empty(0))] * len(items)
        for i, outputs in batches.outputs(nets["model"], items, self.padding):
            logits[i] = self.decode(outputs, None)
        candidates = top_k * 2 + 10 if align_to_words else top_k  # some turn out to be the same words
        found: list[list[Answer]] = [[] for _ in sources]
        nothing = [1e6] * len(sources)
        for (number, window), (start, end) in zip(windows, logits):
            spans, empty = self._spans(window, start, end, candidates, max_answer_len)
            nothing[number] = min(nothing[number], empty)
            for first, last, score in spans:
                begin, stop = self._characters(window, first, last, align_to_words)
                words = sources[number].context[begin:stop]
                same = next((a for a in found[number] if a.answer.lower() == words.lower()), None)
                if same is not None:
                    same.score += score
                else:
                    found[number].append(Answer(words, score, begin, stop))
        results: list[Answer | list[Answer]] = []
        for some, empty in zip(found, nothing):
            if handle_impossible_answer:
                some.append(Answer("", empty, 0, 0))
            ranked = sorted(some, key=lambda answer: -answer.score)[:top_k]
            results.append(ranked if top_k > 1 else ranked[0] if ranked else Answer("", 0.0, 0, 0))
        return results

    def _spans(
        self, window: Encoding, start: np.ndarray, end: np.ndarray, count: int, longest: int
    ) -> tuple[list[tuple[int, int, float]], float]:
        """The best spans of one window, and the probability that it holds no answer."""
        part = 1 if self.question_first else 0
        classify = self.encoder.token_id("cls_token")
        allowed = np.array([s == part or i == classify for s, i in zip(window.sequence_ids, window.ids)])
        first, last = (answers.probabilities(x[: len(allowed)], allowed) for x in (start, end))
        empty = float(first[0] * last[0])
        first[0] = last[0] = 0.0
        return answers.best_spans(first, last, allowed, count, longest), empty

    def _characters(self, window: Encoding, first: int, last: int, whole: bool) -> tuple[int, int]:
        """From where to where in the context a span of tokens goes."""
        if whole:
            part = 1 if self.question_first else 0
            one, other = window.token_to_word(first), window.token_to_word(last)
            if one is not None and other is not None:
                begin, stop = window.word_to_chars(one, part), window.word_to_chars(other, part)
                if begin is not None and stop is not None:
                    return begin[0], stop[1]
        return window.offsets[first][0], window.offsets[last][1]

    def tally(self, prediction: Answer | list[Answer], truth: Any, nets: Nets) -> Tally:
        """Exact match and F1 against the nearest right answer: of `{"text": [...]}`, or a list; none for no answer."""
        given = prediction if isinstance(prediction, Answer) else prediction[0]
        right = truth.get("text", []) if isinstance(truth, Mapping) else truth
        right = [right] if isinstance(right, str) else list(right)
        measured = [answers.best(measure, given.answer, right) for measure in (answers.exact, answers.f1)]
        return Tally(measured[1], (*measured, any(answers.normalized(r) for r in right)))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Exact match and F1, 0..100, as the official scripts; where some have no answer, also for each kind."""
        rows = np.array([t.stats for t in tallies], np.float64).reshape(-1, 3)
        found = _means(rows, "")
        if not rows[:, 2].all():
            found |= _means(rows[rows[:, 2] == 1], "has_answer_") | _means(rows[rows[:, 2] == 0], "no_answer_")
        return found

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Answer]:
        """The first words of the context, or nothing where most questions have no answer."""
        empty = [not (t.get("text") if isinstance(t, Mapping) else t) for t in truths]
        if sum(empty) * 2 > len(empty):
            return lambda source: Answer("", 0.0, 0, 0)

        def first(source: Any) -> Answer:
            words = " ".join(self.open(source).context.split()[:3])
            return Answer(words, 0.0, 0, len(words))

        return first

    def draw(self, source: Any, result: Answer | list[Answer], truth: Any = None) -> Image.Image:
        """Context, question and answers, one below the other."""
        asked = self.open(source)
        given = [result] if isinstance(result, Answer) else result
        lines = [f"{a.answer or '(none)'} ({a.score:.0%})" for a in given]
        paragraphs = [("Context", asked.context), ("Question", asked.question), ("Answer", "\n".join(lines))]
        if truth is not None:
            right = truth.get("text", []) if isinstance(truth, Mapping) else truth
            paragraphs.append(("Truth", " / ".join(dict.fromkeys(right)) or "(none)"))
        return drawing.text(paragraphs)


def _means(rows: np.ndarray, prefix: str) -> dict[str, float]:
    values = 100 * rows[:, :2].mean(axis=0) if len(rows) else (float("nan"),) * 2
    return {f"{prefix}exact_match": float(values[0]), f"{prefix}f1": float(values[1])}
