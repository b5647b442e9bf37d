"""Translation: a tokenizer and a Transformer learned from pairs of texts, or a Marian, BART or T5 folder adapted."""

from __future__ import annotations

import json
from collections import ChainMap
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.ops.generation.batches import pad_right
from sensorium.tasks.translation import Task, scoring_tokenizer
from sensorium.training.bases import files_of, network_of
from sensorium.training.networks.encoder_decoder import Borrowed, Decoder, Encoder, EncoderDecoder
from sensorium.training.plan import Part, Plan

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
NEVER_WRITTEN = 2  # the number of UNKNOWN in a tokenizer of ours


def learn_tokenizer(sources: list[str], targets: list[str], size: int) -> tuple[str, int]:
    """A byte-pair tokenizer of both languages, whose first ids are those that occur in targets.

    A word carries the space before it ("▁"), so that decoding gives the very spaces of the text.

    Returns:
        The text of `tokenizer.json`, and the number of tokens that targets are made of.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = [PAD, END, UNKNOWN]
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*sources, *targets], trainer)
    used = {i for encoding in tokenizer.encode_batch(targets) for i in encoding.ids} | set(range(len(special)))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, special.index(END))]
    )
    content = json.loads(tokenizer.to_str())
    by_use = sorted(content["model"]["vocab"].items(), key=lambda item: (item[1] not in used, item[1]))
    content["model"]["vocab"] = {token: i for i, (token, _) in enumerate(by_use)}
    return json.dumps(content, ensure_ascii=False), len(used)


def plan(
    examples: list[Example],
    base: Path | None,
    *,
    source: str = "",
    target: str = "",
    vocabulary: int = 8000,
    width: int = 256,
    heads: int = 4,
    hidden: int = 1024,
    encoder_layers: int = 4,
    decoder_layers: int = 3,
    dropout: float = 0.1,
    smoothing: float = 0.1,
    max_tokens: int = 128,
    batch_tokens: int = 2500,
    beams: int = 4,
    epochs: int | None = None,
    learning_rate: float | None = None,
) -> Plan:
    """What to train.

    Args:
        base: a folder of a Marian, BART or T5 network that is trained further; then the tokenizer and the sizes
            of the network are its own.
        source: the language to translate from, as the data names it; by default the first of a pair.
        target: the language to translate to; by default the other.
        vocabulary: tokens of the tokenizer that is learned.
        width: of the network; `heads` of its attention, `hidden` units of its feed-forward layers.
        smoothing: of the labels.
        max_tokens: longer sources and targets are cut in training.
        batch_tokens: target tokens of a batch, padding included.
        beams: written to `generation_config.json` as what translating uses by default.
    """
    if not examples:
        raise InputError("translation: there are no sentence pairs to learn from")
    languages = choose_languages(examples[0], source, target)
    sources, targets = ([e.fields["translation"].get(language, "") for e in examples] for language in languages)
    data = {
        "source_language": languages[0],
        "target_language": languages[1],
        "bleu_tokenizer": scoring_tokenizer(targets),
    }
    parameters = {"smoothing": smoothing, "max_tokens": max_tokens, "batch_tokens": batch_tokens}
    if base is not None:
        return Plan(
            task=borrowed_task(base, data),
            network={"base": base.name, "dropout": dropout},
            base=base,
            epochs=epochs if epochs is not None else 3,
            learning_rate=learning_rate if learning_rate is not None else 1e-4,
            weight_decay=0.01,
            average=0.99,
            parameters=parameters,
        )
    tokenizer, generated = learn_tokenizer(sources, targets, vocabulary)
    size = len(json.loads(tokenizer)["model"]["vocab"])
    shape = {
        "d_model": width,
        "encoder_layers": encoder_layers,
        "decoder_layers": decoder_layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": hidden,
        "decoder_ffn_dim": hidden,
        "dropout": dropout,
        "vocab_size": size,
    }
    ends = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        **shape,
        **ends,
        **data,
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": END,
        "unk_token": UNKNOWN,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
    }
    generation = {**ends, "num_beams": beams, "max_new_tokens": 2 * max_tokens, "length_penalty": 1.0}
    return Plan(
        task=Task(config, tokenizer, tokenizer_config, generation),
        network={"generated": generated, "width": width, "heads": heads, "hidden": hidden, "vocabulary": size,
                 "encoder_layers": encoder_layers, "decoder_layers": decoder_layers, "dropout": dropout},
        epochs=epochs if epochs is not None else 14,
        learning_rate=learning_rate if learning_rate is not None else 2e-3,
        weight_decay=0.01,
        warmup=0.08,
        average=0.998,
        parameters=parameters,
    )  # fmt: skip


def choose_languages(example: Example, source: str, target: str) -> tuple[str, str]:
    """The languages to translate from and to, where the wish for one may be empty.

    Raises:
        InputError: the data has no such languages.
    """
    known = list(example.fields["translation"])
    others = [language for language in known if language not in (source, target)]
    source = source or next((x for x in others if x != target), "")
    target = target or next((x for x in others if x != source), "")
    if source not in known or target not in known or source == target:
        raise InputError(
            f"{example.where}: to translate from '{source}' to '{target}' needs both; this has {', '.join(known)}"
        )
    return source, target


def borrowed_task(base: Path, data: dict[str, Any]) -> Task:
    """The task of a Hugging Face folder, with its own tokenizer, and what `config.json` is to say of the data.

    Raises:
        InputError: it is no folder of an encoder-decoder, or its tokenizer cannot be written as tokenizer.json.
    """
    files = files_of(base, "config.json")
    own = {"config.json": files["config.json"] | data}
    if not own["config.json"].get("is_encoder_decoder"):
        raise InputError(f"{base}: config.json is not that of an encoder-decoder (Marian, BART, T5 ...)")
    if "tokenizer.json" not in files:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(base, use_fast=True, local_files_only=True)
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(f"{base}: has no tokenizer.json, and its {type(tokenizer).__name__} cannot be made one")
        own["tokenizer.json"] = tokenizer.backend_tokenizer.to_str()
    return Task.load(ChainMap(own, files))


def build(plan: Plan) -> torch.nn.Module:
    """The network of the plan."""
    if plan.base is None:
        return EncoderDecoder(**plan.network)
    # Attention written out: what is exported does not depend on which fused kernel fits the machine.
    network, _ = network_of(plan.base, "AutoModelForSeq2SeqLM", Task.name, attn_implementation="eager")
    return Borrowed(network)


def batches(plan: Plan, examples: list[Example], rng: np.random.Generator) -> list[list[int]]:
    """Batches of about equally many tokens, of sentences of about equal length, in random order.

    Lengths are those of the texts in characters and words: near enough to those in tokens, and quick to get.
    """
    lengths = np.array(
        [[len(t) / 6 + t.count(" ") / 2 + 2 for t in plan.task.pair(e.fields["translation"])] for e in examples]
    )
    # Sorted by target and then by source, with noise so that batches differ from epoch to epoch.
    noisy = np.round(lengths * rng.uniform(0.95, 1.05, lengths.shape))
    order = np.lexsort((rng.random(len(examples)), noisy[:, 0], noisy[:, 1]))
    found: list[list[int]] = []
    current: list[int] = []
    longest = 0.0
    for i in order:
        longest = max(longest, lengths[i].max())
        if current and (len(current) + 1) * longest > plan.parameters["batch_tokens"]:
            found.append(current)
            current, longest = [], lengths[i].max()
        current.append(int(i))
    if current:
        found.append(current)
    rng.shuffle(found)
    return found


def batch(plan: Plan, examples: list[Example], rng: np.random.Generator | None) -> dict[str, np.ndarray]:
    """Source tokens with mask, target tokens shifted by one (`decoder_input_ids`), and the targets (`labels`)."""
    task, limit = plan.task, plan.parameters["max_tokens"]
    texts = [task.pair(e.fields["translation"]) for e in examples]
    sources = [task.prepare(source)["input_ids"][:limit] for source, _ in texts]
    padding = task.writer.setting("pad_token_id")
    ids, mask = pad_right(sources, padding)
    targets, real = pad_right([task.target_tokens(target)[:limit] for _, target in texts], padding)
    # What no target of the training data has, the network cannot write.
    known = plan.network.get("generated", np.iinfo(np.int64).max)
    labels = np.where(targets < known, targets, NEVER_WRITTEN)
    start = np.full((len(examples), 1), task.writer.setting("decoder_start_token_id"))
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "decoder_input_ids": np.concatenate([start, labels[:, :-1]], axis=1),
        "labels": np.where(real == 1, labels, -100),
        "smoothing": np.array([plan.parameters["smoothing"] if rng is not None else 0.0], np.float32),
    }


def loss(network: Any, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of the target tokens, with smoothed labels."""
    labels = batch["labels"]
    states = network(batch["input_ids"], batch["attention_mask"], batch["decoder_input_ids"])
    real = labels != -100  # padding is left out before the costly output layer
    return F.cross_entropy(network.logits(states[real]), labels[real], label_smoothing=float(batch["smoothing"]))


