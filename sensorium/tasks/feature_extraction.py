"""Feature extraction: a text as a vector, to find others like it, or as the states of its tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, text
from sensorium.media.embedder import Embedder, first_of
from sensorium.ops import retrieval
from sensorium.tasks import Arrays, Nets, Tally


@dataclass
class Task:
    """What the folder's files say. It is evaluated by finding documents that belong to questions."""

    embedder: Embedder
    known: dict[str, tuple[list[str], np.ndarray]] = field(default_factory=dict, compare=False, repr=False)

    name: ClassVar[str] = "feature-extraction"
    architectures: ClassVar[tuple[str, ...]] = ("Model",)
    source: ClassVar[str] = "text"
    truth: ClassVar[str] = "relevant"
    metric: ClassVar[str] = "ndcg_at_10"
    lower_is_better: ClassVar[bool] = False
    evaluation: ClassVar[dict[str, Any]] = {}

    @staticmethod
    def suits(config: Mapping[str, Any]) -> bool:
        """Whether these are the settings of a model that reads."""
        return not {"num_channels", "image_size"} & config.keys() or "vocab_size" in config

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        return cls(Embedder.load(files, cls.name))

    def files(self) -> dict[str, Any]:
        return self.embedder.files()

    @property
    def padding(self) -> dict[str, float]:
        return self.embedder.encoder.padding

    def open(self, source: Any) -> str:
        return text.load(source)

    def prepare(self, source: str) -> Arrays:
        """input_ids, attention_mask, token_type_ids: each (T,) int64."""
        return self.embedder.prepare(source)

    def decode(self, outputs: Arrays, source: str) -> np.ndarray:
        """The states of the tokens: (T, D)."""
        return first_of(outputs)

    def predict(
        self,
        nets: Nets,
        sources: Sequence[str],
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
    ) -> list[np.ndarray]:
        """A vector (D,) for each text, or the states of its tokens (T, D).

        Options:
            pooling: none, cls, mean, max, mean_sqrt_len, weightedmean or lasttoken; by default as modules.json says, and none without one
            normalize: bring the vector to the length 1; by default as modules.json says
            prompt_name: which of the model's prompts to put in front of the text
        """  # noqa: E501
        return self.embedder.vectors(
            nets["model"], sources, pooling=pooling, normalized=normalize, prompt_name=prompt_name
        )

    def evaluation_on(self, truths: Sequence[Any]) -> dict[str, Any]:
        """Questions have a prompt of their own in some models; a model without a way of pooling takes the mean."""
        chosen = {"prompt_name": "query"} if "query" in self.embedder.sentences.prompts else {}
        return chosen | ({} if self.embedder.sentences.ways else {"pooling": "mean"})

    def documents(self, path: str, nets: Nets) -> tuple[list[str], np.ndarray]:
        """Names and vectors of the documents in a corpus.jsonl; computed once."""
        if path not in self.known:
            names, texts = [], []
            try:
                lines = Path(path).read_text("utf-8-sig").split("\n")
            except (OSError, UnicodeDecodeError):
                raise InputError(f"{path}: cannot be read; the documents are JSON lines in UTF-8") from None
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        row = json.loads(line)
                        names.append(str(row["_id"]))
                        texts.append(text.load(f"{row.get('title') or ''} {row['text']}".strip()))
                    except (ValueError, KeyError, TypeError, AttributeError):
                        raise InputError(f"{path}:{number}: a document has '_id' and 'text'") from None
            prompts = self.embedder.sentences.prompts
            prompt = next((name for name in ("document", "passage", "corpus") if name in prompts), None)
            pooling = None if self.embedder.sentences.ways else "mean"
            found = self.embedder.vectors(nets["model"], texts, pooling=pooling, prompt_name=prompt)
            self.known[path] = names, np.stack(found)
        return self.known[path]

    def tally(self, prediction: np.ndarray, truth: Mapping[str, Any], nets: Nets) -> Tally:
        """Measures of the ranking of all documents by their likeness to the question."""
        names, vectors = self.documents(truth["corpus"], nets)
        vector = prediction if prediction.ndim == 1 else prediction.mean(axis=0)
        if vector.shape != vectors.shape[1:]:
            vector = np.zeros(vectors.shape[1])
        likeness = self.embedder.sentences.similar(vector[None].astype(np.float64), vectors.astype(np.float64))[0]
        ranking = [names[i] for i in np.argsort(-likeness, kind="stable")[:100]]
        found = retrieval.measures(ranking, truth["documents"])
        return Tally(found["ndcg_at_10"], found)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Means of nDCG@10, reciprocal rank and recall over the questions that have documents."""
        names = list(retrieval.measures([], {"any": 1}))
        rows = np.array([[t.stats[name] for name in names] for t in tallies], np.float64).reshape(-1, len(names))
        rows = rows[~np.isnan(rows).any(axis=1)]
        return {name: float(rows[:, i].mean()) if len(rows) else float("nan") for i, name in enumerate(names)}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], np.ndarray]:
        """The same vector for every text: documents in the order of their file."""
        return lambda source: np.zeros(1)

    def draw(self, source: str, result: np.ndarray, truth: Any = None) -> Image.Image:
        """The text, and the numbers that stand for it."""
        shape = " x ".join(str(n) for n in result.shape)
        numbers = ", ".join(f"{v:.3f}" for v in np.ravel(result)[:24])
        return drawing.text([("Text", self.open(source)), (f"Features, {shape}", f"{numbers} ...")])
