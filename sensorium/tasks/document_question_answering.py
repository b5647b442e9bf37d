"""Document question answering: the words of a page that answer a question about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from tokenizers import Encoding

from sensorium.errors import InputError, check_count
from sensorium.media import drawing, image, processors, text
from sensorium.media.writer import Writer
from sensorium.ops import answers, vqa
from sensorium.tasks import Arrays, Nets
from sensorium.tasks.shared.asks_picture import Answer, AsksPicture

Box = tuple[int, int, int, int]

# What a token that ends a part of the sequence has for a box, by family; words of the question have zeros.
ENDS: dict[str, Box] = {"layoutlm": (1000, 1000, 1000, 1000), "layoutlmv2": (1000, 1000, 1000, 1000)}
PROMPT = "<s_docvqa><s_question>{}</s_question><s_answer>"  # Donut
WRITTEN = 256  # tokens of an answer that is written, where nothing else is said


@dataclass
class Words(Answer):
    """An answer that may stand on the page.

    Attributes:
        start, end: the first and last of the page's words that answer.
    """

    start: int | None = None
    end: int | None = None


@dataclass
class Asked:
    """A question about a page.

    Attributes:
        image: the page; None where its words are enough.
        words, boxes: what is written where: left, top, right, bottom, of a page of 1000 x 1000.
    """

    image: Image.Image | None
    question: str
    words: list[str] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)


@dataclass
class Task(AsksPicture):
    """What the folder's files say.

    Attributes:
        writer: the words.
        preprocessor: preprocessor_config.json, or None of a model that does not look at the page.
    """

    writer: Writer
    preprocessor: dict[str, Any] | None

    name: ClassVar[str] = "document-question-answering"
    architectures: ClassVar[tuple[str, ...]] = (
        "LayoutLMForQuestionAnswering",
        "LayoutLMv3ForQuestionAnswering",
        "LiltForQuestionAnswering",
    )
    parts: ClassVar[tuple[str, ...]] = ("image", "question", "word_boxes")
    metric: ClassVar[str] = "anls"

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        writer = Writer.load(files, cls.name)
        sees = files.get(processors.FILE) is not None or files.get("processor_config.json") is not None
        return cls(writer, processors.settings(files) if sees else None)

    def files(self) -> dict[str, Any]:
        found = self.writer.files()
        return found if self.preprocessor is None else {**found, processors.FILE: self.preprocessor}

    @property
    def writes(self) -> bool:
        """Whether the answer is written from the picture alone."""
        return self.writer.model_type == "vision-encoder-decoder"

    def open(self, source: Any) -> Asked:
        """A page and a question: `{"image", "question", "word_boxes": [[word, [left, top, right, bottom]], ...]}`.

        Raises:
            InputError: a part that the model needs is missing, or not of this form.
        """
        if isinstance(source, Asked):
            return source
        if not isinstance(source, Mapping) or source.get("question") is None:
            raise InputError("a page and a question about it are needed: give image, question and word_boxes")
        page = source.get("image")
        if page is None and (self.writes or self.preprocessor is not None):
            raise InputError("this model looks at the page: give its image")
        words, boxes = _word_boxes(source.get("word_boxes") or [])
        if not words and not self.writes:
            raise InputError("this model needs what is written on the page: give word_boxes, [[word, box], ...]")
        return Asked(None if page is None else image.load(page), text.load(source["question"]), words, boxes)

    def prepare(self, source: Asked) -> Arrays:
        """The first window: input_ids, attention_mask, token_type_ids (T,), bbox (T, 4) int64, and pixel_values."""
        if self.writes:
            return self._seen(source)
        return self._arrays(source, self.windows(source)[0])

    def _seen(self, source: Asked) -> Arrays:
        if source.image is None or self.preprocessor is None:
            return {}
        return {"pixel_values": processors.preprocess(self.preprocessor, source.image)}

    def windows(self, source: Asked) -> list[Encoding]:
        """The question with as many words of the page as fit, again and again."""
        tokenizer = text.tokenizer(self.writer.tokenizer_json)
        limit = self.writer.tokenizer_config.get("model_max_length") or 512
        longest = int(min(limit, self.writer.config.get("max_position_embeddings") or limit))
        question = source.question.split()
        asked = len(tokenizer.encode(question, is_pretokenized=True, add_special_tokens=False).ids)
        room = longest - asked - tokenizer.num_special_tokens_to_add(True)
        if room < 1:
            raise InputError(f"the question has {asked} tokens; with a page, this model takes {longest} in all")
        tokenizer.enable_truncation(longest, stride=min(longest // 2, 256, room - 1), strategy="only_second")
        first = tokenizer.encode(question, source.words, is_pretokenized=True)
        return [first, *first.overflowing]

    def _arrays(self, source: Asked, window: Encoding) -> Arrays:
        told = self.writer.tokenizer_config.get("sep_token_box") or ENDS.get(self.writer.model_type, (0, 0, 0, 0))
        end = (int(told[0]), int(told[1]), int(told[2]), int(told[3]))
        boxes = []
        for part, word, special in zip(window.sequence_ids, window.word_ids, window.special_tokens_mask):
            if part == 1 and word is not None:
                boxes.append(source.boxes[word])
            else:
                boxes.append(end if special and len(boxes) else (0, 0, 0, 0))
        found = {
            "input_ids": np.array(window.ids, np.int64),
            "attention_mask": np.array(window.attention_mask, np.int64),
            "token_type_ids": np.array(window.type_ids, np.int64),
            "bbox": np.array(boxes, np.int64),
        }
        return found | self._seen(source)

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Asked],
        *,
        top_k: int = 1,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        max_new_tokens: int | None = None,
    ) -> list[list[Words]]:
        """The answers to each question, the best first.

        Options:
            top_k: how many answers
            max_answer_len: longest answer that is found on the page, in tokens
            handle_impossible_answer: answer nothing where that is likelier than any words
            max_new_tokens: longest answer that is written, in tokens
        """
        check_count("top_k", top_k)
        check_count("max_answer_len", max_answer_len)
        if self.writes:
            return self._written(nets, sources, max_new_tokens)
        return [self._found(nets, source, top_k, max_answer_len, handle_impossible_answer) for source in sources]

    def _written(self, nets: Nets, sources: Sequence[Asked], most: int | None) -> list[list[Words]]:
        prompts = [self.writer.encode(PROMPT.format(source.question), special=False) for source in sources]
        known = self.writer.settings
        most = most or known.get("max_new_tokens") or (None if known.get("max_length") else WRITTEN)
        items = [self.prepare(source) for source in sources]
        written = self.writer.write(nets, items, prompts, {"max_new_tokens": most}, {})
        return [[Words(_donut(self.writer, tokens))] for tokens in written]

    def _found(self, nets: Nets, source: Asked, count: int, longest: int, maybe_none: bool) -> list[Words]:
        found: list[Words] = []
        nothing = 1.0
        for window in self.windows(source):
            arrays = self._arrays(source, window)
            outputs = nets["model"]({name: array[None] for name, array in arrays.items()})
            size = len(window.ids)
            allowed = np.array([part == 1 for part in window.sequence_ids])
            allowed[0] = True  # the first token stands for no answer
            start, end = (
                answers.probabilities(outputs[name][0, :size], allowed) for name in ("start_logits", "end_logits")
            )
            nothing = min(nothing, float(start[0] * end[0]))
            start[0] = end[0] = 0
            for first, last, score in answers.best_spans(start, end, allowed, count, longest):
                a, b = window.word_ids[first], window.word_ids[last]
                if a is not None and b is not None:
                    found.append(Words(" ".join(source.words[a : b + 1]), score, a, b))
        if maybe_none:
            found.append(Words("", nothing, 0, 0))
        return sorted(found, key=lambda answer: -(answer.score or 0))[:count]

    def decode(self, outputs: Arrays, source: Asked) -> tuple[np.ndarray, np.ndarray]:
        """Logits of the beginning and the end of the answer."""
        return outputs["start_logits"], outputs["end_logits"]

    @staticmethod
    def likeness(answer: str, known: Sequence[str]) -> float:
        """ANLS: likeness to the nearest right answer."""
        return vqa.anls(answer, known)

    def draw(self, source: Any, result: list[Answer], truth: str | Sequence[str] | None = None) -> Image.Image:
        """The page with the question and its answers below."""
        asked = self.open(source)
        return self.drawn(asked.image or _page(asked), asked, result, truth)


def _word_boxes(given: Any) -> tuple[list[str], list[Box]]:
    """Words and their boxes.

    Raises:
        InputError: not pairs of a word and four numbers in 0..1000.
    """
    words: list[str] = []
    boxes: list[Box] = []
    for number, pair in enumerate(given if isinstance(given, (list, tuple)) else [given]):
        good = isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
        box = pair[1] if good else None
        if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
            raise InputError(f"word_boxes, entry {number}: should be [word, [left, top, right, bottom]]")
        left, top, right, bottom = (int(v) for v in box)
        if not (0 <= left <= right <= 1000 and 0 <= top <= bottom <= 1000):
            raise InputError(f"word_boxes, entry {number}: a box lies in a page of 1000 x 1000, left before right")
        words.append(pair[0])
        boxes.append((left, top, right, bottom))
    return words, boxes


def _donut(writer: Writer, tokens: Sequence[int]) -> str:
    """The answer within what Donut writes: its fields begin and end with tokens of their own."""
    whole = writer.tokenizer.decode(list(tokens), skip_special_tokens=False)
    for name in ("eos_token", "pad_token"):
        token = writer.tokenizer_config.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        whole = whole.replace(token, "") if token else whole
    found = re.search(r"<s_answer>(.*)</s_answer>", re.sub(r"<.*?>", "", whole, count=1).strip())
    return found[1].strip() if found else ""


def _page(asked: Asked) -> Image.Image:
    """A page drawn from its words."""
    places = [(box[0] * 0.7, box[1] * 0.7, box[2] * 0.7, box[3] * 0.7) for box in asked.boxes]
    return drawing.boxes(Image.new("RGB", (700, 700), "white"), places, asked.words)