def sample(plan: Plan, network: Any) -> dict[str, Part]:
    """The encoder, and the decoder for the first step and for those with a cache."""
    if isinstance(network, Borrowed):
        from sensorium.training.pretrained import sequence_to_sequence

        return sequence_to_sequence.networks(network.model)
    rows, time, past, source = 2, 2, 3, 5
    ids = torch.arange(3, 3 + rows * source).reshape(rows, source) % network.vocabulary
    mask = torch.ones(rows, source, dtype=torch.int64)
    mask[1, 3:] = 0
    with torch.no_grad():
        states = network.encode(ids, mask)
        cross = network.cross_keys_values(states)
    inputs = {
        "input_ids": torch.arange(rows * time).reshape(rows, time),
        "encoder_attention_mask": mask,
        "encoder_hidden_states": states,
        "use_cache_branch": torch.tensor([True]),
    }
    dynamic: dict[str, dict[int, str]] = {
        "input_ids": {0: "batch_size", 1: "decoder_sequence_length"},
        "encoder_attention_mask": {0: "batch_size", 1: "encoder_sequence_length"},
        "encoder_hidden_states": {0: "batch_size", 1: "encoder_sequence_length"},
    }
    outputs = ["logits"]
    for i, pair_of_layer in enumerate(cross):
        for place, length in (("decoder", past), ("encoder", source)):
            for kind, tensor in zip(("key", "value"), pair_of_layer):
                name = f"past_key_values.{i}.{place}.{kind}"
                shape = (rows, tensor.shape[1], length, tensor.shape[3])
                inputs[name] = tensor.clone() if place == "encoder" else torch.randn(shape)
                dynamic[name] = {0: "batch_size", 2: f"past_{place}_sequence_length"}
                outputs.append(f"present.{i}.{place}.{kind}")
    encoder_dynamic = {0: "batch_size", 1: "encoder_sequence_length"}
    return {
        "encoder_model": Part(
            Encoder(network),
            {"input_ids": ids, "attention_mask": mask},
            ["last_hidden_state"],
            {"input_ids": encoder_dynamic, "attention_mask": encoder_dynamic},
        ),
        "decoder_model_merged": Part(Decoder(network), inputs, outputs, dynamic),
    }
