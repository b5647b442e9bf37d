"""What the architectures are tried on: pictures, sounds and texts of awkward kinds, and tiny tokenizers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Größe und Maß, naïve café; 12,345.67 km/h!",
    "東京の天気は晴れです。",
    "как дела 🙂 مرحبا",
    "",
    "word after word " * 60,
)


def texts(folder: Path) -> list[Any]:
    """Latin, accents, Japanese, mixed scripts, empty, longer than a model takes."""
    return list(SENTENCES)


def pictures(folder: Path) -> list[Any]:
    """Files: odd sizes, upright and wide, grey, with alpha, turned by EXIF."""
    rng = np.random.default_rng(0)

    def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
        channels = {"RGB": 3, "RGBA": 4, "L": 1}[mode]
        coarse = rng.integers(0, 256, (6, 7, channels), np.uint8)
        found = Image.fromarray(coarse[..., 0] if mode == "L" else coarse, mode=None)
        return found.resize((width, height), Image.Resampling.BICUBIC)

    place = folder / "pictures"
    place.mkdir()
    picture(97, 61).save(place / "wide.png")
    picture(53, 120).save(place / "high.png")
    picture(75, 75, "L").save(place / "grey.png")
    picture(64, 48, "RGBA").save(place / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(90, 70).save(place / "turned.jpg", exif=exif)
    return [str(place / name) for name in ("wide.png", "high.png", "grey.png", "alpha.png", "turned.jpg")]


def opened(path: str) -> Image.Image:
    """A picture as pipelines of transformers load it."""
    from transformers.image_utils import load_image

    return load_image(path)


def sounds(folder: Path) -> list[Any]:
    """(samples, rate): tones, noise, silence, a short one."""
    rng = np.random.default_rng(0)
    rate = 16000
    t = np.arange(rate) / rate
    tones = sum(np.sin(2 * np.pi * f * t * (1 + t)) for f in (220, 440, 1000)) * 0.2
    noise = rng.normal(0, 0.1, rate * 3 // 2)
    silence = np.zeros(rate // 2)
    return [(wave.astype(np.float32), rate) for wave in (tones, noise, silence, tones[: rate // 5])]


def word_pieces(folder: Path, longest: int = 64, **given: Any) -> Any:
    """A WordPiece tokenizer in the manner of BERT; saved in the folder.

    It knows the letters of the sentences and every second of their words: a trainer decides between words that are as
    frequent by the order of a hash table, anew in every run.
    """
    import transformers as t
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    normalizer, cut = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {word for s in SENTENCES for word, _ in cut.pre_tokenize_str(normalizer.normalize_str(s))}
    letters = sorted({letter for word in words for letter in word})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *sorted(words - {*letters})[::2]]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    own = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    own.normalizer, own.pre_tokenizer = normalizer, cut
    own.add_special_tokens(special)
    own.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer = t.BertTokenizerFast(tokenizer_object=own, model_max_length=longest, **given)
    tokenizer.save_pretrained(folder)
    return tokenizer


def byte_pairs(folder: Path, cls: str = "PreTrainedTokenizerFast", **given: Any) -> Any:
    """A byte-level BPE tokenizer in the manner of GPT-2 and RoBERTa, learned from the sentences; saved in the folder.

    Args:
        cls: name of the class of transformers that holds it.
        given: its special tokens and settings.
    """
    import transformers as t
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    own.train_from_iterator(SENTENCES, trainer)
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = getattr(t, cls)(tokenizer_object=own, **{"model_max_length": 64, **names, **given})
    tokenizer.save_pretrained(folder)
    return tokenizer


def fallback_pairs(folder: Path, **given: Any) -> Any:
    """A BPE tokenizer in the manner of Llama: spaces are "▁", unknown characters become bytes; saved in the folder."""
    import transformers as t
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    pieces = [f"<0x{i:02X}>" for i in range(256)]
    learner = Tokenizer(models.BPE())
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=250, show_progress=False)
    learner.train_from_iterator([one for one in SENTENCES if one.isascii()], trainer)
    learned = json.loads(learner.to_str())["model"]
    vocabulary = {token: i for i, token in enumerate([*names.values(), *pieces])}
    for token in learned["vocab"]:
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(pair) for pair in learned["merges"]]
    own = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    own.normalizer = normalizer
    own.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    own.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    tokenizer = t.PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=512, **{**names, **given})
    tokenizer.save_pretrained(folder)
    return tokenizer


def pieces(folder: Path, languages: Sequence[str] = (), **given: Any) -> Any:
    """A Unigram tokenizer in the manner of T5, learned from the sentences; saved in the folder.

    Args:
        languages: tokens of languages, the first of which stands before each text, as for NLLB.
    """
    import transformers as t
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    own = Tokenizer(models.Unigram())
    own.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    own.pre_tokenizer = pre_tokenizers.Metaspace()
    own.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>", "<s>", *languages]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    own.train_from_iterator(SENTENCES, trainer)
    around = [(token, own.token_to_id(token)) for token in ("</s>", *languages[:1])]
    begin = f"{languages[0]} " if languages else ""
    own.post_processor = processors.TemplateProcessing(single=f"{begin}$A </s>", special_tokens=around)
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "bos_token": "<s>"}
    tokenizer = t.PreTrainedTokenizerFast(
        tokenizer_object=own, model_max_length=256, additional_special_tokens=list(languages), **{**names, **given}
    )
    tokenizer.save_pretrained(folder)
    return tokenizer
